"""SQL about the port-opening table and public addresses."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.openings import OpeningState, PublicIpPhase
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import Organization, PortOpening, PublicIp, ResourceRequest, Server
from cloudmgr.store import paging

OpeningRow = tuple[PortOpening, Server, Organization, ResourceRequest]
PublicIpRow = tuple[PublicIp, Server, Organization, ResourceRequest]

_APPROVED = [
    phase.value
    for phase in (
        RequestPhase.APPROVED,
        RequestPhase.FULFILLING,
        RequestPhase.FULFILLED,
        RequestPhase.PARTLY_FULFILLED,
        RequestPhase.FAILED,
    )
]
SHOWN = (OpeningState.ACTIVE, OpeningState.RECORDED, OpeningState.CLOSING)
"""States in which a port is, or may be, open."""


def get(session: Session, opening_id: uuid.UUID) -> PortOpening | None:
    """Return one line of the table."""
    return session.get(PortOpening, opening_id)


def of_request(session: Session, request_id: uuid.UUID) -> list[PortOpening]:
    """Return the lines a request asked for."""
    return list(
        session.exec(select(PortOpening).where(PortOpening.request_id == request_id).order_by(col(PortOpening.id)))
    )


def of_server(session: Session, server_id: uuid.UUID, states: Iterable[OpeningState]) -> list[PortOpening]:
    """Return a server's lines in some states."""
    return list(
        session.exec(
            select(PortOpening)
            .where(PortOpening.server_id == server_id, col(PortOpening.state).in_([state.value for state in states]))
            .order_by(col(PortOpening.id))
            .execution_options(populate_existing=True)
        )
    )


def approved_of(session: Session, server_id: uuid.UUID) -> list[PortOpening]:
    """Return a server's lines that are asked for, approved, and not yet at the backend."""
    return list(
        session.exec(
            select(PortOpening)
            .join(ResourceRequest, col(PortOpening.request_id) == col(ResourceRequest.id))
            .where(
                PortOpening.server_id == server_id,
                PortOpening.state == OpeningState.REQUESTED.value,
                col(ResourceRequest.phase).in_(_APPROVED),
            )
            .order_by(col(PortOpening.id))
            .execution_options(populate_existing=True)
        )
    )


def remove_of_request(session: Session, request_id: uuid.UUID) -> None:
    """Remove lines that were asked for and never approved."""
    session.execute(
        sa.delete(PortOpening)
        .where(col(PortOpening.request_id) == request_id, col(PortOpening.state) == OpeningState.REQUESTED.value)
        .execution_options(synchronize_session=False)
    )


def close_all(session: Session, server_id: uuid.UUID) -> None:
    """Close what is left of a server's table; the server is gone."""
    ended = [state.value for state in (OpeningState.CLOSED, OpeningState.EXPIRED, OpeningState.FAILED)]
    session.execute(
        sa.update(PortOpening)
        .where(col(PortOpening.server_id) == server_id, col(PortOpening.state).not_in(ended))
        .values(state=OpeningState.CLOSED.value, closed_at=clock.now())
        .execution_options(synchronize_session="fetch")
    )


def due_servers(session: Session, today: date, limit: int) -> list[uuid.UUID]:
    """Return servers with an opening whose last day is past, or whose closing has not come through."""
    return list(
        session.exec(
            select(PortOpening.server_id)
            .where(
                sa.or_(
                    sa.and_(
                        col(PortOpening.state).in_([OpeningState.ACTIVE.value, OpeningState.RECORDED.value]),
                        col(PortOpening.valid_until) < today,
                    ),
                    col(PortOpening.state) == OpeningState.CLOSING.value,
                )
            )
            .distinct()
            .limit(limit)
        )
    )


def page(
    session: Session,
    *,
    paths: Sequence[str],
    server_id: uuid.UUID | None = None,
    states: Sequence[OpeningState] = (),
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[OpeningRow], uuid.UUID | None]:
    """Return lines of the table of the subtrees at `paths`, the newest first."""
    query = _joined(PortOpening, paths)
    if server_id is not None:
        query = query.where(col(PortOpening.server_id) == server_id)
    if states:
        query = query.where(col(PortOpening.state).in_([state.value for state in states]))
    rows, following = paging.newest_first(session, query, col(PortOpening.id), limit=limit, cursor=cursor)
    return [(row[0], row[1], row[2], row[3]) for row in rows], following


def _joined(table: Any, paths: Sequence[str]) -> Any:
    return (
        sa.select(table, Server, Organization, ResourceRequest)
        .join(Server, table.server_id == col(Server.id))
        .join(Organization, table.organization_id == col(Organization.id))
        .join(ResourceRequest, table.request_id == col(ResourceRequest.id))
        .where(paging.below(Organization.path, paths))
    )


# Public addresses


def get_ip(session: Session, ip_id: uuid.UUID, *, lock: bool = False) -> PublicIp | None:
    """Return one public address; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(PublicIp).where(PublicIp.id == ip_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def ips_of_request(session: Session, request_id: uuid.UUID) -> list[PublicIp]:
    """Return the public addresses a request asked for."""
    return list(session.exec(select(PublicIp).where(PublicIp.request_id == request_id).order_by(col(PublicIp.id))))


def ips_of_server(session: Session, server_id: uuid.UUID) -> list[PublicIp]:
    """Return the public addresses of a server that are, or may be, at the backend, or are being asked for."""
    ended = [PublicIpPhase.RELEASED.value, PublicIpPhase.FAILED.value]
    return list(
        session.exec(
            select(PublicIp)
            .where(PublicIp.server_id == server_id, col(PublicIp.phase).not_in(ended))
            .order_by(col(PublicIp.id))
        )
    )


def remove_ips_of_request(session: Session, request_id: uuid.UUID) -> None:
    """Remove public addresses that were asked for and never approved."""
    session.execute(
        sa.delete(PublicIp)
        .where(col(PublicIp.request_id) == request_id, col(PublicIp.phase) == PublicIpPhase.REQUESTED.value)
        .execution_options(synchronize_session=False)
    )


def ips_to_release(session: Session, limit: int) -> list[uuid.UUID]:
    """Return public addresses whose giving back has not come through."""
    return list(session.exec(select(PublicIp.id).where(PublicIp.phase == PublicIpPhase.RELEASING.value).limit(limit)))


def ip_page(
    session: Session,
    *,
    paths: Sequence[str],
    server_id: uuid.UUID | None = None,
    phases: Sequence[PublicIpPhase] = (),
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[PublicIpRow], uuid.UUID | None]:
    """Return public addresses of the subtrees at `paths`, the newest first."""
    query = _joined(PublicIp, paths)
    if server_id is not None:
        query = query.where(col(PublicIp.server_id) == server_id)
    if phases:
        query = query.where(col(PublicIp.phase).in_([phase.value for phase in phases]))
    rows, following = paging.newest_first(session, query, col(PublicIp.id), limit=limit, cursor=cursor)
    return [(row[0], row[1], row[2], row[3]) for row in rows], following
