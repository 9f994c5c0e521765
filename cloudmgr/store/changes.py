"""Reading changes that approvers propose to requests under review."""

import uuid

from sqlmodel import Session, col, select

from cloudmgr.models import RequestChange


def proposed(session: Session, request_id: uuid.UUID) -> RequestChange | None:
    """Return the change that waits for the requester."""
    return session.exec(
        select(RequestChange).where(RequestChange.request_id == request_id, RequestChange.state == "proposed")
    ).first()


def of_request(session: Session, request_id: uuid.UUID) -> list[RequestChange]:
    """Return the changes ever proposed to a request, oldest first."""
    return list(
        session.exec(
            select(RequestChange).where(RequestChange.request_id == request_id).order_by(col(RequestChange.created_at))
        )
    )
