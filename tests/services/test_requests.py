"""Requests: saved, submitted, changed, withdrawn; what each holds, numbers, records and refuses, on both databases."""

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import SQLModel, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.errors import (
    ArchMismatch,
    ClassificationRefused,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Refusal,
)
from cloudmgr.http.validation import field_path
from cloudmgr.models import ApprovalStage, RequestEvent, ResourceRequest, ServerVersion
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import DraftRequest, RetireRequest
from cloudmgr.services.request_kinds.base import reservation_id
from tests.services.people import LOCAL
from tests.services.requesting import decide, held, servers_of, submit, told
from tests.stocked import FURONG_SERVERS, Desk, project_named, stand


def _plain(value: Any) -> Any:
    if isinstance(value, SQLModel):
        return type(value).__name__, value.model_dump()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


class TestSubmit:
    @pytest.mark.parametrize(
        "changes",
        [
            {"count": 3, "data_disk_gib": 100, "name": "b"},
            {"emergency": True, "emergency_reason": "汛情"},
            {"funding_source": "市级财政", "priority": "high"},
        ],
        ids=["three", "emergency", "money"],
    )
    def test_its_answer_is_what_reading_it_says(self, desk: Desk, changes: dict[str, Any]) -> None:
        command = desk.world.command(**changes)
        view = requests.submit_and_read(desk.session, desk.actor("requester"), command)
        told = {field.name: _plain(getattr(view, field.name)) for field in dataclasses.fields(view)}
        desk.session.flush()
        desk.session.expunge_all()
        read = requests.get_request(desk.session, desk.actor("requester"), view.request.id)
        for name, value in told.items():
            assert _plain(getattr(read, name)) == value, name

    def test_quota_is_held_at_every_level_and_nowhere_beside(self, desk: Desk) -> None:
        submit(desk, count=3, data_disk_gib=100)
        assert held(desk) == [(0, 3)] * 4
        assert desk.used(desk.world.root.account_id, "disk_gib") == (0, 420)
        assert desk.used(desk.world.yuelu.account_id) == (0, 0)
        assert quotas.verify(desk.session).mismatches == []

    def test_the_servers_stand_in_the_books_before_anything_is_built(self, desk: Desk) -> None:
        request = submit(desk, count=2)
        made = servers_of(desk, request)
        assert [(each.name, each.phase, each.resource_no) for each in made] == [
            ("srv01", "requested", None),
            ("srv02", "requested", None),
        ]
        assert {each.reservation_id for each in made} == {reservation_id(request)}
        assert {each.owner_name for each in made} == {"王芳"}

    def test_one_stage_waits_for_the_district(self, desk: Desk) -> None:
        request = submit(desk)
        assert (request.phase, request.submission, request.attempt) == ("in_review", 1, 0)
        stage = desk.session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id)).one()
        assert (stage.role, stage.organization_id, stage.state) == ("district_admin", desk.world.furong.id, "open")
        assert stage.policy_version

    def test_it_is_recorded_and_told(self, desk: Desk) -> None:
        request = submit(desk)
        event = told(desk, "request.submit")
        assert (event.actor, event.object_id, event.object_name) == ("requester", str(request.id), request.number)
        assert (event.outcome, event.source, event.organization_path) == (
            "success",
            "192.0.2.9",
            desk.world.minzheng.path,
        )
        line = desk.session.exec(select(RequestEvent).where(RequestEvent.request_id == request.id)).one()
        assert line.kind == "phase"

    def test_over_quota_names_every_level_that_binds_and_holds_nothing(self, desk: Desk) -> None:
        before = desk.counts()
        with pytest.raises(quotas.QuotaExceeded) as refused:
            submit(desk, count=FURONG_SERVERS + 1)
        found = {(each["name"], each["key"]): each for each in refused.value.errors}
        assert set(found) == {("芙蓉区", "servers"), ("智慧社区综合服务平台", "servers")}
        assert found["芙蓉区", "servers"] | {"account": ""} == {
            "account": "",
            "name": "芙蓉区",
            "key": "servers",
            "limit": 24,
            "used": 0,
            "reserved": 0,
            "asked": 25,
        }
        assert desk.counts() == before
        assert held(desk) == [(0, 0)] * 4

    def test_several_resources_bind_together(self, desk: Desk) -> None:
        with pytest.raises(quotas.QuotaExceeded) as refused:
            submit(desk, count=21, flavor="8C32G")
        assert {each["key"] for each in refused.value.errors} == {"servers", "vcpus"}

    def test_the_last_unit_is_given_and_one_more_is_not(self, desk: Desk) -> None:
        submit(desk, name="a", count=19)
        submit(desk, name="b")
        with pytest.raises(quotas.QuotaExceeded):
            submit(desk, name="c")


class TestNumbers:
    def test_numbers_are_unique_in_order_and_dated_in_shanghai(self, desk: Desk) -> None:
        with clock.stepped(datetime(2026, 11, 22, 15, 59, tzinfo=UTC)) as step:
            first = [submit(desk, name=f"a{index}").number for index in range(3)]
            step(timedelta(minutes=1))
            next_day = submit(desk, name="b").number
        assert first == ["SQ20261122-0001", "SQ20261122-0002", "SQ20261122-0003"]
        assert next_day == "SQ20261123-0001"

    def test_each_kind_counts_for_itself(self, desk: Desk) -> None:
        request = submit(desk)
        server = stand(desk.session, servers_of(desk, request)[0].id)
        retire = requests.submit_new(
            desk.session,
            desk.actor("requester"),
            RetireRequest(kind="retire", project=desk.world.project.id, purpose="下线", servers=[server.id]),
        )
        assert (retire.number or "")[:2] == "ZX"
        assert (retire.number or "").endswith("-0001")

    def test_a_draft_has_no_number_and_a_returned_request_keeps_its_own(self, desk: Desk) -> None:
        draft = requests.save_draft(
            desk.session, desk.actor("requester"), DraftRequest(kind="create", project=desk.world.project.id)
        )
        assert draft.number is None
        request = submit(desk)
        number = request.number
        decide(desk, request, "return")
        assert requests.submit(desk.session, desk.actor("requester"), request.id).number == number


class TestDrafts:
    def draft(self, desk: Desk, **fields: Any) -> ResourceRequest:
        command = DraftRequest.model_validate({"kind": "create", "project": str(desk.world.project.id), **fields})
        return requests.save_draft(desk.session, desk.actor("requester"), command)

    def test_a_draft_holds_nothing(self, desk: Desk) -> None:
        before = desk.counts()
        self.draft(desk, servers=[{"name": "half"}])
        changed = {table for table, count in desk.counts().items() if count != before[table]}
        assert changed == {"resource_requests", "audit_events"}
        assert told(desk, "request.save").object_type == "request"

    def test_submitting_an_incomplete_draft_names_every_field(self, desk: Desk) -> None:
        request = self.draft(desk, servers=[{"name": "half", "count": 0}, {"name": "Bad_Name", "count": "2"}])
        with pytest.raises(InvalidInput) as refused:
            requests.submit(desk.session, desk.actor("requester"), request.id)
        fields = {field_path(each["loc"]) for each in refused.value.invalid}
        assert fields >= {
            "purpose",
            "servers[0].count",
            "servers[0].flavor",
            "servers[0].image",
            "servers[0].arch",
            "servers[1].name",
            "servers[1].count",
        }
        assert request.phase == "draft"

    def test_a_draft_completed_step_by_step_is_submitted(self, desk: Desk) -> None:
        request = self.draft(desk, purpose="初稿")
        whole = desk.world.command(purpose="定稿", env="tst")
        requests.update_request(desk.session, desk.actor("requester"), request.id, whole)
        assert held(desk)[0] == (0, 0)
        requests.submit(desk.session, desk.actor("requester"), request.id)
        assert (request.phase, request.purpose, request.env) == ("in_review", "定稿", "tst")
        assert held(desk)[0] == (0, 1)

    def test_kind_and_project_of_a_draft_stay(self, desk: Desk) -> None:
        request = self.draft(desk)
        other = project_named(desk.session, "另一项目")
        for change in ({"kind": "retire"}, {"project": str(other.id)}):
            body = {"kind": "create", "project": str(desk.world.project.id)} | change
            with pytest.raises(InvalidInput, match="stay as they are"):
                requests.update_request(
                    desk.session, desk.actor("requester"), request.id, DraftRequest.model_validate(body)
                )

    def test_a_draft_can_be_withdrawn_and_then_no_more(self, desk: Desk) -> None:
        request = self.draft(desk)
        requests.withdraw(desk.session, desk.actor("requester"), request.id)
        assert (request.phase, request.number) == ("withdrawn", None)
        with pytest.raises(Conflict):
            requests.submit(desk.session, desk.actor("requester"), request.id)


class TestReturnAndResubmit:
    def test_a_return_frees_everything_and_resubmitting_holds_it_anew(self, desk: Desk) -> None:
        request = submit(desk, count=3)
        first = reservation_id(request)
        decide(desk, request, "return", "请减少数量")
        assert held(desk) == [(0, 0)] * 4
        assert servers_of(desk, request) == []
        assert (request.phase, request.finished_at) == ("returned", None)

        smaller = desk.world.command(count=2, name="app")
        requests.update_request(desk.session, desk.actor("requester"), request.id, smaller)
        requests.submit(desk.session, desk.actor("requester"), request.id)
        assert held(desk) == [(0, 2)] * 4
        assert reservation_id(request) != first
        assert [each.name for each in servers_of(desk, request)] == ["app01", "app02"]
        view = requests.get_request(desk.session, desk.actor("requester"), request.id)
        assert [(stage.submission, stage.state) for stage in view.stages] == [(2, "open")]
        assert [approval.decision for approval, _ in view.approvals] == ["return"]
        assert quotas.verify(desk.session).mismatches == []

    def test_the_room_may_be_gone_when_a_returned_request_comes_back(self, desk: Desk) -> None:
        request = submit(desk, name="a", count=3)
        decide(desk, request, "return")
        submit(desk, "colleague", name="b", count=18)
        with pytest.raises(quotas.QuotaExceeded):
            requests.submit(desk.session, desk.actor("requester"), request.id)

    def test_under_review_nothing_can_be_changed(self, desk: Desk) -> None:
        request = submit(desk)
        with pytest.raises(Conflict, match="In review"):
            requests.update_request(desk.session, desk.actor("requester"), request.id, desk.world.command(name="x"))


@pytest.mark.parametrize("end", ["withdraw", "reject"])
def test_what_comes_to_nothing_gives_everything_back(desk: Desk, end: str) -> None:
    request = submit(desk, count=4)
    if end == "withdraw":
        requests.withdraw(desk.session, desk.actor("requester"), request.id)
    else:
        decide(desk, request, "reject", "不符合规划")
    assert request.phase == {"withdraw": "withdrawn", "reject": "rejected"}[end]
    assert request.finished_at is not None
    assert held(desk) == [(0, 0)] * 4
    assert servers_of(desk, request) == []
    assert {each.state for each in desk.session.exec(select(ApprovalStage))} <= {"cancelled", "reject"}
    assert told(desk, f"request.{end}").object_id == str(request.id)
    again = submit(desk, count=4)
    assert again.phase == "in_review", "the names are free again"


def test_an_approved_request_can_no_longer_be_withdrawn(desk: Desk) -> None:
    request = submit(desk)
    decide(desk, request, "approve", "")
    with pytest.raises(Conflict, match="Approved"):
        requests.withdraw(desk.session, desk.actor("requester"), request.id)
    assert held(desk)[0] == (0, 1)


class TestNames:
    def test_a_name_that_only_waits_for_approval_is_taken(self, desk: Desk) -> None:
        submit(desk, name="app", count=2)
        with pytest.raises(Conflict, match="app02") as refused:
            submit(desk, "colleague", name="app02")
        assert refused.value.field == "servers"

    def test_another_project_may_use_the_same_name(self, desk: Desk) -> None:
        submit(desk, name="app")
        other = project_named(desk.session, "另一项目")
        assert submit(desk, name="app", project=str(other.id)).phase == "in_review"

    def test_one_request_may_not_name_two_servers_alike(self, desk: Desk) -> None:
        entry = desk.world.body()["servers"][0]
        twice = [{**entry, "name": "app", "count": 2}, {**entry, "name": "app02"}]
        with pytest.raises(InvalidInput, match="app02"):
            submit(desk, servers=twice)

    def test_a_number_must_still_fit_into_the_label(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput, match="63"):
            submit(desk, name="a" * 62, count=2)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "kind", "field"),
        [
            ({"flavor": "no-such"}, InvalidInput, "servers[0].flavor"),
            ({"image": "no-such"}, InvalidInput, "servers[0].image"),
            ({"image": "needs-100"}, InvalidInput, "servers[0].flavor"),
            ({"image": "arm-only", "arch": "x86_64"}, ArchMismatch, "servers[0].image"),
            ({"arch": "loongarch64"}, ArchMismatch, "servers[0].arch"),
            ({"backend": "no-such"}, InvalidInput, "servers[0].backend"),
            ({"network_zone": "涉密网"}, InvalidInput, "network_zone"),
            ({"network_zone": "测试区"}, InvalidInput, "network_zone"),
            ({"network_zone": None}, InvalidInput, "servers[0].network_zone"),
            ({"playbook": "no-such"}, InvalidInput, "servers[0].playbook"),
            ({"variables": {"nope": 1}}, InvalidInput, "servers[0].variables.nope"),
            ({"lease_end": None}, InvalidInput, "lease_end"),
            ({"lease_end": "2020-01-01"}, InvalidInput, "lease_end"),
            ({"lease_end": None, "lease_long_term": True}, InvalidInput, "lease_reason"),
            ({"ssh_keys": ["ssh-dss AAAA"]}, InvalidInput, "ssh_keys[0]"),
        ],
    )
    def test_each_names_its_field_and_leaves_no_row(
        self, desk: Desk, changes: dict[str, Any], kind: type[Refusal], field: str
    ) -> None:
        before = desk.counts()
        with pytest.raises(kind) as refused:
            submit(desk, **changes)
        assert refused.value.field == field
        assert desk.counts() == before

    @pytest.mark.parametrize("name", ["涉密项目", "四级项目"])
    def test_classified_systems_are_refused_and_nothing_of_them_is_kept(self, desk: Desk, name: str) -> None:
        project = project_named(desk.session, name)
        before = desk.counts()
        with pytest.raises(ClassificationRefused):
            submit(desk, project=str(project.id))
        with pytest.raises(ClassificationRefused):
            requests.save_draft(desk.session, desk.actor("requester"), DraftRequest(kind="create", project=project.id))
        with pytest.raises(ClassificationRefused):
            requests.plan(desk.session, desk.actor("requester"), desk.world.command(project=str(project.id)))
        assert desk.counts() == before

    def test_a_closed_project_takes_no_requests(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput, match="closed"):
            submit(desk, project=str(project_named(desk.session, "关停项目").id))

    def test_somebody_must_be_responsible(self, desk: Desk) -> None:
        project = project_named(desk.session, "无主项目")
        with pytest.raises(InvalidInput) as refused:
            submit(desk, project=str(project.id), owner=None)
        assert refused.value.field == "owner"

    def test_a_project_elsewhere_is_not_told_from_one_that_is_not(self, desk: Desk) -> None:
        told = []
        for project in (desk.world.other_project.id, uuid.uuid4()):
            with pytest.raises(InvalidInput) as refused:
                submit(desk, project=str(project))
            told.append((refused.value.field, str(refused.value)))
        assert told[0] == told[1]

    def test_who_may_see_but_not_ask_is_forbidden(self, desk: Desk) -> None:
        for who in ("admin", "reviewer", "auditor", "quota"):
            with pytest.raises(Forbidden):
                submit(desk, who)

    def test_a_local_administrator_makes_no_requests(self, desk: Desk) -> None:
        with pytest.raises(Forbidden):
            requests.submit_new(desk.session, LOCAL, desk.world.command())


class TestOthers:
    def test_for_strangers_a_request_does_not_exist(self, desk: Desk) -> None:
        request = submit(desk)
        stranger = desk.actor("stranger")
        for deed in (requests.get_request, requests.list_events, requests.submit, requests.withdraw, requests.retry):
            with pytest.raises(NotFound):
                deed(desk.session, stranger, request.id)
        assert requests.list_requests(desk.session, stranger) == ([], None)

    def test_colleagues_read_it_and_only_its_maker_changes_it(self, desk: Desk) -> None:
        request = submit(desk)
        colleague = desk.actor("colleague")
        assert requests.get_request(desk.session, colleague, request.id).request.id == request.id
        for deed in (requests.submit, requests.withdraw):
            with pytest.raises(Forbidden, match="person who made"):
                deed(desk.session, colleague, request.id)

    def test_lists_go_page_by_page_newest_first_without_gaps(self, desk: Desk) -> None:
        made = [submit(desk, name=f"a{index}").id for index in range(5)]
        seen, cursor = [], None
        for _ in range(5):
            rows, cursor = requests.list_requests(desk.session, desk.actor("admin"), limit=2, cursor=cursor)
            seen += [request.id for request, *_ in rows]
            if cursor is None:
                break
        assert seen == sorted(made, reverse=True)


class TestRetire:
    def retire(self, desk: Desk, *ids: uuid.UUID) -> ResourceRequest:
        command = RetireRequest(kind="retire", project=desk.world.project.id, purpose="不再使用", servers=list(ids))
        return requests.submit_new(desk.session, desk.actor("requester"), command)

    def test_a_standing_server_is_marked_and_keeps_its_quota_until_it_is_gone(self, desk: Desk) -> None:
        server = stand(desk.session, servers_of(desk, submit(desk))[0].id)
        request = self.retire(desk, server.id)
        assert (server.phase, server.retire_request_id) == ("active", request.id)
        assert held(desk)[0] == (1, 0)
        with pytest.raises(Conflict, match="already being retired"):
            self.retire(desk, server.id)

    def test_a_rejected_retirement_lets_the_server_go_on(self, desk: Desk) -> None:
        server = stand(desk.session, servers_of(desk, submit(desk))[0].id)
        decide(desk, self.retire(desk, server.id), "reject", "仍在使用")
        desk.session.refresh(server)
        assert (server.phase, server.retire_request_id) == ("active", None)
        assert self.retire(desk, server.id).phase == "in_review"

    def test_what_is_not_built_not_ours_or_named_twice_is_refused(self, desk: Desk) -> None:
        waiting = servers_of(desk, submit(desk))[0]
        with pytest.raises(Conflict, match="still being built"):
            self.retire(desk, waiting.id)
        with pytest.raises(InvalidInput, match="no such server"):
            self.retire(desk, uuid.uuid4())
        other = submit(desk, name="o", project=str(project_named(desk.session, "另一项目").id))
        with pytest.raises(InvalidInput, match="no such server"):
            self.retire(desk, servers_of(desk, other)[0].id)
        with pytest.raises(InvalidInput, match="twice"):
            self.retire(desk, waiting.id, waiting.id)


def test_the_history_of_servers_begins_at_approval(desk: Desk) -> None:
    request = submit(desk)
    assert desk.session.exec(select(ServerVersion)).all() == []
    decide(desk, request, "approve", "")
    version = desk.session.exec(select(ServerVersion)).one()
    assert (version.change, version.actor) == ("approved", "admin")
    assert version.snapshot["request_no"] == request.number
