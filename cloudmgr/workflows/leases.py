"""Leases act, once a day: reminders, freezing on the day after the last, retiring after the grace, a yearly question.

The workflow's id contains its day, each thing told is a row of its own, and what is to be done to a server is enqueued in the
transaction that decides it: a restart at any point goes on, and nothing is told or done twice. Only a server that is frozen
is retired by itself, and only so long after it was frozen; its volumes are kept.
"""

import uuid
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from dbos import DBOS
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import ChangeKind
from cloudmgr.models import Backend, Organization, Server, ServerChange
from cloudmgr.services import change_freezes, leases
from cloudmgr.services.policy import policy_of
from cloudmgr.store import requests
from cloudmgr.store import server_changes as store
from cloudmgr.workflows import facts
from cloudmgr.workflows.steps import write

AT_ONCE = 200
"""Servers of one transaction."""
MOST_BATCHES = 5000

Deed = Callable[[Session, Server, date], bool]


def schedule(session: Session, day: date) -> None:
    """Have leases acted on for a day; again it changes nothing."""
    queue.enqueue(session, "act_on_leases", f"act_on_leases:{day.isoformat()}", day.isoformat())


@DBOS.workflow(name="act_on_leases", max_recovery_attempts=1000)
def act_on_leases(day: str) -> dict[str, int]:
    """Do what is due on a day; return how much of each."""
    return {name: _all(name, deed, day) for name, deed in _DEEDS.items()}


def _all(name: str, deed: Callable[..., dict[str, Any]], day: str) -> int:
    after, count = None, 0
    for _ in range(MOST_BATCHES):
        done = write(name, deed, day, after)
        count, after = count + done["count"], done["after"]
        if after is None:
            break
    return count


def remind(session: Session, day: str, after: str | None) -> dict[str, Any]:
    """Remind of leases that end within the first reminder's days."""
    most = max(policy_of(session).lease_reminder_days, default=None)
    if most is None:
        return {"count": 0, "after": None}
    return _batch(session, day, after, leases.remind, ahead=timedelta(days=most))


def freeze(session: Session, day: str, after: str | None) -> dict[str, Any]:
    """Have servers frozen whose last day is past."""
    return _batch(session, day, after, _freeze, ahead=timedelta(days=-1))


def retire(session: Session, day: str, after: str | None) -> dict[str, Any]:
    """Have servers retired that have been frozen for the grace after their lease."""
    grace = policy_of(session).lease_grace_days
    if not grace:
        return {"count": 0, "after": None}
    return _batch(session, day, after, _retire, ahead=timedelta(days=-grace - 1))


def review(session: Session, day: str, after: str | None) -> dict[str, Any]:
    """Ask about leases without an end, once a year."""
    found = store.long_terms(session, after=uuid.UUID(after) if after else None, limit=AT_ONCE)
    return _done(session, found, date.fromisoformat(day), leases.review)


_DEEDS: dict[str, Callable[..., dict[str, Any]]] = {
    "lease_reminders": remind,
    "lease_freezes": freeze,
    "lease_retirements": retire,
    "lease_reviews": review,
}


def _batch(session: Session, day: str, after: str | None, deed: Deed, *, ahead: timedelta) -> dict[str, Any]:
    today = date.fromisoformat(day)
    found = store.leases_ending(session, by=today + ahead, after=uuid.UUID(after) if after else None, limit=AT_ONCE)
    return _done(session, found, today, deed)


def _done(session: Session, found: list[Server], today: date, deed: Deed) -> dict[str, Any]:
    count = sum(deed(session, server, today) for server in found)
    return {"count": count, "after": str(found[-1].id) if len(found) == AT_ONCE else None}


def _freeze(session: Session, server: Server, _day: date) -> bool:
    """Enqueue the freezing of a server; one that is asked to be renewed is left until that is decided."""
    if server.phase != ServerPhase.ACTIVE or server.retire_request_id is not None:
        return False
    if not _can_stop(session, server):
        return leases.tell_over(session, server)
    if _is_being_renewed(session, server) or _waits_for_a_freeze(session, server):
        return False
    change = ServerChange(server_id=server.id, kind=ChangeKind.FREEZE.value)
    try:
        with session.begin_nested():
            requests.add(session, change)
    except IntegrityError:  # it is being frozen since an earlier day
        return False
    queue.enqueue(
        session, "freeze_server", queue.workflow_id("freeze_server", change.id, change.attempt), str(change.id), 1
    )
    return True


def _retire(session: Session, server: Server, day: date) -> bool:
    grace = timedelta(days=policy_of(session).lease_grace_days)
    if server.phase != ServerPhase.SUSPENDED or server.frozen_at is None or server.lease_end is None:
        return False
    since = server.frozen_at.astimezone(clock.SHANGHAI).date()
    if server.retire_request_id is not None or day <= max(since, server.lease_end) + grace:
        return False
    if store.of_server(session, server.id) or _waits_for_a_freeze(session, server):
        return False
    leases.tell_retiring(session, server)
    queue.enqueue(
        session, "retire_server", f"retire_server:{server.id}:lease:{server.lease_end.isoformat()}", str(server.id), 0
    )
    organization = session.get_one(Organization, server.organization_id)
    facts.record(session, Event.VM_RETIRE, server, organization, stage="asked", by="lease")
    return True


def _waits_for_a_freeze(session: Session, server: Server) -> bool:
    """Whether a change freeze holds: what stands is not changed then, and the next day asks again."""
    path = session.get_one(Organization, server.organization_id).path
    return change_freezes.standing(session, path) is not None


def _can_stop(session: Session, server: Server) -> bool:
    backend = session.get(Backend, server.backend_id) if server.backend_id else None
    is_known = backend is not None and server.native_ref is not None and server.source != ServerSource.MANUAL
    return is_known and backend is not None and "power" in backend.capabilities


def _is_being_renewed(session: Session, server: Server) -> bool:
    return any(change.kind == ChangeKind.RENEW for change in store.of_server(session, server.id))
