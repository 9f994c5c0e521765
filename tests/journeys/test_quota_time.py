"""What time does to quota in a served city: a hold that runs out, requests that wait for quota, a loan until its day and after it."""

from typing import Any

from tests.journeys.office import Office

SETTINGS = {"policy": {"quota_hold_days": 20}}


def quota(office: Office, name: str) -> dict[str, Any]:
    place = getattr(office.world, name)
    return dict(office.get("quota", f"/quotas/{place.account_id}"))


def set_limits(office: Office, name: str, **limits: int | None) -> None:
    place = getattr(office.world, name)
    office.patch("quota", f"/quotas/{place.account_id}", {"limits": limits, "reason": "核定"})


def vcpus(office: Office, name: str) -> int | None:
    limit: int | None = quota(office, name)["limits"].get("vcpus")
    return limit


def loan(office: Office, who: str, loan_id: str) -> tuple[str, int, int, int]:
    """Return how a loan stands as somebody sees it: its state, what is outstanding, owed and returned of its vCPUs."""
    found = office.get(who, f"/quotas/loans/{loan_id}")
    (held,) = found["amounts"]
    return found["state"], held["outstanding"], held["owed"], held["returned"]


def test_what_nobody_decides_holds_its_quota_until_its_day(office: Office) -> None:
    request = office.ask(count=2)
    assert office.reserved() == 2
    office.told("requester")
    office.told("admin")
    office.later(days=19)
    assert "quota.hold_ended" not in office.told("requester")
    held = quota(office, "project")
    assert (held["held_days"], [each["amounts"]["servers"] for each in held["holds"]]) == (19, [2])
    office.dies_at("end_holds:inside", "end_holds:after", when=lambda: office.later(days=1, minutes=1))
    assert office.told("requester") == {"quota.hold_ended": 1}
    assert (office.read(request["id"])["phase"], office.reserved()) == ("returned", 0)
    assert quota(office, "project")["holds"] == []
    office.decide("admin", request["id"], status=409)
    assert office.post("requester", f"/requests/{request['id']}/submit")["phase"] == "in_review"
    assert quota(office, "project")["held_days"] == 0, "submitted again, it is held anew"
    office.post("requester", f"/requests/{request['id']}/withdraw")
    office.balanced()


def test_requests_wait_for_a_quota_change_and_go_on_or_stay_drafts(office: Office) -> None:
    set_limits(office, "project", vcpus=2)
    wanted = office.world.body(name="waits", count=2, playbook="collect_facts")
    refused = office.post("requester", "/requests", wanted, 409)
    raised = {"kind": "quota_change", "purpose": "扩容", "account": str(office.world.project.account_id)}
    change = office.post("requester", "/requests", raised | {"limits": {"vcpus": 6}}, 201)
    assert refused["next"]["kind"] == change["kind"]
    first = office.post("requester", "/requests", wanted | {"after": change["id"]}, 201)
    third = office.ask(name="third", after=change["id"])
    fourth = office.ask(name="fourth", after=change["id"])
    assert [each["phase"] for each in (first, third, fourth)] == ["draft"] * 3
    assert (office.reserved(), office.told("quota", "request.")) == (0, {"request.to_decide": 1})
    office.told("requester")
    office.told("admin")
    points = ("submit_waiting:inside", "submit_waiting:after")
    office.dies_at(*points, when=lambda: office.decide("quota", change["id"]))
    assert office.told("requester") == {"request.approved": 1, "request.fulfilled": 1, "request.waiting": 3}
    seen = [office.read(each["id"]) for each in (first, third, fourth)]
    assert [each["phase"] for each in seen] == ["in_review", "in_review", "draft"], "in order, as far as there is room"
    assert (seen[2]["after"], seen[2]["refusal"]["code"]) == (None, "quota_exceeded")
    assert office.reserved("vcpus") == 6
    assert office.told("admin")["request.to_decide"] == 2
    built = office.fulfil(seen[0])["servers"]
    office.fulfil(office.change("retire", servers=[each["id"] for each in built]))
    office.post("requester", f"/requests/{third['id']}/withdraw")
    assert office.post("requester", f"/requests/{fourth['id']}/submit")["phase"] == "in_review"
    office.post("requester", f"/requests/{fourth['id']}/withdraw")

    change = office.post("requester", "/requests", raised | {"limits": {"vcpus": 60}}, 201)
    waits = office.ask(count=8, after=change["id"])
    office.decide("quota", change["id"], "return", "理由不足")
    assert office.read(waits["id"])["after"] == change["id"], "what is returned is still waited for"
    office.post("requester", f"/requests/{change['id']}/withdraw")
    office.rest()
    assert (office.read(waits["id"])["phase"], office.read(waits["id"])["after"]) == ("draft", None)
    assert office.ask(status=409, after=change["id"])["code"] == "conflict"
    office.balanced()


def test_a_loan_is_signed_by_both_used_and_comes_back_as_it_frees(office: Office) -> None:
    set_limits(office, "project", vcpus=None)
    set_limits(office, "furong", vcpus=2)
    set_limits(office, "yuelu", vcpus=20)
    sides = {"lender": str(office.world.yuelu.account_id), "borrower": str(office.world.furong.account_id)}
    body = sides | {"amounts": {"vcpus": 8}, "until": office.day(30), "reason": "迎检"}
    office.post("requester", "/quotas/loans", body, 404)
    over = office.post("stranger", "/quotas/loans", body | {"amounts": {"vcpus": 21}}, 201)["id"]
    refused = office.post("admin", f"/quotas/loans/{over}/decisions", {"decision": "accept"}, 409)
    assert refused["code"] == "limit_in_use", "nobody lends what they have not got"
    office.post("admin", f"/quotas/loans/{over}/decisions", {"decision": "decline"})
    office.told("stranger")
    assert office.told("admin", "loan.") == {"loan.offered": 1}
    offered = office.post("stranger", "/quotas/loans", body, 201)
    decisions = f"/quotas/loans/{offered['id']}/decisions"
    office.post("stranger", decisions, {"decision": "accept"}, 403)
    assert office.told("admin", "loan.") == {"loan.offered": 1}
    assert (vcpus(office, "furong"), vcpus(office, "yuelu")) == (2, 20), "one signature moves nothing"
    assert office.post("admin", decisions, {"decision": "accept"})["days_left"] == 30
    assert office.told("stranger", "loan.") == {"loan.signed": 1}
    assert (vcpus(office, "furong"), vcpus(office, "yuelu")) == (10, 12)

    assert office.ask(status=409, count=3)["code"] == "loan_ends_first", "its lease outlives the loan"
    built = office.fulfil(office.ask(count=3, lease_end=office.day(30)))["servers"]
    assert quota(office, "furong")["used"]["vcpus"] == 6
    office.told("admin")
    office.later(days=24)
    assert office.told("admin", "loan.") == {"loan.ending": 1}
    assert office.told("stranger", "loan.") == {"loan.ending": 1}
    office.dies_at("settle_loans:inside", "settle_loans:after", when=lambda: office.later(days=7))
    assert office.told("admin", "loan.") == {"loan.overdue": 1}, "once, though killed twice"
    assert loan(office, "stranger", offered["id"]) == ("overdue", 0, 4, 4)
    assert (vcpus(office, "furong"), vcpus(office, "yuelu")) == (2, 16), "what is free goes back at once"
    ids = [each["id"] for each in built]
    assert {office.get("requester", f"/servers/{each}")["phase"] for each in ids} == {"suspended"}, (
        "as their leases say"
    )
    refused = office.ask(status=409)
    assert [(each["name"], each["key"]) for each in refused["errors"]] == [("芙蓉区", "vcpus")]

    office.fulfil(office.change("retire", servers=ids[:1]))
    office.rest()
    assert loan(office, "admin", offered["id"]) == ("overdue", 0, 2, 6)
    office.fulfil(office.change("retire", servers=ids[1:]))
    assert office.told("stranger", "loan.")["loan.returned"] == 1
    assert loan(office, "admin", offered["id"]) == ("returned", 0, 0, 8)
    assert (vcpus(office, "furong"), vcpus(office, "yuelu")) == (2, 20)
    office.balanced()
