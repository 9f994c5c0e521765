"""端口变更: ports of servers to open and openings to close. It costs nothing; each line's id is its key at the backend."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from sqlmodel import Session

from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.openings import OpeningState
from cloudmgr.domain.port_rules import PortOpeningAsked
from cloudmgr.models import Backend, Organization, PortOpening, Project, ResourceRequest, Server
from cloudmgr.services import openings, resolution
from cloudmgr.services.request_inputs import PortsRequest
from cloudmgr.services.request_kinds.base import Kind, Plan
from cloudmgr.services.resolution import Resolved, standing_server
from cloudmgr.store import openings as store
from cloudmgr.store import requests, servers

_CLOSABLE = (OpeningState.ACTIVE, OpeningState.RECORDED)


@dataclass(frozen=True, slots=True)
class ResolvedPorts(Resolved):
    """A request for ports whose every server and opening was found."""

    open: list[tuple[Server, PortOpeningAsked]]
    close: list[PortOpening]


class PortsKind(Kind[PortsRequest, ResolvedPorts]):
    """The rules of asking for ports."""

    name = "ports"
    counted = "openings"
    told = N_("Submitted by {person} as {number}.")

    def resolve(self, session: Session, actor: Actor, command: PortsRequest) -> ResolvedPorts:
        project, organization = resolution.own_project(session, actor, command.project, Action.REQUEST_MAKE)
        if not command.open and not command.close:
            raise InvalidInput(N_("Say which ports to open or which openings to close."), field="open")
        asked = [
            (
                standing_server(session, project, line.server, field=f"open[{i}].server"),
                openings.checked(line, f"open[{i}]"),
            )
            for i, line in enumerate(command.open)
        ]
        if len(set(command.close)) < len(command.close):
            raise InvalidInput(N_("An opening stands twice in this request."), field="close")
        closing = [_closable(session, project, id_, f"close[{i}]") for i, id_ in enumerate(command.close)]
        return ResolvedPorts(project, organization, asked, closing)

    def plan(self, session: Session, actor: Actor, command: PortsRequest) -> Plan:
        resolved = self.resolve(session, actor, command)
        concerned = [server for server, _ in resolved.open]
        concerned += [session.get_one(Server, opening.server_id) for opening in resolved.close]
        return Plan(
            kind=self.name,
            totals={"open": len(resolved.open), "close": len(resolved.close)},
            quota=None,
            warnings=list(_without_rules(session, concerned)),
        )

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedPorts) -> int:
        for server, line in resolved.open:
            openings.add(session, request, server, [line])
        return len(resolved.open) + len(resolved.close)

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        store.remove_of_request(session, request.id)

    def approved(self, session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:  # noqa: ARG002 - the decision is audited already
        """Mark what is to be closed; what somebody else closed meanwhile is left as it is."""
        for opening in closing_of(session, request):
            if opening.state in _CLOSABLE:
                opening.state = OpeningState.CLOSING.value
                requests.add(session, opening)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - the retry is audited already
        failed = [row for row in store.of_request(session, request.id) if row.state == OpeningState.FAILED]
        for opening in failed:
            opening.state, opening.message = OpeningState.REQUESTED.value, None
            requests.add(session, opening)
        return bool(failed) or any(row.state == OpeningState.CLOSING for row in closing_of(session, request))

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        opened = [openings.told(session, row, opens=True) for row in store.of_request(session, request.id)]
        return opened + [openings.told(session, row, opens=False) for row in closing_of(session, request)]

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        ids = {row.server_id for row in [*store.of_request(session, request.id), *closing_of(session, request)]}
        return [row for id_ in sorted(ids) if (row := servers.wide(session, id_)) is not None]


def closing_of(session: Session, request: ResourceRequest) -> list[PortOpening]:
    """Return the openings a request asks to close."""
    found = (store.get(session, uuid.UUID(str(id_))) for id_ in request.body.get("close", ()))
    return [opening for opening in found if opening is not None]


def _closable(session: Session, project: Project, opening_id: uuid.UUID, field: str) -> PortOpening:
    opening = store.get(session, opening_id)
    server = servers.get(session, opening.server_id) if opening else None
    if opening is None or server is None or server.project_id != project.id:
        raise InvalidInput(N_("The project has no such opening."), field=field)
    if opening.state not in _CLOSABLE:
        raise Conflict(N_("This opening is not open: there is nothing to close."), field=field)
    return opening


def _without_rules(session: Session, concerned: Iterable[Server]) -> Iterable[Message]:
    ids = {server.backend_id for server in concerned if server.backend_id is not None}
    for backend in sorted((session.get_one(Backend, id_) for id_ in ids), key=lambda each: each.name):
        if openings.CAPABILITY not in backend.capabilities:
            yield openings.no_rules(backend)
