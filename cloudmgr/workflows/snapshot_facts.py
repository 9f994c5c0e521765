"""What happens to a snapshot, as it is written: each function is one transaction, called as a `write` step."""

import uuid
from datetime import datetime
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.volumes import SnapshotPhase
from cloudmgr.models import Organization, ResourceRequest, Server, Snapshot
from cloudmgr.services import audit, snapshots, volumes
from cloudmgr.store import requests, servers
from cloudmgr.store import volumes as store
from cloudmgr.workflows import facts
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.locate import ref_of
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.work import Tally, item


def items(session: Session, request: ResourceRequest) -> list[dict[str, Any]]:
    """Return what a request for snapshots has still to do, a snapshot each."""
    left, _ = snapshots.deeds(session, request)
    return [
        item(workflow, f"{id_}:{request.id}:{request.attempt}", str(id_), *more, request.attempt)
        for workflow, id_, more in left
    ]


def tally(session: Session, request: ResourceRequest) -> Tally:
    """Count what is as it was asked."""
    left, asked = snapshots.deeds(session, request)
    failed = sum(row.phase == SnapshotPhase.FAILED for row in store.snapshots_of_request(session, request.id))
    return Tally(good=asked - len(left) - failed, all=asked)


def begin_taking(session: Session, snapshot_id: str, number: int) -> dict[str, Any] | None:
    """Return whose snapshot is to be taken; None when that is settled, or the server does not stand any more."""
    snapshot = _load(session, snapshot_id)
    if snapshot.phase not in (SnapshotPhase.REQUESTED, SnapshotPhase.CREATING):
        return None
    where = _where(session, snapshot)
    if where is None:
        volumes.settle(session, snapshot.reservation_id, snapshot.id)
        _move(session, snapshot, SnapshotPhase.FAILED)
        message = Message(N_("Server {name} does not stand any more."), {"name": _server(session, snapshot).name})
        _fail(session, snapshot, snapshot.request_id, number, Event.SNAPSHOT_CREATE, "gone", message)
        return None
    _move(session, snapshot, SnapshotPhase.CREATING)
    return where


def taken(session: Session, snapshot_id: str, number: int, seen: dict[str, Any]) -> None:
    """The snapshot is there: its quota is used now."""
    snapshot = _load(session, snapshot_id)
    if snapshot.phase != SnapshotPhase.CREATING:
        return
    quotas.post(session, reservation_id=snapshot.reservation_id, part_id=snapshot.id)
    snapshot.native_ref, snapshot.taken_at = seen["ref"], datetime.fromisoformat(seen["at"])
    _move(session, snapshot, SnapshotPhase.AVAILABLE)
    message = Message(N_("Snapshot {name} of {server} is taken."), _names(session, snapshot))
    _tell(session, snapshot, snapshot.request_id, number, Event.SNAPSHOT_CREATE, message)


def not_taken(session: Session, snapshot_id: str, number: int, why: Outcome, is_gone: bool) -> None:
    """It came to nothing; quota is given back where the backend confirms that nothing of it is left."""
    snapshot = _load(session, snapshot_id)
    if is_gone:
        volumes.settle(session, snapshot.reservation_id, snapshot.id)
    _move(session, snapshot, SnapshotPhase.FAILED)
    code = str(why["code"]) if is_gone else "undo_unconfirmed"
    message = Message(N_("Snapshot {name} of {server} could not be taken: {reason}"), _names(session, snapshot, why))
    _fail(session, snapshot, snapshot.request_id, number, Event.SNAPSHOT_CREATE, code, message)


def begin_reverting(session: Session, snapshot_id: str, request_id: str, number: int) -> dict[str, Any] | None:
    """Return which server goes back; None when it does not stand any more or the snapshot is not there."""
    snapshot = _load(session, snapshot_id)
    where = _where(session, snapshot)
    if where is None or snapshot.phase not in (SnapshotPhase.AVAILABLE, SnapshotPhase.REVERTING):
        message = Message(N_("Server {name} does not stand any more."), {"name": _server(session, snapshot).name})
        _fail(session, snapshot, uuid.UUID(request_id), number, Event.SNAPSHOT_REVERT, "gone", message)
        return None
    _move(session, snapshot, SnapshotPhase.REVERTING)
    return where


def reverted(session: Session, snapshot_id: str, request_id: str, number: int, done: Outcome, seen: Outcome) -> None:
    """The server is as it was then, or it is said why it is not."""
    snapshot = _load(session, snapshot_id)
    if snapshot.phase != SnapshotPhase.REVERTING:
        return
    _move(session, snapshot, SnapshotPhase.AVAILABLE)
    if not done["ok"]:
        message = Message(
            N_("{server} could not go back to snapshot {name}: {reason}"), _names(session, snapshot, done)
        )
        _fail(session, snapshot, uuid.UUID(request_id), number, Event.SNAPSHOT_REVERT, str(done["code"]), message)
        return
    snapshot.reverted_at = clock.now()
    session.add(snapshot)
    server = servers.get(session, snapshot.server_id, lock=True)
    if server is not None:
        if seen["ok"] and seen.get("result"):
            facts.note(server, seen["result"])
        servers.keep(session, server, actor=SYSTEM.username, change="snapshot.revert")
    message = Message(N_("{server} is back at snapshot {name}."), _names(session, snapshot))
    _tell(session, snapshot, uuid.UUID(request_id), number, Event.SNAPSHOT_REVERT, message)


def begin_deleting(session: Session, snapshot_id: str) -> dict[str, Any] | None:
    """Return where a snapshot that is to go is; None when it is gone or its server is."""
    snapshot = _load(session, snapshot_id)
    if snapshot.phase == SnapshotPhase.DELETED:
        return None
    _move(session, snapshot, SnapshotPhase.DELETING)
    server = _server(session, snapshot)
    if server.native_ref is None or server.backend_id is None or server.phase == ServerPhase.RETIRED:
        return None
    return _place(session, server)


def deleted(session: Session, snapshot_id: str, number: int, done: Outcome) -> None:
    """The backend has it no more and its quota is free, or it is said why it is not so yet."""
    snapshot = _load(session, snapshot_id)
    if snapshot.phase != SnapshotPhase.DELETING:
        return
    about = snapshot.delete_request_id or snapshot.request_id
    if not done["ok"]:
        message = Message(
            N_("Snapshot {name} of {server} could not be deleted: {reason}"), _names(session, snapshot, done)
        )
        _fail(session, snapshot, about, number, Event.SNAPSHOT_DELETE, str(done["code"]), message)
        return
    volumes.settle(session, snapshot.reservation_id, snapshot.id)
    snapshot.deleted_at = clock.now()
    _move(session, snapshot, SnapshotPhase.DELETED)
    message = Message(N_("Snapshot {name} of {server} is deleted; its quota is free."), _names(session, snapshot))
    _tell(session, snapshot, about, number, Event.SNAPSHOT_DELETE, message)


def _where(session: Session, snapshot: Snapshot) -> dict[str, Any] | None:
    server = _server(session, snapshot)
    stands = server.phase in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED) and server.native_ref and server.backend_id
    return _place(session, server) if stands else None


def _place(session: Session, server: Server) -> dict[str, Any]:
    name = servers.backend_name(session, server.backend_id) if server.backend_id else ""
    return {"backend": name, "ref": server.native_ref, "server": str(server.id), "imported": ref_of(server)}


def _server(session: Session, snapshot: Snapshot) -> Server:
    return session.get_one(Server, snapshot.server_id)


def _names(session: Session, snapshot: Snapshot, why: Outcome | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"name": snapshot.name, "server": _server(session, snapshot).name}
    return told | ({"reason": Message.from_json(why["message"])} if why else {})


def _move(session: Session, snapshot: Snapshot, phase: SnapshotPhase) -> None:
    snapshot.phase, snapshot.failure = phase.value, None
    session.add(snapshot)
    session.flush()


def _fail(
    session: Session, snapshot: Snapshot, request_id: uuid.UUID, number: int, event: Event, code: str, message: Message
) -> None:
    snapshot.failure = {"code": code, "message": message.as_json()}
    session.add(snapshot)
    session.flush()
    _tell(session, snapshot, request_id, number, event, message, failure=code)


def _tell(
    session: Session,
    snapshot: Snapshot,
    request_id: uuid.UUID,
    number: int,
    event: Event,
    message: Message,
    *,
    failure: str = "",
) -> None:
    requests.tell(
        session,
        request_id,
        kind="warning" if failure else "step",
        message=message,
        server_id=snapshot.server_id,
        dedupe=f"{event.value}:{snapshot.id}:{number}{':failed' if failure else ''}",
    )
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="snapshot",
        object_id=snapshot.id,
        object_name=snapshot.name,
        organization_path=session.get_one(Organization, snapshot.organization_id).path,
        outcome=Ended.FAILURE if failure else Ended.SUCCESS,
        reason=failure,
        server=_server(session, snapshot).name,
    )


def _load(session: Session, snapshot_id: str) -> Snapshot:
    snapshot = store.get_snapshot(session, uuid.UUID(snapshot_id), lock=True)
    if snapshot is None:
        raise LookupError(f"snapshot {snapshot_id} is gone from the database")
    return snapshot
