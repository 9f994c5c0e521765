"""Volumes 云硬盘 and snapshots 快照 for their lists, for a server's page and for the forms that ask for them."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from cloudmgr.services.snapshots import SnapshotRow
from cloudmgr.services.volumes import VolumeRow
from web import formats
from web.presenters import words as phrases
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class VolumeLine:
    """One volume. `server`: who has it, empty when nobody does."""

    id: uuid.UUID
    name: str
    size: str
    phase: str
    project: str
    organization: str
    server_id: uuid.UUID | None
    server: str
    zone: str
    backend: str
    last_seen_at: datetime | None
    failure: str


@dataclass(frozen=True, slots=True)
class SnapshotLine:
    """One snapshot of a server."""

    id: uuid.UUID
    name: str
    phase: str
    taken_at: datetime | None
    reverted_at: datetime | None
    failure: str


def volume(words: Words, row: VolumeRow) -> VolumeLine:
    """Arrange one volume."""
    each, project, organization, server, zone, backend = row
    return VolumeLine(
        id=each.id,
        name=each.name,
        size=formats.amount(each.size_gib, "disk_gib"),
        phase=each.phase,
        project=project.name,
        organization=organization.name,
        server_id=server.id if server else None,
        server=server.name if server else "",
        zone=(zone.title or zone.name) if zone else "",
        backend=(backend.title or backend.name) if backend else "",
        last_seen_at=each.last_seen_at,
        failure=phrases.failure(words, each.failure),
    )


def snapshot(words: Words, row: SnapshotRow) -> SnapshotLine:
    """Arrange one snapshot."""
    each = row[0]
    return SnapshotLine(
        id=each.id,
        name=each.name,
        phase=each.phase,
        taken_at=each.taken_at,
        reverted_at=each.reverted_at,
        failure=phrases.failure(words, each.failure),
    )
