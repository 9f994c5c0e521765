"""What tests of requests do again and again at a desk."""

from typing import Any

from sqlmodel import select

from cloudmgr.models import AuditEvent, ResourceRequest, Server
from cloudmgr.services import approvals, requests
from cloudmgr.services.request_inputs import Decide
from tests.stocked import Desk


def submit(desk: Desk, who: str = "requester", **changes: Any) -> ResourceRequest:
    return requests.submit_new(desk.session, desk.actor(who), desk.world.command(**changes))


def decide(desk: Desk, request: ResourceRequest, decision: str, comment: str = "说明", who: str = "admin") -> None:
    command = Decide.model_validate({"decision": decision, "comment": comment})
    approvals.decide(desk.session, desk.actor(who), request.id, command)


def servers_of(desk: Desk, request: ResourceRequest) -> list[Server]:
    return list(desk.session.exec(select(Server).where(Server.request_id == request.id).order_by(Server.name)))


def held(desk: Desk) -> list[tuple[int, int]]:
    """Used and reserved servers at the project, the bureau, the district and the city."""
    world = desk.world
    accounts = (world.project, world.minzheng, world.furong, world.root)
    return [desk.used(each.account_id) for each in accounts]


def told(desk: Desk, event: str) -> AuditEvent:
    return desk.session.exec(select(AuditEvent).where(AuditEvent.event == event)).one()
