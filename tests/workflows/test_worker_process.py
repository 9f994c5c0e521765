"""The worker as a process of its own: what it answers on `[worker] listen`, how it drains, and how it waits when paused."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict
from cloudmgr.models import Worker as WorkerRow
from cloudmgr.services import maintenance
from cloudmgr.store import health
from cloudmgr.store.db import begin_immediate, new_session
from cloudmgr.worker import Worker, _only_worker
from cloudmgr.worker_listener import Listener
from tests import support, world
from tests.workflows.proofs import Case, check_slate

LOCAL = support.Actor(None, "local:root", "root", None, "/")


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_worker_tells_whether_it_is_alive_ready_and_busy() -> None:
    working = {"working": True, "database": True}
    listener = Listener("127.0.0.1:0", lambda: working, lambda: {"cloudmgr_workflows_waiting": 3})
    listener.start()
    try:
        assert _get(listener.port, "/healthz") == (200, '{"status":"ok"}')
        assert _get(listener.port, "/readyz")[0] == 200
        assert "\ncloudmgr_workflows_waiting 3\n" in _get(listener.port, "/metrics")[1]
        assert _get(listener.port, "/api/v1/servers")[0] == 404
        working["working"] = False
        status, body = _get(listener.port, "/readyz")
        assert (status, json.loads(body)["checks"]) == (503, working)
    finally:
        listener.stop()


def test_a_draining_worker_finishes_what_waits_and_ends(case: Callable[..., Case]) -> None:
    one = case(count=2)
    done = one.run(drain=True)
    assert done["status"] == 0, (done, one.log())
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=2)
    engine = one.engine
    with new_session(engine) as session:
        assert any(row.is_draining for row in session.exec(select(WorkerRow)))
    engine.dispose()


def test_a_waiting_worker_begins_by_itself_when_work_goes_on(case: Callable[..., Case]) -> None:
    one = case(count=1)
    engine = one.engine
    with new_session(engine) as session:
        begin_immediate(session)
        maintenance.pause_after_restore(session, LOCAL)
        session.commit()
    answer: dict = {}
    live = threading.Thread(target=lambda: answer.update(one.run(timeout_s=60)))
    live.start()
    live.join(timeout=3)
    assert live.is_alive()
    assert one.phase() == "approved"
    with new_session(engine) as session:
        assert health.worker_seen_at(session) is None, "a worker that takes no work is not seen"
        session.rollback()
        begin_immediate(session)
        maintenance.resume(session, LOCAL, {})
        session.commit()
    live.join()
    assert answer["status"] == 0, (answer, one.log())
    assert one.phase() == "fulfilled"
    with new_session(engine) as session:
        assert health.worker_seen_at(session) <= clock.now()
    engine.dispose()


def test_the_second_worker_of_an_embedded_place_is_refused(tmp_path: Path) -> None:
    city = world.build(tmp_path / "city")
    with _only_worker(city.settings.data_dir), pytest.raises(Conflict, match="SQLite serves one"):
        Worker(city.settings).start()
    city.engine.dispose()
