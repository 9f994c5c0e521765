"""Asking for quota: small raises by rule, others through the level above; and requests that wait for their quota."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.models import ApprovalStage, AuditEvent, Happening, RequestEvent, ResourceRequest, User
from cloudmgr.services import approvals, requests
from cloudmgr.services.request_inputs import Decide, body_adapter
from cloudmgr.workflows import quota_changes, request_facts
from quotas import QuotaExceeded
from tests.stocked import FURONG_SERVERS, LIMITS, Desk


def ask(desk: Desk, limits: dict[str, int], who: str = "requester", **changes: Any) -> ResourceRequest:
    body = {"kind": "quota_change", "account": str(desk.world.project.account_id), "limits": limits, "purpose": "扩容"}
    return requests.submit_new(desk.session, desk.actor(who), body_adapter.validate_python(body | changes))


def grant(desk: Desk, request: ResourceRequest) -> str:
    """Do what the worker does with an approved quota change; return its phase."""
    request_facts.begin(desk.session, str(request.id))
    quota_changes.grant(desk.session, str(request.id))
    phase = request_facts.finish(desk.session, str(request.id), request.attempt)
    for draft in quota_changes.waiting(desk.session, str(request.id)):
        quota_changes.submit_waiting(desk.session, draft)
    return phase


def approve(desk: Desk, request: ResourceRequest, decision: str = "approve", who: str = "quota") -> None:
    command = Decide.model_validate({"decision": decision, "comment": "说明"})
    approvals.decide(desk.session, desk.actor(who), request.id, command)


def limits_of(desk: Desk, account_id: uuid.UUID | None = None) -> dict[str, int | None]:
    return dict(quotas.account_usage(desk.session, account_id or desk.world.project.account_id).limits)


def told(desk: Desk, request: ResourceRequest) -> str:
    rows = desk.session.exec(select(RequestEvent).where(RequestEvent.request_id == request.id))
    return "\n".join(str(row.message) for row in rows)


def stages(desk: Desk, request: ResourceRequest) -> list[tuple[Any, uuid.UUID]]:
    rows = desk.session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id))
    return [(row.role, row.organization_id) for row in rows]


class TestByRule:
    def test_a_small_raise_needs_nobody(self, desk: Desk) -> None:
        request = ask(desk, {"servers": 22})
        assert (request.phase, stages(desk, request)) == ("approved", [])
        assert (request.number or "").startswith("PE")
        assert grant(desk, request) == "fulfilled"
        assert limits_of(desk)["servers"] == 22
        event = desk.session.exec(select(AuditEvent).where(AuditEvent.event == "quota.set")).one()
        assert (event.detail["before"], event.detail["after"]) == ({"servers": LIMITS["servers"]}, {"servers": 22})
        assert event.detail["basis_no"] == request.number

    @pytest.mark.parametrize(
        "limits", [{"servers": 23}, {"servers": 22, "vcpus": 67}, {"servers": 19}, {"disk_gib": 1}]
    )
    def test_a_larger_one_a_lowering_and_a_first_limit_are_decided_on(self, desk: Desk, limits: dict[str, int]) -> None:
        request = ask(desk, limits)
        assert request.phase == "in_review"
        assert stages(desk, request) == [("quota_admin", desk.world.minzheng.id)]

    def test_the_second_within_thirty_days_is_decided_on(self, desk: Desk) -> None:
        with clock.stepped(datetime(2026, 11, 23, 2, tzinfo=UTC)) as advance:
            grant(desk, ask(desk, {"servers": 22}))
            advance(timedelta(days=29))
            second = ask(desk, {"servers": 23})
            assert second.phase == "in_review"
            requests.withdraw(desk.session, desk.actor("requester"), second.id)
            advance(timedelta(days=2))
            assert ask(desk, {"servers": 23}).phase == "approved"

    def test_two_at_once_are_not_both_small(self, desk: Desk) -> None:
        assert ask(desk, {"servers": 22}).phase == "approved"
        assert ask(desk, {"vcpus": 66}).phase == "in_review"

    def test_nobody_raises_what_stands_above_them_by_rule(self, desk: Desk) -> None:
        request = ask(desk, {"servers": FURONG_SERVERS + 1}, account=str(desk.world.furong.account_id))
        assert request.phase == "in_review"
        assert stages(desk, request) == [("quota_admin", desk.world.root.id)]
        assert request.organization_id == desk.world.minzheng.id


class TestGranted:
    def test_the_limits_are_set_with_the_number_as_basis(self, desk: Desk) -> None:
        request = ask(desk, {"servers": 30, "vcpus{arch=arm64}": 40})
        approve(desk, request)
        assert grant(desk, request) == "fulfilled"
        assert limits_of(desk) == LIMITS | {"servers": 30, "vcpus{arch=aarch64}": 40}
        assert "PE" in told(desk, request)
        assert quotas.verify(desk.session).ok

    def test_a_raise_never_undoes_a_larger_one_that_came_between(self, desk: Desk) -> None:
        request = ask(desk, {"servers": 30})
        quotas.set_limits(
            desk.session,
            account_id=desk.world.project.account_id,
            limits={"servers": 50},
            replace=False,
            reason="x",
            actor="x",
        )
        approve(desk, request)
        grant(desk, request)
        assert limits_of(desk)["servers"] == 50

    def test_doing_it_again_changes_nothing(self, desk: Desk) -> None:
        request = ask(desk, {"servers": 30})
        approve(desk, request)
        request_facts.begin(desk.session, str(request.id))
        assert quota_changes.grant(desk.session, str(request.id))
        before = quotas.verify(desk.session).checked_entries
        assert quota_changes.grant(desk.session, str(request.id))
        assert quotas.verify(desk.session).checked_entries == before


class TestRefused:
    def test_what_is_so_already(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput, match="nothing to change"):
            ask(desk, {"servers": LIMITS["servers"]})

    def test_a_key_that_never_binds(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput, match="would never bind"):
            ask(desk, {"vcpu": 100})

    def test_an_account_of_others(self, desk: Desk) -> None:
        with pytest.raises(NotFound):
            ask(desk, {"servers": 5}, account=str(desk.world.yuelu.account_id))

    def test_somebody_who_makes_no_requests(self, desk: Desk) -> None:
        with pytest.raises(Forbidden):
            ask(desk, {"servers": 30}, who="auditor")

    def test_neither_account_nor_project(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput):
            ask(desk, {"servers": 30}, account=None)

    def test_an_organizations_account_has_no_project(self, desk: Desk) -> None:
        bureau = desk.world.minzheng
        request = ask(desk, {"servers": 30}, account=str(bureau.account_id))
        assert (request.project_id, request.account_id) == (None, bureau.account_id)
        view = requests.get_request(desk.session, desk.actor("requester"), request.id)
        assert view.project is None
        assert [str(line) for line in view.changes]
        rows, _ = requests.list_requests(desk.session, desk.actor("requester"), kind="quota_change")
        assert [row[0].id for row in rows] == [request.id]


class TestWaiting:
    def refused(self, desk: Desk) -> dict[str, Any]:
        with pytest.raises(QuotaExceeded) as refusal, desk.session.begin_nested():
            requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(count=21))
        return dict(refusal.value.extra["next"])

    def waiting(self, desk: Desk, change: ResourceRequest) -> ResourceRequest:
        command = desk.world.command(count=21)
        return requests.save_waiting(desk.session, desk.actor("requester"), command, change.id)

    def test_the_refusal_offers_the_change_to_ask_for(self, desk: Desk) -> None:
        change = requests.submit_new(
            desk.session,
            desk.actor("requester"),
            body_adapter.validate_python({**self.refused(desk), "purpose": "扩容"}),
        )
        assert change.kind == "quota_change"

    def test_it_is_submitted_when_the_quota_is_granted(self, desk: Desk) -> None:
        change = ask(desk, {"servers": 23})
        draft = self.waiting(desk, change)
        assert (draft.phase, draft.after_id, draft.number) == ("draft", change.id, None)
        assert desk.used(desk.world.project.account_id) == (0, 0), "a draft holds nothing"
        approve(desk, change)
        assert grant(desk, change) == "fulfilled"
        desk.session.refresh(draft)
        assert (draft.phase, draft.after_id) == ("in_review", None)
        assert desk.used(desk.world.project.account_id) == (0, 21)
        assert "Submitted by itself" in told(desk, draft)
        notices = select(Happening).where(Happening.event == "request.waiting")
        assert desk.session.exec(notices).one().recipients["people"] == [str(draft.requester_id)]

    def test_it_is_submitted_once_however_often_the_worker_tries(self, desk: Desk) -> None:
        change = ask(desk, {"servers": 23})
        draft = self.waiting(desk, change)
        approve(desk, change)
        grant(desk, change)
        assert quota_changes.submit_waiting(desk.session, str(draft.id)) == "gone"
        assert desk.used(desk.world.project.account_id) == (0, 21)

    @pytest.mark.parametrize("decision", ["reject", "return"])
    def test_its_owner_is_told_when_it_is_not_granted(self, desk: Desk, decision: str) -> None:
        change = ask(desk, {"servers": 23})
        draft = self.waiting(desk, change)
        approve(desk, change, decision)
        desk.session.refresh(draft)
        assert draft.phase == "draft"
        assert (draft.after_id is None) == (decision == "reject"), "what was returned may still come"
        assert change.number in told(desk, draft)

    def test_what_still_does_not_fit_stays_a_draft_and_says_why(self, desk: Desk) -> None:
        change = ask(desk, {"servers": 20, "vcpus": 100})
        draft = self.waiting(desk, change)
        approve(desk, change)
        grant(desk, change)
        desk.session.refresh(draft)
        assert (draft.phase, draft.after_id) == ("draft", None)
        assert (draft.refusal or {})["code"] == "quota_exceeded"
        assert "could not be submitted by itself" in told(desk, draft)
        assert desk.used(desk.world.project.account_id) == (0, 0)

    def test_a_change_that_was_granted_is_not_waited_for(self, desk: Desk) -> None:
        change = ask(desk, {"servers": 22})
        grant(desk, change)
        command = desk.world.command(count=22)
        made = requests.save_waiting(desk.session, desk.actor("requester"), command, change.id)
        assert made.phase == "in_review"

    def test_what_cannot_be_waited_for_is_refused(self, desk: Desk) -> None:
        change = ask(desk, {"servers": 23})
        approve(desk, change, "reject")
        with pytest.raises(Conflict):
            self.waiting(desk, change)
        with pytest.raises(InvalidInput):
            requests.save_waiting(desk.session, desk.actor("requester"), desk.world.command(), uuid.uuid4())

    def test_one_who_left_meanwhile_submits_nothing(self, desk: Desk) -> None:
        change = ask(desk, {"servers": 23})
        draft = self.waiting(desk, change)
        approve(desk, change)
        user = desk.session.get_one(User, draft.requester_id)
        user.disabled = True
        desk.session.add(user)
        desk.session.flush()
        grant(desk, change)
        desk.session.refresh(draft)
        assert draft.phase == "draft"
