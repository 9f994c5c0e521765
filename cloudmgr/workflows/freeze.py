"""冻结、解冻: one server is switched off and kept, or runs again. It is frozen when its cloud shows it stopped, not before."""

from typing import Any

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import FrozenBy
from cloudmgr.models import Server, ServerChange
from cloudmgr.services import leases
from cloudmgr.services.request_kinds.freeze import is_over
from cloudmgr.store import servers
from cloudmgr.workflows import restore, server_changes
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.steps import write


@DBOS.workflow(name="freeze_server", max_recovery_attempts=1000)
def freeze_server(change_id: str, number: int) -> bool:
    """Switch a server off and keep it so; False when its cloud does not show it stopped."""
    goal = server_changes.begun("freeze_begin", begin_freezing, change_id, number)
    if goal is None:
        return False
    seen: Outcome = {"ok": True, "result": None}
    if goal["backend"] is not None:
        seen = restore.bring(goal, "stop", lambda told: told["power"] == "stopped", "freeze")
    write("frozen", frozen, change_id, number, seen)
    return bool(seen["ok"])


@DBOS.workflow(name="unfreeze_server", max_recovery_attempts=1000)
def unfreeze_server(change_id: str, number: int) -> bool:
    """Let a frozen server run again; False when its cloud does not show it running, and then it stays frozen."""
    goal = server_changes.begun("unfreeze_begin", begin_unfreezing, change_id, number)
    return False if goal is None else thaw(goal, change_id, number)


def thaw(goal: dict[str, Any], change_id: str, number: int) -> bool:
    """Start a server inside a workflow, and note that it is frozen no more."""
    seen: Outcome = {"ok": True, "result": None}
    if goal["backend"] is not None:
        seen = restore.bring(goal, "start", lambda told: told["power"] == "running", "unfreeze")
    write("unfrozen", unfrozen, change_id, number, seen)
    return bool(seen["ok"])


def begin_freezing(session: Session, change_id: str, number: int) -> dict[str, Any] | None:
    """Note that the server is to be stopped; return where it is, or None when it is frozen or its lease goes on."""
    found = server_changes.begin(session, change_id, number)
    if not isinstance(found, tuple):
        return found
    change, server = found
    if change.request_id is None and not is_over(server):
        message = Message(N_("The lease of {name} was renewed: it goes on."), {"name": server.name})
        server_changes.done(session, change, server, number, message)
        return None
    if server.phase == ServerPhase.SUSPENDED:
        message = Message(N_("{name} is frozen already."), {"name": server.name})
        server_changes.done(session, change, server, number, message)
        return None
    change.before = {"intended_power": server.intended_power}
    server.intended_power, server.intended_since = "stopped", clock.now()
    session.add_all([change, server])
    session.flush()
    return server_changes.place_of(session, server) or {"backend": None, "ref": None}


def frozen(session: Session, change_id: str, number: int, seen: Outcome) -> None:
    """The cloud shows it stopped: it is frozen. Or it is said why it is not."""
    change, server = server_changes.load(session, change_id)
    if not seen["ok"]:
        server.intended_power, server.intended_since = change.before.get("intended_power"), clock.now()
        message = Message(
            N_("{name} could not be frozen: {reason}"),
            {"name": server.name, "reason": Message.from_json(seen["message"])},
        )
        server_changes.fail(session, change, server, number, str(seen["code"]), message)
        return
    server_changes.note(server, seen)
    server.frozen_by = (FrozenBy.REQUEST if change.request_id else FrozenBy.LEASE).value
    server.frozen_at = clock.now()
    servers.move(session, server, ServerPhase.SUSPENDED, actor=SYSTEM.username, change="frozen")
    if change.request_id is not None:
        message = Message(N_("{name} is switched off and kept."), {"name": server.name})
    else:
        message = leases.tell_frozen(session, server)
    server_changes.done(session, change, server, number, message)


def begin_unfreezing(session: Session, change_id: str, number: int) -> dict[str, Any] | None:
    """Note that the server is to run; return where it is, or None when it runs or may not."""
    found = server_changes.begin(session, change_id, number)
    if not isinstance(found, tuple):
        return found
    change, server = found
    if server.phase != ServerPhase.SUSPENDED:
        server_changes.done(session, change, server, number, Message(N_("{name} runs."), {"name": server.name}))
        return None
    if is_over(server):
        message = Message(
            N_("The lease of {name} ended on {day}: renew it, and it runs again."),
            {"name": server.name, "day": server.lease_end.isoformat() if server.lease_end else "-"},
        )
        server_changes.fail(session, change, server, number, "lease_over", message)
        return None
    return thawing(session, change, server)


def thawing(session: Session, change: ServerChange, server: Server) -> dict[str, Any]:
    """Note that a frozen server is to run; return where it is."""
    change.before = change.before | {"intended_power": server.intended_power}
    server.intended_power, server.intended_since = "running", clock.now()
    server.updated_at = clock.now()  # seen running from now on it is our doing, no alarm
    session.add_all([change, server])
    session.flush()
    return server_changes.place_of(session, server) or {"backend": None, "ref": None}


def unfrozen(session: Session, change_id: str, number: int, seen: Outcome) -> None:
    """The cloud shows it running: it is in service again. Or it is said why it is not."""
    change, server = server_changes.load(session, change_id)
    if not seen["ok"]:
        server.intended_power, server.intended_since = change.before.get("intended_power"), clock.now()
        message = Message(
            N_("{name} could not be started: {reason}"),
            {"name": server.name, "reason": Message.from_json(seen["message"])},
        )
        server_changes.fail(session, change, server, number, str(seen["code"]), message)
        return
    server_changes.note(server, seen)
    server.frozen_by = server.frozen_at = None
    servers.move(session, server, ServerPhase.ACTIVE, actor=SYSTEM.username, change="unfrozen")
    message = Message(
        N_("{name} runs again at {address}."),
        {"name": server.name, "address": ", ".join([*server.ipv4, *server.ipv6]) or "-"},
    )
    server_changes.done(session, change, server, number, message)
