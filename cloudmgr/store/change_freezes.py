"""Reading and writing change freezes and the requests that wait for their end."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.models import ChangeFreeze, HeldRequest, Organization, ResourceRequest
from cloudmgr.store import paging
from cloudmgr.store.db import is_sqlite

FreezeRow = tuple[ChangeFreeze, Organization]


def add(session: Session, *rows: Any) -> None:
    """Write rows at once."""
    session.add_all(rows)
    session.flush()


def get(session: Session, freeze_id: uuid.UUID, *, lock: bool = False) -> FreezeRow | None:
    """Return one freeze and whom it is for; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = (
        select(ChangeFreeze, Organization)
        .join(Organization, col(ChangeFreeze.organization_id) == col(Organization.id))
        .where(ChangeFreeze.id == freeze_id)
    )
    if lock:
        query = query.with_for_update(of=ChangeFreeze)
    row = session.exec(query.execution_options(populate_existing=lock)).first()
    return (row[0], row[1]) if row else None


def listed(
    session: Session, *, paths: Sequence[str], above: Sequence[uuid.UUID], limit: int, cursor: uuid.UUID | None
) -> tuple[list[FreezeRow], uuid.UUID | None]:
    """Return the freezes of subtrees, and of the organizations `above` them, newest first."""
    query = (
        select(ChangeFreeze, Organization)
        .join(Organization, col(ChangeFreeze.organization_id) == col(Organization.id))
        .where(sa.or_(paging.below(Organization.path, paths), col(Organization.id).in_(above)))
    )
    rows, following = paging.newest_first(session, query, ChangeFreeze.id, limit=limit, cursor=cursor)
    return [(freeze, organization) for freeze, organization in rows], following


def in_force(session: Session, organization_ids: Sequence[uuid.UUID], now: datetime) -> list[FreezeRow]:
    """Return the freezes of these organizations that hold now, the one that ends last first."""
    rows = session.exec(
        select(ChangeFreeze, Organization)
        .join(Organization, col(ChangeFreeze.organization_id) == col(Organization.id))
        .where(
            col(ChangeFreeze.organization_id).in_(organization_ids),
            col(ChangeFreeze.lifted_at).is_(None),
            col(ChangeFreeze.starts_at) <= now,
            col(ChangeFreeze.ends_at) > now,
        )
        .order_by(col(ChangeFreeze.ends_at).desc())
    )
    return [(freeze, organization) for freeze, organization in rows]


def hold(session: Session, request_id: uuid.UUID, attempt: int, freeze_id: uuid.UUID) -> None:
    """Note that an attempt waits; twice is once."""
    insert = sqlite.insert(HeldRequest) if is_sqlite(session) else postgresql.insert(HeldRequest)
    row = HeldRequest(request_id=request_id, attempt=attempt, freeze_id=freeze_id)
    session.execute(insert.values(**row.model_dump()).on_conflict_do_nothing(index_elements=["request_id", "attempt"]))


def released(session: Session, now: datetime, *, limit: int) -> list[tuple[HeldRequest, ResourceRequest]]:
    """Return attempts whose freeze is over, the longest waiting first; those another worker has in hand are left to it."""
    query = (
        select(HeldRequest, ResourceRequest)
        .join(ResourceRequest, col(HeldRequest.request_id) == col(ResourceRequest.id))
        .join(ChangeFreeze, col(HeldRequest.freeze_id) == col(ChangeFreeze.id))
        .where(
            col(HeldRequest.released_at).is_(None),
            sa.or_(col(ChangeFreeze.lifted_at).is_not(None), col(ChangeFreeze.ends_at) <= now),
        )
        .order_by(col(HeldRequest.id))
        .limit(limit)
        .with_for_update(of=[HeldRequest, ResourceRequest], skip_locked=True)
    )
    found = session.exec(query.execution_options(populate_existing=True))
    return [(row, request) for row, request in found]


def holding(session: Session, request_id: uuid.UUID) -> ChangeFreeze | None:
    """Return the freeze for whose end a request waits."""
    return session.exec(
        select(ChangeFreeze)
        .join(HeldRequest, col(HeldRequest.freeze_id) == col(ChangeFreeze.id))
        .where(HeldRequest.request_id == request_id, col(HeldRequest.released_at).is_(None))
    ).first()


def count_held(session: Session) -> int:
    """Return how many requests wait for the end of a freeze."""
    return int(
        session.scalar(
            sa.select(sa.func.count()).select_from(HeldRequest).where(col(HeldRequest.released_at).is_(None))
        )
        or 0
    )
