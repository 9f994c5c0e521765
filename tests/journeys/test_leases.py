"""Leases of servers in a served city: reminders, a renewal in time and one in the days of grace, freezing, retiring; killed on the way."""

from typing import Any

from tests.journeys.office import Office

SETTINGS = {"policy": {"lease_grace_days": 30}}


def shown(office: Office, server: str) -> dict[str, Any]:
    return dict(office.get("requester", f"/servers/{server}"))


def renew(office: Office, server: str, days: int) -> None:
    office.fulfil(office.change("renew", servers=[server], lease_end=office.day(days)))


def test_three_leases_end_renewed_in_time_renewed_in_the_grace_and_retired(office: Office) -> None:
    built = office.fulfil(office.ask(count=3, lease_end=office.day(61)))["servers"]
    early, late, never = (each["id"] for each in built)
    addresses = shown(office, late)["ipv4"]
    assert office.told("requester", "lease.") == {}
    office.dies_at("lease_reminders:inside", "lease_reminders:after", when=lambda: office.later(days=1))
    assert office.told("requester", "lease.") == {"lease.reminder": 3}, "sixty days before, though killed twice"
    assert office.told("colleague", "lease.") == {"lease.reminder": 3}
    assert office.told("stranger", "lease.") == {}
    renew(office, early, 200)
    office.later(days=53)
    assert office.told("requester", "lease.") == {"lease.reminder": 2}, "of what was missed only the nearest"
    office.later(days=7)
    assert office.told("requester", "lease.") == {}
    assert {shown(office, each)["phase"] for each in (early, late, never)} == {"active"}, "the last day belongs to it"

    office.dies_at("lease_freezes:inside", "frozen:inside", when=lambda: office.later(days=1))
    assert office.told("requester", "lease.") == {"lease.frozen": 2}
    for server in (late, never):
        seen = shown(office, server)
        assert (seen["phase"], seen["state"], seen["frozen_by"]) == ("suspended", "stopped", "lease")
    assert shown(office, early)["phase"] == "active"
    office.post("admin", f"/servers/{never}/actions", {"action": "start"}, 409)
    used = office.get("requester", f"/quotas/{office.world.project.account_id}")["used"]
    assert used["servers"] == 3, "what is frozen is kept and counted"
    renew(office, late, 200)
    seen = shown(office, late)
    assert (seen["phase"], seen["state"], seen["ipv4"]) == ("active", "running", addresses)

    office.later(days=30)
    assert office.told("requester", "lease.") == {}
    assert shown(office, never)["phase"] == "suspended", "the last day of the grace belongs to it"
    office.dies_at("lease_retirements:inside", "delete:inside", when=lambda: office.later(days=1))
    assert office.told("requester", "lease.") == {"lease.retiring": 1}
    assert [shown(office, each)["phase"] for each in (early, late, never)] == ["active", "active", "retired"]
    used = office.get("requester", f"/quotas/{office.world.project.account_id}")["used"]
    assert used["servers"] == 2
    office.balanced()


def test_a_lease_whose_renewal_waits_for_its_decision_is_left_alone_until_then(office: Office) -> None:
    server = office.fulfil(office.ask(lease_end=office.day(5)))["servers"][0]["id"]
    asked = office.change("renew", servers=[server], lease_end=office.day(40))
    office.later(days=6)
    assert "lease.frozen" not in office.told("requester", "lease.")
    assert shown(office, server)["phase"] == "active"
    office.decide("admin", asked["id"], "reject", "不再需要")
    office.later(days=1)
    assert office.told("requester", "lease.") == {"lease.frozen": 1}
    assert shown(office, server)["phase"] == "suspended"
    office.balanced()
