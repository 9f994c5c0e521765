"""Reading and writing what requests for quota ask, and the drafts that wait for one."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.phases import RequestKind, RequestPhase
from cloudmgr.models import QuotaChange, ResourceRequest

_DEAD = (RequestPhase.DRAFT, RequestPhase.RETURNED, RequestPhase.REJECTED, RequestPhase.WITHDRAWN, RequestPhase.FAILED)


def of_request(session: Session, request_id: uuid.UUID) -> list[QuotaChange]:
    """Return what a request asks to change, by key."""
    return list(
        session.exec(select(QuotaChange).where(QuotaChange.request_id == request_id).order_by(col(QuotaChange.key)))
    )


def replace(session: Session, request_id: uuid.UUID, rows: Sequence[QuotaChange]) -> None:
    """Write what a request asks now, in place of what it asked before."""
    session.execute(
        sa.delete(QuotaChange)
        .where(col(QuotaChange.request_id) == request_id)
        .execution_options(synchronize_session=False)
    )
    session.add_all(rows)
    session.flush()


def asked_since(session: Session, account_id: uuid.UUID, since: datetime, *, besides: uuid.UUID) -> bool:
    """Whether another request about this account was granted since a moment, or is on its way."""
    found = session.exec(
        select(ResourceRequest.id)
        .where(
            ResourceRequest.account_id == account_id,
            ResourceRequest.kind == RequestKind.QUOTA_CHANGE,
            ResourceRequest.id != besides,
            col(ResourceRequest.phase).not_in(_DEAD),
            sa.or_(col(ResourceRequest.finished_at).is_(None), col(ResourceRequest.finished_at) > since),
        )
        .limit(1)
    )
    return found.first() is not None


def waiting_for(session: Session, request_id: uuid.UUID) -> list[uuid.UUID]:
    """Return the drafts that wait for a quota change, oldest first."""
    return list(
        session.exec(
            select(ResourceRequest.id)
            .where(ResourceRequest.after_id == request_id, ResourceRequest.phase == RequestPhase.DRAFT)
            .order_by(col(ResourceRequest.id))
        )
    )
