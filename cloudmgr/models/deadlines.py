"""What was done about the time of a stage: reminders, marks of being overdue, escalation, timeouts, and being urged."""

import uuid

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.deadlines import MarkKind
from cloudmgr.models.base import Row, one_of


class StageMark(Row, table=True):
    """One deed of the clock at one stage; `created_at` is when. The same deed is never done twice: that is the unique key."""

    __tablename__ = "stage_marks"
    __table_args__ = (one_of("kind", MarkKind), sa.UniqueConstraint("stage_id", "kind", "key"))

    stage_id: uuid.UUID = Field(foreign_key="approval_stages.id")
    kind: str = Field(max_length=16)
    key: str = Field(default="", max_length=32)
    """Which of several: how many days before (reminder), or the day (urge)."""
