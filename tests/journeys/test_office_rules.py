"""The rules of an office in a served city: own requests, deputies, changes, returns."""

from typing import Any

from cloudmgr.domain.access import Role
from tests.journeys.office import Office

TWO = """
version = "test/two"
title = "两级"
valid_from = 2026-01-01
[[rules]]
name = "新建：两级"
when = { kinds = ["create"] }
stages = [{ by = [{ level = "unit" }] }, { by = [{ level = "district" }] }]
[[rules]]
name = "其余"
stages = [{ by = [{ level = "district" }] }]
"""


def deputy(office: Office, who: str, status: int = 201, **fields: Any) -> Any:
    body = {"deputy": "deputy", "valid_from": office.day(1), "valid_until": office.day(2), "reason": "出差"}
    return office.post(who, "/deputies", body | fields, status)


def test_nobody_decides_on_their_own_nor_twice_nor_by_a_deputy(office: Office) -> None:
    own = office.ask("both")
    assert office.decide("both", own["id"], status=403)["code"] == "own_request"
    office.post("both", f"/requests/{own['id']}/withdraw")
    office.load(TWO)
    office.grant("reviewer", Role.DISTRICT_ADMIN, office.world.furong.id)
    request = office.ask()
    assert office.decide("requester", request["id"], status=403)["code"] == "own_request"
    office.decide("reviewer", request["id"])
    assert office.decide("reviewer", request["id"], status=403)["code"] == "second_stage"
    assert office.decide("admin", request["id"])["phase"] == "approved"
    office.ended(request["id"])


def test_a_deputy_decides_on_the_named_days_and_no_others(office: Office) -> None:
    assert deputy(office, "admin", 403, absent="both")["code"] == "forbidden"
    deputy(office, "admin")
    assert office.told("deputy")["deputy.named"] == 1
    requests = [office.ask() for _ in range(4)]
    for request in requests:
        office.decide("reviewer", request["id"])
    ids = [request["id"] for request in requests]
    office.decide("deputy", ids[0], status=403)
    assert "request.to_decide" not in office.told("deputy"), "the first day is tomorrow"
    office.later(days=1)
    office.post("requester", f"/requests/{ids[1]}/urge")
    assert office.told("deputy")["request.urged"] == 1
    done = office.decide("deputy", ids[0])
    assert done["decisions"][1]["on_behalf_of"] == str(office.world.people["admin"])
    assert any("on behalf of Admin" in event["text"] for event in done["events"])
    assert office.send("deputy", "GET", "/users").status_code == 403, "the power to decide, and nothing else"
    office.later(days=1)
    office.kill()
    office.start()
    office.decide("deputy", ids[1], comment="末日")
    office.later(days=1)
    office.decide("deputy", ids[2], status=403)
    office.decide("admin", ids[2])
    named = deputy(office, "secadmin", absent="admin", valid_from=office.day(0))
    assert office.send("admin", "DELETE", f"/deputies/{named['id']}").status_code == 204
    office.decide("deputy", ids[3], status=403)
    office.decide("admin", ids[3], "reject", "不再需要")
    for each in ids[:3]:
        office.ended(each)


def test_a_change_is_shown_as_a_diff_confirmed_and_built_so(office: Office) -> None:
    request = office.ask(count=4)
    office.decide("reviewer", request["id"])
    body = request["body"]
    less = body | {"servers": [body["servers"][0] | {"count": 2}]}
    changes = f"/requests/{request['id']}/changes"
    office.post("colleague", changes, {"body": less, "comment": "两台即可"}, 403)
    change = office.post("admin", changes, {"body": less, "comment": "两台即可"}, 201)
    assert change["diff"] == [{"field": "servers[0].count", "before": 4, "after": 2}]
    assert office.told("requester")["request.changed"] == 1
    assert office.reserved() == 4
    office.kill()
    office.start()
    answer = f"{changes}/{change['id']}/answer"
    office.post("colleague", answer, {"accept": True}, 403)
    done = office.post("requester", answer, {"accept": True})
    assert [each["decision"] for each in done["decisions"]] == ["approve", "change"]
    built = office.ended(request["id"])
    assert (built["phase"], len(built["servers"]), office.reserved()) == ("fulfilled", 2, 0)

    declined = office.ask(count=3)
    office.decide("reviewer", declined["id"])
    path = f"/requests/{declined['id']}/changes"
    less = declined["body"] | {"servers": [declined["body"]["servers"][0] | {"count": 1}]}
    change = office.post("admin", path, {"body": less, "comment": "一台"}, 201)
    assert office.post("requester", f"{path}/{change['id']}/answer", {"accept": False})["phase"] == "in_review"
    assert office.reserved() == 3
    assert office.post("requester", f"/requests/{declined['id']}/withdraw")["phase"] == "withdrawn"
    assert office.reserved() == 0
    office.balanced()


def test_a_return_says_why_and_what_is_corrected_is_decided_anew(office: Office) -> None:
    request = office.ask(count=2)
    path = f"/requests/{request['id']}"
    office.decide("reviewer", request["id"], "return", "", status=422)
    returned = office.decide("reviewer", request["id"], "return", "缺少备案号")
    assert (returned["phase"], office.reserved()) == ("returned", 0)
    assert office.told("requester")["request.returned"] == 1
    corrected = request["body"] | {"purpose": "业务系统应用服务器，备案号 43010002026-00001"}
    assert office.send("requester", "PUT", path, json=corrected).status_code == 200
    again = office.post("requester", f"{path}/submit")
    assert (again["phase"], again["number"], office.reserved()) == ("in_review", request["number"], 2)
    office.decide("reviewer", request["id"])
    rejected = office.decide("admin", request["id"], "reject", "不符合规定")
    assert (rejected["phase"], office.reserved()) == ("rejected", 0)
    office.post("requester", f"{path}/submit", None, 409)
