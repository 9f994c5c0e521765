"""Notices: what happened, whom it was told to, how it left this system, and what each person wants to hear."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.notices import Channel, DeliveryChannel, DeliveryState
from cloudmgr.models.base import Row, json_field, one_of


def _below(target: str, *, index: bool = True, nullable: bool = False) -> Any:
    """Return a reference that goes with what it refers to: notices have a retention, and all of it ends together."""
    return Field(
        default=None if nullable else ...,
        sa_column=sa.Column(sa.Uuid(), sa.ForeignKey(target, ondelete="CASCADE"), nullable=nullable, index=index),
    )


class Happening(Row, table=True):
    """One thing to tell of, written in the transaction of the deed. `spread_at`: when inboxes and deliveries were made of it."""

    __tablename__ = "happenings"
    __table_args__ = (
        sa.UniqueConstraint("event", "dedupe"),
        sa.Index(
            "ix_happenings_unspread",
            "id",
            sqlite_where=sa.text("spread_at IS NULL"),
            postgresql_where=sa.text("spread_at IS NULL"),
        ),
    )

    event: str = Field(max_length=48)
    object_type: str = Field(max_length=32)
    object_id: str = Field(default="", max_length=64)
    object_name: str = Field(default="", max_length=200)
    link: str = Field(default="", max_length=300)
    organization_path: str = Field(default="/", max_length=2000)
    message: dict[str, Any] = json_field(dict)
    recipients: dict[str, Any] = json_field(dict)
    """`people` (ids), `roles` (pairs of role and organization id), `without` (ids)."""
    dedupe: str = Field(max_length=200)
    spread_at: datetime | None = None


class Notice(Row, table=True):
    """A happening in one person's inbox."""

    __tablename__ = "notices"
    __table_args__ = (
        sa.UniqueConstraint("happening_id", "user_id"),
        sa.Index(
            "ix_notices_unread",
            "user_id",
            sqlite_where=sa.text("read_at IS NULL"),
            postgresql_where=sa.text("read_at IS NULL"),
        ),
    )

    happening_id: uuid.UUID = _below("happenings.id", index=False)
    user_id: uuid.UUID = Field(foreign_key="users.id", index=True)
    read_at: datetime | None = None


class NoticePreference(Row, table=True):
    """What one person decided of one kind of notice on one channel; without a row it is told."""

    __tablename__ = "notice_preferences"
    __table_args__ = (one_of("channel", Channel), sa.UniqueConstraint("user_id", "event", "channel"))

    user_id: uuid.UUID = Field(foreign_key="users.id")
    event: str = Field(max_length=48)
    channel: str = Field(max_length=16)
    is_wanted: bool


class NoticeAddress(Row, table=True):
    """Where a person wants notices by e-mail."""

    __tablename__ = "notice_addresses"

    user_id: uuid.UUID = Field(foreign_key="users.id", unique=True)
    email: str = Field(max_length=254)


class Delivery(Row, table=True):
    """A happening on its way out: to one person by e-mail or to one webhook. Its id is what a receiver deduplicates by."""

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("channel", DeliveryChannel),
        one_of("state", DeliveryState),
        sa.UniqueConstraint("happening_id", "channel", "target"),
        sa.Index(
            "ix_deliveries_due",
            "next_at",
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        ),
    )

    happening_id: uuid.UUID = _below("happenings.id", index=False)
    channel: str = Field(max_length=16)
    target: str = Field(max_length=64)
    """A person's id, or the name of a webhook of the settings."""
    user_id: uuid.UUID | None = Field(default=None, foreign_key="users.id")
    state: str = Field(default=DeliveryState.WAITING.value, max_length=16)
    attempts: int = 0
    """How often it was begun; part of the workflow's id."""
    replayed_after: int = 0
    """How many tries there had been when it was last replayed by hand: waiting grows from there."""
    next_at: datetime
    """When a waiting one is taken up (again); while a try is under way, when it would be taken for lost."""
    give_up_at: datetime
    finished_at: datetime | None = None
    message: dict[str, Any] | None = json_field()
    """Why the last try failed, for people."""


class DeliveryAttempt(Row, table=True):
    """One try of a delivery: the log."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (sa.UniqueConstraint("delivery_id", "number"),)

    delivery_id: uuid.UUID = _below("deliveries.id", index=False)
    number: int
    is_sent: bool
    duration_ms: int
    status: str = Field(default="", max_length=16)
    """What the receiver answered with: an HTTP status or an SMTP code; empty where it did not answer."""
    message: dict[str, Any] | None = json_field()
