"""Taking a server away: power, attached volumes, the machine with its disks and snapshots, and the claim.

Each is a task of the vCenter; while one runs the server is busy, and the caller asks again.
"""

import uuid
from pathlib import Path

from providers.base import PowerState
from providers.errors import NotFound
from providers.vsphere import create, errors, observe, servers, tasks, volumes
from providers.vsphere.connection import Connection
from providers.vsphere.create import Note
from providers.vsphere.options import VSphereOptions


def remove(connection: Connection, options: VSphereOptions, state_dir: Path, ref: str) -> None:
    """Begin to remove a server, or go on; the absent succeeds (P3).

    A server that was taken over is asked for by its own reference, and has no token: whose it is, the ledger knows.

    Raises:
        Busy: something is being done to it.
    """
    token = servers.parsed(ref)
    if token is None:
        return
    try:
        row = servers.require(connection, ref, create.PATHS)
    except NotFound:
        _remove_claim(connection, options, state_dir, token)
        return
    running, _ = tasks.of_server(connection, list(row.get("recentTask") or []))
    if running:
        raise errors.busy(f"a task of {row.moid} is running")
    power, _ = observe.power_of(row.get("runtime.powerState"), None)
    if power is not PowerState.STOPPED:
        task = connection.write(lambda session: session.bound(row.obj).PowerOffVM_Task())
        if not tasks.finished(connection, task):
            raise errors.busy(f"{row.moid} is being powered off")
    if observe.volume_files_of(row) and not _let_go_of_volumes(connection, ref):
        raise errors.busy(f"volumes of {row.moid} are being detached")
    create.drop_claim(connection, options, token)
    task = connection.write(lambda session: session.bound(row.obj).Destroy_Task())
    tasks.finished(connection, task)


def _let_go_of_volumes(connection: Connection, ref: str) -> bool:
    """Take attached volumes off, or they would be destroyed with the machine."""
    row = servers.require(connection, ref, create.PATHS)
    return volumes.release(connection, row, observe.volume_files_of(row))


def _remove_claim(connection: Connection, options: VSphereOptions, state_dir: Path, token: uuid.UUID) -> None:
    """Remove the claim of a server that is not there, unless its clone may still come."""
    if servers.claim_of(connection, options, token) is None:
        return
    noted = Note(state_dir, token)
    if _is_coming(connection, noted.read()):
        raise errors.busy(f"the clone of {token} is being made")
    if servers.row_of(connection, str(token)) is not None:
        raise errors.busy(f"the clone of {token} has just been made")
    create.drop_claim(connection, options, token)
    noted.forget()


def _is_coming(connection: Connection, known: str | None) -> bool:
    if known is None:
        return tasks.clone_is_running(connection)
    return tasks.look(connection, known)[0] is tasks.Progress.RUNNING
