"""What requests for quota ask to change, a key a row; and what became of it."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.models.base import Row


class QuotaChange(Row, table=True):
    """One limit that a request asks to be another. `before` is what it was when it was asked."""

    __tablename__ = "quota_changes"
    __table_args__ = (
        sa.UniqueConstraint("request_id", "key"),
        sa.Index("ix_quota_changes_account_granted", "account_id", "granted_at"),
        sa.CheckConstraint("wanted >= 0", name="wanted_not_negative"),
    )

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id")
    account_id: uuid.UUID = Field(foreign_key="quota_accounts.id")
    key: str = Field(max_length=640)
    before: int | None = Field(default=None, sa_type=sa.BigInteger)
    wanted: int = Field(sa_type=sa.BigInteger)
    granted: int | None = Field(default=None, sa_type=sa.BigInteger)
    """The limit it was given; None: not granted."""
    granted_at: datetime | None = None
