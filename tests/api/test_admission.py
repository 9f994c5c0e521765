"""Two hundred requests at once against room for fifty: fifty are taken, the others refused at once, none fails later."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlmodel import select

import quotas
from cloudmgr.models import ResourceRequest, Server
from tests.served import Served, opened, prepare, serving, until
from tests.world import simulated_backend

ASKED, CLIENTS, ROOM = 200, 64, 50
POOL = [simulated_backend("kp", hosts=4)]


@dataclass
class Rush:
    """What came of everybody asking at once."""

    served: Served
    answers: list[httpx.Response]
    seconds: list[float]


def _rush(served: Served) -> Rush:
    """Send 200 requests from 64 clients that start together, in turn to each serve process."""
    together = threading.Barrier(CLIENTS)
    shares = [range(start, ASKED, CLIENTS) for start in range(CLIENTS)]

    def ask(place: int) -> list[tuple[httpx.Response, float]]:
        found = []
        with served.client("requester", place % len(served.addresses)) as client:
            client.get("/users/me").raise_for_status()  # connected before it begins
            together.wait(60)
            for number in shares[place]:
                began = time.monotonic()
                body = served.world.body(name=f"rush-{number}", playbook="collect_facts")
                found.append((client.post("/requests", json=body), time.monotonic() - began))
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        told = [each for share in pool.map(ask, range(CLIENTS)) for each in share]
    return Rush(served, [answer for answer, _ in told], [seconds for _, seconds in told])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def rush(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rush]:
    """One embedded process on SQLite; on PostgreSQL two that serve and one that works."""
    home: Path = tmp_path_factory.mktemp("rush") / "city"
    with ExitStack() as stack:
        url = _database(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else None
        world = prepare(home, url, backends=POOL, limits={"servers": ROOM})
        stack.callback(world.engine.dispose)
        processes = {"serves": 2, "workers": 1} if url else {"serves": 1}
        yield _rush(stack.enter_context(serving(world, **processes)))


def _database(server_url: str) -> str:
    url = sa.make_url(server_url).set(drivername="postgresql+psycopg")
    with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE rush")
    return url.set(database="rush").render_as_string(hide_password=False)


def test_exactly_as_many_are_taken_as_there_is_room_for_and_the_rest_is_refused_at_once(rush: Rush) -> None:
    outcome = Counter((answer.status_code, answer.json().get("code")) for answer in rush.answers)
    assert outcome == {(201, None): ROOM, (409, "quota_exceeded"): ASKED - ROOM}, rush.served.log()
    for answer in rush.answers:
        if answer.status_code == 409:
            bound = answer.json()["errors"]
            assert [(each["name"], each["key"], each["limit"]) for each in bound] == [
                ("智慧社区综合服务平台", "servers", ROOM)
            ]
            assert bound[0]["used"] + bound[0]["reserved"] == ROOM
    slowest = sorted(rush.seconds)
    print(f"median {slowest[ASKED // 2]:.2f} s, slowest {slowest[-1]:.2f} s")
    assert slowest[-1] < 30


def test_what_was_refused_left_nothing_and_numbers_have_no_double(rush: Rush) -> None:
    with opened(rush.served.world) as session:
        found = session.exec(select(ResourceRequest)).all()
        assert len(found) == ROOM
        assert len({request.number for request in found}) == ROOM
        assert len(session.exec(select(Server)).all()) == ROOM
        usage = quotas.account_usage(session, rush.served.world.project.account_id)
        assert (usage.reserved["servers"], usage.used.get("servers", 0)) == (ROOM, 0)
        assert quotas.verify(session).mismatches == []


def test_none_of_those_taken_fails_later(rush: Rush) -> None:
    taken = [answer.json()["id"] for answer in rush.answers if answer.status_code == 201]
    began = time.monotonic()

    def approve(place: int) -> Counter[int]:
        codes: Counter[int] = Counter()
        with rush.served.client("admin", place % len(rush.served.addresses)) as client:
            for request in taken[place::8]:
                codes[client.post(f"/requests/{request}/decisions", json={"decision": "approve"}).status_code] += 1
        return codes

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(approve, range(8)), Counter()) == {200: ROOM}, rush.served.log()

    def phases(of: Any) -> Counter[str]:
        with opened(rush.served.world) as session:
            return Counter(session.exec(select(of.phase)).all())

    resting = {"fulfilled", "partly_fulfilled", "failed"}
    until(lambda: not phases(ResourceRequest).keys() - resting, 240, 0.5)
    print(f"approved and fulfilled in {time.monotonic() - began:.1f} s")
    assert phases(ResourceRequest) == {"fulfilled": ROOM}, _failures(rush.served)
    assert phases(Server) == {"active": ROOM}
    with opened(rush.served.world) as session:
        usage = quotas.account_usage(session, rush.served.world.project.account_id)
        assert (usage.reserved.get("servers", 0), usage.used["servers"]) == (0, ROOM)
        assert quotas.verify(session).mismatches == []


def _failures(served: Served) -> list[Any]:
    with opened(served.world) as session:
        failed = session.exec(select(Server).where(Server.phase == "failed"))
        return [(server.name, server.failed_step, server.failure) for server in failed]
