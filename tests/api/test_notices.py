"""Notices by API: the inbox of a request's way, preferences, and deliveries of one's own part of the city."""

import uuid
from typing import Any

from fastapi.testclient import TestClient

from cloudmgr.domain import clock
from cloudmgr.main import create_app
from cloudmgr.models import Delivery, Happening, User
from cloudmgr.services import deliveries
from cloudmgr.store.db import new_session
from tests.support import audit_events, client_for
from tests.world import World

NOTICES = "/api/v1/notices"


class Office:
    """The city's API, with a worker that spreads when asked to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app = create_app(world.settings, engine=world.engine)

    def client(self, name: str, **headers: str) -> TestClient:
        with new_session(self.world.engine) as session:
            return client_for(self.app, session.get_one(User, self.world.people[name]), **headers)

    def spread(self) -> None:
        with self.world.session() as session:
            deliveries.spread(session, self.world.settings)
            session.commit()

    def inbox(self, client: TestClient) -> list[dict[str, Any]]:
        self.spread()
        answer = client.get(NOTICES)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


def test_a_request_on_its_way_is_told_to_whoever_it_concerns(any_world: World) -> None:
    office = Office(any_world)
    requester, admin, stranger = office.client("requester"), office.client("admin"), office.client("stranger")
    made = requester.post("/api/v1/requests", json=any_world.body()).json()
    [waiting] = office.inbox(admin)
    assert (waiting["event"], waiting["subject"]) == ("request.to_decide", "有申请待您审批")
    assert made["number"] in waiting["text"]
    assert waiting["link"] == f"/approvals/{made['id']}"
    assert waiting["object"] == {"type": "request", "id": made["id"], "name": made["number"]}
    assert office.inbox(requester) == []
    assert office.inbox(stranger) == []
    decide = f"/api/v1/requests/{made['id']}/decisions"
    assert admin.post(decide, json={"decision": "return", "comment": "请补充用途"}).status_code == 200
    [returned] = office.inbox(requester)
    assert returned["event"] == "request.returned"
    assert "请补充用途" in returned["text"]
    assert requester.post(f"/api/v1/requests/{made['id']}/submit").status_code == 200
    assert [each["event"] for each in office.inbox(admin)] == ["request.to_decide"] * 2
    assert requester.post(f"/api/v1/requests/{made['id']}/withdraw").status_code == 200
    assert office.inbox(admin)[0]["event"] == "request.withdrawn"


def test_notices_are_told_in_the_readers_language_and_marked_by_their_owner_only(any_world: World) -> None:
    office = Office(any_world)
    office.client("requester").post("/api/v1/requests", json=any_world.body())
    admin, other = office.client("admin", **{"Accept-Language": "en"}), office.client("both")
    [notice] = office.inbox(admin)
    assert notice["subject"] == "A request waits for your decision"
    assert admin.get(f"{NOTICES}/unread").json() == {"unread": 1, "most": 100}
    assert other.post(f"{NOTICES}/read", json={"ids": [notice["id"]]}).json() == {"read": 0}
    assert admin.post(f"{NOTICES}/read", json={"ids": [notice["id"]]}).json() == {"read": 1}
    assert admin.get(NOTICES, params={"unread": True}).json()["items"] == []
    assert admin.get(f"{NOTICES}/unread").json()["unread"] == 0
    assert other.post(f"{NOTICES}/read", json={}).json() == {"read": 1}


def test_preferences_hold_and_the_address_is_not_in_the_log(any_world: World) -> None:
    office = Office(any_world)
    admin = office.client("admin")
    path = f"{NOTICES}/preferences"
    assert admin.get(path).json()["wanted"]["request.to_decide"] == ["inbox", "email"]
    body = {"email": "li@example.gov.cn", "wanted": {"request.to_decide": []}}
    assert admin.patch(path, json=body).status_code == 200
    assert admin.patch(path, json={"wanted": {"lease.reminder": ["email"]}}).json()["email"] == "li@example.gov.cn"
    office.client("requester").post("/api/v1/requests", json=any_world.body())
    assert office.inbox(admin) == []
    for wrong in ({"email": "nobody"}, {"email": "a@b\r\nBcc: c@d"}, {"wanted": {"no.such": []}}, {"colour": "red"}):
        assert admin.patch(path, json=wrong).status_code == 422, wrong
    assert admin.patch(path, json={"email": ""}).json()["email"] == ""
    with any_world.session(write=False) as session:
        events = audit_events(session, event="notice.change", outcome="success")
        assert len(events) == 3
        assert "example.gov.cn" not in str([each.detail for each in events])


def test_the_accounts_language_is_set_and_answers_follow_it(any_world: World) -> None:
    office = Office(any_world)
    office.client("requester").post("/api/v1/requests", json=any_world.body())
    admin, path = office.client("admin"), f"{NOTICES}/preferences"
    assert admin.get(path).json()["language"] == "zh_CN"
    assert admin.patch(path, json={"language": "fr"}).status_code == 422
    assert admin.patch(path, json={"language": "en"}).json()["language"] == "en"
    assert admin.patch(path, json={"wanted": {}}).json()["language"] == "en"
    assert admin.get("/api/v1/sessions/current").json()["language"] == "en"
    admin.headers.pop("Accept-Language", None)
    assert office.inbox(admin)[0]["subject"] == "A request waits for your decision"


def test_deliveries_are_for_system_administrators_and_can_be_replayed(any_world: World) -> None:
    office = Office(any_world)
    with any_world.session() as session:
        happening = Happening(
            event="request.fulfilled",
            object_type="request",
            dedupe="x",
            organization_path=any_world.minzheng.path,
            spread_at=clock.now(),
        )
        session.add(happening)
        session.flush()
        moment = clock.now()
        delivery = Delivery(
            happening_id=happening.id,
            channel="webhook",
            target="oa",
            state="failed",
            next_at=moment,
            give_up_at=moment,
        )
        session.add(delivery)
        session.commit()
    sysadmin = office.client("sysadmin")
    path = f"{NOTICES}/deliveries"
    [line] = sysadmin.get(path, params={"state": "failed", "channel": "webhook"}).json()["items"]
    assert (line["target"], line["state"], line["next_at"]) == ("oa", "failed", None)
    replayed = sysadmin.post(f"{path}/{line['id']}/replay")
    assert (replayed.status_code, replayed.json()["state"], replayed.json()["log"]) == (202, "waiting", [])
    assert sysadmin.post(f"{path}/{line['id']}/replay").json()["code"] == "conflict"
    assert sysadmin.get(f"{path}/{uuid.uuid4()}").status_code == 404
    assert office.client("admin").get(path).status_code == 403
