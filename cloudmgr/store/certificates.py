"""Reading and writing deletion certificates and their items."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.certificates import CertificateState
from cloudmgr.domain.phases import Health, ServerPhase
from cloudmgr.models import (
    Backend,
    CertificateItem,
    DeletionCertificate,
    Organization,
    Server,
)
from cloudmgr.store import paging

CertificateRow = tuple[DeletionCertificate, Server, Organization, Backend | None]


def of_server(session: Session, server_id: uuid.UUID, *, lock: bool = False) -> DeletionCertificate | None:
    """Return the certificate of a server's end; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(DeletionCertificate).where(DeletionCertificate.server_id == server_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def get(session: Session, certificate_id: uuid.UUID) -> DeletionCertificate | None:
    """Return one certificate."""
    return session.get(DeletionCertificate, certificate_id)


def items(session: Session, certificate_id: uuid.UUID) -> list[CertificateItem]:
    """Return the pieces of a certificate, the server first, then by kind and reference."""
    found = session.exec(select(CertificateItem).where(CertificateItem.certificate_id == certificate_id))
    return sorted(found, key=lambda item: (item.kind != "server", item.kind, item.ref))


def add(session: Session, *rows: DeletionCertificate | CertificateItem) -> None:
    """Write new or changed rows at once."""
    session.add_all(rows)
    session.flush()


def page(
    session: Session,
    *,
    paths: Sequence[str],
    states: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    backend: str | None = None,
    number: str | None = None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[CertificateRow], uuid.UUID | None]:
    """Return certificates of the subtrees at `paths`, newest first, and where the next page begins."""
    query = (
        sa.select(DeletionCertificate, Server, Organization, Backend)
        .join(Server, col(DeletionCertificate.server_id) == col(Server.id))
        .join(Organization, col(DeletionCertificate.organization_id) == col(Organization.id))
        .join(Backend, col(DeletionCertificate.backend_id) == col(Backend.id), isouter=True)
        .where(paging.below(Organization.path, paths))
    )
    if states:
        query = query.where(col(DeletionCertificate.state).in_(states))
    if project_id:
        query = query.where(col(Server.project_id) == project_id)
    if backend:
        query = query.where(col(Backend.name) == backend)
    if number:
        query = query.where(col(DeletionCertificate.number) == number)
    rows, following = paging.newest_first(session, query, DeletionCertificate.id, limit=limit, cursor=cursor)
    return [tuple(row) for row in rows], following


def due(session: Session, *, now: datetime, rested_by: datetime, limit: int) -> list[DeletionCertificate]:
    """Return what is to be taken up again: its time has come, or its backend has been seen since it gave no answer.

    What gave no answer after `rested_by` is left alone a little longer.
    """
    is_back = sa.and_(
        col(DeletionCertificate.unanswered_at) < rested_by,
        col(Backend.last_seen_at) > col(DeletionCertificate.unanswered_at),
        col(Backend.health).in_([Health.OK.value, Health.DEGRADED.value]),
    )
    return list(
        session.exec(
            select(DeletionCertificate)
            .join(Server, col(DeletionCertificate.server_id) == col(Server.id))
            .join(Backend, col(DeletionCertificate.backend_id) == col(Backend.id), isouter=True)
            .where(
                DeletionCertificate.state != CertificateState.COMPLETE.value,
                Server.phase == ServerPhase.RETIRING.value,
                sa.or_(col(DeletionCertificate.due_at) <= now, is_back),
            )
            .order_by(col(DeletionCertificate.due_at))
            .limit(limit)
        )
    )


def take(session: Session, certificate: DeletionCertificate, *, due_at: datetime) -> int | None:
    """Count one more look and set when the next is due; return its number, None when another worker was faster."""
    taken = session.execute(
        sa.update(DeletionCertificate)
        .where(col(DeletionCertificate.id) == certificate.id, col(DeletionCertificate.checks) == certificate.checks)
        .values(checks=certificate.checks + 1, due_at=due_at, unanswered_at=None)
        .execution_options(synchronize_session=False)
    )
    return certificate.checks + 1 if taken.rowcount == 1 else None  # type: ignore[attr-defined]
