"""Switching one server: the call, then what the backend says of it."""

import uuid
from typing import Any

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend, Organization
from cloudmgr.services import audit
from cloudmgr.store import servers
from cloudmgr.workflows import facts, provision
from cloudmgr.workflows.locate import ref_of
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, pause, write
from providers.capabilities import PowerControl
from providers.errors import Remedy, Unsupported

TRIES = 6
SETTLE_TRIES = 30
"""With pauses of up to 8 s some four minutes: longer than the grace a driver gives a guest before it cuts the power."""
PRESS_EVERY = 3
_EVENTS = {"start": Event.VM_START, "stop": Event.VM_STOP, "reboot": Event.VM_REBOOT}
_WANTED = {"start": "running", "stop": "stopped", "reboot": "running"}


@DBOS.workflow(name="power_server", max_recovery_attempts=1000)
def power_server(server_id: str, action: str, asked_by: str) -> bool:
    """Start, stop or reboot; True when the backend took it. Each action is idempotent at the backend."""
    where = write("power_begin", _where, server_id, action)
    done: Outcome = {"ok": False, "code": "gone", "remedy": "fail"}
    for number in range(TRIES if where else 0):
        done = call("power", _switch, where["backend"], where["ref"], action)
        if done["ok"] or done["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
            break
        pause(number)
    seen = _settle(server_id, where, action) if where and done["ok"] else {"ok": False}
    if done["ok"] and not _is(seen, _WANTED[action]):
        done = {"ok": False, "code": "not_settled"}
    write("power_end", _note, server_id, action, asked_by, done, seen)
    return bool(done["ok"])


def _settle(server_id: str, where: dict[str, Any], action: str) -> Outcome:
    """Ask until the server is as wanted; a guest that overhears the power button is asked again, then cut off."""
    seen: Outcome = {"ok": False}
    for number in range(SETTLE_TRIES):
        seen = call("settle", provision.look, server_id, where["backend"], where["imported"])
        if _is(seen, _WANTED[action]):
            break
        pause(min(number, 3))
        if action == "stop" and number % PRESS_EVERY == PRESS_EVERY - 1:
            call("press_again", _switch, where["backend"], where["ref"], action)
    return seen


def _is(seen: Outcome, power: str) -> bool:
    return bool(seen["ok"] and seen["result"] and seen["result"]["power"] == power)


def _where(session: Session, server_id: str, action: str) -> dict[str, Any] | None:
    """Note what is intended, so that a look which sees the result does not take it for drift; return where it is."""
    server = servers.get(session, uuid.UUID(server_id), lock=True)
    if server is None or server.native_ref is None or server.backend_id is None:
        return None
    server.intended_power, server.intended_since = _WANTED[action], clock.now()
    session.add(server)
    backend = session.get_one(Backend, server.backend_id).name
    return {"backend": backend, "ref": server.native_ref, "imported": ref_of(server)}


def _switch(backend: str, ref: str, action: str) -> Outcome:
    def deed() -> None:
        provider = runtime().provider(backend)
        if not isinstance(provider, PowerControl):
            raise Unsupported(N_("The cloud {backend} offers no power control."), backend=backend)
        {"start": provider.start_server, "stop": provider.stop_server, "reboot": provider.reboot_server}[action](ref)

    return attempt(deed)


def _note(session: Session, server_id: str, action: str, asked_by: str, done: Outcome, seen: Outcome) -> None:
    server = servers.get(session, uuid.UUID(server_id), lock=True)
    if server is None:
        return
    if seen["ok"] and seen.get("result"):
        facts.note(server, seen["result"])
    servers.keep(session, server, actor=asked_by, change=f"power.{action}")
    audit.record(
        session,
        facts.SYSTEM,
        _EVENTS[action],
        object_type="server",
        object_id=server.id,
        object_name=server.name,
        organization_path=session.get_one(Organization, server.organization_id).path,
        outcome=Ended.SUCCESS if done["ok"] else Ended.FAILURE,
        reason="" if done["ok"] else str(done.get("code", "")),
        asked_by=asked_by,
        stage="done",
    )
