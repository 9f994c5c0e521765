"""Servers, their history and the playbooks run on them."""

import uuid
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.findings import ResourceType, ServerSource
from cloudmgr.domain.phases import Environment, PurposeKind, ServerPhase, Spread
from cloudmgr.domain.server_changes import FrozenBy
from cloudmgr.models.base import Row, Table, json_field, made_at, one_of


class Server(Row, table=True):
    """云主机. `id` is also the token the backend knows it by, made before anything is built."""

    __tablename__ = "servers"
    __table_args__ = (
        one_of("phase", ServerPhase),
        one_of("arch", Architecture),
        one_of("cpu_family", CpuFamily),
        one_of("env", Environment),
        one_of("purpose_kind", PurposeKind),
        one_of("spread", Spread),
        one_of("source", ServerSource),
        one_of("resource_type", ResourceType),
        one_of("frozen_by", FrozenBy),
        sa.CheckConstraint(
            "source <> 'built' OR (flavor_id IS NOT NULL AND image_id IS NOT NULL)", name="built_from_something"
        ),
        sa.Index(
            "uq_servers_live_name",
            "project_id",
            "name",
            unique=True,
            sqlite_where=sa.text("phase <> 'retired'"),
            postgresql_where=sa.text("phase <> 'retired'"),
        ),
    )

    resource_no: str | None = Field(default=None, unique=True, max_length=64)
    """资源编号, given at approval and never used again."""
    project_id: uuid.UUID = Field(foreign_key="projects.id", index=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    retire_request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id", index=True)
    reservation_id: uuid.UUID
    """The quota reservation whose part (by server id) this server is."""
    name: str = Field(max_length=63)
    phase: str = Field(default=ServerPhase.REQUESTED.value, max_length=16, index=True)
    state: str = Field(default="unknown", max_length=16)
    arch: str = Field(max_length=16)
    source: str = Field(default=ServerSource.BUILT.value, max_length=16)
    flavor_id: uuid.UUID | None = Field(default=None, foreign_key="flavors.id")
    image_id: uuid.UUID | None = Field(default=None, foreign_key="images.id")
    vcpus: int
    memory_mib: int
    system_disk_gib: int
    data_disk_gib: int = 0
    network_zone: str = Field(foreign_key="network_zones.name", max_length=64)
    env: str = Field(default=Environment.PRD.value, max_length=8)
    purpose_kind: str = Field(default=PurposeKind.OTHER.value, max_length=8)
    spread: str = Field(default=Spread.HOST.value, max_length=8)
    wanted_backend_id: uuid.UUID | None = Field(default=None, foreign_key="backends.id")
    playbook: str = Field(max_length=64)
    variables: dict[str, Any] = json_field(dict)
    ssh_keys: list[str] = json_field(list)
    owner_name: str = Field(default="", max_length=64)
    owner_phone: str = Field(default="", max_length=32)
    lease_start: date | None = None
    lease_end: date | None = None
    lease_long_term: bool = False
    zone_id: uuid.UUID | None = Field(default=None, foreign_key="zones.id", index=True)
    backend_id: uuid.UUID | None = Field(default=None, foreign_key="backends.id", index=True)
    image_ref: str | None = Field(default=None, max_length=300)
    image_digest: str | None = Field(default=None, max_length=128)
    network_ref: str | None = Field(default=None, max_length=200)
    wanted_addresses: dict[str, str] = json_field(dict)
    """Addresses asked for by family: {"ipv4": "198.51.100.7"}; a family that is not named is chosen automatically."""
    native_ref: str | None = Field(default=None, max_length=300)
    host: str | None = Field(default=None, max_length=200)
    cpu_family: str = Field(default=CpuFamily.UNKNOWN.value, max_length=16)
    cpu_model: str = Field(default="unknown", max_length=100)
    is_xinchuang: bool | None = None
    ipv4: list[str] = json_field(list)
    ipv6: list[str] = json_field(list)
    guest: dict[str, Any] = json_field(dict)
    """What the playbook reported of the guest: os, kernel, arch, python."""
    rehearsed: bool = False
    """True where the playbook was a rehearsal (模拟执行): nothing was configured."""
    tried_zones: list[str] = json_field(list)
    failed_step: str | None = Field(default=None, max_length=32)
    failure: dict[str, Any] | None = json_field()
    attempt: int = 1
    action_attempt: int = 0
    """How often a power action was asked; part of the workflow's id."""
    built_at: datetime | None = None
    activated_at: datetime | None = None
    released_at: datetime | None = None
    last_seen_at: datetime | None = None
    intended_power: str | None = Field(default=None, max_length=16)
    """What we last asked its power to be, since when: a state of our own doing is no drift. None: never asked."""
    intended_since: datetime | None = None
    frozen_by: str | None = Field(default=None, max_length=16)
    """Why it is frozen, while it is: by a request, or by the end of its lease."""
    frozen_at: datetime | None = None
    resizing_since: datetime | None = None
    """A change of its size is under way since then: a size or power of our own doing is no drift."""
    resized_at: datetime | None = None
    """When its size was last settled: what was read before may show the old one."""
    last_confirmed_at: datetime | None = None
    """When a person last said that a server kept by hand is as written; apart from what a backend reports."""
    resource_type: str = Field(default=ResourceType.VM.value, max_length=16)
    counts_quota: bool = True
    """False: kept by hand and chosen not to count; its part of the reservation holds nothing."""
    stated: dict[str, Any] = json_field(dict)
    """What a person said of a server that no image or backend tells: os_name, os_version, platform, datacenter, remark."""
    updated_at: datetime = made_at()


class ServerVersion(Table, table=True):
    """One row for each change of what the inventory shows of a server. Append-only."""

    __tablename__ = "server_versions"
    __table_args__ = (sa.Index("ix_server_versions_server_at", "server_id", "at"), {"sqlite_autoincrement": True})

    id: int | None = Field(
        default=None, sa_column=sa.Column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)
    )
    server_id: uuid.UUID = Field(foreign_key="servers.id")
    at: datetime = made_at()
    actor: str = Field(max_length=100)
    change: str = Field(max_length=64)
    snapshot: dict[str, Any] = json_field(dict)


class PlaybookRun(Row, table=True):
    """One run of a playbook over some servers."""

    __tablename__ = "playbook_runs"
    __table_args__ = (one_of("state", ("queued", "running", "succeeded", "failed", "cancelled", "timed_out")),)

    request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id", index=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    playbook: str = Field(max_length=64)
    digest: str = Field(max_length=64)
    variables: dict[str, Any] = json_field(dict)
    rehearsed: bool = False
    state: str = Field(default="queued", max_length=16)
    reason: dict[str, Any] | None = json_field()
    started_by: str = Field(max_length=100)
    cancel_asked: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None


class PlaybookRunServer(Row, table=True):
    """What a run did on one server."""

    __tablename__ = "playbook_run_servers"
    __table_args__ = (sa.UniqueConstraint("run_id", "server_id"),)

    run_id: uuid.UUID = Field(foreign_key="playbook_runs.id", index=True)
    server_id: uuid.UUID = Field(foreign_key="servers.id", index=True)
    state: str = Field(default="queued", max_length=16)
    changed: int = 0
    failed: int = 0
    ok: int = 0
    reason: dict[str, Any] | None = json_field()


class PlaybookEvent(Table, table=True):
    """One task of a run on one server, scrubbed of secrets."""

    __tablename__ = "playbook_events"

    run_id: uuid.UUID = Field(primary_key=True, foreign_key="playbook_runs.id")
    seq: int = Field(primary_key=True)
    at: datetime
    server_id: uuid.UUID | None = None
    role: str = Field(default="", max_length=100)
    task: str = Field(max_length=300)
    state: str = Field(max_length=16)
    message: str = ""
