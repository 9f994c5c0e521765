"""云硬盘: volumes to make, attach, detach and delete. What they cost is held when they are asked for."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

import quotas
from cloudmgr.domain import naming
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, Unsupported
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.volumes import VolumePhase
from cloudmgr.models import Backend, Organization, Project, ResourceRequest, Server, Volume, Zone
from cloudmgr.services import resolution, volumes
from cloudmgr.services.request_inputs import NewVolume, VolumeRequest
from cloudmgr.services.request_kinds.base import (
    Kind,
    Plan,
    project_of,
    quota_refusals,
    reservation_id,
    retry_reservation_id,
    summed,
)
from cloudmgr.services.resolution import Resolved, standing_server
from cloudmgr.store import placement, requests, servers
from cloudmgr.store import volumes as store

CAPABILITY = "volumes"


@dataclass(frozen=True, slots=True)
class ResolvedVolume(Resolved):
    """A request for volumes whose every name was found; `create` are rows not yet written."""

    create: list[Volume]
    attach: list[tuple[Volume, Server]]
    detach: list[Volume]
    delete: list[Volume]

    def parts(self, session: Session) -> list[quotas.Part]:
        return [volumes.part_of(session, volume) for volume in self.create]


class VolumeKind(Kind[VolumeRequest, ResolvedVolume]):
    """The rules of asking for volumes."""

    name = "volume"
    counted = "volumes"

    def resolve(self, session: Session, actor: Actor, command: VolumeRequest) -> ResolvedVolume:
        project, organization = resolution.own_project(session, actor, command.project, Action.REQUEST_MAKE)
        if not (command.create or command.attach or command.detach or command.delete):
            raise InvalidInput(N_("Say which volumes to make, attach, detach or delete."), field="create")
        create = [
            row
            for index, line in enumerate(command.create)
            for row in _rows(session, project, organization, line, f"create[{index}]")
        ]
        _check_names(session, project, create)
        _once([*(line.volume for line in command.attach), *command.detach, *command.delete])
        attach = []
        for index, line in enumerate(command.attach):
            volume = _own(session, project, line.volume, (VolumePhase.AVAILABLE,), f"attach[{index}].volume")
            server = standing_server(session, project, line.server, field=f"attach[{index}].server")
            if server.backend_id != volume.backend_id:
                raise InvalidInput(
                    N_("Volume {volume} and server {name} are at different clouds."),
                    field=f"attach[{index}].server",
                    volume=volume.name,
                    name=server.name,
                )
            attach.append((volume, server))
        detach = [
            _own(session, project, id_, (VolumePhase.ATTACHED,), f"detach[{index}]")
            for index, id_ in enumerate(command.detach)
        ]
        delete = [
            _own(session, project, id_, (VolumePhase.AVAILABLE,), f"delete[{index}]")
            for index, id_ in enumerate(command.delete)
        ]
        return ResolvedVolume(project, organization, create, attach, detach, delete)

    def plan(self, session: Session, actor: Actor, command: VolumeRequest) -> Plan:
        resolved = self.resolve(session, actor, command)
        parts = resolved.parts(session)
        quota = quotas.preview(session, account_id=resolved.project.account_id, parts=parts) if parts else None
        return Plan(
            kind=self.name,
            totals=summed(*(dict(part.amounts) for part in parts)),
            quota=quota,
            refusals=quota_refusals(quota) if quota else [],
        )

    def hold(
        self,
        session: Session,
        request: ResourceRequest,
        command: VolumeRequest,  # noqa: ARG002 - resolved says it all
        resolved: ResolvedVolume,
    ) -> None:
        if resolved.create:
            quotas.reserve(
                session,
                reservation_id=reservation_id(request),
                account_id=resolved.project.account_id,
                parts=resolved.parts(session),
                reason=request.number or "",
            )

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedVolume) -> int:
        for volume in resolved.create:
            volume.request_id, volume.reservation_id = request.id, reservation_id(request)
            volume.organization_id = request.organization_id
        changed = [*(volume for volume, _ in resolved.attach), *resolved.detach]
        for volume in changed:
            volume.change_request_id = request.id
        for volume in resolved.delete:
            volume.delete_request_id = request.id
        requests.add(session, *resolved.create, *changed, *resolved.delete)
        return sum(len(rows) for rows in (resolved.create, resolved.attach, resolved.detach, resolved.delete))

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        if store.of_request(session, request.id):
            quotas.void(session, reservation_id=reservation_id(request))
        store.remove_of_request(session, request.id)
        store.keep_after_all(session, request.id)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - the retry is audited already
        failed = [row for row in store.of_request(session, request.id) if row.phase == VolumePhase.FAILED]
        fresh = [row for row in failed if row.failure is None or row.failure["code"] != "undo_unconfirmed"]
        if fresh:
            quotas.reserve(
                session,
                reservation_id=retry_reservation_id(request),
                account_id=project_of(session, request).account_id,
                parts=[volumes.part_of(session, row) for row in fresh],
                reason=request.number or "",
            )
            for row in fresh:
                row.reservation_id = retry_reservation_id(request)
        for row in failed:
            row.phase, row.failure, row.attempt = VolumePhase.REQUESTED.value, None, row.attempt + 1
            requests.add(session, row)
        return bool(volumes.deeds(session, request)[0])

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        body = request.body
        found = [
            Message(N_("Make volume {name} of {size} GiB"), {"name": row.name, "size": row.size_gib})
            for row in store.of_request(session, request.id)
        ]
        for line in body.get("attach", ()):
            volume, server = (
                store.get(session, uuid.UUID(line["volume"])),
                servers.get(session, uuid.UUID(line["server"])),
            )
            names = {"name": volume.name if volume else "-", "server": server.name if server else "-"}
            found.append(Message(N_("Attach volume {name} to {server}"), names))
        for deed, template in (("detach", N_("Detach volume {name}")), ("delete", N_("Delete volume {name} for good"))):
            for text in body.get(deed, ()):
                volume = store.get(session, uuid.UUID(text))
                found.append(Message(template, {"name": volume.name if volume else "-"}))
        return found

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        ids = {row.server_id for row in store.of_request(session, request.id) if row.server_id is not None}
        ids |= {uuid.UUID(line["server"]) for line in request.body.get("attach", ())}
        return [row for id_ in sorted(ids) if (row := servers.wide(session, id_)) is not None]

    def amounts(self, session: Session, request: ResourceRequest) -> dict[str, int]:
        return summed(*(volumes.amounts_of(row) for row in store.of_request(session, request.id)))


def _rows(session: Session, project: Project, organization: Organization, line: NewVolume, field: str) -> list[Volume]:
    if (line.server is None) == (line.zone is None):
        raise InvalidInput(
            N_("Name the server that gets the volume, or the pool it is kept in: one of them."), field=field
        )
    server = standing_server(session, project, line.server, field=f"{field}.server") if line.server else None
    zone_id = server.zone_id if server else line.zone
    zone = session.get(Zone, zone_id) if zone_id else None
    backend = session.get(Backend, zone.backend_id) if zone else None
    may = server is not None or (
        zone is not None
        and backend is not None
        and zone.is_enabled
        and placement.may_use_backend(session, organization, backend)
    )
    if zone is None or backend is None or not may:
        raise InvalidInput(N_("There is no such pool for you."), field=f"{field}.{'server' if server else 'zone'}")
    if CAPABILITY not in backend.capabilities:
        raise Unsupported(N_("The cloud {backend} has no volumes."), field=field, backend=backend.title or backend.name)
    unsent = new_id()
    return [
        Volume(
            request_id=unsent,  # set when the request has its row
            reservation_id=unsent,
            project_id=project.id,
            organization_id=organization.id,
            server_id=server.id if server else None,
            backend_id=backend.id,
            zone_id=zone.id,
            name=name,
            size_gib=line.size_gib,
        )
        for name in naming.numbered(line.name, line.count)
    ]


def _check_names(session: Session, project: Project, rows: Sequence[Volume]) -> None:
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InvalidInput(
            N_("The name {names} stands twice in this request."), field="create", names=", ".join(twice[:5])
        )
    taken = store.taken_names(session, project.id, names)
    if taken:
        raise Conflict(
            N_("The project already has a volume named {names}; choose another name."),
            field="create",
            names=", ".join(sorted(taken)[:5]),
        )


def _once(ids: Sequence[uuid.UUID]) -> None:
    if len(set(ids)) < len(ids):
        raise InvalidInput(N_("A volume stands twice in this request."), field="attach")


def _own(session: Session, project: Project, volume_id: uuid.UUID, phases: Sequence[VolumePhase], field: str) -> Volume:
    volume = store.get(session, volume_id)
    if volume is None or volume.project_id != project.id:
        raise InvalidInput(N_("The project has no such volume."), field=field)
    if volume.phase not in phases:
        raise Conflict(
            N_("Volume {name} is not in a state for this: detach it first, or wait until it is made."),
            field=field,
            name=volume.name,
        )
    if store.is_being_changed(session, volume):
        raise Conflict(N_("Another request is changing volume {name} already."), field=field, name=volume.name)
    return volume
