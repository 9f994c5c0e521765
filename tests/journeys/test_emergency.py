"""Emergency orders and change freezes (重保期), served and killed: built first and approved after, flagged, held back, let go."""

from tests.journeys.office import Office

SETTINGS = {"policy": {"emergency_allowance": {"servers": 3, "vcpus": 8}, "emergency_days": 3}}


def test_an_order_is_built_at_once_flagged_when_nobody_approves_and_rejected(office: Office) -> None:
    refused = office.post("requester", "/requests", office.world.body(emergency=True), 422)
    assert refused["errors"][0]["field"] == "emergency_reason"
    urgent = {"emergency": True, "emergency_reason": "防汛指挥"}
    order = office.ask(count=2, **urgent)
    assert order["number"].startswith("YJ20260917-")
    assert order["emergency"]["approve_by"] == "2026-09-21T09:30:00Z", "three working days, the Sunday among them"
    done = office.ended(order["id"])
    assert (done["phase"], len(done["servers"])) == ("fulfilled", 2), "nobody has approved it yet"
    over = office.ask(status=409, count=2, **urgent)
    assert (over["code"], over["errors"][0]["key"]) == ("emergency_allowance_exceeded", "servers")
    assert office.told("admin") == {"request.to_decide": 1, "emergency.pending": 1}
    office.post("requester", f"/requests/{order['id']}/withdraw", status=409)
    office.decide("admin", order["id"], "return", status=409)

    office.told("cityboss")
    office.at("2026-09-21T17:00")
    office.rest()
    assert office.read(order["id"])["emergency"]["flagged_at"] is None
    points = ("flag_emergencies:inside", "flag_emergencies:after")
    office.dies_at(*points, when=lambda: office.at("2026-09-21T17:31"))
    assert office.told("cityboss")["emergency.overdue"] == 1
    assert office.read(order["id"])["emergency"]["flagged_at"] is not None
    assert "cloudmgr_emergency_orders_overdue 1" in office.open("/metrics").text
    rejected = office.decide("cityboss", order["id"], "reject", "不属于应急")
    proposal = office.read(rejected["emergency"]["proposal"])
    assert (proposal["kind"], proposal["phase"], len(proposal["body"]["servers"])) == ("retire", "draft", 2)
    retire = office.post("requester", f"/requests/{proposal['id']}/submit")
    office.fulfil(retire)
    office.balanced()


def test_the_approval_that_follows_frees_the_allowance(office: Office) -> None:
    order = office.ask(count=3, emergency=True, emergency_reason="抢险")
    office.ask(status=409, emergency=True, emergency_reason="抢险")
    approved = office.decide("admin", order["id"])
    assert approved["emergency"]["state"] == "approved"
    again = office.ask(emergency=True, emergency_reason="抢险")
    office.decide("admin", again["id"])
    for each in (order, again):
        office.ended(each["id"])


def test_a_freeze_holds_changes_back_lets_emergencies_pass_and_ends_by_itself(office: Office) -> None:
    server = office.fulfil(office.ask())["servers"][0]["id"]
    office.at("2026-09-22T10:00")
    freeze = {"organization": str(office.world.furong.id), "ends_at": "2026-09-24T00:00:00+08:00", "reason": "国庆重保"}
    office.post("requester", "/change-freezes", freeze, 403)
    office.post("quota", "/change-freezes", freeze, 201)
    assert office.told("admin")["freeze.announced"] == 1
    assert "国庆重保" in office.page("requester", "/requests")
    assert "国庆重保" not in office.page("stranger", "/requests")
    office.fulfil(office.ask())  # new servers pass
    urgent = office.ask(emergency=True, emergency_reason="抢险")
    assert office.ended(urgent["id"])["phase"] == "fulfilled"
    retire = office.change("retire", servers=[server])
    office.decide("admin", retire["id"])
    office.rest()
    other = office.fulfil(office.ask())["servers"][0]["id"]
    isolate = office.change("freeze", servers=[other], emergency=True, emergency_reason="主机被入侵，立即断开")
    assert isolate["number"].startswith("YJ")
    assert office.ended(isolate["id"])["phase"] == "fulfilled", (
        "an emergency passes the freeze, nobody has approved it yet"
    )
    assert office.get("requester", f"/servers/{other}")["phase"] == "suspended"
    back = office.read(office.decide("admin", isolate["id"], "reject", "误报")["emergency"]["proposal"])
    assert (back["kind"], back["phase"], back["body"]["servers"]) == ("unfreeze", "draft", [other])
    held = office.read(retire["id"])
    assert (held["phase"], held["held_until"]) == ("approved", "2026-09-23T16:00:00Z")
    office.kill()
    office.start()
    office.at("2026-09-23T23:00")
    office.rest()
    assert office.get("requester", f"/servers/{server}")["phase"] == "active"
    office.dies_at("release_held:inside", "release_held:after", when=lambda: office.at("2026-09-24T00:01"))
    assert office.ended(retire["id"])["phase"] == "fulfilled"
    assert office.get("requester", f"/servers/{server}")["phase"] == "retired"
    office.balanced()
