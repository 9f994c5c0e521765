"""What all changes of servers write at their beginning and their end: each function runs in the caller's transaction."""

import uuid
from collections.abc import Callable
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import OPEN_CHANGES, ChangeKind, ChangeState
from cloudmgr.domain.volumes import VolumePhase
from cloudmgr.models import Backend, Organization, ResourceRequest, Server, ServerChange
from cloudmgr.services.request_kinds.server_changes import UNCONFIRMED, is_unconfirmed
from cloudmgr.store import placement, requests, servers
from cloudmgr.store import server_changes as store
from cloudmgr.store import volumes as volume_store
from cloudmgr.workflows import facts, volume_facts
from cloudmgr.workflows.steps import pause, write
from cloudmgr.workflows.work import Tally, item
from providers.errors import Remedy

WAITS = 20
"""Looks, with pauses of up to 30 s, whether another change of the same server has ended: some eight minutes."""
EVENTS = {
    ChangeKind.RESIZE: Event.VM_RESIZE,
    ChangeKind.RENEW: Event.VM_RENEW,
    ChangeKind.FREEZE: Event.VM_FREEZE,
    ChangeKind.UNFREEZE: Event.VM_UNFREEZE,
}
_OPEN = tuple(state.value for state in OPEN_CHANGES)


def items(session: Session, request: ResourceRequest) -> list[dict[str, Any]]:
    """Return what a request has still to do: a change each, and the disks that go with it."""
    left = [
        item(f"{change.kind}_server", f"{change.id}:{request.attempt}", str(change.id), request.attempt)
        for change in store.of_request(session, request.id)
        if change.state in _OPEN
    ]
    return left + volume_facts.items(session, request)


def tally(session: Session, request: ResourceRequest) -> Tally:
    """Count the changes that are made; of a disk that was made and not attached, it is there."""
    changes = store.of_request(session, request.id)
    disks = volume_facts.tally(session, request)
    done = sum(change.state == ChangeState.DONE for change in changes)
    has_disk = any(row.phase == VolumePhase.AVAILABLE for row in volume_store.of_request(session, request.id))
    return Tally(good=done + disks.good, all=len(changes) + disks.all, is_begun=has_disk)


def begun(name: str, begin: Callable[..., dict[str, Any] | None], change_id: str, number: int) -> dict[str, Any] | None:
    """Begin a change inside a workflow, once no other change of the server is under way; None: there is nothing to do."""
    for tries in range(WAITS):
        goal: dict[str, Any] | None = write(name, begin, change_id, number)
        if goal is None or goal:
            return goal
        pause(tries)
    write(f"{name}_late", _late, change_id, number)
    return None


def begin(session: Session, change_id: str, number: int) -> tuple[ServerChange, Server] | dict[str, Any] | None:
    """Return a change and its server, locked and under way; {} while another change of it is, None when that is settled."""
    server_id = _load(session, change_id).server_id
    server = servers.get(session, server_id, lock=True)
    change = store.get(session, uuid.UUID(change_id), lock=True)
    if server is None or change is None or change.state not in _OPEN:
        return None
    others = store.of_server(session, server.id, states=[ChangeState.DOING.value])
    if any(other.id != change.id for other in others):
        return {}
    if server.phase not in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED):
        message = Message(N_("Server {name} does not stand any more."), {"name": server.name})
        fail(session, change, server, number, "gone", message)
        return None
    change.state, change.begun_at, change.updated_at = ChangeState.DOING.value, clock.now(), clock.now()
    session.add(change)
    session.flush()
    return change, server


def place_of(session: Session, server: Server) -> dict[str, Any] | None:
    """Return where a server is, for calls to its backend; None where no cloud of ours knows it."""
    if server.backend_id is None or server.native_ref is None:
        return None
    return {"backend": session.get_one(Backend, server.backend_id).name, "ref": server.native_ref}


def done(session: Session, change: ServerChange, server: Server, number: int, message: Message, **detail: Any) -> None:
    """Write that a change is made, and tell."""
    change.state, change.failure = ChangeState.DONE.value, None
    change.finished_at = change.updated_at = clock.now()
    session.add(change)
    session.flush()
    tell(session, change, server, number, message)
    _record(session, change, server, **detail)


def fail(
    session: Session, change: ServerChange, server: Server, number: int, code: str, why: Message, **detail: Any
) -> None:
    """Write that a change came to nothing; what it held is given back unless the cloud did not confirm the undoing."""
    if code != UNCONFIRMED:
        give_back(session, change, server)
    server.resizing_since = None
    change.state, change.failure = ChangeState.FAILED.value, {"code": code, "message": why.as_json()}
    change.finished_at = change.updated_at = clock.now()
    session.add(server)
    session.add(change)
    session.flush()
    tell(session, change, server, number, why, kind="warning")
    _record(session, change, server, outcome=Outcome.FAILURE, reason=code, **detail)


def give_back(session: Session, change: ServerChange, server: Server) -> None:
    """Give back the quota and the room a change holds beside what the server holds itself; again it changes nothing."""
    if change.kind == ChangeKind.RESIZE:
        placement.resize_allocation(session, server.id, {"vcpus": server.vcpus, "memory_mib": server.memory_mib})
    if change.reservation_id is not None:
        quotas.void(session, reservation_id=change.reservation_id, part_id=server.id)
        change.reservation_id = None


def end_with_server(session: Session, server: Server) -> None:
    """Close what is open or unconfirmed of a server that is gone: nothing of it is held any more."""
    states = [*_OPEN, ChangeState.FAILED.value]
    for change in store.of_server(session, server.id, states=states):
        if change.reservation_id is not None:
            quotas.void(session, reservation_id=change.reservation_id, part_id=server.id)
            change.reservation_id = None
            session.add(change)
    session.flush()


def tell(
    session: Session,
    change: ServerChange,
    server: Server,
    number: int,
    message: Message,
    *,
    kind: str = "step",
    what: str = "end",
) -> None:
    """Say it in the progress of the request it is about: of a lease's end, the one the server came by."""
    requests.tell(
        session,
        change.request_id or server.request_id,
        kind=kind,
        message=message,
        server_id=server.id,
        dedupe=f"{change.kind}:{change.id}:{number}:{what}",
    )


def note(server: Server, seen: dict[str, Any]) -> None:
    """Copy what the backend shows onto the server's row."""
    if seen["ok"] and seen["result"]:
        facts.note(server, seen["result"])


def load(session: Session, change_id: str) -> tuple[ServerChange, Server]:
    """Return a change and its server, locked."""
    server = servers.get(session, _load(session, change_id).server_id, lock=True)
    change = store.get(session, uuid.UUID(change_id), lock=True)
    if change is None or server is None:
        raise LookupError(f"change {change_id} is gone from the database")
    return change, server


def waited(failure: dict[str, Any]) -> bool:
    """Whether waiting may change an answer."""
    return failure["remedy"] in (Remedy.RETRY, Remedy.RECONCILE)


def _late(session: Session, change_id: str, number: int) -> None:
    change = _load(session, change_id)
    server = servers.get(session, change.server_id, lock=True)
    if server is not None and change.state in _OPEN:
        message = Message(
            N_("Another change of {name} is still under way; try again when it has ended."), {"name": server.name}
        )
        code = UNCONFIRMED if is_unconfirmed(change) else "busy"  # what it holds since an earlier attempt stays held
        fail(session, change, server, number, code, message)


def _load(session: Session, change_id: str) -> ServerChange:
    change = store.get(session, uuid.UUID(change_id))
    if change is None:
        raise LookupError(f"change {change_id} is gone from the database")
    return change


def _record(
    session: Session,
    change: ServerChange,
    server: Server,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    reason: str = "",
    **detail: Any,
) -> None:
    facts.record(
        session,
        EVENTS[ChangeKind(change.kind)],
        server,
        session.get_one(Organization, server.organization_id),
        outcome=outcome,
        reason=reason,
        before=change.before,
        after=change.wanted,
        by="request" if change.request_id else "lease",
        **detail,
    )
