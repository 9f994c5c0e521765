"""Deadlines, emergency orders and change freezes over HTTP, by a stepped clock: every rule as its people meet it."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.main import create_app
from cloudmgr.models import Server, User
from cloudmgr.services import change_freezes, deadlines, policy
from cloudmgr.store.db import begin_immediate, new_session
from cloudmgr.workflows import request_facts
from tests.stocked import stand
from tests.support import client_for
from tests.world import World

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=SHANGHAI)
EN = {"Accept-Language": "en"}


class Office:
    """People at their desks, and the clock on the wall."""

    def __init__(self, world: World, advance: Callable[[Any], None]) -> None:
        self.world = world
        self._advance = advance
        self.app: FastAPI = create_app(world.settings, engine=world.engine)

    def at(self, text: str) -> None:
        """Move the clock on to a moment in Asia/Shanghai, and do the round that is due then."""
        self._advance(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI) - clock.now())
        while self.work(deadlines.is_anything_due):
            for deed in (
                deadlines.remind,
                deadlines.mark_overdue,
                deadlines.escalate_due,
                deadlines.time_out,
                deadlines.flag_emergencies,
                change_freezes.release_due,
            ):
                self.work(deed, 100)

    def work(self, deed: Callable[..., Any], *args: Any) -> Any:
        """Do what a worker does, in one transaction."""
        with new_session(self.world.engine) as session:
            policy.attach(session, self.world.settings)
            begin_immediate(session)
            result = deed(session, *args)
            session.commit()
            return result

    def client(self, who: str) -> TestClient:
        """Somebody who has just signed in: sessions end long before the days of these stories do."""
        with new_session(self.world.engine) as session:
            return client_for(self.app, session.get_one(User, self.world.people[who]), **EN)

    def post(self, who: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client(who).post(f"/api/v1{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, who: str, path: str) -> Any:
        answer = self.client(who).get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def page(self, who: str, path: str, language: str = "zh_CN") -> str:
        client = self.client(who)
        client.cookies.set("cloudmgr_language", language)
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return answer.text

    def ask(self, **changes: Any) -> dict[str, Any]:
        return self.post("requester", "/requests", self.world.body(**changes), 201)


@pytest.fixture
def office(any_world: World) -> Iterator[Office]:
    with clock.stepped(MONDAY) as advance:
        yield Office(any_world, advance)


def test_a_request_that_nobody_decides(office: Office) -> None:
    request = office.ask()
    (stage,) = request["stages"]
    assert (stage["due_at"], stage["is_overdue"]) == ("2026-11-25T09:30:00Z", False)
    assert request["due_at"] == stage["due_at"]

    office.at("2026-11-24T10:00")
    urged = office.post("requester", f"/requests/{request['id']}/urge")
    assert urged["next_at"] == "2026-11-25T01:00:00Z"
    refused = office.post("requester", f"/requests/{request['id']}/urge", status=409)
    assert (refused["code"], refused["next_at"]) == ("urged_already", "2026-11-25T01:00:00+00:00")
    office.post("admin", f"/requests/{request['id']}/urge", status=403)
    office.post("stranger", f"/requests/{request['id']}/urge", status=404)

    office.at("2026-11-26T09:00")
    (line,) = [each for each in office.get("admin", "/requests")["items"] if each["id"] == request["id"]]
    assert line["is_overdue"] is True
    office.client("cityboss").post(f"/api/v1/requests/{request['id']}/decisions", json={"decision": "approve"})
    assert office.get("requester", f"/requests/{request['id']}")["phase"] == "in_review", "not the city's turn yet"

    office.at("2026-11-27T17:31")
    seen = office.get("requester", f"/requests/{request['id']}")
    assert seen["stages"][0]["escalated_at"] is not None
    texts = [event["text"] for event in seen["events"]]
    assert sum("is overdue" in text for text in texts) == 1
    assert sum("level above" in text for text in texts) == 1
    decided = office.post("cityboss", f"/requests/{request['id']}/decisions", {"decision": "approve", "comment": ""})
    assert decided["phase"] == "approved"


def test_an_emergency_order_from_its_beginning_to_a_rejection(office: Office) -> None:
    body = office.world.body(emergency=True)
    assert office.post("requester", "/requests", body, 422)["errors"][0]["field"] == "emergency_reason"
    plan = office.post("requester", "/plans", body | {"servers": [body["servers"][0] | {"count": 20}]})
    assert "emergency_allowance_exceeded" in [each["code"] for each in plan["refusals"]]
    too_much = body | {"emergency_reason": "抢险", "servers": [body["servers"][0] | {"count": 17}]}
    refused = office.post("requester", "/requests", too_much, 409)
    assert refused["code"] == "emergency_allowance_exceeded"
    assert refused["errors"][0]["key"] == "servers"

    office.ask(name="ordinary")
    request = office.ask(name="urgent", emergency=True, emergency_reason="防汛指挥")
    assert request["number"].startswith("YJ20261123-")
    assert (request["phase"], request["is_emergency"]) == ("approved", True)
    order = request["emergency"]
    assert (order["state"], order["approve_by"]) == ("open", "2026-11-26T09:30:00Z")
    office.post("requester", f"/requests/{request['id']}/withdraw", status=409)
    office.post("admin", f"/requests/{request['id']}/decisions", {"decision": "return", "comment": "不全"}, 409)
    queue = office.page("admin", "/approvals")
    assert queue.index(request["number"]) < queue.index("SQ20261123-0001")
    assert "应急" in queue

    office.at("2026-11-26T18:00")
    seen = office.get("requester", f"/requests/{request['id']}")
    assert seen["emergency"]["flagged_at"] is not None
    assert seen["stages"][0]["escalated_at"] is not None
    decided = office.post(
        "cityboss", f"/requests/{request['id']}/decisions", {"decision": "reject", "comment": "不属于应急"}
    )
    assert decided["emergency"]["state"] == "rejected"
    proposal = office.get("requester", f"/requests/{decided['emergency']['proposal']}")
    assert (proposal["kind"], proposal["phase"], len(proposal["body"]["servers"])) == ("retire", "draft", 1)
    assert "补批未通过" in office.page("requester", f"/requests/{request['id']}")


def test_an_emergency_order_that_is_approved_afterwards(office: Office) -> None:
    request = office.ask(emergency=True, emergency_reason="防汛指挥")
    decided = office.post("admin", f"/requests/{request['id']}/decisions", {"decision": "approve", "comment": ""})
    assert (decided["phase"], decided["emergency"]["state"]) == ("approved", "approved")
    office.at("2027-01-04T09:00")
    assert office.get("requester", f"/requests/{request['id']}")["emergency"]["flagged_at"] is None


def test_a_change_freeze_from_its_announcement_to_its_end(office: Office) -> None:
    made = office.ask()
    office.post("admin", f"/requests/{made['id']}/decisions", {"decision": "approve", "comment": ""})

    def build(session: Session) -> str:
        request_facts.begin(session, made["id"])
        server = session.exec(select(Server)).one()
        stand(session, server.id)
        return str(server.id)

    server = office.work(build)
    wish = {"organization": str(office.world.furong.id), "ends_at": "2026-12-01T00:00:00+08:00", "reason": "两会重保"}
    office.post("requester", "/change-freezes", wish, 403)
    office.post("quota", "/change-freezes", wish | {"ends_at": "2026-11-01T00:00:00+08:00"}, 422)
    for vague in ("2026-12-01", "2026-12-01T00:00:00"):
        office.post("quota", "/change-freezes", wish | {"ends_at": vague}, 422)
    freeze = office.post("quota", "/change-freezes", wish, 201)
    assert freeze["ends_at"] == office.get("quota", "/change-freezes")["items"][0]["ends_at"] == "2026-11-30T16:00:00Z"
    assert freeze["in_force"] is True
    assert "两会重保" in office.page("requester", "/requests"), "every page says so"
    assert "两会重保" in office.page("requester", "/requests", "en")
    assert "两会重保" not in office.page("stranger", "/requests")
    assert office.get("stranger", "/change-freezes")["items"] == []
    assert "两会重保" in office.page("quota", "/change-freezes")

    run = {"playbook": "configure_server", "servers": [server], "variables": {}}
    refused = office.post("admin", "/playbook-runs", run, 409)
    assert refused["code"] == "change_frozen"
    office.post("admin", "/playbook-runs", run | {"playbook": "collect_facts"}, 202)

    body = {"kind": "retire", "project": str(office.world.project.id), "purpose": "下线", "servers": [server]}
    retire = office.post("requester", "/requests", body, 201)
    office.post("admin", f"/requests/{retire['id']}/decisions", {"decision": "approve", "comment": ""})
    assert office.work(request_facts.begin, retire["id"])["items"] == []
    seen = office.get("requester", f"/requests/{retire['id']}")
    assert (seen["phase"], seen["held_until"]) == ("approved", "2026-11-30T16:00:00Z")
    assert "两会重保" in office.page("requester", f"/requests/{retire['id']}")

    office.at("2026-11-30T12:00")
    assert office.get("requester", f"/requests/{retire['id']}")["held_until"] is not None
    answer = office.client("quota").delete(f"/api/v1/change-freezes/{freeze['id']}")
    assert answer.status_code == 204
    office.at("2026-11-30T12:02")
    seen = office.get("requester", f"/requests/{retire['id']}")
    assert seen["held_until"] is None
    assert "change freeze is over" in seen["events"][-1]["text"]
    assert len(office.work(request_facts.begin, retire["id"])["items"]) == 1
    (line,) = office.get("quota", "/change-freezes")["items"]
    assert (line["lifted_by"], line["in_force"]) == ("quota", False)
