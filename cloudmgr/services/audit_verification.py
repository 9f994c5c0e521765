"""Whether the audit log is whole, as far as that can be told before records are chained: numbers, gaps, and the triggers.

What it can tell: records removed from the middle leave a gap, on SQLite from the end as well; without its trigger a table
could be changed unseen. What it cannot: a record altered by somebody who took the trigger off and put it back.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.models import APPEND_ONLY
from cloudmgr.services import audit
from cloudmgr.store import audit as store
from cloudmgr.store import facts, triggers
from cloudmgr.store.db import is_sqlite

GAPS_TOLD = 100


@dataclass(frozen=True, slots=True)
class Verification:
    """What a look at the log found. `gaps` are the numbers between which some are missing, at most 100 pairs;
    `gaps_explained`: this database leaves gaps where a transaction was rolled back, so a gap alone proves nothing.
    """

    at: datetime
    events: int
    first_seq: int | None
    last_seq: int | None
    missing: int
    gaps: list[list[int]] = field(default_factory=list)
    gaps_explained: bool = False
    triggers_missing: list[str] = field(default_factory=list)
    stage: str = "append_only"
    """`append_only`: records are numbered and protected by triggers; they are not chained yet."""

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the log."""
        return not self.triggers_missing and (self.missing == 0 or self.gaps_explained)

    def as_json(self) -> dict[str, Any]:
        """Return it for storage and for programs."""
        return {"ok": self.ok, **asdict(self), "at": self.at.isoformat()}


def verify(session: Session) -> Verification:
    """Look at the whole log now. Reads only; one pass over the numbers."""
    span = store.span(session)
    standing = triggers.present(session.connection())
    dialect = session.get_bind().dialect.name
    wanted = [name for table in APPEND_ONLY for name in triggers.names(table, dialect)]
    ends = [[span.last or 0, span.reached + 1]] if span.reached > (span.last or 0) else []
    return Verification(
        at=clock.now(),
        events=span.count,
        first_seq=span.first,
        last_seq=span.last,
        missing=max(span.reached, span.last or 0) - span.count,
        gaps=[*store.gaps(session, limit=GAPS_TOLD), *ends],
        gaps_explained=not is_sqlite(session),
        triggers_missing=sorted(set(wanted) - standing),
    )


def verify_and_record(session: Session, actor: Actor) -> Verification:
    """Look at the whole log, keep the result for `latest`, and put on record that it was looked at.

    Raises:
        Forbidden: the actor may not read the log.
    """
    access.require(actor, Action.AUDIT_READ)
    found = verify(session)
    record(session, actor, found)
    return found


def record(session: Session, actor: Actor, found: Verification) -> None:
    """Keep what a look found, and put on record that it was looked at."""
    facts.write(session, facts.AUDIT_VERIFICATION, found.as_json())
    audit.record(
        session,
        actor,
        Event.AUDIT_VERIFY,
        object_type="audit",
        outcome=Outcome.SUCCESS if found.ok else Outcome.FAILURE,
        events=found.events,
        missing=found.missing,
        triggers_missing=found.triggers_missing,
    )


def latest(session: Session, actor: Actor) -> dict[str, Any]:
    """Return what the last look found; where nobody has looked yet, look now without keeping it.

    Raises:
        Forbidden: the actor may not read the log.
    """
    access.require(actor, Action.AUDIT_READ)
    return facts.read(session, facts.AUDIT_VERIFICATION) or verify(session).as_json()
