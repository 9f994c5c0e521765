"""Every error is a problem document in the reader's language, whatever was sent."""

import json
from typing import Any

import pytest
import sqlalchemy.exc
from fastapi import APIRouter
from fastapi.testclient import TestClient

from cloudmgr.domain import errors as domain_errors
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.events import Event
from cloudmgr.http.errors import STATUS
from cloudmgr.http.routes import RuledRoute, rule
from tests.http.town import Town

MEMBERS = {"type", "title", "status", "code", "detail", "errors", "instance", "request_id"}


def _bad(client: TestClient, method: str, path: str, **sent: Any) -> dict[str, Any]:
    answer = client.request(method, path, **sent)
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document.keys() >= MEMBERS
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


JSON = {"Content-Type": "application/json"}
USERS = "/api/v1/users"


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", "/api/v1/users/", {}, 404, "not_found"),
        ("GET", "/api/v1/users/not-an-id", {}, 404, "not_found"),
        ("GET", "/api/v1/users/019ab6f0-0000-7000-8000-000000000001", {}, 404, "not_found"),
        ("PUT", USERS, {}, 405, "method_not_allowed"),
        ("TRACE", USERS, {}, 405, "method_not_allowed"),
        ("POST", USERS, {"content": b"{}"}, 415, "unsupported_media_type"),
        ("POST", USERS, {"content": b"a=b", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
        ("POST", USERS, {"data": {"a": "b"}}, 415, "unsupported_media_type"),
        ("POST", USERS, {}, 422, "invalid"),
        ("POST", USERS, {"content": b"{", "headers": JSON}, 422, "invalid"),
        ("POST", USERS, {"content": b'"\xff"', "headers": JSON}, 400, "malformed"),
        ("POST", USERS, {"content": b"[" * 100_000, "headers": JSON}, 400, "malformed"),
        ("POST", USERS, {"content": b'{"username": NaN}', "headers": JSON}, 422, "invalid"),
        ("POST", USERS, {"content": b'{"username": "\\ud800"}', "headers": JSON}, 422, "invalid"),
        ("POST", USERS, {"content": b'{"display_name": "\\u0000"}', "headers": JSON}, 422, "invalid"),
        ("POST", USERS, {"json": []}, 422, "invalid"),
        ("POST", USERS, {"json": "text"}, 422, "invalid"),
        ("POST", USERS, {"json": None}, 422, "invalid"),
        ("POST", USERS, {"content": b"x" * (1024 * 1024 + 1), "headers": JSON}, 413, "body_too_large"),
        ("GET", f"{USERS}?limit=0", {}, 422, "invalid"),
        ("GET", f"{USERS}?limit=201", {}, 422, "invalid"),
        ("GET", f"{USERS}?limit=ten", {}, 422, "invalid"),
        ("GET", f"{USERS}?limit=99999999999999999999999", {}, 422, "invalid"),
        ("GET", f"{USERS}?cursor=AAA", {}, 422, "invalid"),
        ("GET", f"{USERS}?cursor=%2B%2F==", {}, 422, "invalid"),
        ("GET", f"{USERS}?page=2", {}, 422, "invalid"),
        ("GET", f"{USERS}?q=%00", {}, 400, "malformed"),
        ("GET", f"{USERS}?q=%ff", {}, 400, "malformed"),
        ("GET", f"{USERS}/%00", {}, 400, "malformed"),
        ("GET", f"{USERS}/%ed%a0%80", {}, 400, "malformed"),
        ("GET", f"{USERS}?organization=x", {}, 422, "invalid"),
        ("GET", f"{USERS}?q=%07", {}, 422, "invalid"),
    ],
)
def test_what_cannot_be_done_is_a_problem(
    town: Town, method: str, path: str, sent: dict[str, Any], status: int, code: str
) -> None:
    document = _bad(town.client("system-admin"), method, path, **sent)
    assert (document["status"], document["code"]) == (status, code)


def test_another_content_type_is_told_what_is_taken(town: Town) -> None:
    answer = town.client("system-admin").post(USERS, content=b"a=b", headers={"Content-Type": "text/plain"})
    assert answer.headers["Accept"] == "application/json"
    assert "application/json" in answer.json()["detail"]


def test_a_chunked_body_over_the_limit_is_cut(town: Town) -> None:
    chunks = (b"x" * 65536 for _ in range(20))
    document = _bad(town.client("system-admin"), "POST", USERS, content=chunks, headers=JSON)
    assert document["code"] == "body_too_large"


def test_the_way_in_comes_before_what_was_sent(town: Town) -> None:
    assert _bad(town.client(), "POST", USERS, json={"nonsense": 1})["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (None, "无效"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "无效"),
        ("en", "not one of ours"),
        ("en-GB,en;q=0.9,zh;q=0.8", "not one of ours"),
        ("fr, de;q=0.5", "无效"),
        ("en;q=nonsense, ,;;", "无效"),
        ("*" * 10000, "无效"),
    ],
)
def test_the_reader_chooses_the_language(town: Town, header: str | None, word: str) -> None:
    headers = {"Accept-Language": header} if header is not None else {"Accept-Language": ""}
    document = _bad(town.client("system-admin"), "GET", f"{USERS}?cursor=AAA", headers=headers)
    assert word in document["detail"]


def test_a_users_own_language_counts_where_no_header_says_otherwise(town: Town) -> None:
    with town.session() as session:
        user = session.merge(town.user("system-admin"))
        user.language = "en"
        session.commit()
    document = _bad(town.client("system-admin"), "GET", f"{USERS}?cursor=AAA", headers={"Accept-Language": ""})
    assert "not one of ours" in document["detail"]


def _classes(kind: type[Refusal]) -> set[type[Refusal]]:
    return {kind}.union(*(_classes(child) for child in kind.__subclasses__()))


def test_every_refusal_has_a_status() -> None:
    assert domain_errors
    codes = {kind.code for kind in _classes(Refusal) if not kind.__module__.startswith("tests")}
    assert codes - STATUS.keys() == set()


@pytest.fixture
def broken(town: Town) -> Town:
    """The application with routes that fail in every way."""
    router = APIRouter(route_class=RuledRoute)

    @router.get("/api/v1/broken/{how}", openapi_extra=rule("public"))
    def fail(how: str) -> None:
        raise {
            "bug": RuntimeError("secret-in-the-message"),
            "pool": sqlalchemy.exc.TimeoutError("QueuePool limit"),
            "locked": sqlalchemy.exc.OperationalError("SELECT", {}, Exception("database is locked")),
            "unique": sqlalchemy.exc.IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed: users.name")),
            "check": sqlalchemy.exc.IntegrityError("INSERT", {}, Exception("CHECK constraint failed: secret")),
            "code": type("Odd", (Refusal,), {"code": "unheard_of"})("Odd."),
        }[how]

    town.app.include_router(router)
    return town


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("bug", 500, "internal"),
        ("pool", 503, "overloaded"),
        ("locked", 503, "overloaded"),
        ("unique", 409, "conflict"),
        ("check", 500, "internal"),
        ("code", 500, "unheard_of"),
    ],
)
def test_faults_of_ours_say_nothing_but_the_request_id(broken: Town, how: str, status: int, code: str) -> None:
    document = _bad(broken.client(), "GET", f"/api/v1/broken/{how}")
    assert (document["status"], document["code"]) == (status, code)
    assert "secret" not in json.dumps(document)
    answer = broken.client().get(f"/api/v1/broken/{how}")
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_fault_is_logged_in_full(broken: Town, caplog: pytest.LogCaptureFixture) -> None:
    broken.client().get("/api/v1/broken/bug")
    assert "secret-in-the-message" in caplog.text


def test_denials_are_audited_without_what_was_sent(town: Town) -> None:
    body = {"username": "eve", "display_name": "机密名称", "organization": str(town.tree.bureau.id)}
    assert _bad(town.client("requester"), "POST", USERS, json=body)["code"] == "forbidden"
    denied = town.events(outcome="denied")
    assert [(event.event, event.actor, event.reason) for event in denied] == [
        (Event.USER_CREATE.value, "requester", "forbidden")
    ]
    assert "机密" not in repr(denied[0].model_dump())


def test_mistakes_are_no_denials(town: Town) -> None:
    client = town.client("system-admin")
    client.post(USERS, json={})
    client.get(f"{USERS}/019ab6f0-0000-7000-8000-000000000001")
    client.get(f"{USERS}?limit=0")
    assert town.events(outcome="denied") == []


def test_a_route_without_a_rule_does_not_load() -> None:
    router = APIRouter(route_class=RuledRoute)
    with pytest.raises(TypeError, match="no access rule"):

        @router.get("/open")
        def forgotten() -> None: ...

    with pytest.raises(TypeError, match="no access rule"):

        @router.get("/odd", openapi_extra={"x-access": "made.up"})
        def misspelt() -> None: ...

    assert Action.USER_READ == "user.read"
