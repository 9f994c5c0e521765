"""Approval policies (审批办法) in a served city: what decides which stages a request passes."""

from typing import Any

from tests.journeys.office import Office
from tests.world import ZONE, simulated_backend

NETWORKS = {"net": ZONE, "dmz": "互联网区"}
BOTH_ZONES = {
    "network_zones": NETWORKS,
    "networks": [
        {"ref": ref, "name": ref, "cidr_v4": f"10.{60 + number}.0.0/16", "gateway_v4": f"10.{60 + number}.0.1"}
        for number, ref in enumerate(NETWORKS)
    ],
}
SETTINGS = {"backends": [simulated_backend("kp", **BOTH_ZONES), simulated_backend("hg", model="hygon-7285")]}
CONDITIONS = """
version = "test/{version}"
title = "各类条件"
valid_from = 2026-01-01
valid_until = 2026-12-31
[[rules]]
name = "配额"
when = {{ kinds = ["quota_change"] }}
stages = [{{ by = [{{ level = "parent" }}] }}]
[[rules]]
name = "互联网区：六级"
when = {{ network_zones = ["互联网区"] }}
stages = [
  {{ by = [{{ level = "unit" }}] }},
  {{ by = [{{ level = "district" }}] }},
  {{ by = [{{ level = "city" }}] }},
  {{ by = [{{ level = "technical" }}] }},
  {{ name = "任一", mode = "any", by = [{{ person = "quota" }}, {{ person = "sysadmin" }}] }},
  {{ name = "会签", mode = "all", by = [{{ person = "both" }}, {{ person = "rooted" }}] }},
]
[[rules]]
name = "规模"
when = {{ at_least = {{ vcpus = 8, gpus = 1 }} }}
stages = [{{ by = [{{ level = "unit" }}] }}, {{ by = [{{ level = "district" }}] }}]
[[rules]]
name = "架构"
when = {{ archs = ["x86_64"] }}
stages = [{{ by = [{{ level = "technical" }}] }}]
[[rules]]
name = "环境"
when = {{ envs = ["dev"] }}
stages = [{{ by = [{{ level = "unit" }}] }}]
[[rules]]
name = "等保"
when = {{ mlps_levels = ["三级"] }}
stages = [{{ by = [{{ level = "city" }}] }}, {{ by = [{{ level = "technical" }}] }}]
[[rules]]
name = "单位"
when = {{ organizations = ["430104"] }}
stages = [{{ by = [{{ level = "city" }}] }}]
[[rules]]
name = "本区无配额"
when = {{ own_quota = ["none"] }}
stages = [{{ by = [{{ level = "district" }}] }}, {{ by = [{{ level = "city" }}] }}]
[[rules]]
name = "其余"
stages = [{{ by = [{{ level = "district" }}] }}]
"""


FOUR = ["unit", "district", "city", "technical"]


def levels(office: Office, who: str = "requester", **changes: Any) -> list[str]:
    """Return the stages that a request would have to pass, and take it back."""
    request = office.ask(who, **changes)
    office.post(who, f"/requests/{request['id']}/withdraw")
    return [stage["level"] for stage in request["stages"]]


def test_the_default_policy_is_the_citys_and_short_within_a_districts_means(office: Office) -> None:
    large = office.ask(count=128, flavor="8C32G")
    assert [stage["level"] for stage in large["stages"]] == FOUR
    assert levels(office, count=127, flavor="8C32G") == ["district"]
    for number, who in enumerate(("reviewer", "admin", "cityboss", "tech")):
        for other in {"reviewer", "admin", "cityboss", "tech"} - {who}:
            assert office.decide(other, large["id"], status=403)["code"] in ("forbidden", "second_stage")
        last = office.decide(who, large["id"], "approve" if number < 3 else "return", "规模过大")
    assert (last["phase"], office.reserved()) == ("returned", 0)
    assert [each["stage"] for each in last["decisions"]] == [stage["name"] for stage in last["stages"]]


def test_what_draws_on_the_citys_quota_passes_the_citys_four_stages(office: Office) -> None:
    city, district = (f"/quotas/{each.account_id}" for each in (office.world.root, office.world.furong))

    def limit(account: str, **limits: int | None) -> None:
        office.patch("quota", account, {"limits": limits, "reason": "核定"})

    assert levels(office) == ["district"], "the district has limits for all that the city limits"
    limit(city, ip_addresses=900)
    assert levels(office) == FOUR, "addresses are limited at the city alone"
    limit(district, ip_addresses=90)
    assert levels(office) == ["district"]
    limit(district, vcpus=None)
    drawing = office.ask()
    assert [stage["level"] for stage in drawing["stages"]] == FOUR
    for who in ("reviewer", "admin", "cityboss"):
        assert office.decide(who, drawing["id"])["phase"] == "in_review"
    assert office.decide("tech", drawing["id"])["phase"] == "approved"
    (server,) = office.ended(drawing["id"])["servers"]
    renewal = {"kind": "renew", "project": str(office.world.project.id), "purpose": "续期", "servers": [server["id"]]}
    renewed = office.post("requester", "/requests", renewal | {"lease_end": office.day(800)}, 201)
    assert [stage["level"] for stage in renewed["stages"]] == ["district"], "a renewal takes nothing"
    resized = renewal | {"kind": "resize", "flavor": "8C32G"}
    office.post("requester", f"/requests/{renewed['id']}/withdraw")
    grown = office.post("requester", "/requests", resized, 201)
    assert [stage["level"] for stage in grown["stages"]] == FOUR
    office.post("requester", f"/requests/{grown['id']}/withdraw")
    limit(district, vcpus=4000)
    office.balanced()


def test_every_condition_decides_the_stages(office: Office) -> None:
    office.load(CONDITIONS.format(version="1"))
    assert office.get("requester", "/approval-policies/current")["version"] == "test/1"
    assert "各类条件" in office.page("requester", "/approval-policy")
    assert levels(office) == ["district"], "within its own; what nobody limits draws on nothing"
    district = f"/quotas/{office.world.furong.account_id}"
    office.patch("quota", district, {"limits": {"vcpus": None}, "reason": "核定"})
    assert levels(office) == ["district", "city"], "it draws on the city's"
    office.patch("quota", district, {"limits": {"vcpus": 4000}, "reason": "核定"})
    assert levels(office, count=3) == ["district"]
    assert levels(office, count=4) == ["unit", "district"]
    assert levels(office, arch="x86_64") == ["technical"]
    assert levels(office, env="dev") == ["unit"]
    assert levels(office, "stranger", project=str(office.world.other_project.id)) == ["city"]
    project = f"/projects/{office.world.project.id}"
    office.patch("sysadmin", project, {"mlps_level": "三级"})
    assert levels(office) == ["city", "technical"]
    office.patch("sysadmin", project, {"mlps_level": "二级"})
    raised = {"kind": "quota_change", "account": str(office.world.project.account_id), "purpose": "扩容"}
    asked = office.post("requester", "/requests", raised | {"limits": {"vcpus": 100}}, 201)
    assert [stage["level"] for stage in asked["stages"]] == ["parent"]
    office.post("requester", f"/requests/{asked['id']}/withdraw")


def test_six_stages_for_the_internet_zone_are_passed_in_turn(office: Office) -> None:
    office.load(CONDITIONS.format(version="2"))
    request = office.ask(network_zone="互联网区")
    names = [stage["name"] for stage in request["stages"]]
    assert (len(names), names[4:]) == (6, ["任一", "会签"])
    turns = ("reviewer", "admin", "cityboss", "tech", "sysadmin", "both", "rooted")
    assert office.decide("quota", request["id"], status=403)["code"] == "forbidden", "named, but not yet"
    for who in turns[:-1]:
        assert office.decide(who, request["id"])["phase"] == "in_review"
        assert office.decide(who, request["id"], status=403)["code"] in ("forbidden", "second_stage")
    office.kill()
    office.start()
    assert office.decide("quota", request["id"], status=403)["code"] == "forbidden", "another has decided there"
    assert office.decide("rooted", request["id"])["phase"] == "approved", "both of them had to sign"
    done = office.ended(request["id"])
    assert (done["phase"], [each["decided_by"] for each in done["decisions"]]) == ("fulfilled", list(turns))
    assert {each["policy_version"] for each in done["decisions"]} == {"test/2"}
    (server,) = done["servers"]
    assert office.get("requester", f"/servers/{server['id']}")["ipv4"][0].startswith("10.61.")

    again = office.ask(network_zone="互联网区")
    for who in turns[:5]:
        office.decide(who, again["id"])
    assert office.decide("both", again["id"], "reject", "不宜上互联网")["phase"] == "rejected", "one refusal is enough"
    assert office.reserved() == 0
    office.balanced()
