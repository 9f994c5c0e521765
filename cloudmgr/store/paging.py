"""Keyset pages: ids order by time, so an id is a cursor; a page never counts and never skips."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session


def newest_first(
    session: Session, query: Any, key: Any, *, limit: int, cursor: uuid.UUID | None
) -> tuple[Sequence[Any], uuid.UUID | None]:
    """Run `query` for one page below `cursor`; return the rows and the cursor of the next page (None: this is the last).

    The first element of a row (or the row itself) must be the entity whose `id` is the key.
    """
    if cursor is not None:
        query = query.where(key < cursor)
    rows = session.exec(query.order_by(key.desc()).limit(limit + 1)).all()
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    last = rows[-1]
    entity = last[0] if isinstance(last, tuple | sa.Row) else last
    return rows, entity.id


def below(path: Any, paths: Sequence[str]) -> Any:
    """Return a condition: the organization path lies in one of these subtrees; no subtree is nobody's."""
    if not paths:
        return sa.false()
    return sa.or_(*(path.startswith(prefix, autoescape=True) for prefix in paths))


def oldest_first(
    session: Session, query: Any, key: Any, *, limit: int, cursor: uuid.UUID | None
) -> tuple[list[Any], uuid.UUID | None]:
    """Run `query` for one page above `cursor`, in the order things were made; otherwise as `newest_first`."""
    if cursor is not None:
        query = query.where(key > cursor)
    rows = session.exec(query.order_by(key).limit(limit + 1)).all()
    if len(rows) <= limit:
        return list(rows), None
    last = rows[limit - 1]
    entity = last[0] if isinstance(last, tuple | sa.Row) else last
    return list(rows[:limit]), entity.id


def batched(ids: Sequence[uuid.UUID], size: int = 500) -> Iterator[Sequence[uuid.UUID]]:
    """Cut ids into pieces that every database takes as parameters of one statement."""
    return (ids[start : start + size] for start in range(0, len(ids), size))
