"""注销: servers that are no longer needed. It costs nothing, and what the servers hold is free once they are gone."""

from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import ResourceRequest
from cloudmgr.services import resolution
from cloudmgr.services.request_inputs import RetireRequest
from cloudmgr.services.request_kinds.base import Kind, Plan, summed
from cloudmgr.services.resolution import ResolvedRetire
from cloudmgr.services.server_parts import amounts_of
from cloudmgr.store import requests, servers, volumes


class RetireKind(Kind[RetireRequest, ResolvedRetire]):
    """The rules of retiring."""

    name = "retire"
    counted = "servers"

    def resolve(self, session: Session, actor: Actor, command: RetireRequest) -> ResolvedRetire:
        resolved = resolution.resolve_retire(session, actor, command)
        attached = volumes.of_servers(session, [server.id for server in resolved.servers])
        if attached and command.volumes is None:
            raise Conflict(
                N_("The servers have volumes ({names}): say whether they are detached and kept, or deleted with them."),
                field="volumes",
                names=", ".join(volume.name for volume in attached[:5]),
            )
        return resolved

    def plan(self, session: Session, actor: Actor, command: RetireRequest) -> Plan:
        resolved = self.resolve(session, actor, command)
        totals = summed(*(amounts_of(server) for server in resolved.servers))
        shown = ("servers", "vcpus", "memory_mib", "disk_gib")
        return Plan(kind="retire", totals={key: totals[key] for key in shown}, quota=None)

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedRetire) -> int:
        for server in resolved.servers:
            server.retire_request_id = request.id
        requests.add(session, *resolved.servers)
        return len(resolved.servers)

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        servers.keep_after_all(session, request.id)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - the retry is audited already
        stuck = (ServerPhase.FAILED, ServerPhase.RETIRING)
        return any(server.phase in stuck for server in servers.plain_of_request(session, request))

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        return servers.of_request(session, request)
