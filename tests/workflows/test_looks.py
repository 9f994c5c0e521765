"""Clouds that hang, fail or are away: deadlines, the circuit breaker, and looks that are asked for once a period."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloudmgr.domain import clock
from cloudmgr.domain.findings import SyncKind
from cloudmgr.models import Backend
from cloudmgr.workflows import discover, looks, sync
from providers.errors import Unavailable
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests import support, world
from tests.workflows.looking import Watched, watched

NAMES = ("a", "b", "c")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Watched]:
    backends = [world.simulated_backend(name) for name in NAMES]
    worker = {"sync_timeout_s": 1.0, "health_timeout_s": 1.0}
    with watched(tmp_path / "city", None, backends=backends, worker=worker) as one:
        yield one


def test_a_hung_cloud_is_left_behind_and_the_others_are_not_delayed(three: Watched) -> None:
    for name in NAMES:
        drill.add_foreign_server(three.state_dir(name), f"vm-{name}")
    drill.inject(three.state_dir("b"), Fault(call="list_changes", kind="slow", seconds=6.0))
    began = time.monotonic()
    assert three.look("b") == "failed"
    assert time.monotonic() - began < 5, "the deadline, not the call, ends it"
    assert looks.hung() == ["b"]
    assert [three.look(name) for name in ("a", "c")] == ["ok", "ok"]
    began = time.monotonic()
    assert not three.ask("b"), "it is not asked again while the call hangs"
    assert time.monotonic() - began < 0.9
    assert "hangs still" in three.backend("b").health_message["template"]
    assert three.backend("b").health == "down"
    deadline = time.monotonic() + 60
    while looks.hung() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert three.look("b") == "ok", "it comes back by itself"
    assert three.backend("b").health == "ok"


def test_a_deed_that_fails_in_its_thread_fails_here() -> None:
    def deed() -> None:
        raise Unavailable("It does not answer.")

    with pytest.raises(Unavailable, match="does not answer"):
        looks.within("x", 5, deed)
    assert looks.within("x", 5, lambda: 7) == 7


def test_a_failing_cloud_is_left_in_peace_longer_each_time_and_asked_once_then(three: Watched) -> None:
    drill.inject(three.state_dir("a"), Fault(call="check", kind="unavailable", times=None))
    start = clock.now()
    with clock.stepped(start) as advance:
        rests = []
        for _ in range(8):
            assert not three.ask("a")
            row = three.backend("a")
            rests.append((row.retry_at - clock.now()).total_seconds() if row.retry_at else 0)
        assert rests == [0, 0, 30, 60, 120, 240, 300, 300]
        with three.write() as session:
            assert not sync.may_ask(session, "a")
            assert sync.may_ask(session, "b")
        advance(timedelta(seconds=301))
        with three.write() as session:
            assert sync.may_ask(session, "a")
            assert not sync.may_ask(session, "a"), "one asks on behalf of all"
        drill.clear_faults(three.state_dir("a"))
        assert three.ask("a")
        row = three.backend("a")
        assert (row.failures, row.retry_at, row.health) == (0, None, "ok")
    events = [e.event for e in three.read(support.audit_events) if e.event.startswith("backend.")]
    assert events == ["backend.away", "backend.back"]


def test_an_edge_site_may_be_away_as_long_as_it_is_expected_to(three: Watched) -> None:
    with three.write() as session:
        row = session.get_one(Backend, three.backend("a").id)
        row.expected_offline_hours = 2
        session.add(row)
    drill.inject(three.state_dir("a"), Fault(call="check", kind="unavailable", times=None))

    def alarms() -> list[str]:
        return [e.event for e in three.read(support.audit_events) if e.event.startswith("backend.")]

    start = clock.now()
    with clock.stepped(start) as advance:
        for _ in range(5):
            three.ask("a")
            advance(timedelta(minutes=20))
        assert alarms() == []
        advance(timedelta(minutes=30))
        for _ in range(3):
            three.ask("a")
        assert alarms() == ["backend.away"], "once, when its hours are over"


def _queued(one: Watched) -> list[str]:
    query = sa.text("SELECT workflow_uuid FROM workflow_status WHERE name = 'sync_backend' ORDER BY 1")
    return one.read(lambda session: list(session.execute(query).scalars()))


def test_two_workers_ask_for_one_look_a_period(three: Watched) -> None:
    with clock.stepped(clock.now()):
        wanted = [(n, SyncKind.FULL, i) for n, i in discover.due(NAMES, kind=SyncKind.FULL, interval_s=600).items()]
        for _ in range(2):
            with three.write() as session:
                discover.schedule(session, wanted)
        assert len(_queued(three)) == 3
    assert discover.due(NAMES, kind=SyncKind.FULL, interval_s=0) == {}


def test_a_cloud_that_rests_and_one_that_is_being_looked_at_wait_for_their_turn(three: Watched) -> None:
    with three.write() as session:
        row = session.get_one(Backend, three.backend("a").id)
        row.retry_at = clock.now() + timedelta(minutes=1)
        session.add(row)
    with three.write() as session:
        wanted = [("a", SyncKind.FULL, "look:a:full:1"), ("b", SyncKind.FULL, "look:b:full:1")]
        assert discover.schedule(session, wanted) == {"look:b:full:1"}
    with three.write() as session:
        assert discover.schedule(session, [("b", SyncKind.FULL, "look:b:full:2")]) == set()
    assert _queued(three) == ["look:b:full:1"]


def test_changes_are_asked_for_after_the_first_complete_look(three: Watched) -> None:
    with three.write() as session:
        discover.schedule(session, [("a", SyncKind.INCREMENTAL, "look:a:incremental:1")])
    assert _queued(three) == []
    assert three.look("a") == "ok"
    assert three.backend("a").sync_cursor is not None
    with three.write() as session:
        discover.schedule(session, [("a", SyncKind.INCREMENTAL, "look:a:incremental:2")])
    assert _queued(three) == ["look:a:incremental:2"]


def test_an_incremental_look_sees_what_changed_and_what_went(three: Watched) -> None:
    refs = [drill.add_foreign_server(three.state_dir("a"), f"vm-{number}") for number in range(6)]
    assert three.look("a") == "ok"
    drill.vanish(three.state_dir("a"), refs[0])
    drill.add_foreign_server(three.state_dir("a"), "newcomer")
    assert three.look("a", "incremental") == "ok"
    run = three.runs("a")[-1]
    assert (run.kind, run.changed, run.missing) == ("incremental", 1, 1)
    assert sorted(kind for kind, _ in three.open_kinds("a")) == ["unauthorised"] + ["unmanaged"] * 5
    assert [row.ref for row in three.observed("a") if row.missing_since] == [refs[0]]
    for ref in refs[1:5]:
        drill.vanish(three.state_dir("a"), ref)
    assert three.look("a", "incremental") == "suspect", "too many at once"
    assert three.backend("a").sync_cursor is None, "the next look is a complete one"


def test_leftovers_addresses_and_the_clouds_own_quota_are_read(three: Watched) -> None:
    drill.add_leftover(three.state_dir("a"), "disk", "forgotten", size_gib=40)
    three.look("a")
    found = [row for row in three.findings(backend="a") if row.kind == "leftover"]
    assert [(row.name, row.observed["kind"]) for row in found] == [("forgotten", "disk")]
    drill.remove_leftover(three.state_dir("a"), found[0].ref.partition(":")[2])
    three.look("a")
    assert three.findings(backend="a") == []
