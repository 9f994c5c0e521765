"""SQL about the register of exports."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import Export
from cloudmgr.store.paging import below, newest_first


def add(session: Session, export: Export) -> None:
    """Write a new or changed export."""
    session.add(export)
    session.flush()


def get(session: Session, export_id: uuid.UUID, *, lock: bool = False) -> Export | None:
    """Return one export; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(Export).where(Export.id == export_id)
    return session.exec(query.with_for_update() if lock else query).first()


def page(
    session: Session,
    *,
    paths: Sequence[str],
    own_id: uuid.UUID | None,
    sha256: str | None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[Export], uuid.UUID | None]:
    """Return exports of the given subtrees and one's own, newest first, and where the next page begins."""
    reach = below(col(Export.organization_path), paths)
    if own_id is not None:
        reach = sa.or_(reach, col(Export.actor_id) == own_id)
    query = select(Export).where(reach)
    if sha256 is not None:
        query = query.where(Export.sha256 == sha256)
    rows, following = newest_first(session, query, col(Export.id), limit=limit, cursor=cursor)
    return list(rows), following
