"""The inventory over HTTP: bytes, names and the register agree, whatever becomes of the reader."""

import csv
import hashlib
import io
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from sqlmodel import select

from cloudmgr.domain.events import Event, Outcome
from cloudmgr.http import exports as http_exports
from cloudmgr.models import AuditEvent, Export
from cloudmgr.services import exports
from tests.http.town import Town
from tests.inventory_city import PHONE, populate
from tests.support import open_token

ADDRESS = "/api/v1/inventory"
FORMATS = ("csv", "json", "jsonl")


@pytest.fixture
def stocked(any_town: Town) -> Town:
    """The town with three servers in 芙蓉区 and one in 岳麓区."""
    return _stock(any_town, 3)


def _stock(town: Town, count: int) -> Town:
    with town.session() as session:
        city = populate(session, town.tree)
        city.many(count)
        city.elsewhere()
        session.commit()
    return town


def _export_of(client: TestClient, response: Response) -> dict[str, object]:
    return dict(client.get(f"/api/v1/exports/{response.headers['x-export-id']}").json())


@pytest.mark.parametrize("asked", [{"format": name} for name in FORMATS] + [{"format": "csv", "encoding": "gb18030"}])
def test_the_register_holds_the_digest_of_the_bytes_received(stocked: Town, asked: dict[str, str]) -> None:
    client = stocked.client("audit-admin")
    response = client.get(ADDRESS, params=asked)
    assert response.status_code == 200
    found = _export_of(client, response)
    assert found["state"] == "done"
    assert found["sha256"] == hashlib.sha256(response.content).hexdigest()
    assert (found["size_bytes"], found["rows"]) == (len(response.content), 4)
    assert client.get("/api/v1/exports", params={"sha256": str(found["sha256"]).upper()}).json()["items"] == [found]
    events = stocked.events(event=Event.INVENTORY_EXPORT.value)
    assert [event.detail["stage"] for event in events] == ["begun", "finished"]
    assert events[1].detail["sha256"] == found["sha256"]
    assert events[1].actor == "audit-admin"


def test_answers_say_what_they_are(stocked: Town) -> None:
    client = stocked.client("district-admin")
    csv_file = client.get(ADDRESS, params={"format": "csv"})
    assert csv_file.headers["content-type"] == "text/csv; charset=utf-8"
    plain, _, rich = csv_file.headers["content-disposition"].removeprefix("attachment; ").partition("; ")
    assert plain.startswith('filename="inventory_430102_')
    name = unquote(rich.removeprefix("filename*=UTF-8''"))
    assert name.startswith("资源台账_芙蓉区_")
    assert name.endswith(".csv")
    legacy = client.get(ADDRESS, params={"format": "csv", "encoding": "gb18030"})
    assert legacy.headers["content-type"] == "text/csv; charset=gb18030"
    assert client.get(ADDRESS).headers["content-type"] == "application/json"
    assert client.get(ADDRESS, params={"format": "jsonl"}).headers["content-type"] == "application/x-ndjson"


def test_a_district_gets_its_own_servers_only(stocked: Town) -> None:
    for name, expected in (("district-admin", 3), ("ylq-admin", 1), ("requester", 3), ("quota-admin", 4)):
        items = stocked.client(name).get(ADDRESS).json()["items"]
        assert len(items) == expected
    lines = stocked.client("ylq-admin").get(ADDRESS, params={"format": "jsonl"}).text.splitlines()
    assert {json.loads(line)["district_name"] for line in lines} == {"岳麓区"}


def test_headers_follow_the_readers_language(stocked: Town) -> None:
    client = stocked.client("requester")
    for asked, headers, first in (
        ({}, {}, "资源编号"),
        ({}, {"accept-language": "en-GB,en;q=0.9"}, "Resource ID"),
        ({"lang": "en"}, {"accept-language": "zh-CN"}, "Resource ID"),
        ({"lang": "zh_CN"}, {"accept-language": "en"}, "资源编号"),
    ):
        response = client.get(ADDRESS, params={"format": "csv", **asked}, headers=headers)
        text = response.content.decode("utf-8-sig")
        assert next(csv.reader(io.StringIO(text)))[0] == first


def test_revealing_is_audited_with_its_reason_and_refused_to_others(stocked: Town) -> None:
    asked = {"format": "jsonl", "reveal": "personal", "reason": "网信办抽查"}
    assert PHONE in stocked.client("audit-admin").get(ADDRESS, params=asked).text
    (event,) = stocked.events(event=Event.INVENTORY_REVEAL.value)
    assert (event.actor, event.outcome, event.detail["why"]) == ("audit-admin", "success", "网信办抽查")
    refused = stocked.client("district-admin").get(ADDRESS, params=asked)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    denied = stocked.events(event=Event.INVENTORY_EXPORT.value, outcome=Outcome.DENIED.value)
    assert [event.actor for event in denied] == ["district-admin"]


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"format": "xlsx"}, "unsupported_format", "format"),
        ({"format": "pdf"}, "unsupported_format", "format"),
        ({"encoding": "gbk"}, "invalid", "encoding"),
        ({"view": "everything"}, "invalid", "view"),
        ({"include": "all"}, "invalid", "include"),
        ({"as_of": "2020-01-01T00:00:00Z"}, "as_of_unavailable", "as_of"),
        ({"as_of": "yesterday"}, "invalid", "as_of"),
        ({"reveal": "personal"}, "invalid", "reason"),
        ({"reveal": "all", "reason": "x"}, "invalid", "reveal"),
        ({"organization": "furong"}, "invalid", "organization"),
        ({"lang": "fr"}, "invalid", "lang"),
        ({"columns": "name"}, "invalid", "columns"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(town: Town, asked: dict[str, str], code: str, field: str) -> None:
    response = town.client("audit-admin").get(ADDRESS, params=asked)
    assert (response.status_code, response.json()["code"]) == (422, code)
    assert [error["field"] for error in response.json()["errors"]] == [field]
    with town.session() as session:
        assert session.exec(select(Export)).all() == []


def test_nobody_exports_without_the_right(town: Town) -> None:
    assert town.client().get(ADDRESS).status_code == 401
    for name in ("security-admin", "nobody"):
        assert town.client(name).get(ADDRESS).status_code == 403
    absent = town.client("audit-admin").get(ADDRESS, params={"organization": str(uuid.uuid4())})
    assert absent.status_code == 404
    other = town.client("district-admin").get(ADDRESS, params={"organization": str(town.tree.yuelu.id)})
    assert other.status_code == 404


def test_unmanaged_servers_may_be_asked_for_and_nothing_is_left_out(stocked: Town) -> None:
    response = stocked.client("audit-admin").get(ADDRESS, params={"include": "retired,unmanaged"})
    assert "x-not-collected" not in response.headers
    assert response.json()["not_collected"] == []


def test_one_export_too_many_is_told_to_come_back(town: Town) -> None:
    client = town.client("audit-admin")
    assert client.get(ADDRESS).status_code == 200
    places = town.app.state.export_places
    for _ in range(http_exports.MAX_STREAMS):
        assert places.acquire(blocking=False)
    response = client.get(ADDRESS)
    assert (response.status_code, response.json()["code"]) == (503, "overloaded")
    assert response.headers["retry-after"]
    for _ in range(http_exports.MAX_STREAMS):
        places.release()
    for _ in range(2 * http_exports.MAX_STREAMS):  # sent, refused or invalid: every place comes back
        assert client.get(ADDRESS).status_code == 200
        assert client.get(ADDRESS, params={"format": "xlsx"}).status_code == 422


def test_a_reader_who_goes_away_leaves_a_broken_export(town: Town) -> None:
    _stock(town, 4000)
    with town.session() as session:
        token = open_token(session, town.user("audit-admin"))
        session.commit()
    with _served(town.app) as port, socket.create_connection(("127.0.0.1", port)) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(
            f"GET {ADDRESS}?format=json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        assert reader.recv(100).startswith(b"HTTP/1.1 200")
        reader.close()
        broken = _wait(lambda: _settled(town))
    assert (broken.state, broken.sha256) == ("broken", None)
    assert broken.rows is not None
    assert broken.rows < 4001
    (event,) = town.events(event=Event.INVENTORY_EXPORT.value, outcome=Outcome.FAILURE.value)
    assert event.reason == "broken"
    assert town.app.state.export_places._value == http_exports.MAX_STREAMS


def test_a_reader_who_stands_still_is_cut_off_at_the_deadline(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    _stock(town, 4000)
    monkeypatch.setattr(exports, "DEADLINE", exports.DEADLINE / 1800)  # one second
    with town.session() as session:
        token = open_token(session, town.user("audit-admin"))
        session.commit()
    with _served(town.app) as port, socket.create_connection(("127.0.0.1", port)) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(
            f"GET {ADDRESS}?format=json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        assert _wait(lambda: _settled(town)).state == "broken"


def test_writers_are_not_held_up_by_a_slow_reader(any_town: Town) -> None:
    _stock(any_town, 4000)
    with any_town.session() as session:
        token = open_token(session, any_town.user("audit-admin"))
        session.commit()
    with _served(any_town.app) as port, socket.create_connection(("127.0.0.1", port)) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(
            f"GET {ADDRESS}?format=json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        assert reader.recv(100)
        started = time.monotonic()
        with any_town.session() as session:
            session.add(AuditEvent(actor="x", event="system.start", object_type="system", outcome="success"))
            session.commit()
        assert time.monotonic() - started < 5
        reader.close()
        _wait(lambda: _settled(any_town))


def _settled(town: Town) -> Export | None:
    with town.session() as session:
        return session.exec(select(Export).where(Export.state != "running")).first()


def _wait(look: Callable[[], Export | None]) -> Export:
    for _ in range(200):
        found = look()
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("the export was never settled")


@contextmanager
def _served(app: FastAPI) -> Iterator[int]:
    """The application behind a real socket: only there can a reader go away."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for _ in range(200):
            if server.started:
                break
            time.sleep(0.05)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(15)
