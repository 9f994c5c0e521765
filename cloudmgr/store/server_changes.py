"""SQL about changes of servers that stand, and about what was told of their leases."""

import uuid
from collections.abc import Sequence
from datetime import date

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import OPEN_CHANGES, ChangeState
from cloudmgr.models import LeaseReminder, Server, ServerChange
from cloudmgr.store import paging
from cloudmgr.store.db import is_sqlite

_OPEN = [state.value for state in OPEN_CHANGES]
_STANDING = [phase.value for phase in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED, ServerPhase.FAILED)]


def get(session: Session, change_id: uuid.UUID, *, lock: bool = False) -> ServerChange | None:
    """Return one change; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(ServerChange).where(ServerChange.id == change_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def of_request(session: Session, request_id: uuid.UUID) -> list[ServerChange]:
    """Return the changes a request asked for, in the order of their servers' ids."""
    return list(
        session.exec(
            select(ServerChange).where(ServerChange.request_id == request_id).order_by(col(ServerChange.server_id))
        )
    )


def of_server(session: Session, server_id: uuid.UUID, *, states: Sequence[str] = _OPEN) -> list[ServerChange]:
    """Return the changes of a server in some states, oldest first; by default those that are open."""
    return list(
        session.exec(
            select(ServerChange)
            .where(ServerChange.server_id == server_id, col(ServerChange.state).in_(states))
            .order_by(col(ServerChange.id))
        )
    )


def asked_of(session: Session, server_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of the servers have an open change by request."""
    found: set[uuid.UUID] = set()
    for ids in paging.batched(server_ids):
        found |= set(
            session.exec(
                select(ServerChange.server_id).where(
                    col(ServerChange.server_id).in_(ids),
                    col(ServerChange.state).in_(_OPEN),
                    col(ServerChange.request_id).is_not(None),
                )
            )
        )
    return found


def remove_of_request(session: Session, request_id: uuid.UUID) -> None:
    """Remove changes that were asked for and never begun."""
    session.execute(
        sa.delete(ServerChange)
        .where(col(ServerChange.request_id) == request_id, col(ServerChange.state) == ChangeState.ASKED.value)
        .execution_options(synchronize_session=False)
    )


def remind(session: Session, server_id: uuid.UUID, lease_end: date, days: int) -> bool:
    """Note that something is told of a lease; False when it was told before."""
    insert = sqlite.insert(LeaseReminder) if is_sqlite(session) else postgresql.insert(LeaseReminder)
    done = session.execute(
        insert.values(id=new_id(), created_at=clock.now(), server_id=server_id, lease_end=lease_end, days=days)
        .on_conflict_do_nothing(index_elements=["server_id", "lease_end", "days"])
        .execution_options(synchronize_session=False, preserve_rowcount=True)
    )
    return int(done.rowcount) == 1  # type: ignore[attr-defined]


def leases_ending(session: Session, *, by: date, after: uuid.UUID | None, limit: int) -> list[Server]:
    """Return servers that stand and whose lease ends on or before a day, by id from behind `after`."""
    query = select(Server).where(
        col(Server.lease_end).is_not(None), col(Server.lease_end) <= by, col(Server.phase).in_(_STANDING)
    )
    if after is not None:
        query = query.where(col(Server.id) > after)
    return list(session.exec(query.order_by(col(Server.id)).limit(limit)))


def long_terms(session: Session, *, after: uuid.UUID | None, limit: int) -> list[Server]:
    """Return servers that stand on a lease without an end, by id from behind `after`."""
    query = select(Server).where(col(Server.lease_long_term), col(Server.phase).in_(_STANDING))
    if after is not None:
        query = query.where(col(Server.id) > after)
    return list(session.exec(query.order_by(col(Server.id)).limit(limit)))
