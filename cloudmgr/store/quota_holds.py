"""Requests that hold quota while nobody decides on them."""

from datetime import datetime

from sqlmodel import Session, col, select

from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import ApprovalStage, Organization, ResourceRequest

StalledRow = tuple[ResourceRequest, Organization]


def undecided(session: Session, before: datetime, *, limit: int) -> list[StalledRow]:
    """Return requests under review of which no stage has been opened since a moment, the longest waiting first."""
    lately = (
        select(ApprovalStage.id)
        .where(
            col(ApprovalStage.request_id) == col(ResourceRequest.id),
            col(ApprovalStage.submission) == col(ResourceRequest.submission),
            col(ApprovalStage.opened_at) >= before,
        )
        .exists()
    )
    query = (
        select(ResourceRequest, Organization)
        .join(Organization, col(Organization.id) == col(ResourceRequest.organization_id))
        .where(
            col(ResourceRequest.phase) == RequestPhase.IN_REVIEW.value,
            col(ResourceRequest.submitted_at) < before,
            ~lately,
        )
        .order_by(col(ResourceRequest.submitted_at), col(ResourceRequest.id))
        .limit(limit)
    )
    return list(session.exec(query).all())
