"""A database at revision 0001, with the rows that its release wrote, upgraded: it keeps them, counts right and goes on."""

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlmodel import SQLModel, col, select

import quotas
from cloudmgr.adapters import migrate
from cloudmgr.domain.phases import Decision
from cloudmgr.models import APPEND_ONLY, Approval, ApprovalSeat, ApprovalStage, ResourceRequest, Server
from cloudmgr.services import approvals, requests, servers
from cloudmgr.services.request_inputs import CreateRequest, Decide
from cloudmgr.settings import load_settings
from cloudmgr.store import triggers
from cloudmgr.store.db import make_engine
from tests import world as cities
from tests.world import World

ROWS: dict[str, dict[str, list[Any]]] = json.loads((Path(__file__).parent / "rows_0001.json").read_text())
"""Written by the release of revision 0001: servers built and one retired, a volume, requests approved, waiting, returned,
rejected and in draft, and one refused for its quota.
"""
_READERS = {sa.Uuid: uuid.UUID, sa.DateTime: datetime.fromisoformat, sa.Date: date.fromisoformat}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The city, upgraded once: its tests commit nothing."""
    home = tmp_path_factory.mktemp("old")
    url = _database(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else None
    settings = load_settings(home, database={"url": url})
    engine = make_engine(settings.database_url)
    with engine.begin() as connection:
        _upgrade(connection, "0001")
        for name in ROWS:
            connection.execute(_table(name).insert(), _rows(name))
        _move_sequences_on(connection)
    assert migrate.upgrade(settings).current == "0001"
    yield cities.reopen(settings.data_dir, engine)
    engine.dispose()


def _database(server_url: str) -> str:
    url = sa.make_url(server_url).set(drivername="postgresql+psycopg")
    with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE at_0001")
    return url.set(database="at_0001").render_as_string(hide_password=False)


def _upgrade(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    triggers.install(connection, APPEND_ONLY)


def _table(name: str) -> sa.TableClause:
    """Return a table with the columns it had, and nothing that came later."""
    today = SQLModel.metadata.tables[name].columns
    return sa.table(name, *(sa.column(each, today[each].type) for each in ROWS[name]["columns"]))


def _rows(name: str) -> list[dict[str, Any]]:
    columns = _table(name).columns
    readers = [_READERS.get(getattr(each.type, "impl_instance", each.type).__class__) for each in columns]
    return [
        {
            each.name: read(value) if read is not None and value is not None else value
            for each, read, value in zip(columns, readers, row, strict=True)
        }
        for row in ROWS[name]["rows"]
    ]


def _move_sequences_on(connection: sa.Connection) -> None:
    """Rows with numbers of their own: PostgreSQL's next number must come after them."""
    if connection.dialect.name != "postgresql":
        return
    for name in ROWS:
        for key in SQLModel.metadata.tables[name].primary_key:
            if isinstance(key.type, sa.Integer):
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', '{key.name}'), (SELECT max({key.name}) FROM {name}))"
                )


def test_every_row_is_kept_as_it_was(upgraded: World) -> None:
    with upgraded.engine.connect() as connection:
        for name in ROWS:
            kept = connection.execute(sa.select(_table(name))).mappings()
            assert sorted(map(_plain, kept)) == sorted(map(_plain, _rows(name))), name


def _plain(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row), default=str, sort_keys=True)  # jsonb keeps no order of keys


def test_what_is_append_only_still_is(upgraded: World) -> None:
    with upgraded.engine.connect() as connection:
        standing = triggers.present(connection)
    assert standing >= {name for table in APPEND_ONLY for name in triggers.names(table, upgraded.engine.dialect.name)}
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), upgraded.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_events SET reason = 'x'")


def test_the_ledger_counts_right_and_takes_more(upgraded: World) -> None:
    with upgraded.session() as session:
        assert quotas.verify(session).mismatches == []
        before = quotas.account_usage(session, upgraded.project.account_id)
        requests.submit_new(session, upgraded.actor("requester"), upgraded.command(name="more", count=2))
        after = quotas.account_usage(session, upgraded.project.account_id)
        assert after.reserved["servers"] == before.reserved["servers"] + 2
        assert quotas.verify(session).mismatches == []


def test_requests_and_servers_can_be_read(upgraded: World) -> None:
    actor = upgraded.actor("requester")
    with upgraded.session(write=False) as session:
        views = [requests.get_request(session, actor, each.id) for each in session.exec(select(ResourceRequest))]
        assert {view.request.phase for view in views} == {"fulfilled", "in_review", "returned", "rejected", "draft"}
        assert len(requests.list_requests(session, actor)[0]) == len(views) == len(ROWS["resource_requests"]["rows"])
        for server in session.exec(select(Server)):
            assert servers.get_server(session, actor, server.id) is not None
            assert (server.frozen_by, server.frozen_at, server.resizing_since, server.resized_at) == (None,) * 4


def test_every_stage_has_the_seat_it_had_and_every_decision_was_taken_from_it(upgraded: World) -> None:
    with upgraded.session(write=False) as session:
        stages = {stage.id: stage for stage in session.exec(select(ApprovalStage))}
        seats = {seat.id: seat for seat in session.exec(select(ApprovalSeat))}
        decisions = session.exec(select(Approval)).all()
    assert sorted(seat.stage_id for seat in seats.values()) == sorted(stages)
    for seat in seats.values():
        stage = stages[seat.stage_id]
        assert (seat.role, seat.organization_id) == (stage.role, stage.organization_id)
        assert (stage.level, stage.mode, stage.due_at) == ("district", "any", None)
    assert len(decisions) == len(ROWS["approvals"]["rows"])
    for each in decisions:
        assert seats[each.seat_id].stage_id == each.stage_id
        assert (each.submission, each.policy_version) == (1, stages[each.stage_id].policy_version)


def test_what_waited_for_a_decision_can_be_decided(upgraded: World) -> None:
    with upgraded.session() as session:
        waiting = session.exec(select(ResourceRequest).where(ResourceRequest.phase == "in_review")).one()
        assert [row[0].id for row in approvals.list_decidable(session, upgraded.actor("admin"))] == [waiting.id]
        approvals.decide(session, upgraded.actor("admin"), waiting.id, Decide(decision=Decision.APPROVE))
        assert waiting.phase == "approved"


def test_what_was_returned_can_be_mended_and_submitted_again_under_the_rules_of_now(upgraded: World) -> None:
    actor = upgraded.actor("requester")
    with upgraded.session() as session:
        returned = session.exec(select(ResourceRequest).where(ResourceRequest.phase == "returned")).one()
        command_ = CreateRequest.model_validate(returned.body | {"purpose": "业务系统应用服务器，等保二级"})
        requests.update_request(session, actor, returned.id, command_)
        requests.submit(session, actor, returned.id)
        stages = session.exec(
            select(ApprovalStage).where(ApprovalStage.request_id == returned.id).order_by(col(ApprovalStage.submission))
        ).all()
    assert [stage.submission for stage in stages] == [1, *[2] * (len(stages) - 1)]
    assert stages[0].policy_version != stages[1].policy_version
