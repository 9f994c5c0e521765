"""Reading what happened to a quota account, and what a decision is weighed against. On both databases."""

import pytest
from sqlmodel import select

from cloudmgr.domain.errors import Forbidden, NotFound
from cloudmgr.models import Organization
from cloudmgr.services import quota_history, quotas, requests, weighing
from cloudmgr.services.quotas import SetLimits
from cloudmgr.services.request_inputs import QuotaChangeRequest
from tests.stocked import Desk


def account(desk: Desk, name: str):
    return desk.session.exec(select(Organization.account_id).where(Organization.name == name)).one()


def test_history_is_paged_from_the_newest_and_names_requests_and_deciders(desk: Desk) -> None:
    bureau = account(desk, "芙蓉区民政局")
    set_to = SetLimits(limits={"vcpus": 77}, reason="年初下达", basis_no="1号")
    quotas.set_limits(desk.session, desk.actor("quota"), bureau, set_to, replace=False)
    made = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(name="srv"))
    first = quota_history.read_history(desk.session, desk.actor("admin"), bureau, limit=2)
    rest = quota_history.read_history(desk.session, desk.actor("admin"), bureau, limit=200, before=first.following)
    lines = [*first.lines, *rest.lines]
    assert len(first.lines) == 2
    assert rest.following is None
    assert [line.seq for line in lines] == sorted((line.seq for line in lines), reverse=True)
    held = next(line for line in lines if line.movement == "reserve" and line.key == "vcpus")
    assert held.reserved > 0
    assert {cause.request_id for cause in [*first.causes.values(), *rest.causes.values()]} == {made.id}
    decided = quota_history.read_history(desk.session, desk.actor("admin"), bureau, limit=9, decisions_only=True)
    line = next(line for line in decided.lines if line.limit == 77)
    assert (line.reason, line.basis_no, line.actor) == ("年初下达", "1号", "quota")


def test_history_is_not_for_those_below_nor_beside(desk: Desk) -> None:
    with pytest.raises(Forbidden):
        quota_history.read_history(desk.session, desk.actor("requester"), account(desk, "长沙市"), limit=5)
    with pytest.raises(NotFound):
        quota_history.read_history(desk.session, desk.actor("requester"), account(desk, "岳麓区"), limit=5)


def test_a_request_for_quota_is_weighed_against_the_level_above(desk: Desk) -> None:
    bureau = account(desk, "芙蓉区民政局")
    wanted = QuotaChangeRequest(kind="quota_change", account=bureau, limits={"vcpus": 10**6}, purpose="扩容")
    made = requests.submit_new(desk.session, desk.actor("requester"), wanted)
    found = weighing.weigh(desk.session, desk.actor("quota"), made.id)
    line = found.limits[0]
    assert (found.account, found.account_above) == ("芙蓉区民政局", "芙蓉区")
    assert (line.key, line.wanted, line.now) == ("vcpus", 10**6, line.before)
    assert line.allotted_then >= 10**6
    assert found.over
