"""Reading and writing volumes and snapshots."""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.phases import RequestPhase
from cloudmgr.domain.volumes import SnapshotPhase, VolumePhase
from cloudmgr.models import Backend, Organization, Project, ResourceRequest, Server, Snapshot, Volume, Zone
from cloudmgr.store import paging

VolumeRow = tuple[Volume, Project, Organization, Server | None, Zone | None, Backend | None]
SnapshotRow = tuple[Snapshot, Project, Organization, Server, Backend | None]

_AT_A_SERVER = tuple(
    phase.value for phase in (VolumePhase.ATTACHING, VolumePhase.ATTACHED, VolumePhase.DETACHING, VolumePhase.DELETING)
)


def get(session: Session, volume_id: uuid.UUID, *, lock: bool = False) -> Volume | None:
    """Return one volume; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(Volume).where(Volume.id == volume_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def get_snapshot(session: Session, snapshot_id: uuid.UUID, *, lock: bool = False) -> Snapshot | None:
    """Return one snapshot; `lock` as in `get`."""
    query = select(Snapshot).where(Snapshot.id == snapshot_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def of_request(session: Session, request_id: uuid.UUID) -> list[Volume]:
    """Return the volumes a request asked to make, by name."""
    return list(session.exec(select(Volume).where(Volume.request_id == request_id).order_by(col(Volume.name))))


def of_servers(session: Session, server_ids: Sequence[uuid.UUID]) -> list[Volume]:
    """Return the volumes that servers have, or are just getting or losing, by name."""
    return [
        volume
        for ids in paging.batched(server_ids)
        for volume in session.exec(
            select(Volume)
            .where(col(Volume.server_id).in_(ids), col(Volume.phase).in_(_AT_A_SERVER))
            .order_by(col(Volume.name))
        )
    ]


def taken_names(session: Session, project_id: uuid.UUID, names: Sequence[str]) -> list[str]:
    """Return which of `names` a volume of the project already has."""
    return list(
        session.exec(
            select(Volume.name).where(
                Volume.project_id == project_id, col(Volume.name).in_(names), Volume.phase != VolumePhase.DELETED.value
            )
        )
    )


def remove_of_request(session: Session, request_id: uuid.UUID) -> None:
    """Remove the rows of volumes that were asked for and never begun."""
    session.execute(
        sa.delete(Volume)
        .where(col(Volume.request_id) == request_id, col(Volume.phase) == VolumePhase.REQUESTED.value)
        .execution_options(synchronize_session=False)
    )


def keep_after_all(session: Session, request_id: uuid.UUID) -> None:
    """Let go of volumes and snapshots that a request was to change and did not."""
    session.execute(
        sa.update(Volume)
        .where(col(Volume.change_request_id) == request_id)
        .values(change_request_id=None)
        .execution_options(synchronize_session=False)
    )
    for table in (Volume, Snapshot):
        session.execute(
            sa.update(table)
            .where(col(table.delete_request_id) == request_id)
            .values(delete_request_id=None)
            .execution_options(synchronize_session=False)
        )


def page(
    session: Session,
    *,
    paths: Sequence[str],
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    server_id: uuid.UUID | None = None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[VolumeRow], uuid.UUID | None]:
    """Return volumes of the subtrees at `paths`, newest first, and where the next page begins; without phases, not the deleted."""
    query = _wide().where(paging.below(Organization.path, paths))
    if phases:
        query = query.where(col(Volume.phase).in_(phases))
    else:
        query = query.where(col(Volume.phase) != VolumePhase.DELETED.value)
    if project_id:
        query = query.where(col(Volume.project_id) == project_id)
    if server_id:
        query = query.where(col(Volume.server_id) == server_id)
    rows, following = paging.newest_first(session, query, Volume.id, limit=limit, cursor=cursor)
    return [tuple(row) for row in rows], following


def wide(session: Session, volume_id: uuid.UUID) -> VolumeRow | None:
    """Return a volume with everything its page names."""
    row = session.execute(_wide().where(col(Volume.id) == volume_id)).first()
    return tuple(row) if row else None


def _wide() -> Any:
    return (
        sa.select(Volume, Project, Organization, Server, Zone, Backend)
        .join(Project, col(Volume.project_id) == col(Project.id))
        .join(Organization, col(Volume.organization_id) == col(Organization.id))
        .join(Server, col(Volume.server_id) == col(Server.id), isouter=True)
        .join(Zone, col(Volume.zone_id) == col(Zone.id), isouter=True)
        .join(Backend, col(Volume.backend_id) == col(Backend.id), isouter=True)
    )


def snapshots_of_request(session: Session, request_id: uuid.UUID) -> list[Snapshot]:
    """Return the snapshots a request asked to take, by name."""
    return list(session.exec(select(Snapshot).where(Snapshot.request_id == request_id).order_by(col(Snapshot.name))))


def snapshots_of_server(session: Session, server_id: uuid.UUID) -> list[Snapshot]:
    """Return the snapshots of a server that are not deleted, oldest first."""
    return list(
        session.exec(
            select(Snapshot)
            .where(Snapshot.server_id == server_id, Snapshot.phase != SnapshotPhase.DELETED.value)
            .order_by(col(Snapshot.created_at))
        )
    )


def remove_snapshots_of_request(session: Session, request_id: uuid.UUID) -> None:
    """Remove the rows of snapshots that were asked for and never begun."""
    session.execute(
        sa.delete(Snapshot)
        .where(col(Snapshot.request_id) == request_id, col(Snapshot.phase) == SnapshotPhase.REQUESTED.value)
        .execution_options(synchronize_session=False)
    )


def page_snapshots(
    session: Session,
    *,
    paths: Sequence[str],
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    server_id: uuid.UUID | None = None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[SnapshotRow], uuid.UUID | None]:
    """Return snapshots of the subtrees at `paths`, newest first, and where the next page begins; without phases, not the deleted."""
    query = (
        sa.select(Snapshot, Project, Organization, Server, Backend)
        .join(Project, col(Snapshot.project_id) == col(Project.id))
        .join(Organization, col(Snapshot.organization_id) == col(Organization.id))
        .join(Server, col(Snapshot.server_id) == col(Server.id))
        .join(Backend, col(Server.backend_id) == col(Backend.id), isouter=True)
        .where(paging.below(Organization.path, paths))
    )
    if phases:
        query = query.where(col(Snapshot.phase).in_(phases))
    else:
        query = query.where(col(Snapshot.phase) != SnapshotPhase.DELETED.value)
    if project_id:
        query = query.where(col(Snapshot.project_id) == project_id)
    if server_id:
        query = query.where(col(Snapshot.server_id) == server_id)
    rows, following = paging.newest_first(session, query, Snapshot.id, limit=limit, cursor=cursor)
    return [tuple(row) for row in rows], following


def is_being_changed(session: Session, volume: Volume) -> bool:
    """Whether a request that is not over is about a volume."""
    under_way = (RequestPhase.IN_REVIEW, RequestPhase.APPROVED, RequestPhase.FULFILLING)
    named = [id_ for id_ in (volume.change_request_id, volume.delete_request_id) if id_ is not None]
    found = session.exec(
        select(ResourceRequest.id).where(
            col(ResourceRequest.id).in_(named), col(ResourceRequest.phase).in_([phase.value for phase in under_way])
        )
    )
    return found.first() is not None
