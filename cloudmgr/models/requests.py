"""Requests, their progress, and their numbers. What is decided on them is in `approvals`."""

import uuid
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.phases import Environment, RequestKind, RequestPhase
from cloudmgr.models.base import Row, Table, json_field, made_at, one_of


class ResourceRequest(Row, table=True):
    """申请单: what somebody asked for. `body` is the request as sent; the columns are what queries need."""

    __tablename__ = "resource_requests"
    __table_args__ = (
        one_of("kind", RequestKind),
        one_of("phase", RequestPhase),
        one_of("env", Environment),
        # Target of approvals' composite key: the requester an approval names is the request's own.
        sa.UniqueConstraint("id", "requester_id"),
        sa.CheckConstraint("number IS NOT NULL OR phase IN ('draft', 'withdrawn')", name="number_once_submitted"),
        sa.CheckConstraint(
            "CASE WHEN kind = 'quota_change' THEN account_id IS NOT NULL ELSE project_id IS NOT NULL END",
            name="about_something",
        ),
    )

    kind: str = Field(max_length=16)
    number: str | None = Field(default=None, unique=True, max_length=32)
    project_id: uuid.UUID | None = Field(default=None, foreign_key="projects.id", index=True)
    """None: it is about a quota account that is an organization's own."""
    account_id: uuid.UUID | None = Field(default=None, foreign_key="quota_accounts.id", index=True)
    """The quota account whose limits it asks to change."""
    after_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id", index=True)
    """A draft that waits: it is submitted by itself when this quota change is granted."""
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    requester_id: uuid.UUID = Field(foreign_key="users.id", index=True)
    phase: str = Field(default=RequestPhase.DRAFT.value, max_length=32, index=True)
    purpose: str = Field(max_length=2000)
    env: str = Field(default=Environment.PRD.value, max_length=8)
    network_zone: str | None = Field(default=None, max_length=64)
    lease_end: date | None = None
    lease_long_term: bool = False
    lease_reason: str = Field(default="", max_length=500)
    owner_name: str = Field(default="", max_length=64)
    owner_phone: str = Field(default="", max_length=32)
    ssh_keys: list[str] = json_field(list)
    body: dict[str, Any] = json_field(dict)
    refusal: dict[str, Any] | None = json_field()
    submission: int = 0
    """How often it was submitted; the reservation of each submission has its own id."""
    revision: int = 0
    """How often the present submission was changed under review, with the requester's consent."""
    attempt: int = 0
    """How often fulfilment was begun; part of the workflow's id."""
    is_emergency: bool = False
    """应急: worked off first, approved afterwards."""
    submitted_at: datetime | None = None
    decided_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime = made_at()


class RequestEvent(Table, table=True):
    """Progress of a request, for people: a translatable message, or one task of a playbook. `id` orders the stream."""

    __tablename__ = "request_events"
    __table_args__ = (sa.UniqueConstraint("request_id", "dedupe"), {"sqlite_autoincrement": True})

    id: int | None = Field(
        default=None, sa_column=sa.Column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)
    )
    at: datetime = made_at()
    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    server_id: uuid.UUID | None = None
    kind: str = Field(max_length=32)
    """phase, step, task, warning"""
    message: dict[str, Any] = json_field(dict)
    data: dict[str, Any] = json_field(dict)
    dedupe: str = Field(max_length=200)
    """The same thing told twice is one row."""


class NumberSequence(Table, table=True):
    """The last number given out for a prefix on a day; taken by a conditional update."""

    __tablename__ = "number_sequences"

    prefix: str = Field(primary_key=True, max_length=64)
    day: str = Field(primary_key=True, max_length=8)
    last: int = 0
