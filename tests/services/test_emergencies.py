"""Emergency orders: built first inside a district's allowance, approved afterwards or not, and never forgotten. On both databases."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.domain.errors import AllowanceExceeded, Conflict, InvalidInput
from cloudmgr.domain.messages import Message
from cloudmgr.i18n import translator
from cloudmgr.models import (
    ApprovalStage,
    AuditEvent,
    EmergencyOrder,
    Flavor,
    Happening,
    RequestEvent,
    ResourceRequest,
    Server,
    ServerChange,
    Volume,
)
from cloudmgr.services import approvals, deadlines, policy, requests
from cloudmgr.services.request_inputs import Decide, body_adapter
from cloudmgr.services.request_kinds.resize import size_of
from tests.services.test_server_changes import flavor, ready
from tests.stocked import Desk
from tests.world import World

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=SHANGHAI)


def order(desk: Desk, who: str = "requester", **changes: Any) -> ResourceRequest:
    body = {"emergency": True, "emergency_reason": "防汛指挥系统扩容"} | changes
    return requests.submit_new(desk.session, desk.actor(who), desk.world.command(**body))


def allow(desk: Desk, **keys: int) -> None:
    """Let the allowance of every district be this."""
    settings = desk.world.settings
    changed = settings.policy.model_copy(update={"emergency_allowance": keys})
    policy.attach(desk.session, settings.model_copy(update={"policy": changed}))


@pytest.fixture(autouse=True)
def _settings_again(desk: Desk) -> Any:
    yield
    policy.attach(desk.session, desk.world.settings)


def decide(desk: Desk, request: ResourceRequest, decision: str, comment: str = "", who: str = "admin") -> None:
    command = Decide.model_validate({"decision": decision, "comment": comment})
    approvals.decide(desk.session, desk.actor(who), request.id, command)


def of(desk: Desk, request: ResourceRequest) -> EmergencyOrder:
    return desk.session.exec(select(EmergencyOrder).where(EmergencyOrder.request_id == request.id)).one()


def enqueued(desk: Desk) -> list[str]:
    table = "workflow_status" if desk.world.settings.is_sqlite else "dbos.workflow_status"
    return [row[0] for row in desk.session.execute(sa.text(f"SELECT workflow_uuid FROM {table}"))]


def test_it_is_built_at_once_and_its_stage_stays_open(desk: Desk) -> None:
    with clock.stepped(MONDAY):
        request = order(desk)
    assert request.number == "YJ20261123-0001"
    assert request.phase == "approved"
    assert enqueued(desk) == [f"fulfil_request:{request.id}:1"]
    stage = desk.session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id)).one()
    assert stage.state == "open"
    assert of(desk, request).approve_by == datetime(2026, 11, 26, 17, 30, tzinfo=SHANGHAI).astimezone(UTC)
    server = desk.session.exec(select(Server).where(Server.request_id == request.id)).one()
    assert server.resource_no, "it has its number in the ledger from the first"
    assert desk.used(desk.world.project.account_id)[1] == 1, "it holds ordinary quota"
    assert [row.event for row in desk.session.exec(select(Happening))].count("emergency.pending") == 1


def test_without_a_reason_it_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as refused:
        order(desk, emergency_reason="  ")
    assert refused.value.field == "emergency_reason"


def test_orders_that_are_not_approved_bound_the_next(desk: Desk) -> None:
    allow(desk, servers=3, **{"vcpus{arch=aarch64}": 100})
    first = order(desk, name="a", count=2)
    with pytest.raises(AllowanceExceeded) as refused:
        order(desk, name="b", count=2)
    (found,) = refused.value.errors
    assert {key: found[key] for key in ("key", "limit", "used", "asked")} == {
        "key": "servers",
        "limit": 3,
        "used": 2,
        "asked": 2,
    }
    decide(desk, first, "approve")
    order(desk, name="c", count=2)


def test_a_narrowed_key_counts_only_what_it_names(desk: Desk) -> None:
    allow(desk, **{"vcpus{arch=x86_64}": 1, "vcpus{arch=aarch64}": 4})
    order(desk, count=2)
    with pytest.raises(AllowanceExceeded):
        order(desk, name="b", count=1)


def test_another_districts_orders_do_not_count(desk: Desk) -> None:
    allow(desk, servers=1)
    order(desk)
    with pytest.raises(AllowanceExceeded):
        order(desk, name="b")
    order(desk, "stranger", project=str(desk.world.other_project.id), network_zone="政务外网区")


def test_the_approval_that_follows_changes_nothing_but_the_record(desk: Desk) -> None:
    request = order(desk)
    request.phase = "fulfilled"
    decide(desk, request, "approve")
    assert (request.phase, of(desk, request).state) == ("fulfilled", "approved")
    assert enqueued(desk) == [f"fulfil_request:{request.id}:1"], "nothing is begun a second time"
    assert desk.session.exec(select(AuditEvent).where(AuditEvent.event == "emergency.approve")).one().actor == "admin"
    with pytest.raises(Conflict):
        decide(desk, request, "approve", who="rooted")


def test_a_rejection_proposes_a_retirement_and_deletes_nothing(desk: Desk) -> None:
    request = order(desk, count=2)
    servers = list(desk.session.exec(select(Server).where(Server.request_id == request.id)))
    with pytest.raises(Conflict):
        decide(desk, request, "return", "材料不全")
    decide(desk, request, "reject", "不属于应急情形。")
    events = select(RequestEvent).where(RequestEvent.request_id == request.id)
    told = [Message.from_json(each.message).render(translator("zh_CN")) for each in desk.session.exec(events)]
    assert any("不属于应急情形。已生成" in text for text in told), told
    found = of(desk, request)
    assert (found.state, request.phase) == ("rejected", "approved")
    proposal = desk.session.get_one(ResourceRequest, found.proposal_id)
    assert (proposal.kind, proposal.phase, proposal.requester_id) == ("retire", "draft", request.requester_id)
    assert sorted(proposal.body["servers"]) == sorted(str(server.id) for server in servers)
    assert "不属于应急情形" in proposal.purpose
    assert {server.phase for server in servers} == {"requested"}
    stages = desk.session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id)).all()
    assert {stage.state for stage in stages} == {"reject"}


def test_the_proposal_is_a_request_like_any_other(desk: Desk) -> None:
    from tests.stocked import stand  # noqa: PLC0415 - only here

    request = order(desk)
    server = desk.session.exec(select(Server).where(Server.request_id == request.id)).one()
    stand(desk.session, server.id)
    request.phase = "fulfilled"
    decide(desk, request, "reject", "不属于应急情形")
    proposal = requests.submit(desk.session, desk.actor("requester"), of(desk, request).proposal_id)
    assert (proposal.phase, proposal.number[:2]) == ("in_review", "ZX")


def rejected(desk: Desk, body: Any) -> ResourceRequest:
    """Submit an order for a change of servers that stand, have it rejected and return what is proposed."""
    request = requests.submit_new(desk.session, desk.actor("requester"), body)
    assert (request.number[:2], request.phase) == ("YJ", "approved")
    assert f"fulfil_request:{request.id}:1" in enqueued(desk)
    decide(desk, request, "reject", "不属于应急情形")
    return desk.session.get_one(ResourceRequest, of(desk, request).proposal_id)


def urgent(desk: Desk, kind: str, *servers: Server, **body: Any) -> Any:
    body |= {"emergency": True, "emergency_reason": "抢险", "project": str(desk.world.project.id), "purpose": "抢险"}
    return body_adapter.validate_python({"kind": kind, "servers": [str(each.id) for each in servers], **body})


def test_another_size_is_an_order_that_goes_back_to_the_former(desk: Desk) -> None:
    first, second = ready(desk, name="a"), ready(desk, name="b")
    larger, before = flavor(desk, first), desk.session.get_one(Flavor, first.flavor_id).name
    proposal = rejected(desk, urgent(desk, "resize", first, second, flavor=larger))
    assert (proposal.kind, proposal.phase, proposal.body["flavor"]) == ("resize", "draft", before)
    assert sorted(proposal.body["servers"]) == sorted([str(first.id), str(second.id)])
    for change in desk.session.exec(select(ServerChange)):  # as the workflow leaves them
        server = desk.session.get_one(Server, change.server_id)
        change.state, change.before = "done", size_of(server)
        server.vcpus, server.memory_mib = change.wanted["vcpus"], change.wanted["memory_mib"]
        server.flavor_id = uuid.UUID(change.wanted["flavor"])
    sent = requests.submit(desk.session, desk.actor("requester"), proposal.id)
    assert (sent.phase, sent.number[:2]) == ("in_review", "BG"), "taking it back is no emergency"


def test_a_further_disk_is_an_order_that_detaches_it(desk: Desk) -> None:
    proposal = rejected(desk, urgent(desk, "resize", ready(desk), add_data_disk_gib=50))
    disk = desk.session.exec(select(Volume)).one()
    assert proposal.body | {"project": 0, "purpose": 0} == {
        "kind": "volume",
        "detach": [str(disk.id)],
        "project": 0,
        "purpose": 0,
    }


def test_freezing_and_its_end_take_each_other_back(desk: Desk) -> None:
    running, frozen = ready(desk, name="a"), ready(desk, name="b")
    proposal = rejected(desk, urgent(desk, "freeze", running))
    assert (proposal.kind, proposal.body["servers"]) == ("unfreeze", [str(running.id)])
    frozen.phase, frozen.frozen_by = "suspended", "request"
    proposal = rejected(desk, urgent(desk, "unfreeze", frozen))
    assert (proposal.kind, proposal.body["servers"]) == ("freeze", [str(frozen.id)])


def test_what_failed_is_not_taken_back(desk: Desk) -> None:
    request = requests.submit_new(desk.session, desk.actor("requester"), urgent(desk, "freeze", ready(desk)))
    desk.session.exec(select(ServerChange)).one().state = "failed"
    decide(desk, request, "reject", "不属于应急情形")
    assert of(desk, request).proposal_id is None
    told = desk.session.exec(select(RequestEvent).where(RequestEvent.request_id == request.id)).all()
    assert any("Nothing of it is left" in str(each.message) for each in told)


def test_the_growth_counts_against_the_allowance_and_the_plan_says_so(desk: Desk) -> None:
    server = ready(desk)
    allow(desk, vcpus=server.vcpus - 1)
    body = urgent(desk, "resize", server, flavor=flavor(desk, server))
    plan = requests.plan(desk.session, desk.actor("requester"), body)
    assert [(each["code"], each["key"]) for each in plan.refusals] == [("emergency_allowance_exceeded", "vcpus")]
    with pytest.raises(AllowanceExceeded):
        requests.submit_new(desk.session, desk.actor("requester"), body)


def test_an_order_that_one_request_could_not_take_back_is_refused(desk: Desk) -> None:
    first, second = ready(desk, name="a"), ready(desk, name="b")
    larger = flavor(desk, first)
    other = desk.session.exec(select(Flavor).where(Flavor.id != first.flavor_id, Flavor.name != larger)).first()
    for field, servers, more, changed in (
        ("add_data_disk_gib", [first], {"add_data_disk_gib": 10}, {}),
        ("servers[1]", [first, second], {}, {"flavor_id": other.id}),
        ("servers[0]", [second], {}, {"flavor_id": None, "source": "imported"}),
    ):
        for name, value in changed.items():
            setattr(second, name, value)
        with pytest.raises(InvalidInput) as refused:
            requests.plan(
                desk.session, desk.actor("requester"), urgent(desk, "resize", *servers, flavor=larger, **more)
            )
        assert refused.value.field == field
    with pytest.raises(ValidationError):
        urgent(desk, "renew", first, lease_long_term=True)


def test_an_order_nobody_approves_is_flagged_and_escalated_once(desk: Desk) -> None:
    with clock.stepped(MONDAY) as advance:
        request = order(desk)
        advance(timedelta(days=3, hours=7, minutes=29))
        assert deadlines.flag_emergencies(desk.session, 10) == 0
        advance(timedelta(minutes=2))
        assert deadlines.is_anything_due(desk.session)
        assert deadlines.flag_emergencies(desk.session, 10) == 1
        assert deadlines.flag_emergencies(desk.session, 10) == 0
        assert deadlines.gauges(desk.session)["cloudmgr_emergency_orders_overdue"] == 1
        assert of(desk, request).flagged_at is not None
        stage = desk.session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id)).one()
        assert stage.escalated_at is not None
        decide(desk, request, "approve", who="cityboss")
    assert of(desk, request).state == "approved"


def test_emergencies_stand_first_in_the_queue(desk: Desk) -> None:
    ordinary = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(name="a"))
    urgent = order(desk, name="b")
    queue = approvals.list_decidable(desk.session, desk.actor("admin"))
    assert [row[0].id for row in queue] == [urgent.id, ordinary.id]


def test_two_orders_at_once_never_take_the_same_room(any_world: World) -> None:
    settings = any_world.settings
    changed = settings.policy.model_copy(update={"emergency_allowance": {"servers": 2}})
    tight = settings.model_copy(update={"policy": changed})
    gate = threading.Barrier(6)

    def ask(number: int) -> bool:
        gate.wait()
        with any_world.session() as session:
            policy.attach(session, tight)
            body = any_world.command(name=f"s{number}", emergency=True, emergency_reason="抢险")
            try:
                requests.submit_new(session, any_world.actor("requester"), body)
            except AllowanceExceeded:
                return False
            session.commit()
            return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(6))) == 2
