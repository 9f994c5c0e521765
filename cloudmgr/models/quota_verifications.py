"""Recounts of the quota ledger: asked for, and what came of each. A wrong number stays on record with its row."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.models.base import Row, json_field, one_of


class QuotaVerification(Row, table=True):
    """One recount. `finished_at` and the numbers are None until it is done."""

    __tablename__ = "quota_verifications"
    __table_args__ = (
        one_of("state", ("waiting", "done")),
        sa.CheckConstraint("(state = 'done') = (finished_at IS NOT NULL)", name="done_with_time"),
        sa.Index("ix_quota_verifications_finished_at", "finished_at"),
    )

    state: str = Field(default="waiting", max_length=16)
    period: str | None = Field(default=None, unique=True, max_length=32)
    """Which scheduled recount this is; None: somebody asked for it."""
    asked_by: str = Field(max_length=200)
    finished_at: datetime | None = None
    duration_ms: int | None = None
    accounts: int | None = None
    entries: int | None = Field(default=None, sa_type=sa.BigInteger)
    things: int | None = None
    """Servers, volumes, snapshots and public addresses whose share was compared with what they are."""
    mismatches: list[dict[str, Any]] = json_field(list)
    """The first of the wrong numbers; `mismatch_count` counts all."""
    mismatch_count: int | None = None
