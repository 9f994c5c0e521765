"""A loan that is still in use on its day, where policy lets it run on: once, and then growth is blocked."""

from tests.journeys.office import Office
from tests.journeys.test_quota_time import loan, set_limits, vcpus

SETTINGS = {"policy": {"loan_overdue": "extend", "loan_extend_days": 10, "loan_max_extensions": 1}}


def test_a_loan_in_use_runs_on_once_and_then_blocks_growth(office: Office) -> None:
    set_limits(office, "furong", vcpus=2)
    set_limits(office, "yuelu", vcpus=20)
    sides = {"lender": str(office.world.yuelu.account_id), "borrower": str(office.world.furong.account_id)}
    first, last = office.day(30), office.day(41)
    body = sides | {"amounts": {"vcpus": 8}, "until": first, "reason": "迎检"}
    offered = office.post("stranger", "/quotas/loans", body, 201)
    path = f"/quotas/loans/{offered['id']}"
    office.post("admin", f"{path}/decisions", {"decision": "accept"})
    built = office.fulfil(office.ask(count=3, lease_end=first))["servers"]
    for who in ("admin", "stranger"):
        office.told(who)

    office.dies_at("settle_loans:inside", "settle_loans:after", when=lambda: office.later(days=31))
    for who in ("admin", "stranger"):
        assert office.told(who, "loan.") == {"loan.overdue": 1}, "once, though killed twice"
    assert loan(office, "stranger", offered["id"]) == ("active", 8, 0, 0)
    assert (vcpus(office, "furong"), vcpus(office, "yuelu")) == (10, 12), "all of it stays where it is"
    assert office.get("admin", path)["until"][:10] == last, "its extension begins on the day it is granted"
    assert f"按策略延期至{last}" in office.page("admin", "/notices")
    assert office.ask(status=409, count=2)["code"] == "loan_ends_first", "a lease of a year outlives the loan still"
    small = office.ask(lease_end=last)
    office.post("requester", f"/requests/{small['id']}/withdraw")

    office.later(days=5)
    assert office.told("admin", "loan.") == {"loan.ending": 1}, "of its new end"
    office.later(days=6)
    assert office.told("admin", "loan.") == {"loan.overdue": 1}
    assert loan(office, "stranger", offered["id"]) == ("overdue", 0, 4, 4), "a second time it does not run on"
    assert (vcpus(office, "furong"), vcpus(office, "yuelu")) == (2, 16)
    refused = office.ask(status=409)
    assert [(each["name"], each["key"]) for each in refused["errors"]] == [("芙蓉区", "vcpus")]
    office.fulfil(office.change("retire", servers=[each["id"] for each in built]))
    office.rest()
    assert loan(office, "admin", offered["id"]) == ("returned", 0, 0, 8)
    assert (vcpus(office, "furong"), vcpus(office, "yuelu")) == (2, 20)
    office.balanced()
