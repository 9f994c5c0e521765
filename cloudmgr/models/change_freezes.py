"""Change freezes (重保期): when nothing that stands is changed, and the requests that wait for their end."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.models.base import Row


class ChangeFreeze(Row, table=True):
    """A period in which changes wait, for an organization and everything below it. Lifted early, it stays on record."""

    __tablename__ = "change_freezes"
    __table_args__ = (sa.CheckConstraint("ends_at > starts_at", name="begins_before_it_ends"),)

    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    starts_at: datetime
    ends_at: datetime = Field(index=True)
    reason: str = Field(max_length=500)
    made_by: str = Field(max_length=100)
    lifted_at: datetime | None = None
    lifted_by: str = Field(default="", max_length=100)


class HeldRequest(Row, table=True):
    """One attempt at a request that waits for the end of a freeze; `created_at` is since when."""

    __tablename__ = "held_requests"
    __table_args__ = (
        sa.UniqueConstraint("request_id", "attempt"),
        sa.Index(
            "ix_held_requests_waiting",
            "request_id",
            sqlite_where=sa.text("released_at IS NULL"),
            postgresql_where=sa.text("released_at IS NULL"),
        ),
    )

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id")
    attempt: int
    freeze_id: uuid.UUID = Field(foreign_key="change_freezes.id")
    released_at: datetime | None = None
