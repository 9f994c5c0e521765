"""Plans: the cost at every level and every pool's answer, by the rules that submitting asks; nothing is changed."""

import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain.errors import ArchMismatch, Forbidden
from cloudmgr.domain.messages import Message
from cloudmgr.models import Zone, ZoneInventory
from cloudmgr.services import plans, requests
from cloudmgr.services.plans import Plan
from cloudmgr.services.request_inputs import RetireRequest
from tests.stocked import Desk, stand


def plan(desk: Desk, who: str = "requester", **changes: object) -> Plan:
    return plans.plan(desk.session, desk.actor(who), desk.world.command(**changes))


def answers(found: Plan, entry: int = 0) -> dict[str, str]:
    return {
        verdict.zone.name: f"rank {verdict.rank}" if verdict.is_candidate else str(verdict.against[0])
        for verdict in found.entries[entry].verdicts
    }


def test_a_plan_writes_nothing_and_holds_nothing(desk: Desk) -> None:
    before = desk.counts()
    assert plan(desk, count=3).would_be_accepted
    assert desk.counts() == before
    assert not desk.session.new
    assert not desk.session.dirty


def test_the_cost_stands_at_every_level_from_the_city_down(desk: Desk) -> None:
    found = plan(desk, count=3, flavor="8C32G", data_disk_gib=60)
    assert found.totals == {
        "servers": 3,
        "vcpus": 24,
        "memory_mib": 98304,
        "disk_gib": 300,
        "ip_addresses": 3,
        "volumes": 3,
    }
    assert [level.name for level in found.quota.levels] == ["长沙市", "芙蓉区", "芙蓉区民政局", "智慧社区综合服务平台"]
    by_key = {key.key: key for key in found.quota.levels[-1].keys}
    assert (by_key["vcpus"].limit, by_key["vcpus"].asked, by_key["vcpus"].ok) == (60, 24, True)


def test_every_pool_answers_with_its_rank_or_its_reason(desk: Desk) -> None:
    assert answers(plan(desk)) == {
        "kp-zone": "rank 1",
        "x86-zone": "its architecture is x86_64, asked is aarch64",
        "yl-zone": "it is not shared with your organization",
    }
    assert answers(plan(desk, arch="x86_64"))["x86-zone"] == "rank 1"
    assert answers(plan(desk, backend="yl"))["kp-zone"] == "it belongs to kp, the request names yl"


def test_over_quota_is_told_in_the_plan_as_submitting_would_refuse_it(desk: Desk) -> None:
    found = plan(desk, count=25)
    assert not found.would_be_accepted
    with pytest.raises(quotas.QuotaExceeded) as refused:
        requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(count=25))
    told = [{key: value for key, value in each.items() if key not in ("code", "message")} for each in found.refusals]
    assert told == refused.value.errors
    assert all(isinstance(each["message"], Message) for each in found.refusals)


def test_missing_room_is_a_warning_and_no_refusal(desk: Desk) -> None:
    zone = desk.session.exec(select(Zone).where(Zone.name == "kp-zone")).one()
    row = desk.session.exec(
        select(ZoneInventory).where(ZoneInventory.zone_id == zone.id, ZoneInventory.resource == "vcpus")
    ).one()
    row.used = row.total - 5
    desk.session.flush()
    found = plan(desk, count=4)
    assert (found.would_be_accepted, found.entries[0].fits) == (True, 2)
    assert any("room now for 2 of 4" in str(warning) for warning in found.warnings)
    row.used = row.total
    desk.session.flush()
    none = plan(desk, count=4)
    assert none.would_be_accepted
    assert any("No pool has room" in str(warning) for warning in none.warnings)


def test_odd_names_and_missing_keys_are_warned_of(desk: Desk) -> None:
    warnings = " ".join(map(str, plan(desk, ssh_keys=[]).warnings))
    assert "naming convention" in warnings
    assert "No SSH key" in warnings
    assert plan(desk, name="430102-mzj-zhsq-prd-app").warnings == []


def test_what_can_never_be_accepted_is_refused_by_the_plan_too(desk: Desk) -> None:
    with pytest.raises(ArchMismatch):
        plan(desk, image="arm-only", arch="x86_64")
    with pytest.raises(Forbidden):
        plan(desk, "admin")


def test_capacity_numbers_are_for_those_who_may_read_them(desk: Desk) -> None:
    assert not plan(desk, "requester").shows_capacity
    assert plan(desk, "both").shows_capacity


def test_a_retirement_costs_nothing_and_says_what_becomes_free(desk: Desk) -> None:
    request = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(flavor="8C32G"))
    server = requests.get_request(desk.session, desk.actor("requester"), request.id).servers[0][0]
    stand(desk.session, server.id)
    command = RetireRequest(kind="retire", project=desk.world.project.id, purpose="下线", servers=[server.id])
    found = plans.plan(desk.session, desk.actor("requester"), command)
    assert (found.quota, found.entries, found.would_be_accepted) == (None, [], True)
    assert found.totals == {"servers": 1, "vcpus": 8, "memory_mib": 32768, "disk_gib": 40}
