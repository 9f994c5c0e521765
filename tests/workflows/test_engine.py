"""What we touch of the pinned engine that it does not promise: a new version must be looked at, not slipped in."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
from dbos import DBOS, _queue, _sys_db_postgres, _workflow_commands
from dbos._dbos import DBOSRegistry
from dbos._sys_db import SystemDatabase

from cloudmgr.store.db import make_engine
from cloudmgr.workflows import engine


def test_the_private_names_that_calm_the_engine_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = DBOSRegistry()
    assert registry.get_internal_queue()._polling_interval_sec == 1.0
    assert _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC in (1.0, engine.CALM_S)  # calm since an engine was started
    monkeypatch.setattr(_workflow_commands, "_BACKGROUND_JOBS_INTERVAL_SEC", 1.0)  # put back after this test
    engine._calm(SimpleNamespace(_registry=registry))
    assert registry.get_internal_queue()._polling_interval_sec == engine.CALM_S
    assert _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC == engine.CALM_S


def test_a_look_is_not_ended_by_postgresql_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = int(3_000 * engine.CALM_S)
    assert _sys_db_postgres.BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS in (5_000, ours)
    assert "BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS" in inspect.getsource(
        _sys_db_postgres.PostgresSystemDatabase.background_job_lock
    )
    monkeypatch.setattr(_sys_db_postgres, "BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS", 5_000)
    monkeypatch.setattr(_workflow_commands, "_BACKGROUND_JOBS_INTERVAL_SEC", 1.0)
    engine._calm(SimpleNamespace(_registry=DBOSRegistry()))
    held_ms = 1_000 * _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC
    assert held_ms < _sys_db_postgres.BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS


def test_the_private_hook_through_which_a_poll_goes_is_there() -> None:
    assert inspect.signature(SystemDatabase.dequeue_scopes).parameters.keys() == {"self", "queue_name"}
    polled = inspect.getsource(_queue.queue_worker_thread)
    assert "dbos._sys_db.dequeue_scopes(queue.name)" in polled
    assert "dbos._sys_db.get_queue(queue.name)" in polled
    assert "dbos._sys_db.list_queues(" in inspect.getsource(_queue.queue_thread)


def test_an_empty_queue_is_only_glanced_at(tmp_path: Path) -> None:
    made = make_engine(f"sqlite:///{tmp_path / 'glance.db'}")
    with made.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE workflow_status (queue_name TEXT, status TEXT)")
        connection.exec_driver_sql("INSERT INTO workflow_status VALUES ('full', 'ENQUEUED'), ('busy', 'PENDING')")
    seen = SimpleNamespace(_sys_db=SimpleNamespace())
    engine._glance_first(seen, made)
    assert [seen._sys_db.dequeue_scopes(name) for name in ("full", "busy", "empty")] == [[None], [], []]
    made.dispose()


def test_queues_are_taken_from_memory_once_they_are_known() -> None:
    reads = []
    sys_db = SimpleNamespace(
        app_name="cloudmgr", list_queues=lambda **_: reads.append(1) or [SimpleNamespace(name="servers")]
    )
    engine._remember_queues(SimpleNamespace(_sys_db=sys_db))
    assert sys_db.get_queue("servers").name == "servers"
    assert sys_db.get_queue("unknown") is None
    assert [each.name for each in sys_db.list_queues(application_name="cloudmgr")] == ["servers"]
    assert len(reads) == 1


def test_the_private_call_of_the_reaper_is_there() -> None:
    assert callable(DBOS._recover_pending_workflows)
