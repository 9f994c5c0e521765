"""Records: audit events, exports, workers, facts about the installation."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.ids import new_id
from cloudmgr.models.base import Row, Table, factory, json_field, made_at, one_of


class AuditEvent(Table, table=True):
    """Who did what, on what, with which outcome, when and from where. Append-only; `seq` orders, whatever the clock says."""

    __tablename__ = "audit_events"
    __table_args__ = (
        one_of("event", Event),
        one_of("outcome", Outcome),
        sa.Index("ix_audit_events_object", "object_type", "object_id"),
        sa.Index("ix_audit_events_at", "at"),
        {"sqlite_autoincrement": True},
    )

    seq: int | None = Field(
        default=None, sa_column=sa.Column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)
    )
    id: uuid.UUID = Field(default_factory=factory(new_id), unique=True)
    at: datetime = made_at()
    actor_id: uuid.UUID | None = Field(default=None, index=True)
    actor: str = Field(max_length=100)
    roles: list[str] = json_field(list)
    organization_path: str = Field(default="/", max_length=2000)
    """Where the object belongs: who may read this record follows from it."""
    source: str = Field(default="", max_length=64)
    session_id: uuid.UUID | None = None
    request_id: str = Field(default="", max_length=64)
    event: str = Field(max_length=32, index=True)
    object_type: str = Field(max_length=32)
    object_id: str = Field(default="", max_length=64)
    object_name: str = Field(default="", max_length=200)
    outcome: str = Field(max_length=16)
    reason: str = Field(default="", max_length=500)
    """Code of the refusal or failure, empty on success."""
    detail: dict[str, Any] = json_field(dict)


class Export(Row, table=True):
    """One export of a ledger: who, when, what was filtered, how many rows, and the digest of the bytes sent."""

    __tablename__ = "exports"
    __table_args__ = (one_of("state", ("running", "done", "broken")),)

    ledger: str = Field(max_length=32)
    format: str = Field(max_length=16)
    view: str = Field(max_length=16)
    encoding: str = Field(default="utf-8", max_length=16)
    filters: dict[str, Any] = json_field(dict)
    reveal_reason: str = Field(default="", max_length=500)
    actor_id: uuid.UUID | None = None
    actor: str = Field(max_length=100)
    organization_path: str = Field(default="/", max_length=2000)
    state: str = Field(default="running", max_length=16)
    rows: int | None = None
    size_bytes: int | None = None
    sha256: str | None = Field(default=None, max_length=64, index=True)
    finished_at: datetime | None = None


class Worker(Table, table=True):
    """A worker process that was alive at `last_seen_at`."""

    __tablename__ = "workers"

    executor_id: str = Field(primary_key=True, max_length=100)
    version: str = Field(max_length=32)
    host: str = Field(max_length=200)
    started_at: datetime = made_at()
    last_seen_at: datetime = made_at()
    is_draining: bool = False


class Fact(Table, table=True):
    """A fact about this installation: seed done, paused after restore, instance id."""

    __tablename__ = "facts"

    name: str = Field(primary_key=True, max_length=64)
    value: dict[str, Any] = json_field(dict)
    updated_at: datetime = made_at()
