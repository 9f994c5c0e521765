"""冻结、解冻: one server is switched off and kept, or is again as it was. It is frozen when its cloud shows it stopped, not before.

What its owner had switched off before stays off afterwards: each freeze notes what it found.
"""

from typing import Any

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.drift import SETTLING
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import ChangeState, FrozenBy
from cloudmgr.models import Server, ServerChange
from cloudmgr.services import leases
from cloudmgr.services.request_kinds.freeze import POWER, is_over, last_freeze, power_before
from cloudmgr.store import servers
from cloudmgr.workflows import restore, server_changes
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.steps import call, write


@DBOS.workflow(name="freeze_server", max_recovery_attempts=1000)
def freeze_server(change_id: str, number: int) -> bool:
    """Switch a server off and keep it so; False when its cloud does not show it stopped."""
    goal = server_changes.begun("freeze_begin", begin_freezing, change_id, number)
    if goal is None:
        return False
    found: Outcome = {"ok": True, "result": None}
    seen = found
    if goal["backend"] is not None:
        found = call("freeze_look", restore.look, goal["backend"], goal["ref"])
        seen = restore.bring(goal, "stop", lambda told: told["power"] == "stopped", "freeze")
    write("frozen", frozen, change_id, number, found, seen)
    return bool(seen["ok"])


@DBOS.workflow(name="unfreeze_server", max_recovery_attempts=1000)
def unfreeze_server(change_id: str, number: int) -> bool:
    """Let a frozen server be as it was before; False when its cloud does not show that, and then it stays frozen."""
    goal = server_changes.begun("unfreeze_begin", begin_unfreezing, change_id, number)
    return False if goal is None else thaw(goal, change_id, number)


def thaw(goal: dict[str, Any], change_id: str, number: int) -> bool:
    """Start a server inside a workflow unless it was off before, and note that it is frozen no more."""
    seen: Outcome = {"ok": True, "result": None}
    power = goal["power"]
    if goal["backend"] is not None:
        action = "start" if power == "running" else "stop"
        seen = restore.bring(goal, action, lambda told: told["power"] == power, "unfreeze")
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
    change.before = {"intended_power": server.intended_power, POWER: _power_before(session, change, server)}
    server.intended_power, server.intended_since = "stopped", clock.now()
    session.add_all([change, server])
    session.flush()
    return server_changes.place_of(session, server) or {"backend": None, "ref": None}


def _power_before(session: Session, change: ServerChange, server: Server) -> str | None:
    """Return whether a server is on or off by its owner's choice; None where only its cloud can tell.

    An attempt at freezing that came to nothing may have switched it off itself, so what was found before that attempt counts
    until somebody switches it again.
    """
    if server.intended_power == "stopped":
        return "stopped"
    if known := change.before.get(POWER):
        return str(known)
    since = server.intended_since
    tried = last_freeze(session, server)
    at = tried.finished_at if tried is not None and tried.state == ChangeState.FAILED else None
    if tried is not None and at is not None and (since is None or since <= at):
        return str(tried.before[POWER])
    if server.intended_power == "running" and since is not None and clock.now() - since < SETTLING:
        return "running"  # it was asked to, and may just be starting
    return None


def frozen(session: Session, change_id: str, number: int, found: Outcome, seen: Outcome) -> None:
    """The cloud shows it stopped: it is frozen, and what it was before is kept. Or it is said why it is not."""
    change, server = server_changes.load(session, change_id)
    shown = found["result"]["power"] if found["ok"] and found["result"] else server.state
    power = change.before.get(POWER) or ("stopped" if shown == "stopped" else "running")
    change.before = change.before | {POWER: power}
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
    """Note that the server is frozen no more; return where it is, or None when it is in service or may not be."""
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
    """Note that a frozen server is to be as it was before; return where it is and whether it is to run."""
    power = power_before(session, server)
    change.before = change.before | {"intended_power": server.intended_power}
    server.intended_power, server.intended_since = power, clock.now()
    server.updated_at = clock.now()  # seen running from now on it is our doing, no alarm
    session.add_all([change, server])
    session.flush()
    return {**(server_changes.place_of(session, server) or {"backend": None, "ref": None}), "power": power}


def unfrozen(session: Session, change_id: str, number: int, seen: Outcome) -> None:
    """The cloud shows it as it was before: it is in service again. Or it is said why it is not."""
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
        N_("{name} runs again at {address}.")
        if server.intended_power == "running"
        else N_("{name} is in service again and stays off, as it was before it was frozen. Its address is {address}."),
        {"name": server.name, "address": ", ".join([*server.ipv4, *server.ipv6]) or "-"},
    )
    server_changes.done(session, change, server, number, message)
