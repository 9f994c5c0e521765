"""Deciding: whose turn it is, never one's own, and what each decision sets in motion. On both databases."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, OwnRequest, Refusal
from cloudmgr.domain.ids import new_id
from cloudmgr.models import Approval, ApprovalSeat, ApprovalStage, AuditEvent, ResourceRequest, Server
from cloudmgr.services import approvals, requests, weighing
from cloudmgr.services.request_inputs import Decide, DraftRequest
from tests.services.people import LOCAL
from tests.stocked import Desk
from tests.world import World


def submit(desk: Desk, who: str = "requester", **changes: Any) -> ResourceRequest:
    return requests.submit_new(desk.session, desk.actor(who), desk.world.command(**changes))


def decide(desk: Desk, who: str, request: ResourceRequest, decision: str = "approve", comment: str = "说明") -> None:
    command = Decide.model_validate({"decision": decision, "comment": comment})
    approvals.decide(desk.session, desk.actor(who), request.id, command)


def enqueued(desk: Desk) -> list[str]:
    table = "workflow_status" if desk.world.settings.is_sqlite else "dbos.workflow_status"
    return [row[0] for row in desk.session.execute(sa.text(f"SELECT workflow_uuid FROM {table}"))]


def test_an_approval_sets_fulfilment_going_in_the_same_transaction(desk: Desk) -> None:
    request = submit(desk, count=2)
    decide(desk, "admin", request, comment="")
    assert (request.phase, request.attempt) == ("approved", 1)
    assert request.decided_at is not None
    assert enqueued(desk) == [f"fulfil_request:{request.id}:1"]
    approval = desk.session.exec(select(Approval)).one()
    assert (approval.decision, approval.comment) == ("approve", "同意")
    assert approval.requester_id == request.requester_id
    numbers = [each.resource_no for each in desk.session.exec(select(Server).order_by(Server.name))]
    assert numbers == ["430102-VM-000001", "430102-VM-000002"]


def test_resource_numbers_are_never_used_again(desk: Desk) -> None:
    for name in ("a", "b"):
        decide(desk, "admin", submit(desk, name=name))
    server = desk.session.exec(select(Server).where(Server.name == "b")).one()
    server.phase = "retired"
    decide(desk, "admin", submit(desk, name="c"))
    numbers = [each.resource_no for each in desk.session.exec(select(Server).order_by(Server.name))]
    assert numbers == [f"430102-VM-00000{index}" for index in (1, 2, 3)]


@pytest.mark.parametrize(("decision", "phase"), [("reject", "rejected"), ("return", "returned")])
def test_a_no_needs_a_reason_starts_nothing_and_is_recorded(desk: Desk, decision: str, phase: str) -> None:
    request = submit(desk)
    with pytest.raises(InvalidInput) as refused:
        decide(desk, "admin", request, decision, "   ")
    assert refused.value.field == "comment"
    decide(desk, "admin", request, decision, "材料不全")
    assert request.phase == phase
    assert enqueued(desk) == []
    event = desk.session.exec(select(AuditEvent).where(AuditEvent.event == f"request.{decision}")).one()
    assert (event.actor, event.object_id, event.organization_path) == (
        "admin",
        str(request.id),
        desk.world.minzheng.path,
    )


class TestOwn:
    def test_whoever_holds_both_roles_still_does_not_decide_on_their_own(self, desk: Desk) -> None:
        request = submit(desk, "both")
        before = desk.counts()
        for decision in ("approve", "reject", "return"):
            with pytest.raises(OwnRequest):
                decide(desk, "both", request, decision)
        assert desk.counts() == before
        assert request.id not in {row[0].id for row in approvals.list_decidable(desk.session, desk.actor("both"))}
        decide(desk, "admin", request)
        assert request.phase == "approved"

    def test_who_has_no_right_to_decide_hears_first_that_it_is_their_own(self, desk: Desk) -> None:
        with pytest.raises(OwnRequest):
            decide(desk, "requester", submit(desk))

    @pytest.mark.parametrize("lie", ["own", "somebody else's"])
    def test_the_database_refuses_it_whoever_writes(self, desk: Desk, lie: str) -> None:
        request = submit(desk, "both")
        stage = desk.session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id)).one()
        seat = desk.session.exec(select(ApprovalSeat).where(ApprovalSeat.stage_id == stage.id)).one()
        requester = request.requester_id if lie == "own" else desk.world.people["stranger"]
        statement = sa.insert(Approval).values(
            id=new_id(),
            created_at=clock.now(),
            request_id=request.id,
            submission=request.submission,
            requester_id=requester,
            stage_id=stage.id,
            seat_id=seat.id,
            policy_version=stage.policy_version,
            decider_id=request.requester_id,
            decision="approve",
            comment="",
        )
        with pytest.raises(sa.exc.IntegrityError), desk.session.begin_nested():
            desk.session.execute(statement)

    def test_nor_can_the_request_be_given_to_another_maker_afterwards(self, desk: Desk) -> None:
        request = submit(desk)
        decide(desk, "admin", request)
        statement = (
            sa.update(ResourceRequest)
            .where(ResourceRequest.id == request.id)
            .values(requester_id=desk.world.people["admin"])
        )
        with pytest.raises(sa.exc.IntegrityError), desk.session.begin_nested():
            desk.session.execute(statement)


class TestTurn:
    @pytest.mark.parametrize(
        ("who", "kind"),
        [
            ("stranger", NotFound),
            ("secadmin", NotFound),
            ("colleague", Forbidden),
            ("quota", Forbidden),
            ("sysadmin", Forbidden),
            ("auditor", Forbidden),
            ("external", Forbidden),
            ("reviewer", Forbidden),
            ("cityboss", Forbidden),
            ("bureau-admin", Forbidden),
        ],
    )
    def test_the_stage_is_decided_by_its_role_at_its_level_only(
        self, desk: Desk, who: str, kind: type[Refusal]
    ) -> None:
        request = submit(desk)
        with pytest.raises(kind) as refused:
            decide(desk, who, request)
        assert type(refused.value).code == kind.code
        assert request.phase == "in_review"
        assert approvals.list_decidable(desk.session, desk.actor(who)) == []

    def test_the_role_higher_up_includes_the_level(self, desk: Desk) -> None:
        request = submit(desk)
        assert [row[0].id for row in approvals.list_decidable(desk.session, desk.actor("rooted"))] == [request.id]
        decide(desk, "rooted", request)
        assert request.phase == "approved"

    def test_whose_turn_it_is_is_told(self, desk: Desk) -> None:
        with pytest.raises(Forbidden, match="芙蓉区"):
            decide(desk, "bureau-admin", submit(desk))

    def test_the_queue_shows_what_waits_oldest_first_until_it_is_decided(self, desk: Desk) -> None:
        made = [submit(desk, name=f"a{index}") for index in range(3)]
        admin = desk.actor("admin")
        assert [row[0].id for row in approvals.list_decidable(desk.session, admin)] == [each.id for each in made]
        decide(desk, "admin", made[1])
        waiting = [row[0].id for row in approvals.list_decidable(desk.session, admin)]
        assert waiting == [made[0].id, made[2].id]


def test_a_second_decision_finds_nothing_to_decide(desk: Desk) -> None:
    request = submit(desk)
    decide(desk, "admin", request, "return")
    with pytest.raises(Conflict, match="nothing to decide"):
        decide(desk, "rooted", request)


def test_a_draft_and_what_does_not_exist_are_not_decided(desk: Desk) -> None:
    draft = requests.save_draft(
        desk.session, desk.actor("requester"), DraftRequest(kind="create", project=desk.world.project.id)
    )
    with pytest.raises(Conflict):
        decide(desk, "admin", draft)
    with pytest.raises(NotFound):
        approvals.decide(
            desk.session, desk.actor("admin"), uuid.uuid4(), Decide.model_validate({"decision": "approve"})
        )


def test_a_program_does_not_decide(desk: Desk) -> None:
    with pytest.raises(Forbidden):
        approvals.decide(desk.session, LOCAL, submit(desk).id, Decide.model_validate({"decision": "approve"}))


def test_what_it_takes_stands_beside_what_is_left_at_every_level(desk: Desk) -> None:
    submit(desk, name="earlier", count=2)
    request = submit(desk, count=3)
    found = weighing.weigh(desk.session, desk.actor("admin"), request.id)
    assert found.taken == {
        "servers": 3,
        "vcpus": 6,
        "memory_mib": 12288,
        "disk_gib": 120,
        "ip_addresses": 3,
        "volumes": 0,
    }
    assert [usage.name for usage in found.usage] == ["长沙市", "芙蓉区", "芙蓉区民政局", "智慧社区综合服务平台"]
    assert [usage.reserved["servers"] for usage in found.usage] == [5, 5, 5, 5]


def test_two_people_at_once_decide_once(any_world: World) -> None:
    request_id = any_world.submit()
    actors = [any_world.actor("admin"), any_world.actor("rooted")]
    together = threading.Barrier(2)

    def one(place: int) -> str:
        together.wait(20)
        with any_world.session() as session:
            try:
                command = Decide.model_validate({"decision": ("approve", "reject")[place], "comment": "说明"})
                approvals.decide(session, actors[place], request_id, command)
                session.commit()
            except Conflict:
                session.rollback()
                return "too late"
        return "decided"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(one, range(2))) == ["decided", "too late"]
    with any_world.session(write=False) as session:
        decision = session.exec(select(Approval)).one().decision
        phase = session.get_one(ResourceRequest, request_id).phase
    assert phase == {"approve": "approved", "reject": "rejected"}[decision]
