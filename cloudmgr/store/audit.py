"""Writing and reading audit events."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import AuditEvent
from cloudmgr.store import inserts
from cloudmgr.store.db import is_sqlite
from cloudmgr.store.paging import below

_WHOLE = "/"


def add(session: Session, event: AuditEvent) -> None:
    """Append one event to the transaction at hand."""
    if inserts.is_collecting(session):
        inserts.add(session, event)
    else:
        session.add(event)


def page(
    session: Session,
    *,
    paths: Sequence[str],
    own_id: uuid.UUID | None,
    actor: str | None,
    event: str | None,
    named: str | None,
    outcome: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: int | None,
) -> tuple[list[AuditEvent], int | None]:
    """Return events of the given subtrees and of one's own, newest first; None as cursor: the last page.

    What concerns no organization stands at `/` and is read by whoever reads the topmost one.
    """
    reach = below(col(AuditEvent.organization_path), [_WHOLE if _is_topmost(path) else path for path in paths])
    if own_id is not None:
        reach = sa.or_(reach, col(AuditEvent.actor_id) == own_id)
    query = select(AuditEvent).where(reach)
    if actor is not None:
        query = query.where(AuditEvent.actor == actor)
    if event is not None:
        query = query.where(AuditEvent.event == event)
    if named is not None:
        query = query.where(
            sa.or_(
                col(AuditEvent.object_id) == named,
                col(AuditEvent.object_name) == named,
                col(AuditEvent.object_type) == named,
            )
        )
    if outcome is not None:
        query = query.where(AuditEvent.outcome == outcome)
    if since is not None:
        query = query.where(AuditEvent.at >= since)
    if until is not None:
        query = query.where(AuditEvent.at < until)
    if cursor is not None:
        query = query.where(col(AuditEvent.seq) < cursor)
    rows = list(session.exec(query.order_by(col(AuditEvent.seq).desc()).limit(limit + 1)).all())
    return rows[:limit], rows[limit - 1].seq if len(rows) > limit else None


def _is_topmost(path: str) -> bool:
    """Whether this is the path of the topmost organization: no other name stands above it."""
    return path.count("/") == 2  # noqa: PLR2004 - `/<id>/`


@dataclass(frozen=True, slots=True)
class Span:
    """The log's numbers: how many records, the first and last of them, and how far numbering has come."""

    count: int
    first: int | None
    last: int | None
    reached: int
    """The highest number ever given out: told by SQLite only, else the last record's."""


def span(session: Session) -> Span:
    """Return the log's numbers."""
    seq = col(AuditEvent.seq)
    count, first, last = session.exec(select(sa.func.count(), sa.func.min(seq), sa.func.max(seq))).one()
    reached = last or 0
    if is_sqlite(session):
        told = (
            session.connection().exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'audit_events'").scalar()
        )
        reached = max(reached, told or 0)
    return Span(count, first, last, reached)


def gaps(session: Session, *, limit: int) -> list[list[int]]:
    """Return pairs of neighbouring numbers between which some are missing, lowest first; 0 stands before the first."""
    before = sa.func.lag(col(AuditEvent.seq), 1, 0).over(order_by=col(AuditEvent.seq)).label("before")
    numbered = sa.select(col(AuditEvent.seq).label("seq"), before).subquery()
    query = (
        sa.select(numbered.c.before, numbered.c.seq)
        .where(numbered.c.seq - numbered.c.before > 1)
        .order_by(numbered.c.seq)
        .limit(limit)
    )
    return [[low, high] for low, high in session.connection().execute(query)]
