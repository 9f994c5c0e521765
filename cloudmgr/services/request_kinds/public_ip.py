"""公网IP: public addresses for servers that stand, with their bandwidth, and addresses to give back. Both are quota."""

import uuid
from dataclasses import dataclass

from sqlmodel import Session

import quotas
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, Unsupported
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.openings import PublicIpPhase
from cloudmgr.models import Backend, Organization, Project, PublicIp, ResourceRequest, Server
from cloudmgr.services import public_ips, resolution
from cloudmgr.services.request_inputs import PublicIpRequest
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
from cloudmgr.store import openings as store
from cloudmgr.store import requests, servers

CAPABILITY = "public_ips"


@dataclass(frozen=True, slots=True)
class ResolvedPublicIp(Resolved):
    """A request for public addresses whose every server and address was found; `assign` are rows not yet written."""

    assign: list[tuple[Server, PublicIp]]
    release: list[PublicIp]

    def parts(self) -> list[quotas.Part]:
        return [public_ips.part_of(server, address) for server, address in self.assign]


class PublicIpKind(Kind[PublicIpRequest, ResolvedPublicIp]):
    """The rules of asking for public addresses."""

    name = "public_ip"
    counted = "addresses"

    def resolve(self, session: Session, actor: Actor, command: PublicIpRequest) -> ResolvedPublicIp:
        project, organization = resolution.own_project(session, actor, command.project, Action.REQUEST_MAKE)
        if not command.assign and not command.release:
            raise InvalidInput(
                N_("Say which servers get a public address or which addresses to give back."), field="assign"
            )
        assign: list[tuple[Server, PublicIp]] = []
        for index, line in enumerate(command.assign):
            server = standing_server(session, project, line.server, field=f"assign[{index}].server")
            _require_capability(session, server, f"assign[{index}].server")
            taken = any(other.id == server.id for other, _ in assign)
            if taken or store.ips_of_server(session, server.id):
                raise Conflict(
                    N_("Server {name} has a public address already, or one is being asked for."),
                    field=f"assign[{index}].server",
                    name=server.name,
                )
            assign.append((server, _row(organization, project, server, line.bandwidth_mbps)))
        if len(set(command.release)) < len(command.release):
            raise InvalidInput(N_("An address stands twice in this request."), field="release")
        release = [_releasable(session, project, id_, f"release[{i}]") for i, id_ in enumerate(command.release)]
        return ResolvedPublicIp(project, organization, assign, release)

    def plan(self, session: Session, actor: Actor, command: PublicIpRequest) -> Plan:
        resolved = self.resolve(session, actor, command)
        parts = resolved.parts()
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
        command: PublicIpRequest,  # noqa: ARG002 - resolved says it all
        resolved: ResolvedPublicIp,
    ) -> None:
        if resolved.assign:
            quotas.reserve(
                session,
                reservation_id=reservation_id(request),
                account_id=resolved.project.account_id,
                parts=resolved.parts(),
                reason=request.number or "",
            )

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedPublicIp) -> int:
        for _, address in resolved.assign:
            address.request_id, address.reservation_id = request.id, reservation_id(request)
            address.organization_id = request.organization_id
        requests.add(session, *(address for _, address in resolved.assign))
        return len(resolved.assign) + len(resolved.release)

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        if store.ips_of_request(session, request.id):
            quotas.void(session, reservation_id=reservation_id(request))
        store.remove_ips_of_request(session, request.id)

    def approved(self, session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:  # noqa: ARG002 - the decision is audited already
        """Mark what is to be given back; what somebody else gave back meanwhile is left as it is."""
        for address in releasing_of(session, request):
            if address.phase == PublicIpPhase.ACTIVE:
                address.phase = PublicIpPhase.RELEASING.value
                requests.add(session, address)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - the retry is audited already
        failed = [row for row in store.ips_of_request(session, request.id) if row.phase == PublicIpPhase.FAILED]
        if failed:
            quotas.reserve(
                session,
                reservation_id=retry_reservation_id(request),
                account_id=project_of(session, request).account_id,
                parts=[public_ips.part_of(session.get_one(Server, row.server_id), row) for row in failed],
                reason=request.number or "",
            )
        for row in failed:
            row.reservation_id = retry_reservation_id(request)
            row.phase, row.failure, row.attempt = PublicIpPhase.REQUESTED.value, None, row.attempt + 1
            requests.add(session, row)
        left = [*store.ips_of_request(session, request.id), *releasing_of(session, request)]
        return bool(failed) or any(row.phase == PublicIpPhase.RELEASING for row in left)

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        assigned = [
            Message(
                N_("A public address for {server}, {bandwidth} Mbit/s"),
                {"server": session.get_one(Server, row.server_id).name, "bandwidth": row.bandwidth_mbps},
            )
            for row in store.ips_of_request(session, request.id)
        ]
        return assigned + [
            Message(
                N_("Give back the public address {address} of {server}"),
                {"server": session.get_one(Server, row.server_id).name, "address": row.address or "-"},
            )
            for row in releasing_of(session, request)
        ]

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        ids = {row.server_id for row in [*store.ips_of_request(session, request.id), *releasing_of(session, request)]}
        return [row for id_ in sorted(ids) if (row := servers.wide(session, id_)) is not None]

    def amounts(self, session: Session, request: ResourceRequest) -> dict[str, int]:
        return summed(*(public_ips.amounts_of(row) for row in store.ips_of_request(session, request.id)))


def releasing_of(session: Session, request: ResourceRequest) -> list[PublicIp]:
    """Return the addresses a request asks to give back."""
    found = (store.get_ip(session, uuid.UUID(str(id_))) for id_ in request.body.get("release", ()))
    return [address for address in found if address is not None]


def _require_capability(session: Session, server: Server, field: str) -> None:
    backend = session.get_one(Backend, server.backend_id) if server.backend_id else None
    if backend is None or CAPABILITY not in backend.capabilities:
        raise Unsupported(
            N_("The cloud {backend} of server {name} has no public addresses to give."),
            field=field,
            backend=(backend.title or backend.name) if backend else "-",
            name=server.name,
        )


def _row(organization: Organization, project: Project, server: Server, bandwidth_mbps: int) -> PublicIp:
    unsent = new_id()
    return PublicIp(
        request_id=unsent,  # set when the request has its row
        reservation_id=unsent,
        project_id=project.id,
        organization_id=organization.id,
        server_id=server.id,
        backend_id=server.backend_id,
        bandwidth_mbps=bandwidth_mbps,
    )


def _releasable(session: Session, project: Project, ip_id: uuid.UUID, field: str) -> PublicIp:
    address = store.get_ip(session, ip_id)
    if address is None or address.project_id != project.id:
        raise InvalidInput(N_("The project has no such public address."), field=field)
    if address.phase != PublicIpPhase.ACTIVE:
        raise Conflict(N_("This public address is not in use: there is nothing to give back."), field=field)
    return address
