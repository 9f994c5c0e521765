"""The outer layers: request ids, logs, headers, admission, proxies, cookies, readiness, the address to listen on."""

import io
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import APIRouter
from fastapi.testclient import TestClient

from cloudmgr.api import examples
from cloudmgr.domain import clock
from cloudmgr.http import logging as logs
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import RuledRoute, rule
from cloudmgr.main import ListenerRefused, check_listener
from cloudmgr.models import Fact, Worker
from cloudmgr.settings import Log, Settings
from tests.http.town import Town
from tests.support import open_token


def test_a_request_id_is_taken_over_or_made(town: Town) -> None:
    client = town.client()
    assert client.get("/healthz", headers={"X-Request-ID": "abcdef-123.X"}).headers["x-request-id"] == "abcdef-123.X"
    for odd in ("short", "has space in it", "x" * 65, "inject\u00e9ed-thing"):
        made = client.get("/healthz", headers={"X-Request-ID": odd.encode("latin-1")}).headers["x-request-id"]
        assert made != odd
        assert len(made) == 32


def test_every_answer_carries_the_security_headers(town: Town) -> None:
    for path in ("/healthz", "/docs", "/nowhere", "/api/v1/users", "/login", "/openapi.json"):
        headers = town.client().get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in headers
        assert "server" not in headers


def test_the_documentation_loads_nothing_from_elsewhere(town: Town) -> None:
    client = town.client()
    page = client.get("/docs").text
    assert "://" not in page
    assert "<script>" not in page
    assert "SwaggerUIBundle" in client.get("/docs/start.js").text


def test_the_api_is_described_with_examples_and_its_lock(town: Town) -> None:
    document = town.client().get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    create = document["paths"]["/api/v1/users"]["post"]
    assert create["security"] == [{"HTTPBearer": []}]
    assert [p["name"] for p in create["parameters"] if p["in"] == "header"] == ["Idempotency-Key"]
    assert list(create["responses"]["422"]["content"]) == ["application/problem+json"]
    assert "security" not in document["paths"]["/api/v1/sessions"]["post"]
    assert "x-transaction" not in json.dumps(document)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["x-access"], path
            assert operation.get("description"), path


def test_every_body_has_an_example_that_is_right(town: Town) -> None:
    document = town.client().get("/openapi.json").json()
    named = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is None:
                continue
            schema = body["schema"] | {"components": document["components"]}
            own = document["components"]["schemas"].get(body["schema"].get("$ref", "").rpartition("/")[2], {})
            given = [body["example"]] if "example" in body else own.get("examples", body["schema"].get("examples"))
            given = given or [each["value"] for each in body.get("examples", {}).values()]
            assert given, f"{method} {path}"
            for example in given:
                jsonschema.Draft202012Validator(schema).validate(example)
            named.add(body["schema"].get("$ref", "").rpartition("/")[2])
    assert set(examples.BODIES) <= named


def test_the_access_line_tells_who_and_how_long_and_no_secret(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cloudmgr.access")
    client = town.client("requester")
    client.get("/api/v1/users/me", headers={"X-Request-ID": "request-4711"})
    client.get("/api/v1/users", params={"q": "geheim"})
    lines = [json.loads(logs.JsonFormatter().format(r)) for r in caplog.records if r.name == "cloudmgr.access"]
    assert lines[0].items() >= {
        ("method", "GET"),
        ("path", "/api/v1/users/me"),
        ("status", 200),
        ("user", "requester"),
        ("request_id", "request-4711"),
        ("source", "testclient"),
    }
    assert lines[0]["duration_ms"] >= 0
    assert lines[1]["code"] == "forbidden"
    told = json.dumps(lines)
    assert "geheim" not in told
    assert str(client.headers["Authorization"]).split()[1] not in told


def test_logs_are_one_json_object_a_line() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        logs.configure(Log(), stream)
        logging.getLogger("some.place").info("two\nlines 中文", extra={"request_id": "r"})
        try:
            raise ValueError("boom")  # noqa: TRY301 - the test's own
        except ValueError:
            logging.getLogger("some.place").exception("failed")
        logging.getLogger("some.place").debug("not shown")
    finally:
        root.handlers[:], root.level = before, level
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first["message"] == "two\nlines 中文"
    assert (first["request_id"], first["level"], first["logger"]) == ("r", "INFO", "some.place")
    assert "ValueError: boom" in second["error"]


def _slow_routes(town: Town) -> tuple[threading.Event, threading.Semaphore]:
    """Add a route that waits for us, holding its place."""
    go_on, entered = threading.Event(), threading.Semaphore(0)
    router = APIRouter(route_class=RuledRoute)

    @router.get("/api/v1/slow", openapi_extra=rule("public"))
    def slow() -> None:
        entered.release()
        go_on.wait(20)

    @router.post("/api/v1/slow", openapi_extra=rule("public"))
    def slow_change() -> None:
        slow()

    town.app.include_router(router)
    return go_on, entered


def test_one_request_too_many_is_503_with_retry_after(town: Town) -> None:
    small = town.again(web={"threads": 2, "max_waiting": 3})
    go_on, entered = _slow_routes(small)
    with TestClient(small.app) as client, ThreadPoolExecutor(4) as pool:
        held = [pool.submit(client.get, "/api/v1/slow") for _ in range(3)]
        assert all(entered.acquire(timeout=10) for _ in range(2))
        for _ in range(200):
            if small.app.state.metrics.in_flight == 3:
                break
            time.sleep(0.01)
        answer = client.get("/api/v1/users/me")
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert answer.headers["retry-after"] == "2"
        assert client.get("/healthz").status_code == 200  # probes are always let in
        assert "cloudmgr_http_refused_total 1" in client.get("/metrics").text
        go_on.set()
        assert [future.result().status_code for future in held] == [200, 200, 200]
        assert client.get("/api/v1/users/me").status_code == 401
        assert small.app.state.metrics.in_flight == 0


def test_changes_wait_for_each_other_and_reads_do_not_wait_for_them(town: Town) -> None:
    small = town.again(web={"threads": 8, "changes": 2})
    go_on, entered = _slow_routes(small)
    with TestClient(small.app) as client, ThreadPoolExecutor(5) as pool:
        held = [pool.submit(client.post, "/api/v1/slow") for _ in range(4)]
        assert all(entered.acquire(timeout=10) for _ in range(2))
        assert not entered.acquire(timeout=0.3), "two at once and no more"
        assert client.get("/api/v1/users/me").status_code == 401
        go_on.set()
        assert [future.result().status_code for future in held] == [200] * 4
        assert small.app.state.metrics.in_flight == 0


def test_more_requests_than_connections_never_starve_each_other(any_town: Town) -> None:
    few = any_town.again(database={"pool_size": 2}, web={"threads": 16, "max_waiting": 256})
    token = any_town.login("requester").json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    started = time.monotonic()
    with TestClient(few.app) as client, ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: client.get("/api/v1/users/me", headers=headers).status_code, range(160)))
    assert set(answers) == {200}
    assert time.monotonic() - started < 20
    few.app.state.engine.dispose()


def test_a_change_is_committed_before_its_answer_is_sent(any_town: Town) -> None:
    router = APIRouter(route_class=RuledRoute)

    @router.post("/api/v1/mark", openapi_extra=rule("person"))
    def mark(session: SessionDep, actor: ActorDep) -> dict[str, str]:
        session.add(Fact(name="mark", value={"by": actor.username}))
        return {}

    any_town.app.include_router(router)
    seen: list[bool] = []
    app = any_town.app

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/api/v1/mark":
                with any_town.session() as other:
                    seen.append(other.get(Fact, "mark") is not None)
            await send(message)

        await app(scope, receive, note)

    client = any_town.client("requester")
    assert TestClient(watched).post("/api/v1/mark", headers=dict(client.headers)).status_code == 200
    assert seen == [True]


def test_proxy_headers_are_believed_from_trusted_proxies_only(town: Town) -> None:
    def source_of(app: Any, client: tuple[str, int]) -> str:
        caller = TestClient(app, client=client)
        caller.post(
            "/api/v1/sessions",
            json={"username": "requester", "password": "x"},
            headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"},
        )
        return town.events(event="session.login")[-1].source

    behind = town.again(web={"trusted_proxies": ["10.0.0.0/8"]})
    assert source_of(town.app, ("10.0.0.1", 1)) == "10.0.0.1"
    assert source_of(behind.app, ("10.0.0.1", 1)) == "203.0.113.7"
    assert source_of(behind.app, ("192.0.2.66", 1)) == "192.0.2.66"
    secure = TestClient(behind.app, client=("10.0.0.1", 1)).get("/healthz", headers={"X-Forwarded-Proto": "https"})
    assert secure.headers["strict-transport-security"].startswith("max-age=")


def _console(town: Town, name: str) -> tuple[TestClient, str]:
    with town.session() as session:
        secret = open_token(session, town.user(name), kind="console")
        session.commit()
    client = TestClient(town.app, cookies={"cloudmgr_session": secret}, raise_server_exceptions=False)
    page = client.get("/account", headers={"Accept": "text/html"}).text
    return client, page.split('name="csrf_token" value="')[1].split('"')[0]


def test_a_change_by_cookie_needs_the_sessions_token(town: Town) -> None:
    client, token = _console(town, "requester")
    assert client.get("/api/v1/users/me").status_code == 200
    for headers in ({}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "\u00ff".encode("latin-1")}):
        answer = client.delete("/api/v1/sessions/current", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused")
    assert client.delete("/api/v1/sessions/current", headers={"X-CSRF-Token": token}).status_code == 204
    assert client.get("/api/v1/users/me").status_code == 401


def test_one_sessions_token_is_no_good_for_another(town: Town) -> None:
    _, theirs = _console(town, "unit-reviewer")
    client, _ = _console(town, "requester")
    assert client.delete("/api/v1/sessions/current", headers={"X-CSRF-Token": theirs}).status_code == 403


def test_an_invalid_header_is_not_rescued_by_a_cookie(town: Town) -> None:
    client, _ = _console(town, "requester")
    assert client.get("/api/v1/users/me", headers={"Authorization": "Bearer nonsense"}).status_code == 401


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}])
def test_another_site_cannot_log_a_browser_in(town: Town, headers: dict[str, str]) -> None:
    form = {"username": "requester", "password": "Correct-Horse-7"}
    assert town.client().post("/login", data=form, headers=headers).status_code == 403
    answer = town.client().post("/login", data=form, follow_redirects=False)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert "Secure" not in cookie


def test_behind_tls_the_cookie_is_secure(town: Town) -> None:
    behind = town.again(web={"trusted_proxies": ["10.0.0.1"]})
    form = {"username": "requester", "password": "Correct-Horse-7"}
    answer = TestClient(behind.app).post("/login", data=form, follow_redirects=False)
    assert "; Secure" in answer.headers["set-cookie"]


def test_ready_means_database_schema_and_a_living_worker(town: Town) -> None:
    town.app.state.is_schema_known = True
    client = town.client()
    checks = client.get("/readyz")
    assert (checks.status_code, checks.json()["checks"]["worker"]) == (503, False)
    with town.session() as session:
        session.add(Worker(executor_id="w", version="1", host="h", last_seen_at=clock.now()))
        session.commit()
    assert client.get("/readyz").json() == {
        "status": "ready",
        "checks": {"database": True, "schema": True, "worker": True},
    }
    with clock.stepped(clock.now() + timedelta(seconds=31)):
        assert client.get("/readyz").status_code == 503


def test_the_demo_is_ready_when_its_city_stands(town: Town) -> None:
    demo = town.again(demo=True)
    demo.app.state.is_schema_known = True
    with town.session() as session:
        session.add(Worker(executor_id="w", version="1", host="h", last_seen_at=clock.now()))
        session.commit()
    assert demo.client().get("/readyz").json()["checks"]["seed"] is False
    with town.session() as session:
        session.add(Fact(name="seed", value={"done": True}))
        session.commit()
    assert demo.client().get("/readyz").status_code == 200


def test_a_database_that_is_gone_is_not_ready(tmp_path: Path, town: Town) -> None:
    gone = town.client()
    town.app.state.engine.dispose()
    town.app.state.engine = sa.create_engine(f"sqlite:///{tmp_path}/no/such/dir/x.db")
    answer = gone.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"database": False})
    assert gone.get("/healthz").status_code == 200


def test_metrics_count_by_route_and_not_by_id(town: Town) -> None:
    client = town.client("system-admin")
    client.get("/api/v1/users/019ab6f0-0000-7000-8000-000000000001")
    text = client.get("/metrics").text
    assert 'route="/api/v1/users/{user_id}",status="404"} 1' in text
    assert "019ab6f0" not in text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_may_be_in_clear(host: str) -> None:
    check_listener(Settings(web={"host": host}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "cloud.example", ""])
def test_elsewhere_wants_tls_or_a_trusted_proxy(host: str, tmp_path: Path) -> None:
    with pytest.raises(ListenerRefused, match="tls_cert"):
        check_listener(Settings(web={"host": host}))
    check_listener(Settings(web={"host": host, "trusted_proxies": ["10.0.0.1"]}))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    with pytest.raises(ListenerRefused, match="together"):
        check_listener(Settings(web={"host": host, "tls_cert": str(cert)}))
    with pytest.raises(ListenerRefused, match="does not exist"):
        check_listener(Settings(web={"host": host, "tls_cert": str(cert), "tls_key": str(key)}))
    cert.touch()
    key.touch()
    check_listener(Settings(web={"host": host, "tls_cert": str(cert), "tls_key": str(key)}))


def test_a_real_server_answers_oversized_and_broken_requests(town: Town) -> None:
    import http.client  # noqa: PLC0415 - the one test that speaks to a socket

    server = uvicorn.Server(uvicorn.Config(town.app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(500):
        if server.started:
            break
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", "/api/v1/sessions")
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/api/v1/users?limit=%zz")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (401, "unauthenticated")
        connection.close()
    finally:
        server.should_exit = True
        thread.join(10)


def test_reads_take_no_write_lock(town: Town) -> None:
    """On SQLite a reader must never queue behind writers."""
    client = town.client("requester")
    with town.session() as writer:
        writer.connection().exec_driver_sql("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert client.get("/api/v1/users/me").status_code == 200
        assert client.get("/api/v1/sessions/current").status_code == 200
        assert time.monotonic() - started < 5


def test_a_failed_statement_is_logged_without_its_parameters(any_town: Town) -> None:
    with any_town.session() as session, pytest.raises(sa.exc.SQLAlchemyError) as raised:
        session.connection().execute(sa.text("INSERT INTO nowhere VALUES (:secret)"), {"secret": "hunter2"})
    assert "hunter2" not in str(raised.value)
