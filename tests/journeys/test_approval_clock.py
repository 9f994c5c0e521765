"""The clock of approvals as people meet it: deadlines in exchanged working days, reminders, urging, escalation, timeouts; killed anywhere."""

from tests.journeys.office import Office

SLOW = """
version = "test/slow"
title = "测试"
valid_from = 2026-01-01
[[rules]]
name = "谁也不办的：退回"
when = { kinds = ["create"] }
stages = [{ by = [{ level = "district" }], sla_working_days = 1, on_timeout = "return" }]
[[rules]]
name = "其余"
stages = [{ by = [{ level = "district" }] }]
"""


def test_a_stage_from_its_opening_over_exchanged_days_to_its_escalation(office: Office) -> None:
    office.at("2026-09-18T10:00")  # a Friday; the Sunday after it is worked, the Friday after that is not
    request = office.ask()
    (stage,) = request["stages"]
    assert stage["due_at"] == "2026-09-21T09:30:00Z", "Sunday is the first working day, Monday the second"
    assert office.told("admin") == {"request.to_decide": 1}
    urge = f"/requests/{request['id']}/urge"
    assert office.post("requester", urge)["next_at"] == "2026-09-20T01:00:00Z"
    refused = office.post("requester", urge, status=409)
    assert (refused["code"], refused["next_at"]) == ("urged_already", "2026-09-20T01:00:00+00:00")
    assert office.told("admin") == {"request.urged": 1}

    office.at("2026-09-20T08:30")
    assert office.told("admin") == {}, "business has not begun"
    office.dies_at("remind:inside", "remind:after", when=lambda: office.at("2026-09-20T09:00"))
    assert office.told("admin") == {"request.due": 1}, "a working day before it is due: once, though killed twice"
    office.post("requester", urge)
    assert office.told("admin") == {"request.urged": 1}, "the exchanged Sunday is a day of its own"
    office.at("2026-09-21T09:00")
    office.kill()
    office.start()
    assert office.told("admin") == {"request.due": 1}, "on the morning of the day itself"
    assert office.read(request["id"])["is_overdue"] is False

    office.dies_at("mark_overdue:inside", "mark_overdue:after", when=lambda: office.at("2026-09-21T17:31"))
    assert office.told("admin") == {"request.overdue": 1}
    assert office.told("requester") == {"request.overdue": 1}
    assert office.read(request["id"])["is_overdue"] is True
    assert "cloudmgr_stages_overdue 1" in office.open("/metrics").text
    assert "已逾期" in office.page("admin", "/approvals")
    office.decide("cityboss", request["id"], status=403)
    points = ("escalate_due:inside", "escalate_due:after")
    office.dies_at(*points, when=lambda: office.at("2026-09-23T17:31"))
    assert office.told("cityboss") == {"request.escalated": 1}
    assert office.told("requester") == {"request.escalated": 1}
    seen = office.read(request["id"])
    assert seen["stages"][0]["escalated_at"] is not None
    assert [sum(word in event["text"] for event in seen["events"]) for word in ("overdue", "level above")] == [1, 1]
    done = office.decide("cityboss", request["id"])
    assert (done["phase"], done["decisions"][0]["decided_by"]) == ("approved", "cityboss")
    assert office.ended(request["id"])["phase"] == "fulfilled"
    office.balanced()


def test_what_nobody_decides_goes_back_after_the_holidays_and_its_quota_is_free(office: Office) -> None:
    office.load(SLOW)
    office.at("2026-09-24T10:00")  # the last day before the autumn festival
    request = office.ask(count=3)
    assert request["due_at"] == "2026-09-28T09:30:00Z", "the three days of the festival do not count"
    assert office.reserved() == 3
    office.told("requester")
    office.at("2026-10-16T17:00")  # a week of holidays lies between, and a worked Saturday
    assert office.told("requester") == {"request.overdue": 1}
    assert (office.read(request["id"])["phase"], office.reserved()) == ("in_review", 3)
    office.dies_at("time_out:inside", "time_out:after", when=lambda: office.at("2026-10-16T17:31"))
    assert office.told("requester") == {"request.returned": 1}
    assert (office.read(request["id"])["phase"], office.reserved()) == ("returned", 0)
    assert office.post("requester", f"/requests/{request['id']}/submit")["phase"] == "in_review"
    assert office.post("requester", f"/requests/{request['id']}/withdraw")["phase"] == "withdrawn"
    office.balanced()
