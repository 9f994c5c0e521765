"""Approval: the policies in force, the stages of a submission, who may decide them, and what was decided."""

import uuid
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.approval import Level, Mode, OnTimeout
from cloudmgr.domain.phases import Decision
from cloudmgr.models.base import Row, json_field, one_of


class ApprovalPolicy(Row, table=True):
    """审批办法: one version of the rules. A version is written once; another text needs another version."""

    __tablename__ = "approval_policies"

    version: str = Field(unique=True, max_length=64)
    title: str = Field(max_length=200)
    valid_from: date = Field(index=True)
    valid_until: date | None = None
    text: str
    """The file as it was loaded."""
    sha256: str = Field(max_length=64)
    loaded_by: str = Field(max_length=100)


class ApprovalStage(Row, table=True):
    """One stage a submission must pass. Its seats say who may decide; `role` and `organization_id` are its first seat's."""

    __tablename__ = "approval_stages"
    __table_args__ = (
        one_of("state", ("waiting", "open", *Decision, "cancelled")),
        one_of("mode", Mode),
        one_of("level", Level),
        one_of("on_timeout", OnTimeout),
        sa.UniqueConstraint("request_id", "submission", "position"),
        sa.Index("ix_approval_stages_state_due_at", "state", "due_at"),
    )

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    submission: int
    position: int
    name: str = Field(max_length=64)
    level: str = Field(default=Level.DISTRICT.value, max_length=16)
    mode: str = Field(default=Mode.ANY.value, max_length=8)
    """any: one seat decides; all: every seat must approve."""
    role: str | None = Field(default=None, max_length=32)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    state: str = Field(default="waiting", max_length=16)
    policy_version: str = Field(default="1", max_length=64)
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    sla_working_days: int | None = None
    """How many working days it may take; `due_at` is reckoned from it when the stage opens."""
    due_at: datetime | None = None
    escalate_after_working_days: int | None = None
    """How many working days after `due_at` it goes to the next level as well."""
    escalated_at: datetime | None = None
    on_timeout: str = Field(default=OnTimeout.NONE.value, max_length=16)


class ApprovalSeat(Row, table=True):
    """Who may decide a stage: whoever holds a role at an organization, or one named person.

    Escalation adds a seat with `stands_for_id`: its decision counts in place of that seat's.
    """

    __tablename__ = "approval_seats"
    __table_args__ = (
        sa.UniqueConstraint("stage_id", "position"),
        sa.CheckConstraint("(role IS NULL) <> (person_id IS NULL)", name="role_or_person"),
    )

    stage_id: uuid.UUID = Field(foreign_key="approval_stages.id")
    position: int
    role: str | None = Field(default=None, max_length=32, index=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    person_id: uuid.UUID | None = Field(default=None, foreign_key="users.id", index=True)
    stands_for_id: uuid.UUID | None = Field(default=None, foreign_key="approval_seats.id")


class Approval(Row, table=True):
    """One decision by one person. The database itself refuses a decision on one's own request: `requester_id` must be
    the request's (composite key) and must not be the decider nor whom the decider stands for (CHECK). It also refuses a
    second decision of one person in the same submission.
    """

    __tablename__ = "approvals"
    __table_args__ = (
        one_of("decision", Decision),
        sa.ForeignKeyConstraint(
            ["request_id", "requester_id"], ["resource_requests.id", "resource_requests.requester_id"]
        ),
        sa.CheckConstraint("decider_id <> requester_id", name="not_own_request"),
        sa.CheckConstraint(
            "on_behalf_of_id IS NULL OR (on_behalf_of_id <> requester_id AND on_behalf_of_id <> decider_id)",
            name="not_for_the_requester",
        ),
        sa.UniqueConstraint("request_id", "submission", "decider_id"),
        sa.UniqueConstraint("request_id", "submission", "on_behalf_of_id"),
        sa.UniqueConstraint("seat_id"),
    )

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    submission: int
    requester_id: uuid.UUID
    stage_id: uuid.UUID = Field(foreign_key="approval_stages.id", index=True)
    seat_id: uuid.UUID = Field(foreign_key="approval_seats.id")
    decider_id: uuid.UUID = Field(foreign_key="users.id")
    on_behalf_of_id: uuid.UUID | None = Field(default=None, foreign_key="users.id")
    """Whose deputy decided; none: the decider's own role."""
    decision: str = Field(max_length=16)
    comment: str = Field(default="", max_length=500)
    policy_version: str = Field(default="1", max_length=64)


class RequestChange(Row, table=True):
    """同意但调整: what an approver would approve instead, until the requester confirms or declines it."""

    __tablename__ = "request_changes"
    __table_args__ = (
        one_of("state", ("proposed", "confirmed", "declined", "dropped")),
        sa.Index(
            "uq_request_changes_one_proposed",
            "request_id",
            unique=True,
            sqlite_where=sa.text("state = 'proposed'"),
            postgresql_where=sa.text("state = 'proposed'"),
        ),
    )

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    submission: int
    stage_id: uuid.UUID = Field(foreign_key="approval_stages.id")
    seat_id: uuid.UUID = Field(foreign_key="approval_seats.id")
    proposer_id: uuid.UUID = Field(foreign_key="users.id")
    on_behalf_of_id: uuid.UUID | None = Field(default=None, foreign_key="users.id")
    state: str = Field(default="proposed", max_length=16)
    comment: str = Field(default="", max_length=500)
    before: dict[str, Any] = json_field(dict)
    after: dict[str, Any] = json_field(dict)
    answer: str = Field(default="", max_length=500)
    answered_at: datetime | None = None


class Deputy(Row, table=True):
    """代理: who decides for somebody who is away, from one day until another (both included, Asia/Shanghai)."""

    __tablename__ = "deputies"
    __table_args__ = (
        sa.CheckConstraint("absent_id <> deputy_id", name="another_person"),
        sa.CheckConstraint("valid_until >= valid_from", name="dates_in_order"),
    )

    absent_id: uuid.UUID = Field(foreign_key="users.id", index=True)
    deputy_id: uuid.UUID = Field(foreign_key="users.id", index=True)
    valid_from: date
    valid_until: date
    reason: str = Field(default="", max_length=500)
    named_by: str = Field(max_length=100)
    ended_at: datetime | None = None
    told_at: datetime | None = None
    """When the days had begun and the deputy was told of what waited already, if anything did."""
