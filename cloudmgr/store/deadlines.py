"""Reading stages by their time, and writing what the clock did about them."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain.approval import OnTimeout
from cloudmgr.domain.deadlines import MarkKind
from cloudmgr.models import ApprovalStage, Organization, ResourceRequest, StageMark
from cloudmgr.store.db import is_sqlite

StageRow = tuple[ApprovalStage, ResourceRequest, Organization]


def mark(session: Session, stage_id: uuid.UUID, kind: MarkKind, key: str = "") -> bool:
    """Note that the clock did something at a stage; False where it was done before."""
    insert = sqlite.insert(StageMark) if is_sqlite(session) else postgresql.insert(StageMark)
    row = StageMark(stage_id=stage_id, kind=kind.value, key=key)
    written = session.execute(
        insert.values(**row.model_dump())
        .on_conflict_do_nothing(index_elements=["stage_id", "kind", "key"])
        .returning(col(StageMark.id))
    )
    return written.first() is not None


def to_remind(session: Session, key: str, *, after: datetime, until: datetime, limit: int) -> list[StageRow]:
    """Return open stages that fall due after one moment and until another, and were not reminded of by this key."""
    return _rows(
        session,
        col(ApprovalStage.due_at) > after,
        col(ApprovalStage.due_at) <= until,
        _unmarked(MarkKind.REMINDER, key),
        limit=limit,
    )


def newly_overdue(session: Session, now: datetime, *, limit: int) -> list[StageRow]:
    """Return open stages that were due and are not marked so."""
    return _rows(session, col(ApprovalStage.due_at) < now, _unmarked(MarkKind.OVERDUE), limit=limit)


def patiences(session: Session, now: datetime) -> list[int]:
    """Return the numbers of working days after which stages that are overdue and not escalated are to be."""
    found = session.execute(
        sa.select(col(ApprovalStage.escalate_after_working_days)).where(*_unescalated(now)).distinct()
    )
    return sorted(found.scalars())


def to_escalate(session: Session, patience: int, due_before: datetime, *, limit: int) -> list[StageRow]:
    """Return open stages with this patience that were due by a moment and are not escalated."""
    mine = col(ApprovalStage.escalate_after_working_days) == patience
    return _rows(session, *_unescalated(due_before), mine, limit=limit)


def to_time_out(session: Session, due_before: datetime, *, limit: int) -> list[StageRow]:
    """Return open stages that were due before a moment and whose policy says what becomes of them then."""
    return _rows(
        session,
        col(ApprovalStage.due_at) <= due_before,
        col(ApprovalStage.on_timeout) != OnTimeout.NONE.value,
        _unmarked(MarkKind.TIMEOUT),
        limit=limit,
    )


def open_dues(session: Session, request_ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, datetime | None]:
    """Return when the open stage of each request is due; None: it has no limit."""
    rows = session.exec(
        select(ApprovalStage.request_id, ApprovalStage.due_at).where(
            col(ApprovalStage.request_id).in_(list(request_ids)), col(ApprovalStage.state) == "open"
        )
    )
    return dict(rows.all())


def count_open(session: Session, now: datetime) -> tuple[int, int]:
    """Return how many stages are open, and how many of them are overdue."""
    overdue = sa.func.sum(sa.case((col(ApprovalStage.due_at) < now, 1), else_=0))
    row = session.execute(sa.select(sa.func.count(), overdue).where(col(ApprovalStage.state) == "open")).one()
    return int(row[0]), int(row[1] or 0)


def _rows(session: Session, *conditions: Any, limit: int) -> list[StageRow]:
    """Return open stages with their requests; those another worker has in hand are left to it (PostgreSQL)."""
    query = (
        select(ApprovalStage, ResourceRequest, Organization)
        .join(ResourceRequest, col(ApprovalStage.request_id) == col(ResourceRequest.id))
        .join(Organization, col(ResourceRequest.organization_id) == col(Organization.id))
        .where(col(ApprovalStage.state) == "open", *conditions)
        .order_by(col(ApprovalStage.id))
        .limit(limit)
        .with_for_update(of=[ResourceRequest, ApprovalStage], skip_locked=True)
    )
    found = session.exec(query.execution_options(populate_existing=True))
    return [(stage, request, organization) for stage, request, organization in found]


def _unescalated(due_before: datetime) -> tuple[Any, ...]:
    return (
        col(ApprovalStage.state) == "open",
        col(ApprovalStage.due_at) <= due_before,
        col(ApprovalStage.escalate_after_working_days).is_not(None),
        col(ApprovalStage.escalated_at).is_(None),
    )


def _unmarked(kind: MarkKind, key: str = "") -> Any:
    return ~sa.exists().where(
        col(StageMark.stage_id) == col(ApprovalStage.id),
        col(StageMark.kind) == kind.value,
        col(StageMark.key) == key,
    )
