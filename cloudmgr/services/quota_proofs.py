"""The ledger's books recounted, on a schedule and when asked, and the result published. A wrong number is an alarm with its
rows; nothing here repairs it by itself.

Three sources are held against the balances: the entries, the parts that are held (both in `quotas`, which knows no
servers), and the servers, volumes, snapshots and public addresses themselves (here).
"""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.adapters import queue
from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor, Role
from cloudmgr.domain.errors import Conflict, NotFound
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.models import QuotaVerification
from cloudmgr.services import audit
from cloudmgr.services.notices import notify
from cloudmgr.store import organizations
from cloudmgr.store import quota_proofs as store
from cloudmgr.store.quota_proofs import Disagreement
from quotas import Mismatch

logger = logging.getLogger(__name__)

ROWS_KEPT = 500
"""The most wrong numbers that are kept with a recount; all are counted."""
ROWS_AUDITED = 20
SCHEDULED = "system"


@dataclass(frozen=True, slots=True)
class Recount:
    """What one recount looked at and found; JSON-able as `as_json`."""

    accounts: int
    entries: int
    things: int
    duration_ms: int
    rows: list[dict[str, Any]]

    @property
    def ok(self) -> bool:
        """Whether every number is borne out."""
        return not self.rows

    def as_json(self) -> dict[str, Any]:
        """Return it for a step's result."""
        return {
            "accounts": self.accounts,
            "entries": self.entries,
            "things": self.things,
            "duration_ms": self.duration_ms,
            "rows": self.rows[:ROWS_KEPT],
            "count": len(self.rows),
        }


@dataclass(frozen=True, slots=True)
class Published:
    """A recount as people see it."""

    verification: QuotaVerification
    shows_rows: bool
    """Whether the reader may see whose numbers are wrong: only who reads the whole tree."""

    @property
    def age_s(self) -> int:
        """How long ago it ended; 0 while it has not."""
        ended = self.verification.finished_at
        return 0 if ended is None else max(0, int((clock.now() - ended).total_seconds()))


def recount(session: Session) -> Recount:
    """Recount everything; reads only, and locks nobody out."""
    began = time.perf_counter()
    found = quotas.verify(session)
    rows = [_number(each) for each in found.mismatches]
    for thing in store.disagreements(session):
        rows += _shares(thing)
    things = store.things(session)
    took = int(1000 * (time.perf_counter() - began))
    return Recount(found.checked_accounts, found.checked_entries, things, took, rows)


def ask(session: Session, actor: Actor) -> QuotaVerification:
    """Have the books recounted by a worker; one that waits already is the answer to everybody who asks meanwhile."""
    access.require(actor, Action.QUOTA_READ)
    waiting = store.waiting(session)
    if waiting is not None:
        return waiting
    row = QuotaVerification(asked_by=actor.username)
    store.add(session, row)
    _enqueue(session, row)
    audit.record(session, actor, Event.QUOTA_VERIFY, object_type="quota_verification", object_id=row.id)
    return row


def schedule(session: Session, interval_s: float) -> bool:
    """Have the recount of the present period made; workers that do this at the same time enqueue it once."""
    period = f"{interval_s:g}:{int(clock.now().timestamp() // interval_s)}"
    row = QuotaVerification(asked_by=SCHEDULED, period=period)
    if not store.add(session, row):
        return False
    _enqueue(session, row)
    return True


def record(session: Session, actor: Actor, verification_id: uuid.UUID, found: Mapping[str, Any]) -> None:
    """Publish what a recount found; a wrong number is an alarm: in the log, the audit log, on the page and in /metrics."""
    row = store.get(session, verification_id)
    if row is None or row.state == "done":
        return
    row.state, row.finished_at = "done", clock.now()
    row.accounts, row.entries, row.things = found["accounts"], found["entries"], found["things"]
    row.duration_ms = found["duration_ms"]
    row.mismatches, row.mismatch_count = list(found["rows"]), found["count"]
    session.add(row)
    if row.mismatch_count:
        logger.error("the quota ledger has %d wrong numbers, first: %s", row.mismatch_count, row.mismatches[:3])
        audit.record(
            session,
            actor,
            Event.QUOTA_ALARM,
            object_type="quota_verification",
            object_id=row.id,
            outcome=Outcome.FAILURE,
            reason="quota_mismatch",
            mismatches=row.mismatch_count,
            rows=row.mismatches[:ROWS_AUDITED],
        )
        _alarm(session, row)
    session.flush()


def _alarm(session: Session, row: QuotaVerification) -> None:
    """Tell the city's administrators of wrong numbers: at once, and the same ones again once a day while they stand."""
    root = organizations.root(session)
    if root is None:
        return
    numbers = hashlib.sha256(json.dumps(row.mismatches, sort_keys=True, default=str).encode()).hexdigest()
    notify(
        session,
        NoticeEvent.QUOTA_MISMATCH,
        Message(N_("The recount found {count} wrong numbers in the quota ledger."), {"count": row.mismatch_count}),
        to=[RoleAt(role, root.id) for role in (Role.QUOTA_ADMIN, Role.SYSTEM_ADMIN)],
        about=About("quota_verification", str(row.id), "", "/quotas"),
        dedupe=f"{clock.today()}:{row.mismatch_count}:{numbers}",
    )


def verify_now(session: Session, actor: Actor) -> QuotaVerification:
    """Recount in this very transaction and publish it. For the command line, where somebody waits for the answer."""
    row = QuotaVerification(asked_by=actor.username)
    store.add(session, row)
    found = recount(session)
    audit.record(
        session,
        actor,
        Event.QUOTA_VERIFY,
        object_type="quota_ledger",
        checked_accounts=found.accounts,
        checked_entries=found.entries,
        checked_things=found.things,
        mismatches=len(found.rows),
    )
    record(session, actor, row.id, found.as_json())
    return store.reread(session, row.id)


def repair(session: Session, actor: Actor, *, reason: str) -> list[Mismatch]:
    """Set balances and limits to what the entries say, prove it, and put every changed number on record.

    Raises:
        Conflict: entries and held parts disagree with each other, so the entries are not to be trusted either.
    """
    try:
        repaired = quotas.repair_from_entries(session)
    except quotas.SourcesDisagree as error:
        raise Conflict(
            N_(
                "The entries and what is held do not agree with each other on {count} numbers, so nothing was repaired: "
                "neither can be trusted alone. Restore a backup, or have the ledger looked at."
            ),
            count=len(error.mismatches),
            detail=str(error.mismatches[:ROWS_AUDITED]),
        ) from error
    audit.record(
        session,
        actor,
        Event.QUOTA_REPAIR,
        object_type="quota_ledger",
        reason_given=reason,
        repaired=len(repaired),
        rows=[_number(each) for each in repaired[:ROWS_KEPT]],
    )
    return repaired


def latest(session: Session, actor: Actor) -> Published | None:
    """Return the last recount that ended, or None while there was none."""
    access.require(actor, Action.QUOTA_READ)
    row = store.latest(session)
    return None if row is None else Published(row, _reads_all(actor))


def get(session: Session, actor: Actor, verification_id: uuid.UUID) -> Published:
    """Return one recount.

    Raises:
        NotFound: there is none.
    """
    access.require(actor, Action.QUOTA_READ)
    row = store.get(session, verification_id)
    if row is None:
        raise NotFound(N_("There is no such recount."))
    return Published(row, _reads_all(actor))


def gauges(session: Session) -> dict[str, float]:
    """Return what monitoring should see of the last recount; empty while there was none."""
    row = store.latest(session)
    if row is None or row.finished_at is None:
        return {}
    return {
        "cloudmgr_quota_mismatches": float(row.mismatch_count or 0),
        "cloudmgr_quota_verified_age_seconds": round((clock.now() - row.finished_at).total_seconds(), 1),
        "cloudmgr_quota_verification_seconds": (row.duration_ms or 0) / 1000,
    }


def forget(session: Session, before: datetime, *, at_once: int) -> int:
    """Delete recounts that ended before a moment without a finding, but never the last one; return how many."""
    return store.remove(session, before, at_once=at_once)


def _enqueue(session: Session, row: QuotaVerification) -> None:
    queue.enqueue(session, "verify_quotas", queue.workflow_id("verify_quotas", row.id, 1), str(row.id))


def _reads_all(actor: Actor) -> bool:
    return any(path.count("/") <= len("//") for path in actor.scope(Action.QUOTA_READ))


def _number(found: Mismatch) -> dict[str, Any]:
    return {
        "account": str(found.account_id),
        "name": found.name,
        "key": found.key,
        "column": found.column,
        "recorded": found.recorded,
        "recounted": found.recounted,
        "source": found.source,
    }


def _shares(found: Disagreement) -> Iterator[dict[str, Any]]:
    """Yield a line a resource that differs, or one line where the whole share should not be or is missing."""
    base = {
        "account": None,
        "thing": str(found.thing_id),
        "name": found.name or str(found.thing_id),
        "column": found.held_as or "",
        "source": found.kind,
        "phase": found.phase,
    }
    differing = [key for key, amount in found.is_amount.items() if found.held_amount.get(key) != amount]
    if not differing:
        yield {**base, "key": "*", "recorded": None, "recounted": None}
    for key in differing:
        yield {**base, "key": key, "recorded": found.held_amount.get(key), "recounted": found.is_amount[key]}
