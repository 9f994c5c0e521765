"""What requests about servers that stand have in common: one change a server, open one at a time. Commits nothing."""

import uuid
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

import quotas
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import InvalidInput, Unsupported
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.server_changes import ChangeKind, ChangeState
from cloudmgr.models import Backend, Organization, Project, ResourceRequest, Server, ServerChange, Volume
from cloudmgr.services import emergencies, resolution
from cloudmgr.services.request_inputs import FreezeRequest, RenewRequest, ResizeRequest, UnfreezeRequest
from cloudmgr.services.request_kinds.base import (
    Kind,
    Plan,
    quota_refusals,
    reservation_id,
    summed,
)
from cloudmgr.services.resolution import Resolved, standing_server
from cloudmgr.store import requests, servers
from cloudmgr.store import server_changes as store

UNCONFIRMED = "undo_unconfirmed"
"""A change that came to nothing and whose undoing the cloud does not confirm: what it holds stays held."""

Standing = TypeVar("Standing", ResizeRequest, RenewRequest, FreezeRequest, UnfreezeRequest)


@dataclass(frozen=True, slots=True)
class ResolvedChanges(Resolved):
    """Servers that may be changed, with rows that are not yet written."""

    changes: list[tuple[Server, ServerChange]]
    parts: list[quotas.Part] = field(default_factory=list)
    """What the servers grow by, and what is made beside them."""
    volumes: list[Volume] = field(default_factory=list)
    warnings: list[Message] = field(default_factory=list)


class ServerChangesKind(Kind[Standing, ResolvedChanges]):
    """The rules of changing servers; each kind says what is wanted of one server."""

    counted = "servers"
    change: ChangeKind

    @abstractmethod
    def resolve(self, session: Session, actor: Actor, command: Standing) -> ResolvedChanges: ...

    def plan(self, session: Session, actor: Actor, command: Standing) -> Plan:
        resolved = self.resolve(session, actor, command)
        parts = self.parts(command, resolved)
        quota = quotas.preview(session, account_id=resolved.project.account_id, parts=parts) if parts else None
        refusals = quota_refusals(quota) if quota else []
        if getattr(command, "emergency", False):
            refusals += emergencies.refusals(session, resolved.organization, parts)
        return Plan(
            kind=self.name,
            totals=summed(*(dict(part.amounts) for part in parts)),
            quota=quota,
            warnings=resolved.warnings,
            refusals=refusals,
        )

    def parts(self, command: Standing, resolved: ResolvedChanges) -> list[quotas.Part]:  # noqa: ARG002 - resolved says it all
        return resolved.parts

    def hold(
        self,
        session: Session,
        request: ResourceRequest,
        command: Standing,  # noqa: ARG002 - resolved says it all
        resolved: ResolvedChanges,
    ) -> None:
        if resolved.parts:
            quotas.reserve(
                session,
                reservation_id=reservation_id(request),
                account_id=resolved.project.account_id,
                parts=resolved.parts,
                reason=request.number or "",
            )

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedChanges) -> int:
        grown = {part.part_id for part in resolved.parts}
        for server, change in resolved.changes:
            change.request_id = request.id
            change.reservation_id = reservation_id(request) if server.id in grown else None
        for volume in resolved.volumes:
            volume.request_id, volume.reservation_id = request.id, reservation_id(request)
            volume.organization_id = request.organization_id
        open_changes(session, [change for _, change in resolved.changes])
        requests.add(session, *resolved.volumes)
        return len({server.id for server, _ in resolved.changes} | {volume.server_id for volume in resolved.volumes})

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        quotas.void(session, reservation_id=reservation_id(request))
        store.remove_of_request(session, request.id)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - the retry is audited already
        failed = failed_of(session, request)
        for change in failed:
            ready(change, None)
        open_changes(session, failed)
        return bool(failed)

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        return [
            self.told_of(session.get_one(Server, change.server_id), change)
            for change in store.of_request(session, request.id)
        ]

    @abstractmethod
    def told_of(self, server: Server, change: ServerChange) -> Message:
        """Say what is to be changed of one server."""

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        rows = (servers.wide(session, change.server_id) for change in store.of_request(session, request.id))
        return sorted((row for row in rows if row is not None), key=lambda row: row[0].name)


def changeable(
    session: Session, actor: Actor, project_id: uuid.UUID, server_ids: list[uuid.UUID]
) -> tuple[Project, Organization, list[Server]]:
    """Return the servers of a request, each of which stands and is not being changed.

    Raises:
        InvalidInput: a server is not the project's, or stands twice.
        Conflict: it does not stand, or another request changes it.
    """
    project, organization = resolution.own_project(session, actor, project_id, Action.REQUEST_MAKE)
    if len(set(server_ids)) < len(server_ids):
        raise InvalidInput(N_("A server stands twice in this request."), field="servers")
    found = [
        standing_server(session, project, server_id, field=f"servers[{index}]")
        for index, server_id in enumerate(server_ids)
    ]
    busy = store.asked_of(session, server_ids)
    for index, server in enumerate(found):
        if server.id in busy:
            raise resolution.being_changed(server.name, f"servers[{index}]")
    return project, organization, found


def backend_that(session: Session, server: Server, capability: str, unable: str, at: str) -> Backend:
    """Return a server's cloud, which has a capability.

    Raises:
        Unsupported: it has not, told by the template `unable`; or no cloud of ours knows the server.
    """
    backend = session.get(Backend, server.backend_id) if server.backend_id else None
    if backend is None or server.native_ref is None:
        raise Unsupported(N_("No cloud of ours knows server {name}; it is kept by hand."), field=at, name=server.name)
    if capability not in backend.capabilities:
        raise Unsupported(unable, field=at, backend=backend.title or backend.name, name=server.name)
    return backend


def open_changes(session: Session, changes: list[ServerChange]) -> None:
    """Write changes that are open from now on.

    Raises:
        Conflict: a server of them has another open change.
    """
    try:
        with session.begin_nested():
            requests.add(session, *changes)
    except IntegrityError as error:
        busy = store.asked_of(session, [change.server_id for change in changes])
        names = [server.name for id_ in sorted(busy) if (server := servers.get(session, id_)) is not None]
        raise resolution.being_changed(", ".join(names[:5]) or "-", "servers") from error


def undoing(session: Session, request: ResourceRequest, **body: Any) -> dict[str, Any] | None:
    """Return the fields of a request that takes back, of the same servers, what this one changes or has changed."""
    changed = [
        str(change.server_id) for change in store.of_request(session, request.id) if change.state != ChangeState.FAILED
    ]
    return {**body, "servers": changed} if changed else None


def failed_of(session: Session, request: ResourceRequest) -> list[ServerChange]:
    """Return the changes of a request that have failed."""
    return [change for change in store.of_request(session, request.id) if change.state == ChangeState.FAILED]


def ready(change: ServerChange, reservation: uuid.UUID | None) -> None:
    """Make a failed change ready for another attempt, `reservation` holding its growth."""
    change.state, change.failure, change.finished_at = ChangeState.ASKED.value, None, None
    change.reservation_id = reservation
    change.attempt += 1


def failure_code(row: Any) -> str:
    """Return the code of a failure, empty without one."""
    return str(row.failure["code"]) if row.failure else ""


def is_unconfirmed(change: ServerChange) -> bool:
    """Whether an earlier attempt of this change left the server in a state that the cloud did not confirm."""
    return "power" in change.before
