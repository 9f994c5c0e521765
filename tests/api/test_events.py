"""Live progress over real sockets: in order, resumed without repeats, ended at rest, bounded in number, nobody else's."""

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from cloudmgr.domain.messages import Message
from cloudmgr.models import ResourceRequest
from cloudmgr.store import requests
from tests.served import Served, prepare, sent_events, serving, until
from tests.world import simulated_backend

STREAMS = 5


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One embedded installation that lets few streams be open at once."""
    world = prepare(tmp_path_factory.mktemp("events") / "city", backends=[simulated_backend("kp")])
    with serving(world, CLOUDMGR_WEB__EVENT_STREAMS=str(STREAMS)) as served:
        yield served
    world.engine.dispose()


def _tell(live: Served, request: object, text: str, number: int) -> None:
    with live.world.session() as session:
        requests.tell(session, request, kind="step", message=Message(text), dedupe=f"{text}:{number}")
        session.commit()


def _finish(live: Served, request: object, phase: str = "withdrawn") -> None:
    with live.world.session() as session:
        row = session.get_one(ResourceRequest, request)
        row.phase = phase
        session.add(row)
        session.commit()


def _path(request: object) -> str:
    return f"/requests/{request}/events"


def test_events_come_in_order_as_they_happen_and_end_when_the_request_rests(live: Served) -> None:
    request = live.world.submit(name="in-order")

    def write() -> None:
        for number in range(20):
            _tell(live, request, "step {n}".replace("{n}", str(number)), number)
            time.sleep(0.02)
        _finish(live, request)

    writer = threading.Thread(target=write)
    with live.client("requester") as client, client.stream("GET", _path(request)) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        events = sent_events(stream)
        first = next(events)
        assert first[2]["kind"] == "phase", "what was told before it was opened comes first"
        writer.start()
        rest = list(events)
    writer.join()
    assert rest[-1] == (rest[-1][0], "end", {})
    told = [first, *rest[:-1]]
    assert [data["text"] for _, _, data in told[1:]] == [f"step {number}" for number in range(20)]
    ids = [int(id_) for id_, _, _ in told]
    assert ids == sorted(set(ids))
    assert all(data["id"] == int(id_) for id_, _, data in told)


def test_a_reader_who_comes_back_goes_on_where_it_was_without_repeats(live: Served) -> None:
    request = live.world.submit(name="comes-back")
    for number in range(150):
        _tell(live, request, f"line {number}", number)
    with live.client("requester") as client:
        with client.stream("GET", _path(request)) as stream:
            seen = [next(events) for events in [sent_events(stream)] for _ in range(60)]
        for number in range(150, 155):
            _tell(live, request, f"line {number}", number)
        _finish(live, request)
        with client.stream("GET", _path(request), headers={"Last-Event-ID": seen[-1][0]}) as stream:
            rest = list(sent_events(stream))
    texts = [data["text"] for _, event, data in [*seen, *rest] if event == "progress"]
    assert texts[1:] == [f"line {number}" for number in range(155)]
    assert rest[-1][1] == "end"


def test_a_request_at_rest_is_told_whole_and_ends_at_once(live: Served) -> None:
    request = live.world.submit(name="at-rest")
    _finish(live, request, "rejected")
    began = time.monotonic()
    with live.client("requester") as client, client.stream("GET", _path(request)) as stream:
        told = [event for _, event, _ in sent_events(stream)]
    assert told == ["progress", "end"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("last", ["0", "999999999", str(2**63 - 1)])
def test_any_last_id_is_taken(live: Served, last: str) -> None:
    request = live.world.submit(name=f"last-{last[:12]}")
    _finish(live, request)
    with (
        live.client("requester") as client,
        client.stream("GET", _path(request), headers={"Last-Event-ID": last}) as stream,
    ):
        told = [event for _, event, _ in sent_events(stream)]
    assert told == (["progress", "end"] if last == "0" else ["end"])


def test_the_words_are_in_the_readers_language(live: Served) -> None:
    request = live.world.submit(name="in-words")
    _finish(live, request)
    texts = {}
    for language in ("zh-CN", "en"):
        headers = {"Accept-Language": language}
        with live.client("requester", **headers) as client, client.stream("GET", _path(request)) as stream:
            texts[language] = next(sent_events(stream))[2]["text"]
    assert "Submitted by Requester" in texts["en"]
    assert "Requester" in texts["zh-CN"]
    assert "Submitted" not in texts["zh-CN"]


def test_for_a_stranger_there_is_nothing_to_follow(live: Served) -> None:
    request = live.world.submit(name="not-yours")
    for who, status in (("stranger", 404), ("secadmin", 404), (None, 401), ("auditor", 200)):
        with live.client(who) as client, client.stream("GET", _path(request)) as stream:
            assert stream.status_code == status, who


def test_one_stream_too_many_is_told_to_come_later_and_leavers_make_room(live: Served) -> None:
    request = live.world.submit(name="crowded")

    def is_free() -> bool:
        with live.client("requester") as client, client.stream("GET", _path(request)) as stream:
            return stream.status_code == 200

    until(is_free)
    with live.client("requester") as client:
        open_streams: list[httpx.Response] = []

        def fill() -> httpx.Response:
            while True:
                stream = client.send(client.build_request("GET", _path(request)), stream=True)
                if stream.status_code != 200:
                    return stream
                open_streams.append(stream)

        refused = fill()
        assert refused.status_code == 503
        assert refused.read()
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) > 0
        assert 1 <= len(open_streams) <= STREAMS
        assert client.get("/users/me").status_code == 200, "streams hold no place among the other requests"
        for stream in open_streams:
            stream.close()
    until(is_free, 30)


def test_readers_who_leave_before_the_first_byte_leave_no_trace(live: Served) -> None:
    """Each goes away at another moment of its beginning; the places they took must all be free again."""
    request = live.world.submit(name="leavers")
    for delay in (0, 0, 0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1) * 3:
        with live.client("requester") as client:
            line = f"GET /api/v1{_path(request)} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n\r\n"
        host, _, port = live.addresses[0].removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(line.encode())
            time.sleep(delay)

    def opens() -> int:
        with live.client("requester") as client:
            streams = [client.send(client.build_request("GET", _path(request)), stream=True) for _ in range(STREAMS)]
            opened = sum(stream.status_code == 200 for stream in streams)
            for stream in streams:
                stream.close()
        return opened

    until(lambda: opens() == STREAMS, 30, 0.5)
