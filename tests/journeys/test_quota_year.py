"""A year of quota between districts in a served city: the plan, transfers, limits below use, moves, merges, requests for more."""

from typing import Any

from tests.journeys.office import Office
from tests.world import DISTRICT_LIMITS

WHY = {"reason": "年中调剂", "basis_no": "长数〔2026〕18号"}


def account(office: Office, name: str) -> str:
    place = getattr(office.world, name)
    return str(place.account_id)


def limit(office: Office, name: str, key: str = "vcpus") -> Any:
    return office.get("quota", f"/quotas/{account(office, name)}")["limits"].get(key)


def set_limits(office: Office, name: str, **limits: int | None) -> None:
    office.patch("quota", f"/quotas/{account(office, name)}", {"limits": limits, "reason": "核定"})


def load_plan(office: Office, text: str, status: int = 200, **params: Any) -> dict[str, Any]:
    answer = office.send(
        "quota",
        "POST",
        "/quotas/plans",
        content=text.encode("gb18030"),
        params={"reason": "2026年度计划", **params},
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_the_yearly_plan_is_tried_told_by_cell_and_set_whole(office: Office) -> None:
    bad = load_plan(office, "账户编码,vCPU（核）,云主机（台）\n430102,400,40\n430104,多,20\n", 422)
    (cell,) = bad["errors"]
    assert (bad["code"], cell["row"], cell["column"]) == ("import_refused", 3, "vCPU（核）")
    good = "账户编码,vCPU（核）,云主机（台）\n430102,400,40\n430104,200,20\n430102-mzj,,30\n"
    tried = load_plan(office, good, dry_run=True)
    first = tried["changes"][0]
    assert (first["name"], first["before"], first["after"]) == ("芙蓉区", DISTRICT_LIMITS["vcpus"], 400)
    assert limit(office, "furong") == DISTRICT_LIMITS["vcpus"], "it was only tried"
    assert len(load_plan(office, good)["changes"]) == 5
    assert [limit(office, name) for name in ("furong", "yuelu", "minzheng")] == [400, 200, None]
    assert office.send("requester", "POST", "/quotas/plans", content=b"x", params=WHY).status_code in (403, 415)


def test_quota_goes_over_for_good_with_its_document(office: Office) -> None:
    body = {"from": account(office, "yuelu"), "to": account(office, "furong"), "amounts": {"vcpus": 50}, **WHY}
    office.post("requester", "/quotas/transfers", body, 404)
    office.post("admin", "/quotas/transfers", body, 404)
    done = office.post("quota", "/quotas/transfers", body, 201)
    assert {each["name"]: each["after"] for each in done["accounts"]} == {
        "芙蓉区": {"vcpus": 450},
        "岳麓区": {"vcpus": 150},
    }
    refused = office.post("quota", "/quotas/transfers", body | {"amounts": {"vcpus": 151}}, 409)
    assert refused["code"] == "limit_in_use"
    events = office.get("auditor", "/audit/events", action="quota.transfer", outcome="success")["items"]
    assert {event["detail"]["basis_no"] for event in events} == {WHY["basis_no"]}
    assert len(events) == 2, "at both ends"


def test_a_limit_below_what_is_used_takes_nothing_and_refuses_growth(office: Office) -> None:
    built = office.fulfil(office.ask(count=2, flavor="8C32G"))
    set_limits(office, "furong", vcpus=10)
    told = office.get("quota", f"/quotas/{account(office, 'furong')}")
    assert (told["overhang"]["vcpus"], told["used"]["vcpus"]) == (6, 16)
    refused = office.ask(status=409)
    assert [(each["name"], each["key"]) for each in refused["errors"]] == [("芙蓉区", "vcpus")]
    assert refused["next"]["kind"] == "quota_change"
    asked = {"account": account(office, "yuelu"), "limits": {"vcpus": 8000}}
    assert office.post("quota", "/quotas/what-if", asked)["items"], "it tells who would be over"
    set_limits(office, "furong", vcpus=450)
    office.fulfil(office.change("retire", servers=[each["id"] for each in built["servers"]]))
    office.balanced()


def test_a_department_moves_with_its_servers_and_back_and_what_is_merged_is_closed(office: Office) -> None:
    built = office.fulfil(office.ask(count=2))
    set_limits(office, "yuelu", servers=1)
    move = {"account": account(office, "minzheng"), "parent": account(office, "yuelu"), **WHY}
    office.post("admin", "/quotas/moves", move, 404)
    refused = office.post("quota", "/quotas/moves", move, 409)
    assert [(each["name"], each["key"]) for each in refused["errors"]] == [("岳麓区", "servers")]
    set_limits(office, "yuelu", servers=20)
    assert office.post("quota", "/quotas/moves", move, 201)["servers"] == 2
    used = {name: office.get("quota", f"/quotas/{account(office, name)}")["used"] for name in ("furong", "yuelu")}
    assert (used["yuelu"]["servers"], used["furong"].get("servers", 0)) == (2, 0)
    request = office.ask()
    office.decide("admin", request["id"], status=404)
    office.decide("stranger", request["id"])
    office.ended(request["id"])
    office.post("quota", "/quotas/moves", move | {"parent": account(office, "furong")}, 201)
    servers = [each["id"] for each in (*built["servers"], *office.read(request["id"])["servers"])]
    office.fulfil(office.change("retire", servers=servers))

    made = {"code": "430102-old", "name": "芙蓉区旧局", "parent": str(office.world.furong.id)}
    old = office.post("sysadmin", "/organizations", made, 201)["account"]
    office.patch("quota", f"/quotas/{old}", {"limits": {"vcpus": 20}, "reason": "核定"})
    set_limits(office, "minzheng", vcpus=100)
    office.post("admin", "/quotas/merges", {"source": old, "target": account(office, "minzheng"), **WHY}, 201)
    assert limit(office, "minzheng") == 120
    office.post("quota", f"/quotas/{account(office, 'furong')}/closure", WHY, 409)
    new = office.post("sysadmin", "/organizations", made | {"code": "430102-new", "name": "新局"}, 201)["account"]
    office.post("quota", f"/quotas/{new}/closure", WHY)
    office.post("quota", f"/quotas/{new}/reopening", WHY, 204)
    set_limits(office, "minzheng", vcpus=None)
    office.balanced()


def test_a_small_raise_is_granted_by_rule_once_a_month_and_a_larger_one_by_the_level_above(office: Office) -> None:
    set_limits(office, "project", vcpus=100)
    body = {"kind": "quota_change", "account": account(office, "project"), "purpose": "扩容", "limits": {"vcpus": 110}}
    first = office.post("requester", "/requests", body, 201)
    assert (first["number"][:2], first["stages"]) == ("PE", [])
    assert office.ended(first["id"])["phase"] == "fulfilled"
    assert limit(office, "project") == 110
    second = office.post("requester", "/requests", body | {"limits": {"vcpus": 115}}, 201)
    assert [each["role"] for each in second["stages"]] == ["quota_admin"], "small, but the second in thirty days"
    office.decide("admin", second["id"], status=403)
    office.decide("quota", second["id"], "reject", "不足三十日")
    office.later(days=31)
    third = office.post("requester", "/requests", body | {"limits": {"vcpus": 120}}, 201)
    assert office.ended(third["id"])["phase"] == "fulfilled"
    assert limit(office, "project") == 120


def test_the_recount_is_asked_for_and_published(office: Office) -> None:
    office.post("quota", "/quotas/verifications", None, 202)
    office.rest()
    found = office.get("quota", "/quotas/verifications/latest")
    assert (found["state"], found["mismatches"]) == ("done", 0)
    assert "cloudmgr_quota_mismatches 0" in office.open("/metrics").text
