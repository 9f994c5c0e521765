"""快照: points in time of servers to take, to go back to, and to delete."""

import uuid
from dataclasses import dataclass

from sqlmodel import Session

import quotas
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, Unsupported
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.volumes import SnapshotPhase
from cloudmgr.models import Backend, Organization, Project, ResourceRequest, Server, Snapshot
from cloudmgr.services import resolution, snapshots
from cloudmgr.services.request_inputs import RevertSnapshot, SnapshotRequest
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
from cloudmgr.store import requests, servers
from cloudmgr.store import volumes as store

CAPABILITY = "snapshots"


@dataclass(frozen=True, slots=True)
class ResolvedSnapshot(Resolved):
    """A request for snapshots whose every name was found; `create` are rows not yet written."""

    create: list[tuple[Snapshot, Server]]
    revert: list[Snapshot]
    delete: list[Snapshot]

    def parts(self, session: Session) -> list[quotas.Part]:
        return [snapshots.part_of(session, server, row.id) for row, server in self.create]


class SnapshotKind(Kind[SnapshotRequest, ResolvedSnapshot]):
    """The rules of asking for snapshots."""

    name = "snapshot"
    counted = "snapshots"

    def resolve(self, session: Session, actor: Actor, command: SnapshotRequest) -> ResolvedSnapshot:
        project, organization = resolution.own_project(session, actor, command.project, Action.REQUEST_MAKE)
        if not (command.create or command.revert or command.delete):
            raise InvalidInput(N_("Say which snapshots to take, to go back to or to delete."), field="create")
        create: list[tuple[Snapshot, Server]] = []
        for index, line in enumerate(command.create):
            server = standing_server(session, project, line.server, field=f"create[{index}].server")
            _require_capability(session, server, f"create[{index}].server")
            names = {row.name for row in store.snapshots_of_server(session, server.id)}
            names |= {row.name for row, other in create if other.id == server.id}
            if line.name in names:
                raise Conflict(
                    N_("Server {server} already has a snapshot named {name}; choose another name."),
                    field=f"create[{index}].name",
                    server=server.name,
                    name=line.name,
                )
            create.append((_row(organization, project, server, line.name), server))
        named = [*(line.snapshot for line in command.revert), *command.delete]
        if len(set(named)) < len(named):
            raise InvalidInput(N_("A snapshot stands twice in this request."), field="revert")
        revert = [_revertible(session, project, line, f"revert[{index}]") for index, line in enumerate(command.revert)]
        if len({row.server_id for row in revert}) < len(revert):
            raise InvalidInput(N_("A server can go back to one snapshot only."), field="revert")
        delete = [_own(session, project, id_, f"delete[{index}]") for index, id_ in enumerate(command.delete)]
        return ResolvedSnapshot(project, organization, create, revert, delete)

    def plan(self, session: Session, actor: Actor, command: SnapshotRequest) -> Plan:
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
        command: SnapshotRequest,  # noqa: ARG002 - resolved says it all
        resolved: ResolvedSnapshot,
    ) -> None:
        if resolved.create:
            quotas.reserve(
                session,
                reservation_id=reservation_id(request),
                account_id=resolved.project.account_id,
                parts=resolved.parts(session),
                reason=request.number or "",
            )

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedSnapshot) -> int:
        for row, _ in resolved.create:
            row.request_id, row.reservation_id = request.id, reservation_id(request)
            row.organization_id = request.organization_id
        for row in resolved.delete:
            row.delete_request_id = request.id
        requests.add(session, *(row for row, _ in resolved.create), *resolved.delete)
        return sum(len(rows) for rows in (resolved.create, resolved.revert, resolved.delete))

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        if store.snapshots_of_request(session, request.id):
            quotas.void(session, reservation_id=reservation_id(request))
        store.remove_snapshots_of_request(session, request.id)
        store.keep_after_all(session, request.id)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - the retry is audited already
        failed = [row for row in store.snapshots_of_request(session, request.id) if row.phase == SnapshotPhase.FAILED]
        fresh = [row for row in failed if row.failure is None or row.failure["code"] != "undo_unconfirmed"]
        if fresh:
            quotas.reserve(
                session,
                reservation_id=retry_reservation_id(request),
                account_id=project_of(session, request).account_id,
                parts=[snapshots.part_of(session, session.get_one(Server, row.server_id), row.id) for row in fresh],
                reason=request.number or "",
            )
            for row in fresh:
                row.reservation_id = retry_reservation_id(request)
        for row in failed:
            row.phase, row.failure, row.attempt = SnapshotPhase.REQUESTED.value, None, row.attempt + 1
            requests.add(session, row)
        return bool(snapshots.deeds(session, request)[0])

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        body = request.body
        deeds = [
            (N_("Take snapshot {name} of {server}"), row) for row in store.snapshots_of_request(session, request.id)
        ]
        for template, ids in (
            (
                N_("Bring {server} back to snapshot {name}; what was written since is lost"),
                [line["snapshot"] for line in body.get("revert", ())],
            ),
            (N_("Delete snapshot {name} of {server}"), body.get("delete", ())),
        ):
            rows = (store.get_snapshot(session, uuid.UUID(id_)) for id_ in ids)
            deeds += [(template, row) for row in rows if row is not None]
        return [
            Message(template, {"name": row.name, "server": session.get_one(Server, row.server_id).name})
            for template, row in deeds
        ]

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        named = [uuid.UUID(line["snapshot"]) for line in request.body.get("revert", ())]
        named += [uuid.UUID(text) for text in request.body.get("delete", ())]
        rows = [found for id_ in named if (found := store.get_snapshot(session, id_)) is not None]
        ids = {row.server_id for row in [*store.snapshots_of_request(session, request.id), *rows]}
        return [row for id_ in sorted(ids) if (row := servers.wide(session, id_)) is not None]

    def amounts(self, session: Session, request: ResourceRequest) -> dict[str, int]:
        return summed(*(dict(snapshots.AMOUNTS) for _ in store.snapshots_of_request(session, request.id)))


def _require_capability(session: Session, server: Server, field: str) -> None:
    backend = session.get_one(Backend, server.backend_id) if server.backend_id else None
    if backend is None or CAPABILITY not in backend.capabilities:
        raise Unsupported(
            N_("The cloud {backend} of server {name} takes no snapshots."),
            field=field,
            backend=(backend.title or backend.name) if backend else "-",
            name=server.name,
        )


def _row(organization: Organization, project: Project, server: Server, name: str) -> Snapshot:
    unsent = new_id()
    return Snapshot(
        request_id=unsent,  # set when the request has its row
        reservation_id=unsent,
        project_id=project.id,
        organization_id=organization.id,
        server_id=server.id,
        name=name,
    )


def _revertible(session: Session, project: Project, line: RevertSnapshot, field: str) -> Snapshot:
    snapshot = _own(session, project, line.snapshot, f"{field}.snapshot")
    server = standing_server(session, project, snapshot.server_id, field=f"{field}.snapshot")
    if server.name != line.server:
        raise InvalidInput(
            N_("This snapshot is of server {name}; type that name, for what was written since is lost."),
            field=f"{field}.server",
            name=server.name,
        )
    return snapshot


def _own(session: Session, project: Project, snapshot_id: uuid.UUID, field: str) -> Snapshot:
    snapshot = store.get_snapshot(session, snapshot_id)
    if snapshot is None or snapshot.project_id != project.id:
        raise InvalidInput(N_("The project has no such snapshot."), field=field)
    if snapshot.phase != SnapshotPhase.AVAILABLE or snapshot.delete_request_id is not None:
        raise Conflict(
            N_("Snapshot {name} is not there, or another request is about it already."), field=field, name=snapshot.name
        )
    return snapshot
