"""Reading and writing emergency orders."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.deadlines import EmergencyState
from cloudmgr.models import EmergencyOrder, Organization, ResourceRequest

OrderRow = tuple[EmergencyOrder, ResourceRequest, Organization]


def add(session: Session, *rows: Any) -> None:
    """Write rows at once."""
    session.add_all(rows)
    session.flush()


def of_request(session: Session, request_id: uuid.UUID, *, lock: bool = False) -> EmergencyOrder | None:
    """Return the emergency order that a request is."""
    query = select(EmergencyOrder).where(EmergencyOrder.request_id == request_id)
    return session.exec(query.with_for_update() if lock else query).first()


def of_requests(session: Session, request_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, EmergencyOrder]:
    """Return the emergency orders among these requests."""
    rows = session.exec(select(EmergencyOrder).where(col(EmergencyOrder.request_id).in_(request_ids)))
    return {row.request_id: row for row in rows}


def lock_allowance(session: Session, organization_id: uuid.UUID) -> list[EmergencyOrder]:
    """Return the open orders of a district; two that ask at once do so one after the other."""
    session.exec(
        select(Organization.id).where(Organization.id == organization_id).with_for_update(key_share=True)
    ).one()
    return open_of(session, organization_id)


def open_of(session: Session, organization_id: uuid.UUID) -> list[EmergencyOrder]:
    """Return the orders of a district that are not approved yet."""
    query = select(EmergencyOrder).where(
        EmergencyOrder.organization_id == organization_id, EmergencyOrder.state == EmergencyState.OPEN.value
    )
    return list(session.exec(query))


def overdue(session: Session, now: datetime, *, limit: int) -> list[OrderRow]:
    """Return open orders that were to be approved by now and are not flagged, with their requests."""
    query = (
        select(EmergencyOrder, ResourceRequest, Organization)
        .join(ResourceRequest, col(EmergencyOrder.request_id) == col(ResourceRequest.id))
        .join(Organization, col(ResourceRequest.organization_id) == col(Organization.id))
        .where(
            EmergencyOrder.state == EmergencyState.OPEN.value,
            col(EmergencyOrder.approve_by) < now,
            col(EmergencyOrder.flagged_at).is_(None),
        )
        .order_by(col(EmergencyOrder.id))
        .limit(limit)
        .with_for_update(of=[EmergencyOrder, ResourceRequest], skip_locked=True)
    )
    found = session.exec(query.execution_options(populate_existing=True))
    return [(order, request, organization) for order, request, organization in found]


def count_open(session: Session, now: datetime) -> tuple[int, int]:
    """Return how many orders are not approved yet, and how many of them should be."""
    late = sa.func.sum(sa.case((col(EmergencyOrder.approve_by) < now, 1), else_=0))
    row = session.execute(
        sa.select(sa.func.count(), late).where(col(EmergencyOrder.state) == EmergencyState.OPEN.value)
    ).one()
    return int(row[0]), int(row[1] or 0)
