"""Tasks: what the vCenter does after a call has returned. Their state is read by the PropertyCollector, once a call.

`info` as a whole cannot be read where the task is about a snapshot or a disk (the SDK insists on a managed entity), and
it need not be: state, error and result are properties of their own.
"""

from enum import StrEnum
from typing import Any

from pyVmomi import vim

from providers.errors import ProviderError
from providers.vsphere import collector, errors
from providers.vsphere.connection import Connection, Session

_PATHS = ("info.state", "info.error", "info.result", "info.descriptionId")


class Progress(StrEnum):
    """How far a task is."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The vCenter has forgotten it: it keeps finished tasks for some minutes."""


def look(connection: Connection, task: Any) -> tuple[Progress, Any]:
    """Return how far a task is, with its result or its fault."""
    rows = connection.read(lambda session: collector.these(session, [_bound(session, task)], {vim.Task: _PATHS}))
    return _progress(rows[0]) if rows else (Progress.UNKNOWN, None)


def finished(connection: Connection, task: Any) -> bool:
    """Tell whether a task has ended well, by one look.

    Raises:
        ProviderError: it failed.
    """
    progress, result = look(connection, task)
    if progress is Progress.FAILED:
        raise failure(result)
    return progress is not Progress.RUNNING


def result_of(connection: Connection, task: Any, limit_s: int) -> Any:
    """Return the result of a task that only reads, waiting for it inside one call to the vCenter.

    Raises:
        ProviderError: it failed, or was not done within the limit.
    """
    progress, result = look(connection, task)
    if progress is Progress.RUNNING:
        connection.read(lambda session: _await(session, _bound(session, task), limit_s))
        progress, result = look(connection, task)
    if progress is Progress.FAILED:
        raise failure(result)
    if progress is not Progress.DONE:
        raise errors.unavailable(f"task {task} is {progress}")
    return result


def of_server(connection: Connection, recent: list[Any]) -> tuple[bool, ProviderError | None]:
    """Tell of a server's recent tasks whether one is still running, and how the newest one failed if it did."""
    rows = connection.read(
        lambda session: collector.these(session, [_bound(session, task) for task in recent], {vim.Task: _PATHS})
    )
    told = {row.moid: _progress(row) for row in rows}
    if any(progress is Progress.RUNNING for progress, _ in told.values()):
        return True, None
    newest = max(told, key=_age, default=None)
    if newest is None or told[newest][0] is not Progress.FAILED:
        return False, None
    return False, failure(told[newest][1])


def clone_is_running(connection: Connection) -> bool:
    """Tell whether the vCenter is making a clone just now, whosever it is."""

    def deed(session: Session) -> list[collector.Row]:
        manager = session.content.taskManager
        listed = collector.these(session, [manager], {vim.TaskManager: ["recentTask"]})
        return collector.these(session, list(listed[0].get("recentTask") or []), {vim.Task: _PATHS})

    return any(
        _progress(row)[0] is Progress.RUNNING and "clone" in str(row.get("info.descriptionId", "")).lower()
        for row in connection.read(deed)
    )


def failure(fault: Any) -> ProviderError:
    """Return our error for the fault a task ended with."""
    return errors.from_fault(fault)


def _progress(row: collector.Row) -> tuple[Progress, Any]:
    match row.get("info.state"):
        case "success":
            return Progress.DONE, row.get("info.result")
        case "error":
            return Progress.FAILED, row.get("info.error")
        case "queued" | "running":
            return Progress.RUNNING, None
    return Progress.UNKNOWN, None


def _await(session: Session, task: Any, limit_s: int) -> None:
    """One filter, and one call that returns when the task's state has changed or the time is up."""
    kind = type(session.content.propertyCollector)
    own = session.content.propertyCollector.CreatePropertyCollector()
    try:
        own.CreateFilter(
            kind.FilterSpec(
                objectSet=[kind.ObjectSpec(obj=task, skip=False)],
                propSet=[kind.PropertySpec(type=vim.Task, all=False, pathSet=["info.state"])],
            ),
            True,
        )
        seen = own.WaitForUpdatesEx("", None)
        if seen is not None:
            own.WaitForUpdatesEx(seen.version, kind.WaitOptions(maxWaitSeconds=limit_s))
    finally:
        own.Destroy()


def _bound(session: Session, task: Any) -> Any:
    return session.reference(vim.Task, task if isinstance(task, str) else task._moId)  # noqa: SLF001 - the SDK's own name


def _age(moid: str) -> int:
    digits = moid.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0
