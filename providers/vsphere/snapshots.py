"""Points in time of a server's disks; a snapshot is named once on a server, and known by the vCenter's own id."""

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from pyVmomi import vim

from cloudmgr.domain.messages import N_
from providers.base import SnapshotObservation
from providers.errors import NotFound, Unsupported
from providers.vsphere import collector, errors, servers, tasks
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection
from providers.vsphere.inventory import id_of

PATHS = (
    "config.instanceUuid",
    "config.template",
    "config.extraConfig",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "snapshot",
    "recentTask",
)


def create(connection: Connection, ref: str, name: str) -> SnapshotObservation:
    """Take a snapshot of the disks, without memory; the same name again returns the one that stands.

    Raises:
        NotFound, Busy: it is being taken.
    """
    row = servers.require_ours(connection, ref, PATHS)
    found = next((one for one in _observed(row) if one.name == name), None)
    if found is not None:
        return found
    _rest(connection, row)
    task = connection.write(
        lambda session: session.bound(row.obj).CreateSnapshot_Task(
            name=name, description="cloudmgr", memory=False, quiesce=False
        )
    )
    if tasks.finished(connection, task):
        found = next((one for one in list_all(connection, ref) if one.name == name), None)
    if found is None:
        raise errors.busy(f"snapshot {name!r} of {row.moid} is being taken")
    return found


def list_all(connection: Connection, ref: str) -> list[SnapshotObservation]:
    """Return a server's snapshots, oldest first."""
    return sorted(_observed(servers.require(connection, ref, PATHS)), key=lambda one: (one.created_at, one.ref))


def revert(connection: Connection, ref: str, snapshot: str) -> None:
    """Go back to a snapshot; the server is off afterwards.

    Raises:
        NotFound, Unsupported: the server's size was another then (P4).
    """
    row = servers.require_ours(connection, ref, PATHS)
    found = _node(row, snapshot)
    sizes = ("config.hardware.numCPU", "config.hardware.memoryMB")
    (then,) = connection.read(lambda session: collector.these(session, [found.snapshot], {vim.vm.Snapshot: sizes})) or [
        row
    ]
    if any(then.get(size) != row.get(size) for size in sizes):
        raise Unsupported(N_("The server had another size when this snapshot was taken; set that size first."))
    _rest(connection, row)
    task = connection.write(lambda session: session.bound(found.snapshot).RevertToSnapshot_Task())
    tasks.finished(connection, task)


def delete(connection: Connection, ref: str, snapshot: str) -> None:
    """Remove a snapshot and keep those made after it; the absent succeeds."""
    try:
        row = servers.require_ours(connection, ref, PATHS)
        found = _node(row, snapshot)
    except NotFound:
        return
    _rest(connection, row)
    task = connection.write(lambda session: session.bound(found.snapshot).RemoveSnapshot_Task(removeChildren=False))
    tasks.finished(connection, task)


def nodes_of(row: Row) -> Iterator[Any]:
    """Yield the nodes of a server's tree of snapshots."""
    info = row.get("snapshot")
    waiting = list(info.rootSnapshotList) if info is not None else []
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting += list(node.childSnapshotList or [])


def _observed(row: Row) -> list[SnapshotObservation]:
    return [
        SnapshotObservation(str(id_of(node.snapshot)), node.name, node.createTime.astimezone(UTC))
        for node in nodes_of(row)
    ]


def _node(row: Row, snapshot: str) -> Any:
    found = next((node for node in nodes_of(row) if id_of(node.snapshot) == snapshot), None)
    if found is None:
        raise errors.not_found(f"snapshot {snapshot!r} of {row.moid}")
    return found


def _rest(connection: Connection, row: Row) -> None:
    if tasks.of_server(connection, list(row.get("recentTask") or []))[0]:
        raise errors.busy(f"a task of {row.moid} is running")
