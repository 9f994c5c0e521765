"""Emergency orders (应急): what was built before it was approved, and by when approval must follow."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.deadlines import EmergencyState
from cloudmgr.models.base import Row, json_field, one_of


class EmergencyOrder(Row, table=True):
    """One request that is worked off first. While it is `open` its amounts count against its district's allowance."""

    __tablename__ = "emergency_orders"
    __table_args__ = (one_of("state", EmergencyState), sa.Index("ix_emergency_orders_state", "state", "approve_by"))

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", unique=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    """Whose allowance: the district, or the city for what belongs to none."""
    reason: str = Field(max_length=500)
    amounts: dict[str, int] = json_field(dict)
    approve_by: datetime
    state: str = Field(default=EmergencyState.OPEN.value, max_length=16)
    flagged_at: datetime | None = None
    """When it was found not approved in time."""
    closed_at: datetime | None = None
    proposal_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id")
    """The draft of a retirement that a rejection proposed."""
