"""What time does to quota in a served city: a hold that runs out."""

from typing import Any

from tests.journeys.office import Office

SETTINGS = {"policy": {"quota_hold_days": 20}}


def quota(office: Office, name: str) -> dict[str, Any]:
    place = getattr(office.world, name)
    return dict(office.get("quota", f"/quotas/{place.account_id}"))


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
