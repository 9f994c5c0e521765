"""纳管: servers that stood already. Made whole at the import, never submitted; here only for those who read requests."""

from typing import NoReturn

from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_
from cloudmgr.models import ResourceRequest
from cloudmgr.services.inputs import Input
from cloudmgr.services.request_kinds.base import Kind, Plan, summed
from cloudmgr.services.resolution import Resolved
from cloudmgr.services.server_parts import amounts_of
from cloudmgr.store import servers


class ImportKind(Kind[Input, Resolved]):
    """The rules of reading an import."""

    name = "import"
    counted = "servers"

    def resolve(self, session: Session, actor: Actor, command: Input) -> Resolved:  # noqa: ARG002 - of the interface
        _refuse()

    def plan(self, session: Session, actor: Actor, command: Input) -> Plan:  # noqa: ARG002 - of the interface
        _refuse()

    def write(self, session: Session, request: ResourceRequest, resolved: Resolved) -> int:  # noqa: ARG002 - of the interface
        _refuse()

    def give_up(self, session: Session, request: ResourceRequest) -> None:  # noqa: ARG002 - of the interface
        _refuse()

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - of the interface
        return False

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        return servers.of_request(session, request)

    def amounts(self, session: Session, request: ResourceRequest) -> dict[str, int]:
        counted = [server for server in servers.plain_of_request(session, request) if server.counts_quota]
        return summed(*(amounts_of(server) for server in counted))


def _refuse() -> NoReturn:
    raise Conflict(N_("An import is made in the inventory, and is done when it is made."))
