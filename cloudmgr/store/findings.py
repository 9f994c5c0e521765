"""SQL about findings: what is open at a backend, pages of the inbox, opening and closing in bulk."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.drift import Difference
from cloudmgr.domain.findings import FindingKind, FindingState
from cloudmgr.domain.ids import new_id
from cloudmgr.models import Backend, Finding, Organization, Server
from cloudmgr.store import paging

FindingRow = tuple[Finding, Backend, Server | None, Organization | None]
"""A finding, its backend, the server of ours it is about, and the organization it belongs to."""
_PIECE = 500


@dataclass(frozen=True, slots=True)
class Open:
    """What a look needs to know of a finding that is not settled."""

    id: uuid.UUID
    kind: str
    ref: str
    field: str
    state: str
    server_id: uuid.UUID | None
    held: Any
    observed: Any


def open_at(session: Session, backend_id: uuid.UUID) -> dict[tuple[str, str, str], Open]:
    """Return what is not settled at a backend, by kind, reference and field."""
    columns = [getattr(Finding, name) for name in Open.__dataclass_fields__]
    query = sa.select(*columns).where(col(Finding.backend_id) == backend_id, col(Finding.closed_at).is_(None))
    return {(row.kind, row.ref, row.field): Open(*row) for row in session.execute(query)}


def show(session: Session, finding_id: uuid.UUID, difference: Difference, message: dict[str, Any]) -> None:
    """Bring an open finding to what is held and observed now."""
    session.execute(
        sa.update(Finding)
        .where(col(Finding.id) == finding_id)
        .values(
            held=dict(difference.held) if difference.held is not None else None,
            observed=dict(difference.observed) if difference.observed is not None else None,
            server_id=difference.server_id,
            message=message,
        )
        .execution_options(synchronize_session=False)
    )


def insert(
    session: Session, backend_id: uuid.UUID, found: Sequence[tuple[Difference, dict[str, Any] | None]], at: datetime
) -> None:
    """Open findings, each with its sentence."""
    rows = [
        {
            "id": new_id(),
            "created_at": at,
            "kind": difference.kind.value,
            "state": FindingState.OPEN.value,
            "backend_id": backend_id,
            "server_id": difference.server_id,
            "ref": difference.ref[:300],
            "field": difference.field,
            "name": difference.name[:300],
            "held": dict(difference.held) if difference.held is not None else None,
            "observed": dict(difference.observed) if difference.observed is not None else None,
            "message": message,
            "first_seen_at": at,
            "last_seen_at": at,
            "reason": "",
        }
        for difference, message in found
    ]
    for start in range(0, len(rows), _PIECE):
        session.execute(sa.insert(Finding), rows[start : start + _PIECE])


def touch(session: Session, ids: Sequence[uuid.UUID], at: datetime) -> None:
    """Say of findings that they were still there."""
    for piece in paging.batched(ids):
        session.execute(
            sa.update(Finding)
            .where(col(Finding.id).in_(piece))
            .values(last_seen_at=at)
            .execution_options(synchronize_session=False)
        )


def close(session: Session, ids: Sequence[uuid.UUID], at: datetime, state: FindingState) -> None:
    """Settle findings."""
    for piece in paging.batched(ids):
        session.execute(
            sa.update(Finding)
            .where(col(Finding.id).in_(piece), col(Finding.closed_at).is_(None))
            .values(state=state.value, closed_at=at)
            .execution_options(synchronize_session=False)
        )


def get(session: Session, finding_id: uuid.UUID, *, lock: bool = False) -> FindingRow | None:
    """Return one finding; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = _wide().where(col(Finding.id) == finding_id)
    if lock:
        query = query.with_for_update(of=Finding).execution_options(populate_existing=True)
    row = session.execute(query).first()
    return (row[0], row[1], row[2], row[3]) if row else None


def of_server(session: Session, server_id: uuid.UUID, states: Iterable[FindingState]) -> list[Finding]:
    """Return the findings about a server that are in some states."""
    return list(
        session.exec(
            select(Finding)
            .where(Finding.server_id == server_id, col(Finding.state).in_([state.value for state in states]))
            .order_by(col(Finding.id))
        )
    )


def page(
    session: Session,
    *,
    paths: Sequence[str],
    of_all: bool,
    kinds: Sequence[FindingKind] = (),
    states: Sequence[FindingState] = (),
    backend: str | None = None,
    server_id: uuid.UUID | None = None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[FindingRow], uuid.UUID | None]:
    """Return findings that belong to the subtrees at `paths`, the newest first; `of_all` adds those of nobody's backends.

    Without `states`, what is not settled: an ignored finding is a settled one that still stands.
    """
    query = _wide()
    belongs = paging.below(Organization.path, paths)
    query = query.where(sa.or_(belongs, col(Organization.id).is_(None)) if of_all else belongs)
    if kinds:
        query = query.where(col(Finding.kind).in_([kind.value for kind in kinds]))
    if states:
        query = query.where(col(Finding.state).in_([state.value for state in states]))
    else:
        query = query.where(col(Finding.state).in_([FindingState.OPEN.value, FindingState.RESTORING.value]))
    if backend is not None:
        query = query.where(Backend.name == backend)
    if server_id is not None:
        query = query.where(Finding.server_id == server_id)
    rows, following = paging.newest_first(session, query, col(Finding.id), limit=limit, cursor=cursor)
    return [(row[0], row[1], row[2], row[3]) for row in rows], following


def counts(session: Session, *, paths: Sequence[str], of_all: bool) -> dict[str, int]:
    """Return how many of each kind are not settled, of those that belong to the subtrees at `paths`."""
    query = (
        sa.select(col(Finding.kind), sa.func.count())
        .select_from(Finding)
        .join(Backend, col(Finding.backend_id) == col(Backend.id))
        .join(Server, col(Finding.server_id) == col(Server.id), isouter=True)
        .join(Organization, _owner(), isouter=True)
        .where(col(Finding.state).in_([FindingState.OPEN.value, FindingState.RESTORING.value]))
        .group_by(col(Finding.kind))
    )
    belongs = paging.below(Organization.path, paths)
    query = query.where(sa.or_(belongs, col(Organization.id).is_(None)) if of_all else belongs)
    return {str(kind): int(count) for kind, count in session.execute(query)}


def _wide() -> Any:
    return (
        sa.select(Finding, Backend, Server, Organization)
        .join(Backend, col(Finding.backend_id) == col(Backend.id))
        .join(Server, col(Finding.server_id) == col(Server.id), isouter=True)
        .join(Organization, _owner(), isouter=True)
    )


def _owner() -> Any:
    """A finding about a server of ours is its organization's; another is of whoever owns the backend, or nobody's."""
    return col(Organization.id) == sa.func.coalesce(col(Server.organization_id), col(Backend.owner_organization_id))
