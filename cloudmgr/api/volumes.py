"""Volumes and snapshots: list and read. Making and changing them is a request of kind `volume` or `snapshot`."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.domain.volumes import SnapshotPhase, VolumePhase
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import snapshots, volumes
from cloudmgr.services.snapshots import SnapshotRow
from cloudmgr.services.volumes import VolumeRow

router = api_router("", "volumes")


class VolumeShape(Shape):
    """云硬盘. `server` has it, or is just getting or losing it; `state` is what the cloud last said."""

    id: UUID
    name: str = Field(examples=["data01"])
    size_gib: int = Field(examples=[200])
    phase: str = Field(examples=["attached"])
    state: str = Field(examples=["attached"])
    project: UUID
    project_name: str
    organization: UUID
    organization_name: str
    server: UUID | None
    server_name: str | None
    zone: str | None
    backend: str | None
    request: UUID
    failure: dict[str, Any] | None
    created_at: At
    last_seen_at: datetime | None
    deleted_at: datetime | None


class SnapshotShape(Shape):
    """快照 of a server."""

    id: UUID
    name: str = Field(examples=["before-upgrade"])
    phase: str = Field(examples=["available"])
    server: UUID
    server_name: str
    project: UUID
    project_name: str
    organization: UUID
    organization_name: str
    backend: str | None
    request: UUID
    failure: dict[str, Any] | None
    created_at: At
    taken_at: datetime | None
    reverted_at: datetime | None
    deleted_at: datetime | None


@router.get(
    "/volumes", response_model=ItemPage[VolumeShape], openapi_extra=rule(Action.SERVER_READ, object_type="volume")
)
def list_volumes(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    http: Request,
    phase: Annotated[
        list[VolumePhase] | None, Query(description="One or more phases; none leaves out the deleted.")
    ] = None,
    project: UUID | None = None,
    server: UUID | None = None,
) -> ItemPage[VolumeShape]:
    """List the volumes you may read, newest first."""
    rows, following = volumes.list_volumes(
        session,
        actor,
        phases=phase or (),
        project_id=project,
        server_id=server,
        limit=page.limit,
        cursor=page.cursor,
    )
    translate = translator(language_of(http))
    return ItemPage(items=[_volume(row, translate) for row in rows], next_cursor=encode_cursor(following))


@router.get(
    "/volumes/{volume_id}", response_model=VolumeShape, openapi_extra=rule(Action.SERVER_READ, object_type="volume")
)
def read_volume(volume_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> VolumeShape:
    """Tell everything about one volume."""
    return _volume(volumes.get_volume(session, actor, volume_id), translator(language_of(http)))


@router.get(
    "/snapshots", response_model=ItemPage[SnapshotShape], openapi_extra=rule(Action.SERVER_READ, object_type="snapshot")
)
def list_snapshots(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    http: Request,
    phase: Annotated[
        list[SnapshotPhase] | None, Query(description="One or more phases; none leaves out the deleted.")
    ] = None,
    project: UUID | None = None,
    server: UUID | None = None,
) -> ItemPage[SnapshotShape]:
    """List the snapshots you may read, newest first."""
    rows, following = snapshots.list_snapshots(
        session,
        actor,
        phases=phase or (),
        project_id=project,
        server_id=server,
        limit=page.limit,
        cursor=page.cursor,
    )
    translate = translator(language_of(http))
    return ItemPage(items=[_snapshot(row, translate) for row in rows], next_cursor=encode_cursor(following))


def _volume(row: VolumeRow, translate: Translator) -> VolumeShape:
    volume, project, organization, server, zone, backend = row
    return VolumeShape(
        id=volume.id,
        name=volume.name,
        size_gib=volume.size_gib,
        phase=volume.phase,
        state=volume.state,
        project=project.id,
        project_name=project.name,
        organization=organization.id,
        organization_name=organization.name,
        server=server.id if server else None,
        server_name=server.name if server else None,
        zone=zone.name if zone else None,
        backend=backend.name if backend else None,
        request=volume.request_id,
        failure=_failure(volume.failure, translate),
        created_at=volume.created_at,
        last_seen_at=volume.last_seen_at,
        deleted_at=volume.deleted_at,
    )


def _snapshot(row: SnapshotRow, translate: Translator) -> SnapshotShape:
    snapshot, project, organization, server, backend = row
    return SnapshotShape(
        id=snapshot.id,
        name=snapshot.name,
        phase=snapshot.phase,
        server=server.id,
        server_name=server.name,
        project=project.id,
        project_name=project.name,
        organization=organization.id,
        organization_name=organization.name,
        backend=backend.name if backend else None,
        request=snapshot.request_id,
        failure=_failure(snapshot.failure, translate),
        created_at=snapshot.created_at,
        taken_at=snapshot.taken_at,
        reverted_at=snapshot.reverted_at,
        deleted_at=snapshot.deleted_at,
    )


def _failure(failure: dict[str, Any] | None, translate: Translator) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"code": failure["code"], "message": Message.from_json(failure["message"]).render(translate)}
