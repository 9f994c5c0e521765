"""Writing and reading audit events."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import AuditEvent
from cloudmgr.store.paging import below


def add(session: Session, event: AuditEvent) -> None:
    """Append one event to the transaction at hand."""
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
    """Return events of the given subtrees and of one's own, newest first; None as cursor: the last page."""
    reach = below(col(AuditEvent.organization_path), paths)
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
