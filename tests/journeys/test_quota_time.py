"""What time does to quota in a served city: a hold that runs out, requests that wait for quota."""

from typing import Any

from tests.journeys.office import Office

SETTINGS = {"policy": {"quota_hold_days": 20}}


def quota(office: Office, name: str) -> dict[str, Any]:
    place = getattr(office.world, name)
    return dict(office.get("quota", f"/quotas/{place.account_id}"))


def set_limits(office: Office, name: str, **limits: int | None) -> None:
    place = getattr(office.world, name)
    office.patch("quota", f"/quotas/{place.account_id}", {"limits": limits, "reason": "核定"})


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
