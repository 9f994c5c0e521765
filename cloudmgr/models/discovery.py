"""What backends were seen to hold: servers, images and addresses, ours or not; each look; and what does not agree with us."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.findings import FindingKind, FindingState, SyncKind, SyncOutcome
from cloudmgr.models.base import Row, json_field, one_of


class ObservedServer(Row, table=True):
    """The last that was seen of one server at one backend. A server that is no longer listed keeps its row."""

    __tablename__ = "observed_servers"
    __table_args__ = (sa.UniqueConstraint("backend_id", "ref"),)

    backend_id: uuid.UUID = Field(foreign_key="backends.id")
    ref: str = Field(max_length=300)
    server_id: uuid.UUID | None = Field(default=None, foreign_key="servers.id", index=True)
    """The server of ours that it is; None: not ours."""
    token: uuid.UUID | None = None
    native_uuid: str | None = Field(default=None, max_length=64, index=True)
    name: str = Field(max_length=300)
    power: str = Field(max_length=16)
    native_state: str = Field(max_length=200)
    arch: str | None = Field(default=None, max_length=16)
    vcpus: int | None = None
    memory_mib: int | None = None
    system_disk_gib: int | None = None
    data_disk_gib: int | None = None
    zone_ref: str | None = Field(default=None, max_length=200)
    host: str | None = Field(default=None, max_length=200)
    image: str | None = Field(default=None, max_length=300)
    networks: list[str] | None = json_field()
    ipv4: list[str] = json_field(list)
    ipv6: list[str] = json_field(list)
    first_seen_at: datetime
    last_seen_at: datetime
    changed_at: datetime
    missing_since: datetime | None = None
    """When a complete list first came without it."""
    digest: str = Field(default="", max_length=32)
    """Of what was seen: an unchanged server is not written again."""
    baseline: dict[str, Any] | None = json_field()
    """What the backend showed when it was first seen as ours: name, image, networks, power, addresses."""


class ObservedImage(Row, table=True):
    """A template as a backend lists it; one that does not say its architecture is listed and never used."""

    __tablename__ = "observed_images"
    __table_args__ = (sa.UniqueConstraint("backend_id", "ref"),)

    backend_id: uuid.UUID = Field(foreign_key="backends.id")
    ref: str = Field(max_length=300)
    name: str = Field(max_length=300)
    arch: str | None = Field(default=None, max_length=16)
    min_disk_gib: int = 0
    digest: str | None = Field(default=None, max_length=128)
    last_seen_at: datetime


class ObservedAddress(Row, table=True):
    """An address that a backend reports as in use. `key` is the address as 32 hexadecimal digits, for comparing."""

    __tablename__ = "observed_addresses"
    __table_args__ = (
        sa.UniqueConstraint("backend_id", "network_ref", "key"),
        sa.Index("ix_observed_addresses_key", "key"),
    )

    backend_id: uuid.UUID = Field(foreign_key="backends.id")
    network_ref: str = Field(max_length=200)
    address: str = Field(max_length=45)
    key: str = Field(max_length=32)
    server_ref: str | None = Field(default=None, max_length=300)
    mac: str | None = Field(default=None, max_length=32)
    owner: str = Field(default="", max_length=200)
    last_seen_at: datetime


class SyncRun(Row, table=True):
    """One look at a backend: what was asked, how it ended, what changed."""

    __tablename__ = "sync_runs"
    __table_args__ = (
        one_of("kind", SyncKind),
        one_of("outcome", SyncOutcome),
        sa.Index("ix_sync_runs_backend_started", "backend_id", "started_at"),
    )

    backend_id: uuid.UUID = Field(foreign_key="backends.id")
    kind: str = Field(max_length=16)
    outcome: str = Field(max_length=16)
    message: dict[str, Any] | None = json_field()
    servers: int = 0
    changed: int = 0
    missing: int = 0
    duration_ms: int = 0
    started_at: datetime
    finished_at: datetime


class Finding(Row, table=True):
    """Something at a backend that does not agree with what we hold, until somebody or something settles it.

    Drift has one row a field (`held` is ours, `observed` the backend's); a settled row stays, which makes the history.
    """

    __tablename__ = "findings"
    __table_args__ = (
        one_of("kind", FindingKind),
        one_of("state", FindingState),
        sa.Index(
            "uq_findings_open",
            "backend_id",
            "kind",
            "ref",
            "field",
            unique=True,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
    )

    kind: str = Field(max_length=24, index=True)
    state: str = Field(default=FindingState.OPEN.value, max_length=16, index=True)
    backend_id: uuid.UUID = Field(foreign_key="backends.id")
    server_id: uuid.UUID | None = Field(default=None, foreign_key="servers.id", index=True)
    ref: str = Field(max_length=300)
    field: str = Field(default="", max_length=32)
    name: str = Field(default="", max_length=300)
    held: dict[str, Any] | None = json_field()
    observed: dict[str, Any] | None = json_field()
    message: dict[str, Any] | None = json_field()
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None = None
    decided_by: str | None = Field(default=None, max_length=100)
    reason: str = Field(default="", max_length=500)
