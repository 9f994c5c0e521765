"""Putting one server back to what we hold of it: its size, its power. Each call is right when it is done again.

A size needs a stopped server: one that runs is stopped, resized and started again. What could not be put back stays open
with the reason; nothing is ever reported as restored that the backend does not show.
"""

import uuid
from typing import Any

from dbos import DBOS
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.drift import wanted_power
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.findings import FindingKind, FindingState
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Backend, Finding, Organization
from cloudmgr.services import audit
from cloudmgr.store import discovery, servers
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome, attempt, observed
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, pause, write
from providers.capabilities import PowerControl, Resizing
from providers.errors import Remedy, Unsupported

SETTLE_TRIES = 40
"""With pauses of up to 8 s some five minutes for each of stopping, resizing and starting."""
PRESS_EVERY = 3


@DBOS.workflow(name="restore_server", max_recovery_attempts=1000)
def restore_server(server_id: str, finding_ids: list[str], asked_by: str) -> bool:
    """Bring a server's size and power at its backend to what is held; True when the backend shows it."""
    goal = write("restore_begin", begin, server_id, finding_ids)
    if goal is None:
        return False
    seen = call("restore_look", look, goal["backend"], goal["ref"])
    if seen["ok"]:
        seen = bring_about(goal, seen)
    restored = write("restore_end", end, server_id, finding_ids, asked_by, goal, seen)
    return bool(restored)


def bring_about(goal: dict[str, Any], seen: Outcome, story: str = "restore") -> Outcome:
    """Do what differs, in the order a hypervisor wants it; the first thing that cannot be done ends it.

    `story` begins the names of the steps.
    """
    power = goal["power"] or seen["result"]["power"]
    if goal["resizes"] and not _has_size(goal, seen):
        seen = bring(goal, "stop", lambda told: told["power"] == "stopped", story)
    if goal["resizes"] and seen["ok"]:
        seen = bring(
            goal, "resize", lambda told: _has_size(goal, {"result": told}) and told["power"] != "building", story
        )
    if seen["ok"] and power in ("running", "stopped"):
        seen = bring(goal, "start" if power == "running" else "stop", lambda told: told["power"] == power, story)
    return seen


def bring(goal: dict[str, Any], action: str, is_there: Any, story: str) -> Outcome:
    """Ask for a change until the backend shows it, for a stated number of tries."""
    for number in range(SETTLE_TRIES):
        seen: Outcome = call(f"{story}_{action}_look", look, goal["backend"], goal["ref"])
        if seen["ok"] and is_there(seen["result"]):
            return seen
        if not seen["ok"] and seen["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
            return seen
        if number % PRESS_EVERY == 0:
            done: Outcome = call(f"{story}_{action}", change, goal, action)
            if not done["ok"] and done["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
                return done
        pause(min(number, 3), first_s=runtime().settings.worker.boot_poll_s / 2)
    message = Message(N_("The cloud took the change and does not show it."))
    return {"ok": False, "code": "not_settled", "remedy": Remedy.FAIL.value, "message": message.as_json()}


def _has_size(goal: dict[str, Any], seen: Outcome) -> bool:
    told = seen["result"]
    return bool(told["vcpus"] == goal["vcpus"] and told["memory_mib"] == goal["memory_mib"])


def look(backend: str, ref: str) -> Outcome:
    """Return the server as its backend sees it now."""
    return attempt(lambda: observed(runtime().provider(backend).get_server(ref)))


def change(goal: dict[str, Any], action: str) -> Outcome:
    """Ask the backend for one change."""

    def deed() -> None:
        provider = runtime().provider(goal["backend"])
        if action == "resize":
            if not isinstance(provider, Resizing):
                raise Unsupported(N_("The cloud {backend} cannot change sizes."), backend=goal["backend"])
            provider.resize_server(goal["ref"], vcpus=goal["vcpus"], memory_mib=goal["memory_mib"])
            return
        if not isinstance(provider, PowerControl):
            raise Unsupported(N_("The cloud {backend} offers no power control."), backend=goal["backend"])
        (provider.start_server if action == "start" else provider.stop_server)(goal["ref"])

    return attempt(deed)


def begin(session: Session, server_id: str, finding_ids: list[str]) -> dict[str, Any] | None:
    """Return what the server is to be; None when there is nothing left to restore."""
    found = _findings(session, finding_ids)
    server = servers.get(session, uuid.UUID(server_id), lock=True)
    if server is None or not found:
        return None
    fields = {row.field for row in found}
    seen = discovery.seen(session, found[0].backend_id, found[0].ref)
    held = discovery.held(session, server.id)
    assert held is not None  # noqa: S101 - it was just read
    wanted = wanted_power(held, (seen.baseline if seen else None) or {})
    if any(row.kind == FindingKind.REVIVED for row in found):
        wanted = "stopped"  # frozen or retired here: it is not to run there
    switches = bool(fields & {"power", ""})
    if switches and server.phase == ServerPhase.ACTIVE:
        server.intended_power, server.intended_since = wanted, clock.now()
        session.add(server)
    return {
        "backend": session.get_one(Backend, found[0].backend_id).name,
        "ref": found[0].ref,
        "vcpus": server.vcpus,
        "memory_mib": server.memory_mib,
        "resizes": bool(fields & {"vcpus", "memory_mib"}),
        "power": wanted if switches else None,
    }


def end(
    session: Session, server_id: str, finding_ids: list[str], asked_by: str, goal: dict[str, Any], seen: Outcome
) -> bool:
    """Settle each finding by what the backend shows; one that is not put back is open again, with the reason."""
    server = servers.get(session, uuid.UUID(server_id), lock=True)
    if server is None:
        return False
    shown = seen["result"] if seen["ok"] else {}
    wanted = {"vcpus": goal["vcpus"], "memory_mib": goal["memory_mib"], "power": goal["power"]}
    restored = True
    for row in _findings(session, finding_ids):
        if seen["ok"] and shown[row.field or "power"] == wanted[row.field or "power"]:
            row.state, row.closed_at = FindingState.RESTORED.value, clock.now()
        else:
            row.state, restored = FindingState.OPEN.value, False
            row.message = Message(
                N_("It could not be put back: {reason}"), {"reason": Message.from_json(_reason(seen))}
            ).as_json()
        session.add(row)
    if seen["ok"] and server.phase != ServerPhase.RETIRED:
        server.state, server.last_seen_at = shown["power"], clock.now()
        servers.keep(session, server, actor=asked_by, change="restored")
    audit.record(
        session,
        SYSTEM,
        Event.FINDING_RESTORE,
        object_type="server",
        object_id=server.id,
        object_name=server.name,
        organization_path=session.get_one(Organization, server.organization_id).path,
        outcome=Ended.SUCCESS if restored else Ended.FAILURE,
        reason="" if restored else str(seen.get("code", "not_settled")),
        asked_by=asked_by,
    )
    return restored


def _reason(seen: Outcome) -> dict[str, Any]:
    if seen["ok"]:
        return Message(N_("the cloud shows something else.")).as_json()
    told: dict[str, Any] = seen["message"]
    return told


def _findings(session: Session, finding_ids: list[str]) -> list[Finding]:
    ids = [uuid.UUID(each) for each in finding_ids]
    return list(
        session.exec(
            select(Finding)
            .where(col(Finding.id).in_(ids), Finding.state == FindingState.RESTORING.value)
            .order_by(col(Finding.id))
            .with_for_update()
        )
    )
