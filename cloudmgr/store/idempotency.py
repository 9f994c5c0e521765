"""Remembered answers of POST requests, by user and key."""

import uuid
from typing import Any, cast

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import IdempotencyKey


def find(session: Session, user_id: uuid.UUID, key: str) -> IdempotencyKey | None:
    """Return what is known of a key, freshly read."""
    query = (
        select(IdempotencyKey)
        .where(IdempotencyKey.user_id == user_id, IdempotencyKey.key == key)
        .execution_options(populate_existing=True)
    )
    return session.exec(query).first()


def remember(session: Session, row_id: uuid.UUID, status: int, answer: str) -> bool:
    """Store the answer under a claim; False when the claim was taken over meanwhile."""
    statement = (
        sa.update(IdempotencyKey)
        .where(col(IdempotencyKey.id) == row_id, col(IdempotencyKey.status).is_(None))
        .values(status=status, answer=answer)
        .execution_options(synchronize_session=False)
    )
    return cast("sa.CursorResult[Any]", session.exec(statement)).rowcount == 1


def release(session: Session, row_id: uuid.UUID, *, status: int | None = None) -> None:
    """Drop a row if it still has this status; None: a claim without an answer."""
    same = col(IdempotencyKey.status).is_(None) if status is None else col(IdempotencyKey.status) == status
    session.exec(sa.delete(IdempotencyKey).where(col(IdempotencyKey.id) == row_id, same))
