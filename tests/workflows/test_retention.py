"""What housekeeping throws away and when, by a stepped clock, after a real fulfilment on both databases."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.models import APPEND_ONLY, IdempotencyKey, PlaybookEvent, RequestEvent, User, UserSession, Worker
from cloudmgr.settings import Policy, load_settings
from cloudmgr.store.db import begin_immediate, new_session
from cloudmgr.workflows import housekeeping
from tests import support
from tests.workflows.proofs import Case

START = datetime.now(UTC)
POLICY = Policy()
ENGINE = ("workflow_status", "workflow_input", "operation_outputs", "datasource_outputs")


def _sweep(case: Case, **after: float) -> dict[str, int]:
    """Sweep as a worker would so long after the start."""
    settings = load_settings(case.data_dir, **case.settings)
    engine = case.engine
    with clock.stepped(START + timedelta(**after)), new_session(engine) as session:
        begin_immediate(session)
        removed = housekeeping.sweep(session, settings)
        session.commit()
    engine.dispose()
    return removed


def _read(case: Case, read: Callable[[Session], Any]) -> Any:
    engine = case.engine
    with new_session(engine) as session:
        found = read(session)
    engine.dispose()
    return found


def _rows(session: Session, table: str) -> int:
    schema = "dbos." if table in ENGINE and session.get_bind().dialect.name != "sqlite" else ""
    return int(session.connection().exec_driver_sql(f"SELECT count(*) FROM {schema}{table}").scalar_one())


def _count(case: Case, *tables: str) -> dict[str, int]:
    return _read(case, lambda session: {table: _rows(session, table) for table in tables})


def _use(case: Case) -> None:
    """Leave behind what people leave behind: a session and a remembered answer."""
    engine = case.engine
    with new_session(engine) as session:
        user = session.exec(select(User)).first()
        support.open_token(session, user)
        session.add(IdempotencyKey(user_id=user.id, key="k", route="r", body_digest="d"))
        session.commit()
    engine.dispose()


def test_everything_is_kept_for_its_time_and_the_record_for_ever(case: Callable[..., Case]) -> None:
    one = case(count=2)
    one.ansible = True
    one.finish()
    _use(one)
    record = _count(one, *APPEND_ONLY, "servers", "resource_requests", "playbook_runs", "approvals")
    assert all(record[name] for name in ("audit_events", "server_versions", "servers", "playbook_runs"))
    before = _count(one, *ENGINE)
    assert all(before[name] for name in ENGINE[:3]), before

    assert not any(_sweep(one, hours=23).values())
    assert _sweep(one, hours=25)["idempotency_keys"] == 1
    assert _sweep(one, days=8)["workers"] > 0
    early, late = _sweep(one, days=29), _sweep(one, days=31)
    assert (early["workflows"], late["workflows"]) == (0, before["workflow_status"])
    assert (early["user_sessions"], late["user_sessions"]) == (0, 1)
    assert _count(one, *ENGINE) == dict.fromkeys(ENGINE, 0), "nothing of a workflow outlives it"
    assert _sweep(one, days=POLICY.playbook_event_retention_days - 1)["playbook_events"] == 0
    assert _sweep(one, days=POLICY.playbook_event_retention_days + 1)["playbook_events"] > 0
    assert _sweep(one, days=POLICY.event_retention_days - 1)["request_events"] == 0
    assert _sweep(one, days=POLICY.event_retention_days + 1)["request_events"] > 0
    assert not any(_sweep(one, days=5000).values()), "what is left is kept"

    assert _count(one, *record) == record
    for table in (IdempotencyKey, PlaybookEvent, RequestEvent, UserSession, Worker):
        assert _read(one, lambda session, table=table: session.exec(select(table)).first()) is None
    assert _read(one, lambda session: quotas.verify(session).mismatches) == []
    if one.url is None:
        assert _read(one, lambda s: s.connection().exec_driver_sql("PRAGMA foreign_key_check").all()) == []


def test_work_that_has_not_ended_is_never_thrown_away(case: Callable[..., Case]) -> None:
    one = case(count=2)
    one.run(kill_at="create:after")
    waiting = _count(one, *ENGINE)
    assert _sweep(one, days=5000)["workflows"] == 0
    assert _count(one, *ENGINE) == waiting
    one.finish()
    assert one.phase() == "fulfilled"


def test_a_child_is_kept_while_its_parent_runs(case: Callable[..., Case]) -> None:
    one = case(count=2)
    one.run(kill_at="configure:before")
    ended = "SELECT count(*) FROM {} WHERE status = 'SUCCESS'"
    table = "workflow_status" if one.url is None else "dbos.workflow_status"
    assert _read(one, lambda s: s.connection().exec_driver_sql(ended.format(table)).scalar_one()) >= 2
    _sweep(one, days=5000)
    assert _read(one, lambda s: s.connection().exec_driver_sql(ended.format(table)).scalar_one()) >= 2
    one.finish()
    assert one.phase() == "fulfilled"


def test_a_sweep_by_a_worker_is_on_record(case: Callable[..., Case]) -> None:
    """The worker's round writes what it removed; nothing removed writes nothing."""
    from cloudmgr.worker import Worker as WorkerProcess  # noqa: PLC0415 - the process, not its row

    one = case(count=1)
    one.finish()
    worker = WorkerProcess(load_settings(one.data_dir, **one.settings))
    worker._engine = one.engine
    worker._sweep()
    assert _read(one, lambda s: support.audit_events(s, event="system.retention")) == []
    with clock.stepped(START + timedelta(days=45)):
        worker._sweep()
    (event,) = _read(one, lambda s: support.audit_events(s, event="system.retention"))
    assert event.detail["removed"]["workflows"] > 0
    assert json.dumps(event.detail)
    worker._engine.dispose()


def test_without_an_engine_there_is_nothing_to_sweep(database_url: str) -> None:
    engine = support.make_database(database_url)
    with new_session(engine) as session:
        settings = support.make_settings(database_url)
        assert set(housekeeping.sweep(session, settings).values()) == {0}
        assert "workflow_status" not in sa.inspect(engine).get_table_names()
    engine.dispose()
