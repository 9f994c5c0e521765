"""The time of a stage by a stepped clock: reminded, overdue, escalated, timed out and urged, each exactly once. On both databases."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.domain.errors import Conflict, Forbidden, NotFound, UrgedAlready
from cloudmgr.models import ApprovalSeat, ApprovalStage, AuditEvent, Happening, RequestEvent, ResourceRequest
from cloudmgr.services import approval_policy, approvals, deadlines, deputies, requests
from cloudmgr.services.deputies import NameDeputy
from cloudmgr.services.request_inputs import Decide
from cloudmgr.settings import Policy
from tests.services.people import LOCAL
from tests.stocked import Desk

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=SHANGHAI)
POLICY = """
version = "test/VERSION"
title = "测试"
valid_from = 2026-01-01
[[rules]]
name = "全部"
stages = [STAGE]
"""
Advance = Callable[[timedelta], None]


@pytest.fixture
def step() -> Iterator[Callable[[str], None]]:
    """Hold the clock at Monday, and move it on to a moment in Asia/Shanghai."""
    with clock.stepped(MONDAY) as advance:

        def to(text: str) -> None:
            advance(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI) - clock.now())

        yield to


def submit(desk: Desk, stage: str = "", who: str = "requester", **changes: Any) -> ResourceRequest:
    """Submit under a policy of one stage; `stage` are the fields that follow its seat."""
    rule = '{ by = [{ level = "district" }], sla_working_days = 2' + (f", {stage}" if stage else "") + " }"
    load(desk, rule)
    return requests.submit_new(desk.session, desk.actor(who), desk.world.command(**changes))


def load(desk: Desk, rule: str) -> None:
    text = POLICY.replace("VERSION", str(abs(hash(rule)))).replace("STAGE", rule)
    approval_policy.load(desk.session, LOCAL, text)


def stage_of(desk: Desk, request: ResourceRequest) -> ApprovalStage:
    return desk.session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id)).one()


def rounds(desk: Desk) -> dict[str, int]:
    """Do one round of the clock."""
    found = {
        deed.__name__: deed(desk.session, 100)
        for deed in (
            deadlines.remind,
            deadlines.mark_overdue,
            deadlines.escalate_due,
            deadlines.time_out,
            deadlines.flag_emergencies,
            deputies.tell_begun,
        )
    }
    return {name: count for name, count in found.items() if count}


def happened(desk: Desk) -> list[str]:
    rows = desk.session.exec(select(Happening).order_by(Happening.id))
    return [
        row.event
        for row in rows
        if row.event.rpartition(".")[2] in ("due", "overdue", "escalated", "urged", "returned")
    ]


def shown(moment: datetime | None) -> str:
    assert moment is not None
    return moment.astimezone(SHANGHAI).strftime("%m-%d %H:%M")


def test_a_stage_is_due_when_business_ends_on_its_last_working_day(desk: Desk, step: Callable[[str], None]) -> None:
    step("2026-11-27T16:00")
    assert shown(stage_of(desk, submit(desk)).due_at) == "12-01 17:30"


def test_a_stage_is_reminded_of_marked_and_escalated_once_each(desk: Desk, step: Callable[[str], None]) -> None:
    request = submit(desk, "escalate_after_working_days = 1")
    assert not deadlines.is_anything_due(desk.session)
    step("2026-11-24T08:59")
    assert rounds(desk) == {}
    step("2026-11-24T09:00")
    assert deadlines.is_anything_due(desk.session)
    assert rounds(desk) == {"remind": 1}
    assert rounds(desk) == {}, "a second round finds nothing"
    step("2026-11-25T09:00")
    assert rounds(desk) == {"remind": 1}
    step("2026-11-25T17:29")
    assert rounds(desk) == {}
    step("2026-11-25T17:31")
    assert rounds(desk) == {"mark_overdue": 1}
    step("2026-11-26T17:29")
    assert rounds(desk) == {}
    step("2026-11-26T17:31")
    assert rounds(desk) == {"escalate_due": 1}
    step("2026-12-31T10:00")
    assert rounds(desk) == {}
    assert happened(desk) == ["request.due", "request.due", "request.overdue", "request.escalated"]
    assert deadlines.gauges(desk.session)["cloudmgr_stages_overdue"] == 1
    stage = stage_of(desk, request)
    seats = desk.session.exec(select(ApprovalSeat).where(ApprovalSeat.stage_id == stage.id)).all()
    assert [seat.role for seat in sorted(seats, key=lambda seat: seat.position)] == ["district_admin", "city_approver"]
    approvals.decide(desk.session, desk.actor("cityboss"), request.id, Decide.model_validate({"decision": "approve"}))
    assert request.phase == "approved"


def test_a_late_round_does_everything_that_was_missed(desk: Desk, step: Callable[[str], None]) -> None:
    submit(desk, "escalate_after_working_days = 1")
    step("2026-12-01T09:00")
    assert rounds(desk) == {"mark_overdue": 1, "escalate_due": 1}, "no reminder of what is overdue"


def test_nobody_is_reminded_the_moment_they_are_asked(desk: Desk, step: Callable[[str], None]) -> None:
    step("2026-11-24T14:00")
    load(desk, '{ by = [{ level = "district" }], sla_working_days = 1 }')
    requests.submit_new(desk.session, desk.actor("requester"), desk.world.command())
    rounds(desk)
    assert happened(desk) == []
    step("2026-11-25T09:30")
    rounds(desk)
    assert happened(desk) == ["request.due"], "on the morning of the day itself"


def test_what_nobody_decides_goes_back_and_its_quota_is_free(desk: Desk, step: Callable[[str], None]) -> None:
    request = submit(desk, 'on_timeout = "return"')
    account = desk.world.project.account_id
    assert desk.used(account)[1] == 1
    days = Policy().timeout_working_days
    assert days == 10
    step("2026-12-09T17:29")
    assert "time_out" not in rounds(desk)
    step("2026-12-09T17:31")
    assert rounds(desk) == {"time_out": 1}
    assert (request.phase, desk.used(account)[1]) == ("returned", 0)
    assert rounds(desk) == {}
    event = desk.session.exec(select(AuditEvent).where(AuditEvent.event == "request.return")).one()
    assert (event.actor, event.detail["timeout"]) == ("system", True)
    assert happened(desk)[-1] == "request.returned"
    requests.submit(desk.session, desk.actor("requester"), request.id)
    assert request.phase == "in_review"


def test_a_timeout_may_ask_the_level_above(desk: Desk, step: Callable[[str], None]) -> None:
    request = submit(desk, 'on_timeout = "escalate"')
    step("2026-12-10T09:00")
    assert rounds(desk) == {"mark_overdue": 1, "time_out": 1}
    assert stage_of(desk, request).escalated_at is not None
    assert request.phase == "in_review", "nothing is ever approved by the clock"
    assert rounds(desk) == {}


def test_a_city_stage_has_nobody_above_and_says_so(desk: Desk, step: Callable[[str], None]) -> None:
    load(desk, '{ by = [{ level = "city" }], sla_working_days = 1, escalate_after_working_days = 0 }')
    request = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command())
    step("2026-11-24T18:00")
    assert rounds(desk) == {"mark_overdue": 1, "escalate_due": 1}
    assert rounds(desk) == {}
    told = desk.session.exec(select(RequestEvent).where(RequestEvent.request_id == request.id)).all()
    assert any("nobody is above" in row.message["template"] for row in told)


def test_what_is_decided_is_left_alone(desk: Desk, step: Callable[[str], None]) -> None:
    request = submit(desk, "escalate_after_working_days = 0")
    approvals.decide(desk.session, desk.actor("admin"), request.id, Decide.model_validate({"decision": "approve"}))
    step("2027-03-01T09:00")
    assert rounds(desk) == {}
    assert deadlines.open_dues(desk.session, [request.id]) == {}


class TestUrging:
    def test_once_a_working_day(self, desk: Desk, step: Callable[[str], None]) -> None:
        request = submit(desk)
        deadlines.urge(desk.session, desk.actor("requester"), request.id)
        step("2026-11-23T17:00")
        with pytest.raises(UrgedAlready) as refused:
            deadlines.urge(desk.session, desk.actor("requester"), request.id)
        assert refused.value.extra["next_at"] == "2026-11-24T01:00:00+00:00"
        step("2026-11-24T09:00")
        deadlines.urge(desk.session, desk.actor("requester"), request.id)
        assert happened(desk) == ["request.urged", "request.urged"]

    def test_a_weekend_counts_for_the_working_day_after_it(self, desk: Desk, step: Callable[[str], None]) -> None:
        request = submit(desk)
        step("2026-11-28T12:00")
        deadlines.urge(desk.session, desk.actor("requester"), request.id)
        step("2026-11-30T09:00")
        with pytest.raises(UrgedAlready) as refused:
            deadlines.urge(desk.session, desk.actor("requester"), request.id)
        assert refused.value.extra["next_at"] == "2026-12-01T01:00:00+00:00"

    def test_only_by_its_requester_and_while_somebody_can_decide(self, desk: Desk, step: Callable[[str], None]) -> None:
        request = submit(desk)
        with pytest.raises(Forbidden):
            deadlines.urge(desk.session, desk.actor("colleague"), request.id)
        with pytest.raises(NotFound):
            deadlines.urge(desk.session, desk.actor("stranger"), request.id)
        approvals.decide(desk.session, desk.actor("admin"), request.id, Decide.model_validate({"decision": "approve"}))
        with pytest.raises(Conflict):
            deadlines.urge(desk.session, desk.actor("requester"), request.id)


def name_deputy(desk: Desk, first: str, last: str) -> None:
    days = {"valid_from": first, "valid_until": last}
    deputies.name(desk.session, desk.actor("admin"), NameDeputy.model_validate({"deputy": "colleague", **days}))


def begun(desk: Desk) -> list[tuple[list[str], str]]:
    """Return whom it was told that their days have begun, and with which numbers."""
    rows = desk.session.exec(select(Happening).where(Happening.event == "deputy.begins"))
    return [(row.recipients["people"], row.message["params"]["numbers"]) for row in rows]


def test_a_deputy_is_told_once_of_what_waits_when_the_days_begin(desk: Desk, step: Callable[[str], None]) -> None:
    first, gone = (submit(desk, name=name) for name in ("first", "gone"))
    own = submit(desk, who="colleague", name="own")
    name_deputy(desk, "2026-11-24", "2026-11-25")
    requests.withdraw(desk.session, desk.actor("requester"), gone.id)
    step("2026-11-23T23:59")
    assert not deadlines.is_anything_due(desk.session), "the day before"
    step("2026-11-24T00:01")
    assert deadlines.is_anything_due(desk.session)
    assert rounds(desk) == {"tell_begun": 1}
    assert begun(desk) == [([str(desk.world.people["colleague"])], first.number)], f"and not {own.number}, their own"
    submit(desk, name="later")
    assert not deadlines.is_anything_due(desk.session)
    assert rounds(desk) == {}
    assert len(begun(desk)) == 1, "what comes later is told as it comes"


def test_a_deputy_of_whom_nothing_waits_is_told_nothing(desk: Desk, step: Callable[[str], None]) -> None:
    name_deputy(desk, "2026-11-24", "2026-11-25")
    name_deputy(desk, "2026-11-30", "2026-12-01")
    (later,) = (
        row for row, _, _ in deputies.list_deputies(desk.session, desk.actor("admin")) if row.valid_from.day == 30
    )
    deputies.end(desk.session, desk.actor("admin"), later.id)
    step("2026-11-24T09:00")
    assert rounds(desk) == {"tell_begun": 1}
    submit(desk)
    step("2026-11-30T09:00")
    assert "tell_begun" not in rounds(desk), "one is told already, the other was ended"
    assert begun(desk) == []
