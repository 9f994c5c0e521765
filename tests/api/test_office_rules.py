"""The rules of an office over HTTP, with a stepped clock: stages, deputies, changes, remarks, policies. On both databases."""

import io
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.main import create_app
from cloudmgr.models import AttachmentContent, ResourceRequest, RoleGrant, User
from cloudmgr.services import approval_policy
from cloudmgr.store.db import new_session
from tests.support import client_for
from tests.world import World

LOCAL = Actor(None, "local:tester", "tester", None, "/")
START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
Steps = Callable[[timedelta], None]

FOUR = """
version = "test/{version}"
title = "四级审批"
valid_from = {begin}
{end}
[[rules]]
name = "全部"
stages = [
  {{ by = [{{ level = "unit" }}] }},
  {{ by = [{{ level = "district" }}] }},
  {{ by = [{{ level = "city" }}] }},
  {{ name = "技术会签", mode = "all", by = [{{ level = "technical" }}, {{ person = "quota" }}] }},
]
"""


@pytest.fixture
def step() -> Iterator[Steps]:
    with clock.stepped(START) as advance:
        yield advance


class Office:
    """The people of the city, each with a client, and what they do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._app = create_app(world.settings, engine=world.engine)
        self._clients: dict[tuple[str, date], TestClient] = {}
        with world.session() as session:
            for name in ("tech", "late"):
                self._person(session, name)
            session.commit()

    def _person(self, session: Any, name: str) -> None:
        user = User(
            username=name,
            username_key=name,
            display_name=name.title(),
            organization_id=self.world.root.id,
            password_hash="-",
            password_set_at=clock.now(),
        )
        session.add(user)
        session.flush()
        role = Role.TECHNICAL_APPROVER if name == "tech" else Role.REQUESTER
        session.add(RoleGrant(user_id=user.id, role=role.value, organization_id=self.world.root.id, granted_by="test"))
        self.world.people[name] = user.id

    def __getitem__(self, name: str) -> TestClient:
        today = (name, clock.today())  # everybody signs in anew each day
        if today not in self._clients:
            with new_session(self.world.engine) as session:
                self._clients[today] = client_for(self._app, session.get_one(User, self.world.people[name]))
        return self._clients[today]

    def load(self, text: str) -> None:
        with self.world.session() as session:
            approval_policy.load(session, LOCAL, text)
            session.commit()

    def ask(self, who: str = "requester", **changes: Any) -> str:
        answer = self[who].post("/api/v1/requests", json=self.world.body(**changes))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def read(self, request: str, who: str = "requester") -> dict[str, Any]:
        found: dict[str, Any] = self[who].get(f"/api/v1/requests/{request}").json()
        return found

    def decide(self, who: str, request: str, decision: str = "approve", comment: str = "说明") -> httpx.Response:
        return self[who].post(f"/api/v1/requests/{request}/decisions", json={"decision": decision, "comment": comment})

    def balanced(self) -> bool:
        with self.world.session() as session:
            return not quotas.verify(session).mismatches

    def held(self) -> dict[str, int]:
        with self.world.session(write=False) as session:
            return dict(quotas.account_usage(session, self.world.project.account_id).reserved)


@pytest.fixture
def office(any_world: World, step: Steps) -> Office:
    return Office(any_world)


def four(version: str = "1", begin: str = "2026-01-01", end: str = "") -> str:
    return FOUR.format(version=version, begin=begin, end=f"valid_until = {end}" if end else "")


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


class TestStages:
    def test_a_plain_request_needs_one_decision_by_the_district(self, office: Office) -> None:
        request = office.ask()
        (stage,) = office.read(request)["stages"]
        assert (stage["name"], stage["role"], stage["policy_version"]) == ("区县初审", "district_admin", "2026-11/3")
        assert office.decide("admin", request).json()["phase"] == "approved"

    def test_the_policy_names_its_stages_in_the_readers_language(self, office: Office) -> None:
        for language, name in (("zh-CN", "区县初审"), ("en", "District review")):
            answer = (
                office["requester"]
                .get("/api/v1/approval-policies/current", headers={"Accept-Language": language})
                .json()
            )
            assert answer["rules"][-1]["stages"][0]["name"] == name

    def test_a_large_one_passes_all_four(self, office: Office) -> None:
        office.load(
            approval_policy.packaged_text().replace("vcpus = 1024", "vcpus = 8").replace("2026-11/3", "test/low")
        )
        stages = office.read(office.ask(count=4))["stages"]
        assert [each["name"] for each in stages] == ["单位审核", "区县初审", "市行政审批", "技术审批"]
        assert [each["state"] for each in stages] == ["open", "waiting", "waiting", "waiting"]
        assert len(office.read(office.ask(name="small"))["stages"]) == 1

    def test_each_stage_in_turn_and_nobody_else(self, office: Office) -> None:
        office.load(four())
        request = office.ask()
        for turn in ("reviewer", "admin", "cityboss"):
            for other in {"reviewer", "admin", "cityboss", "tech"} - {turn}:
                answer = office.decide(other, request)
                assert answer.status_code == 403, (turn, other, answer.text)
            assert office.decide(turn, request).json()["phase"] == "in_review"
        assert office.decide("tech", request).json()["phase"] == "in_review", "two must countersign"
        done = office.decide("quota", request).json()
        assert done["phase"] == "approved"
        assert {each["policy_version"] for each in done["decisions"]} == {"test/1"}
        assert done["stages"][3]["name"] == "技术会签"

    def test_one_person_never_decides_two_stages(self, office: Office) -> None:
        office.load(four())
        with office.world.session() as session:
            session.add(
                RoleGrant(
                    user_id=office.world.people["reviewer"],
                    role=Role.DISTRICT_ADMIN.value,
                    organization_id=office.world.furong.id,
                    granted_by="test",
                )
            )
            session.commit()
        request = office.ask()
        assert office.decide("reviewer", request).status_code == 200
        refused = office.decide("reviewer", request)
        assert code(refused) == (403, "second_stage")
        assert "另一" in refused.json()["detail"] or "他人" in refused.json()["detail"]
        english = office["reviewer"].post(
            f"/api/v1/requests/{request}/decisions",
            json={"decision": "approve"},
            headers={"Accept-Language": "en"},
        )
        assert "another person must decide" in english.json()["detail"]
        assert office.decide("admin", request).status_code == 200

    def test_a_no_at_any_stage_ends_it_and_a_return_begins_again(self, office: Office) -> None:
        office.load(four())
        request = office.ask()
        office.decide("reviewer", request)
        assert office.decide("admin", request, "return", "缺少备案号").json()["phase"] == "returned"
        assert office.held().get("servers", 0) == 0
        assert office["requester"].post(f"/api/v1/requests/{request}/submit").status_code == 200
        assert office.decide("reviewer", request).status_code == 200, "a new submission is decided anew"
        assert office.decide("admin", request, "reject", "不符合规定").json()["phase"] == "rejected"
        assert office.balanced()


class TestDeputies:
    def _name(self, office: Office, who: str, **fields: Any) -> httpx.Response:
        body = {"deputy": "cityboss", "valid_from": "2026-11-24", "valid_until": "2026-11-25", "reason": "出差"}
        return office[who].post("/api/v1/deputies", json=body | fields)

    def test_a_deputy_decides_on_the_named_days_only_and_it_is_told(self, office: Office, step: Steps) -> None:
        made = self._name(office, "admin", deputy="late")
        assert made.status_code == 201, made.text
        first, second, third = office.ask(name="a"), office.ask(name="b"), office.ask(name="c")
        assert office.decide("late", first).status_code == 403
        step(timedelta(days=1))
        done = office.decide("late", first)
        assert done.status_code == 200, done.text
        assert done.json()["decisions"][0]["on_behalf_of"] == str(office.world.people["admin"])
        assert any("代 Admin" in event["text"] for event in done.json()["events"])
        step(timedelta(days=1))
        assert office.decide("late", second).status_code == 200, "the last day is one of them"
        step(timedelta(days=1))
        assert office.decide("late", third).status_code == 403
        assert office.decide("admin", third).status_code == 200

    def test_a_deputy_gets_the_power_to_decide_and_no_other(self, office: Office, step: Steps) -> None:
        self._name(office, "admin", deputy="late")
        step(timedelta(days=1))
        assert office["late"].get("/api/v1/findings").status_code == 403
        assert office["late"].get("/api/v1/users").status_code == 403

    def test_nobody_decides_for_the_requester_nor_their_own_through_another(self, office: Office, step: Steps) -> None:
        self._name(office, "both", deputy="late")
        self._name(office, "admin", deputy="both")
        step(timedelta(days=1))
        request = office.ask("both")
        assert code(office.decide("both", request)) == (403, "own_request"), "as deputy of the administrator"
        assert office.decide("late", request).status_code == 403, "as deputy of the requester"
        assert office.decide("admin", request).status_code == 200

    def test_a_deputy_of_two_decides_one_stage_only(self, office: Office, step: Steps) -> None:
        office.load(four())
        self._name(office, "reviewer", deputy="late")
        self._name(office, "admin", deputy="late")
        step(timedelta(days=1))
        request = office.ask()
        assert office.decide("late", request).status_code == 200
        assert code(office.decide("late", request)) == (403, "second_stage")

    def test_who_may_name_whom(self, office: Office) -> None:
        assert code(self._name(office, "admin", absent="both")) == (403, "forbidden")
        assert self._name(office, "secadmin", absent="both").status_code == 201
        assert code(self._name(office, "admin", deputy="admin")) == (422, "invalid")
        assert code(self._name(office, "admin", valid_until="2026-11-20")) == (422, "invalid")
        assert code(self._name(office, "requester")) == (422, "invalid"), "a requester decides on nothing"

    def test_it_can_be_ended_before_its_time(self, office: Office, step: Steps) -> None:
        made = self._name(office, "admin", deputy="late").json()
        step(timedelta(days=1))
        assert office["stranger"].delete(f"/api/v1/deputies/{made['id']}").status_code == 404
        assert [each["id"] for each in office["late"].get("/api/v1/deputies").json()["items"]] == [made["id"]]
        assert office["admin"].delete(f"/api/v1/deputies/{made['id']}").status_code == 204
        assert office.decide("late", office.ask()).status_code == 403


class TestChanges:
    def _propose(self, office: Office, request: str, who: str = "admin", **changes: Any) -> httpx.Response:
        body = {**office.read(request)["body"], **office.world.body(**changes)}
        return office[who].post(f"/api/v1/requests/{request}/changes", json={"body": body, "comment": "两台即可"})

    def _answer(
        self, office: Office, request: str, change: str, accept: bool, who: str = "requester"
    ) -> httpx.Response:
        return office[who].post(f"/api/v1/requests/{request}/changes/{change}/answer", json={"accept": accept})

    def test_a_confirmed_change_is_an_approval_of_what_was_changed(self, office: Office) -> None:
        request = office.ask(count=4)
        made = self._propose(office, request, count=2)
        assert made.status_code == 201, made.text
        assert made.json()["diff"] == [{"field": "servers[0].count", "before": 4, "after": 2}]
        assert office.held()["servers"] == 4, "nothing changes before the requester has agreed"
        assert code(office.decide("admin", request)) == (409, "conflict")
        done = self._answer(office, request, made.json()["id"], accept=True)
        assert (done.status_code, done.json()["phase"]) == (200, "approved"), done.text
        assert office.held()["servers"] == 2
        assert len(done.json()["servers"]) == 2
        assert done.json()["decisions"][0]["decision"] == "change"
        assert office.balanced()

    def test_what_is_wrong_with_a_changed_body_is_named_inside_it(self, office: Office) -> None:
        request = office.ask()
        office["admin"].headers["Accept-Language"] = "en"
        for body, field in (
            (office.world.body() | {"foo": 1}, "body.foo"),
            (office.world.body() | {"kind": "zzz"}, "body.kind"),
            (office.world.body() | {"purpose": 7}, "body.purpose"),
        ):
            answer = office["admin"].post(f"/api/v1/requests/{request}/changes", json={"body": body, "comment": "x"})
            assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])

    def test_a_declined_change_leaves_everything_as_it_was(self, office: Office) -> None:
        request = office.ask(count=4)
        change = self._propose(office, request, count=2).json()["id"]
        assert self._answer(office, request, change, accept=False).json()["phase"] == "in_review"
        assert code(self._answer(office, request, change, accept=True)) == (409, "conflict")
        assert office.held()["servers"] == 4
        assert office.decide("admin", request).json()["phase"] == "approved"

    def test_more_is_held_in_the_same_transaction_or_refused_at_once(self, office: Office) -> None:
        request = office.ask(count=2)
        assert code(self._propose(office, request, count=25)) == (409, "quota_exceeded")
        assert office.held()["servers"] == 2
        change = self._propose(office, request, count=6).json()["id"]
        office.ask(name="other", count=15)
        assert code(self._answer(office, request, change, accept=True)) == (409, "quota_exceeded"), "taken meanwhile"
        assert (office.held()["servers"], office.balanced()) == (17, True)
        assert office.read(request)["phase"] == "in_review"

    def test_only_the_requester_answers_and_only_deciders_propose(self, office: Office) -> None:
        request = office.ask(count=3)
        assert self._propose(office, request, "colleague", count=1).status_code == 403
        assert code(self._propose(office, request, count=3)) == (422, "invalid"), "nothing differs"
        change = self._propose(office, request, count=1).json()["id"]
        assert self._answer(office, request, change, accept=True, who="colleague").status_code == 403
        assert office["requester"].post(f"/api/v1/requests/{request}/withdraw").status_code == 200
        assert self._answer(office, request, change, accept=True).status_code == 409


PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


class TestRemarks:
    def _attach(
        self, office: Office, request: str, name: str, content: bytes, who: str = "requester"
    ) -> httpx.Response:
        return office[who].post(f"/api/v1/requests/{request}/attachments", files={"file": (name, content)})

    def test_internal_notes_are_for_deciders_and_never_for_the_requester(self, office: Office) -> None:
        request = office.ask("both")
        for who, internal in (("both", False), ("admin", False), ("admin", True)):
            answer = office[who].post(
                f"/api/v1/requests/{request}/comments", json={"text": f"{who} {internal}", "internal": internal}
            )
            assert answer.status_code == 201, answer.text
        seen = {
            who: [each["text"] for each in office[who].get(f"/api/v1/requests/{request}/comments").json()["items"]]
            for who in ("both", "admin", "colleague")
        }
        assert seen["admin"] == ["both False", "admin False", "admin True"]
        assert seen["both"] == ["both False", "admin False"], "though a district administrator"
        assert "admin True" not in seen["colleague"]
        note = office["both"].post(f"/api/v1/requests/{request}/comments", json={"text": "x", "internal": True})
        assert code(note) == (403, "forbidden")

    def test_files_are_sent_one_by_one_and_as_a_form(self, office: Office) -> None:
        request = office.ask()
        path = f"/api/v1/requests/{request}/attachments"
        two = [("file", ("a.txt", "一".encode())), ("file", ("b.txt", "二".encode()))]
        refused = office["requester"].post(path, files=two)
        assert code(refused) == (422, "invalid")
        assert refused.json()["errors"][0]["field"] == "file"
        assert office["requester"].get(path).json()["items"] == []
        wrong = office["requester"].post(path, json={})
        assert code(wrong) == (415, "unsupported_media_type")
        assert "multipart/form-data" in wrong.json()["detail"]
        sheet = office["requester"].post("/api/v1/requests/sheets", content=b"x", headers={"Content-Type": "text/html"})
        assert code(sheet) == (415, "unsupported_media_type")
        for each in ("multipart/form-data", "text/csv", "application/json"):
            assert each in sheet.json()["detail"]

    def test_a_file_is_taken_for_what_it_is_and_saved_never_shown(self, office: Office) -> None:
        request = office.ask()
        made = self._attach(office, request, "../../立项 批复.pdf", PDF)
        assert made.status_code == 201, made.text
        assert (made.json()["name"], made.json()["media_type"]) == ("立项 批复.pdf", "application/pdf")
        got = office["admin"].get(f"/api/v1/requests/{request}/attachments/{made.json()['id']}")
        assert got.content == PDF
        assert got.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
        assert got.headers["x-content-type-options"] == "nosniff"
        assert office["stranger"].get(f"/api/v1/requests/{request}/attachments/{made.json()['id']}").status_code == 404

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("page.html", b"<html><script>alert(1)</script></html>"),
            ("shell.txt", b"#!/bin/sh\n"),
            ("program.pdf", b"MZ\x90\x00\x03"),
            ("picture.png", PDF),
            ("macros.xlsx", zipped("xl/workbook.xml", "xl/vbaProject.bin")),
            ("other.zip", zipped("a.txt")),
            ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
            ("empty.txt", b""),
            ("large.txt", b"a" * (901 * 1024)),
        ],
    )
    def test_what_may_not_be_attached(self, office: Office, name: str, content: bytes) -> None:
        assert code(self._attach(office, office.ask(), name, content)) == (422, "invalid")

    def test_files_are_counted_and_the_same_bytes_are_kept_once(self, office: Office) -> None:
        request = office["requester"].post("/api/v1/requests", json=office.world.body() | {"draft": True}).json()["id"]
        letter = zipped("word/document.xml")
        made = [self._attach(office, request, f"{index}.docx", letter) for index in range(20)]
        assert {answer.status_code for answer in made} == {201}
        assert code(self._attach(office, request, "more.pdf", PDF)) == (409, "conflict")
        with office.world.session(write=False) as session:
            assert len(session.exec(select(AttachmentContent.sha256)).all()) == 1
        for answer in made:
            address = f"/api/v1/requests/{request}/attachments/{answer.json()['id']}"
            assert office["colleague"].delete(address).status_code == 403
            assert office["requester"].delete(address).status_code == 204
        with office.world.session(write=False) as session:
            assert session.exec(select(AttachmentContent.sha256)).all() == []

    def test_feedback_is_given_once_by_the_requester_after_delivery(self, office: Office) -> None:
        request = office.ask()
        give = {"score": 5, "comment": "及时"}
        assert code(office["requester"].post(f"/api/v1/requests/{request}/feedback", json=give)) == (409, "conflict")
        other = office["colleague"].post(f"/api/v1/requests/{request}/feedback", json=give)
        assert code(other) == (403, "forbidden")
        assert "评价" in other.json()["detail"]
        with office.world.session() as session:
            found = session.get_one(ResourceRequest, uuid.UUID(request))
            found.phase = "fulfilled"
            session.commit()
        assert office["colleague"].post(f"/api/v1/requests/{request}/feedback", json=give).status_code == 403
        assert code(office["requester"].post(f"/api/v1/requests/{request}/feedback", json=give | {"score": 6})) == (
            422,
            "invalid",
        )
        assert office["requester"].post(f"/api/v1/requests/{request}/feedback", json=give).status_code == 201
        assert code(office["requester"].post(f"/api/v1/requests/{request}/feedback", json=give)) == (409, "conflict")
        assert office["admin"].get(f"/api/v1/requests/{request}/feedback").json()["score"] == 5


class TestPolicies:
    def test_versions_follow_each_other_and_an_expired_one_stays_in_force(self, office: Office, step: Steps) -> None:
        current = "/api/v1/approval-policies/current"
        assert office["requester"].get(current).json()["version"] == "2026-11/3"
        office.load(four("1", end="2026-11-30"))
        office.load(four("2", begin="2026-12-05"))
        assert office["requester"].get(current).json()["version"] == "test/1"
        step(timedelta(days=8))
        found = office["requester"].get(current).json()
        assert (found["version"], found["expired"]) == ("test/1", True)
        assert len(office.read(office.ask())["stages"]) == 4
        step(timedelta(days=5))
        found = office["requester"].get(current).json()
        assert (found["version"], found["expired"]) == ("test/2", False)
        listed = office["requester"].get("/api/v1/approval-policies").json()["items"]
        assert [each["version"] for each in listed] == ["test/2", "test/1"]
