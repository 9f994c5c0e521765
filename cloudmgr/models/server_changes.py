"""Changes of servers that stand (变更、续期、冻结、解冻), and what was told of their leases."""

import uuid
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.server_changes import ChangeKind, ChangeState
from cloudmgr.models.base import Row, json_field, made_at, one_of


class ServerChange(Row, table=True):
    """One change of one server: by request, or (without one) by the end of its lease."""

    __tablename__ = "server_changes"
    __table_args__ = (
        one_of("kind", ChangeKind),
        one_of("state", ChangeState),
        sa.Index(
            "uq_server_changes_open",
            "server_id",
            unique=True,
            sqlite_where=sa.text("state IN ('asked', 'doing') AND request_id IS NOT NULL"),
            postgresql_where=sa.text("state IN ('asked', 'doing') AND request_id IS NOT NULL"),
        ),
        sa.Index(
            "uq_server_changes_lease",
            "server_id",
            unique=True,
            sqlite_where=sa.text("state IN ('asked', 'doing') AND request_id IS NULL"),
            postgresql_where=sa.text("state IN ('asked', 'doing') AND request_id IS NULL"),
        ),
    )

    server_id: uuid.UUID = Field(foreign_key="servers.id", index=True)
    request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id", index=True)
    kind: str = Field(max_length=16)
    state: str = Field(default=ChangeState.ASKED.value, max_length=16, index=True)
    reservation_id: uuid.UUID | None = None
    """Holds what the server grows by, as a part with the server's id, until the server holds it itself."""
    wanted: dict[str, Any] = json_field(dict)
    """What the server is to be: vcpus, memory_mib, flavor; or lease_end, lease_long_term."""
    before: dict[str, Any] = json_field(dict)
    """What it was when the change began, by the same names."""
    failure: dict[str, Any] | None = json_field()
    attempt: int = 1
    begun_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime = made_at()


class LeaseReminder(Row, table=True):
    """One thing told of one lease: so many days before its end (0: it is over; of a long-term lease, its yearly review)."""

    __tablename__ = "lease_reminders"
    __table_args__ = (sa.UniqueConstraint("server_id", "lease_end", "days"),)

    server_id: uuid.UUID = Field(foreign_key="servers.id", index=True)
    lease_end: date
    days: int
