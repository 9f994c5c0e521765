"""Volumes 云硬盘 and snapshots 快照 of servers."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.volumes import SnapshotPhase, VolumePhase
from cloudmgr.models.base import Row, json_field, made_at, one_of


class Volume(Row, table=True):
    """云硬盘. `id` is also the token the backend knows it by, and its part of the quota reservation."""

    __tablename__ = "volumes"
    __table_args__ = (one_of("phase", VolumePhase), sa.CheckConstraint("size_gib > 0", name="size_positive"))

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    change_request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id", index=True)
    """The last request to attach or detach it."""
    delete_request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id", index=True)
    reservation_id: uuid.UUID
    project_id: uuid.UUID = Field(foreign_key="projects.id", index=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    server_id: uuid.UUID | None = Field(default=None, foreign_key="servers.id", index=True)
    """The server that has it, or is to have it."""
    backend_id: uuid.UUID | None = Field(default=None, foreign_key="backends.id", index=True)
    zone_id: uuid.UUID | None = Field(default=None, foreign_key="zones.id", index=True)
    name: str = Field(max_length=63)
    size_gib: int
    phase: str = Field(default=VolumePhase.REQUESTED.value, max_length=16, index=True)
    state: str = Field(default="unknown", max_length=16)
    native_ref: str | None = Field(default=None, max_length=300)
    failure: dict[str, Any] | None = json_field()
    attempt: int = 1
    last_seen_at: datetime | None = None
    deleted_at: datetime | None = None
    updated_at: datetime = made_at()


class Snapshot(Row, table=True):
    """快照 of a server. Its name at the backend is its id, so that a snapshot asked for twice is one."""

    __tablename__ = "snapshots"
    __table_args__ = (one_of("phase", SnapshotPhase),)

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    delete_request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id", index=True)
    reservation_id: uuid.UUID
    project_id: uuid.UUID = Field(foreign_key="projects.id", index=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    server_id: uuid.UUID = Field(foreign_key="servers.id", index=True)
    name: str = Field(max_length=63)
    phase: str = Field(default=SnapshotPhase.REQUESTED.value, max_length=16, index=True)
    native_ref: str | None = Field(default=None, max_length=300)
    failure: dict[str, Any] | None = json_field()
    attempt: int = 1
    taken_at: datetime | None = None
    reverted_at: datetime | None = None
    deleted_at: datetime | None = None
