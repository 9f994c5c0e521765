"""What stands around a decision, over HTTP: the queue, what a request takes, changes in full, who decides. On both databases."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import Server
from tests.api.test_office_rules import START, Office, code
from tests.world import World


@pytest.fixture
def office(any_world: World) -> Any:
    with clock.stepped(START):
        yield Office(any_world)


NAMED = """
version = "test/named"
title = "会签"
valid_from = 2026-01-01
[[rules]]
name = "全部"
stages = [{ mode = "all", by = [{ level = "district" }, { person = "stranger" }] }]
"""


def changes(request: str) -> str:
    return f"/api/v1/requests/{request}/changes"


def propose(office: Office, request: str, **changed: Any) -> Any:
    body = {**office.read(request)["body"], **changed}
    return office["admin"].post(changes(request), json={"body": body, "comment": "按此办理"})


def test_everything_that_a_confirmed_change_changes_is_what_is_built(office: Office) -> None:
    request = office.ask()
    assert code(propose(office, request, network_zone="互联网区")) == (422, "no_fitting_pool"), "every rule is asked"
    sooner = (clock.today() + timedelta(days=60)).isoformat()
    made = propose(
        office,
        request,
        lease_end=sooner,
        env="tst",
        owner={"name": "李明", "phone": "13900000000"},
        ssh_keys=[],
    )
    assert made.status_code == 201, made.text
    answered = office["requester"].post(f"{changes(request)}/{made.json()['id']}/answer", json={"accept": True}).json()
    assert (answered["phase"], answered["lease_end"], answered["env"]) == ("approved", sooner, "tst")
    assert (answered["owner"]["name"], answered["ssh_keys"]) == ("李明", [])
    with office.world.session() as session:
        server = session.exec(select(Server)).one()
        assert (server.lease_end.isoformat(), server.env) == (sooner, "tst")
        assert (server.owner_name, server.ssh_keys) == ("李明", [])
    assert office.balanced()


def test_the_changes_are_listed_and_the_proposer_can_take_one_back(office: Office) -> None:
    request = office.ask(count=4)
    servers = [office.read(request)["body"]["servers"][0] | {"count": 2}]
    change = propose(office, request, servers=servers, owner={"name": "李明", "phone": "13900000000"}).json()["id"]
    (listed,) = office["requester"].get(changes(request)).json()["items"]
    assert (listed["id"], listed["state"]) == (change, "proposed")
    assert {"field": "servers[0].count", "before": 4, "after": 2} in listed["diff"]
    assert code(office["requester"].delete(f"{changes(request)}/{change}"))[0] == 403
    assert office["stranger"].get(changes(request)).status_code == 404
    assert office["admin"].delete(f"{changes(request)}/{change}").status_code == 204
    assert office["admin"].delete(f"{changes(request)}/{change}").status_code == 409
    assert office["requester"].get(changes(request)).json()["items"][0]["state"] == "dropped"
    assert office.decide("admin", request).json()["phase"] == "approved", "the stage is open again"


def test_persons_in_a_change_are_told_to_those_only_who_may_read_of_them(office: Office) -> None:
    request = office.ask()
    propose(office, request, owner={"name": "李明", "phone": "13900000000"})
    for who in office.world.people:
        answer = office[who].get(changes(request))
        if answer.status_code == 200:
            shown = any(line["field"].startswith("owner") for line in answer.json()["items"][0]["diff"])
            assert shown == ("owner" in office.read(request, who)["body"]), who


def test_a_request_under_review_becomes_no_emergency_order(office: Office) -> None:
    request = office.ask()
    urgent = {"emergency": True, "emergency_reason": "抢险"}
    refused = propose(office, request, **urgent)
    assert code(refused) == (422, "invalid")
    assert refused.json()["errors"][0]["field"] == "body.emergency"
    assert office.decide("admin", request, "return", "请修改").status_code == 200
    body = office.world.body(**urgent)
    again = office["requester"].put(f"/api/v1/requests/{request}", json=body)
    assert code(again) == (422, "invalid")
    assert again.json()["errors"][0]["field"] == "emergency"
    assert office["requester"].post(f"/api/v1/requests/{request}/submit").json()["is_emergency"] is False


def test_a_person_named_from_elsewhere_decides_and_reads_on(office: Office) -> None:
    office.load(NAMED)
    request = office.ask()
    (stage,) = office.read(request)["stages"]
    assert [(seat["role"], seat["person"], seat["decided_by"]) for seat in stage["seats"]] == [
        ("district_admin", None, None),
        (None, "stranger", None),
    ]
    answer = office.decide("stranger", request)
    assert (answer.status_code, answer.json()["phase"]) == (200, "in_review"), answer.text
    assert office.read(request, "stranger")["stages"][0]["seats"][1]["decided_by"] == "stranger"
    assert office.decide("admin", request).json()["phase"] == "approved"
    assert office.read(request, "stranger")["phase"] == "approved"
    assert office["stranger"].get(f"/api/v1/requests/{office.ask(name='other')}").status_code == 200, "their turn again"
    assert office["tech"].get(f"/api/v1/requests/{request}").status_code == 200


def test_the_queue_tells_what_waits_for_whom(office: Office) -> None:
    first, second = office.ask(name="a"), office.ask(name="b")
    (one, two) = office["admin"].get("/api/v1/approvals").json()["items"]
    assert [one["id"], two["id"]] == [first, second]
    assert (one["stage"], one["number"], one["is_overdue"]) == ("区县初审", office.read(first)["number"], False)
    assert office["requester"].get("/api/v1/approvals").json() == {"items": []}
    office.decide("admin", first)
    assert [each["id"] for each in office["admin"].get("/api/v1/approvals").json()["items"]] == [second]


def test_what_a_request_takes_stands_beside_what_is_there(office: Office) -> None:
    request = office.ask(count=2)
    found = office["admin"].get(f"/api/v1/requests/{request}/weighing").json()
    assert found["taken"]["servers"] == 2
    assert found["quota"][0]["name"] == office.world.root.name, "from the city down"
    assert found["quota"][-1]["reserved"]["servers"] == 2
    (pool,) = found["pools"]
    assert (pool["count"], pool["arch"]) == (2, "aarch64")
    assert any(zone["room"] for zone in pool["zones"])
    assert office["stranger"].get(f"/api/v1/requests/{request}/weighing").status_code == 404
