"""Another size for one server: stop → resize → start; what was begun and cannot be finished is put back.

The room in its pool is claimed first, the quota was held when it was asked for. Both change hands when the cloud shows the
new size; both are given back when it shows the old one again. While it does not say, they stay held.
"""

import uuid
from typing import Any

from dbos import DBOS
from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Server, Zone
from cloudmgr.services.request_kinds.resize import size_of, size_text
from cloudmgr.services.request_kinds.server_changes import UNCONFIRMED, is_unconfirmed
from cloudmgr.store import placement, servers
from cloudmgr.workflows import restore, server_changes
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.steps import call, pause, write

LOOKS = 6


@DBOS.workflow(name="resize_server", max_recovery_attempts=1000)
def resize_server(change_id: str, number: int) -> bool:
    """Give a server the size of a change; False when it has the old one, and then nothing is held for the new one."""
    goal = server_changes.begun("resize_begin", begin, change_id, number)
    if goal is None:
        return False
    seen = _look("resize_look", goal)
    if not seen["ok"]:  # nothing was asked of the cloud in this attempt
        untouched = {"ok": goal["is_sure"], "result": None}
        write("resize_failed", failed, change_id, number, seen, untouched, goal["power"])
        return False
    power = goal["power"] or ("stopped" if seen["result"]["power"] == "stopped" else "running")
    made = restore.bring_about({**goal, **goal["wanted"], "power": power}, seen, "resize")
    if made["ok"]:
        write("resized", resized, change_id, number, made)
        return True
    seen = _look("resize_undo_look", goal)
    if seen["ok"]:
        seen = restore.bring_about({**goal, **goal["before"], "power": power}, seen, "resize_undo")
    write("resize_failed", failed, change_id, number, made, seen, power)
    return False


def _look(name: str, goal: dict[str, Any]) -> Outcome:
    seen: Outcome = {}
    for tries in range(LOOKS):
        seen = call(name, restore.look, goal["backend"], goal["ref"])
        if seen["ok"] or not server_changes.waited(seen):
            break
        pause(tries)
    return seen


def begin(session: Session, change_id: str, number: int) -> dict[str, Any] | None:
    """Claim the room the server grows by; return what it is to be and what it is, or None when that is settled."""
    found = server_changes.begin(session, change_id, number)
    if not isinstance(found, tuple):
        return found
    change, server = found
    place = server_changes.place_of(session, server)
    if place is None:
        message = Message(N_("No cloud of ours knows server {name}; it is kept by hand."), {"name": server.name})
        server_changes.fail(session, change, server, number, "unsupported", message)
        return None
    is_sure = not is_unconfirmed(change)
    power = "stopped" if server.phase == ServerPhase.SUSPENDED else change.before.get("power")
    change.before = size_of(server)
    wanted = {name: change.wanted[name] for name in ("vcpus", "memory_mib")}
    savepoint = session.begin_nested()
    if not placement.grow_allocation(session, server.id, wanted):
        savepoint.rollback()
        zone = session.get_one(Zone, server.zone_id)
        message = Message(
            N_("Pool {zone} has no room for {name} to grow: nothing was changed."),
            {"zone": zone.title or zone.name, "name": server.name},
        )
        server_changes.fail(session, change, server, number, "no_room", message)
        return None
    savepoint.commit()
    server.resizing_since = clock.now()
    session.add_all([server, change])
    session.flush()
    server_changes.tell(
        session,
        change,
        server,
        number,
        Message(N_("The size of {name} is being changed."), {"name": server.name}),
        what="begin",
    )
    return {
        **place,
        "wanted": wanted,
        "before": {name: change.before[name] for name in wanted},
        "resizes": True,
        "power": power,
        "is_sure": is_sure,
    }


def resized(session: Session, change_id: str, number: int, seen: Outcome) -> None:
    """The cloud shows the new size: what was held for the growth is the server's now."""
    change, server = server_changes.load(session, change_id)
    server.vcpus, server.memory_mib = change.wanted["vcpus"], change.wanted["memory_mib"]
    server.flavor_id = uuid.UUID(change.wanted["flavor"]) if change.wanted["flavor"] else server.flavor_id
    size = {"vcpus": server.vcpus, "memory_mib": server.memory_mib}
    if server.counts_quota:
        quotas.resize(
            session,
            reservation_id=server.reservation_id,
            part_id=server.id,
            amounts=size,
            held_by=change.reservation_id,
        )
    change.reservation_id = None
    placement.resize_allocation(session, server.id, size)
    _settle(server, seen)
    servers.keep(session, server, actor=SYSTEM.username, change="resized")
    message = Message(
        N_("{name} has {after} now, before {before}."),
        {"name": server.name, "before": size_text(change.before), "after": size_text(change.wanted)},
    )
    server_changes.done(session, change, server, number, message)


def failed(session: Session, change_id: str, number: int, why: Outcome, undone: Outcome, power: str | None) -> None:
    """It could not be changed: the server is as it was, and nothing more is held; or the cloud does not say so.

    In that case `power` is kept, for another attempt to end with.
    """
    change, server = server_changes.load(session, change_id)
    reason = Message.from_json(why["message"])
    _settle(server, undone)
    if undone["ok"]:
        message = Message(
            N_("The size of {name} could not be changed, it is as before: {reason}"),
            {"name": server.name, "reason": reason},
        )
        server_changes.fail(session, change, server, number, str(why["code"]), message)
        return
    change.before = change.before | {"power": power}
    message = Message(
        N_(
            "The size of {name} could not be changed, and the cloud does not confirm that it is as before: quota stays held. An operator must look, then try again. {reason}"
        ),
        {"name": server.name, "reason": reason},
    )
    server_changes.fail(session, change, server, number, UNCONFIRMED, message)


def _settle(server: Server, seen: Outcome) -> None:
    server.resizing_since, server.resized_at = None, clock.now()
    server_changes.note(server, seen)
