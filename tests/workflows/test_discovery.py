"""Looks at simulated clouds, step by step on both databases: what is not ours, what differs, what is gone, what is believed."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudmgr.domain import clock
from providers.simulated import drill
from providers.simulated.state import StateFile
from tests import support
from tests.workflows.looking import Watched, watched


@pytest.fixture
def clouds(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Watched]:
    url = request.getfixturevalue("pg_database") if dialect == "postgresql" else None
    with watched(tmp_path / "city", url) as one:
        yield one


def _set(one: Watched, ref: str, **columns: Any) -> None:
    """Change a server at the cloud behind everybody's back."""
    with closing(StateFile(one.state_dir())) as state, state.writing() as db:
        for name, value in columns.items():
            db.execute(f"UPDATE servers SET {name} = ? WHERE ref = ?", (value, ref))


def test_a_server_made_by_hand_is_in_the_inbox_after_one_look(clouds: Watched) -> None:
    drill.add_foreign_server(clouds.state_dir(), "stood-before")
    assert clouds.look() == "ok"
    assert clouds.open_kinds() == [("unmanaged", "")]
    drill.add_foreign_server(clouds.state_dir(), "made-past-us")
    assert clouds.look() == "ok"
    assert clouds.open_kinds() == [("unauthorised", ""), ("unmanaged", "")]
    alarms = clouds.read(lambda session: support.audit_events(session, event="finding.alarm"))
    assert [(alarm.reason, alarm.object_name) for alarm in alarms] == [("unauthorised", "made-past-us")]
    assert clouds.look() == "ok"
    assert clouds.open_kinds() == [("unauthorised", ""), ("unmanaged", "")], "it stays what it was"
    assert len(clouds.read(lambda session: support.audit_events(session, event="finding.alarm"))) == 1


def test_a_server_of_ours_as_it_was_built_is_no_finding(clouds: Watched) -> None:
    (id_,) = clouds.build()
    assert clouds.look() == "ok"
    assert clouds.findings() == []
    (row,) = clouds.observed()
    assert (row.server_id, row.token) == (id_, id_)
    assert clouds.server(id_).last_seen_at == row.last_seen_at


def test_what_was_changed_by_hand_shows_as_drift_and_closes_by_itself(clouds: Watched) -> None:
    (id_,) = clouds.build()
    clouds.look()
    ref = clouds.server(id_).native_ref
    _set(clouds, ref, vcpus=4, name="renamed", image="other")
    clouds.look()
    assert clouds.open_kinds() == [("drift", "image"), ("drift", "name"), ("drift", "vcpus")]
    size = next(row for row in clouds.findings() if row.field == "vcpus")
    assert (size.held, size.observed, size.server_id) == ({"value": 2}, {"value": 4}, id_)
    _set(clouds, ref, vcpus=2)
    clouds.look()
    assert clouds.open_kinds() == [("drift", "image"), ("drift", "name")]
    assert [(row.field, row.state) for row in clouds.findings(closed=True)] == [("vcpus", "resolved")]


def test_a_server_switched_off_by_hand_is_drift_and_by_us_is_not(clouds: Watched) -> None:
    by_hand, by_us = clouds.build(count=2)
    clouds.look()
    for id_ in (by_hand, by_us):
        drill.set_native_state(clouds.state_dir(), clouds.server(id_).native_ref, "SHUTOFF")
    with clouds.write() as session:
        server = session.get_one(type(clouds.server(by_us)), by_us)
        server.intended_power, server.intended_since = "stopped", clock.now() - timedelta(hours=1)
        session.add(server)
    clouds.look()
    assert [(row.field, row.server_id) for row in clouds.findings()] == [("power", by_hand)]
    assert {clouds.server(id_).state for id_ in (by_hand, by_us)} == {"stopped"}, "the state is followed all the same"


def test_a_server_deleted_by_hand_is_an_orphan_and_never_dropped(clouds: Watched) -> None:
    ids = clouds.build(count=3)
    clouds.look()
    drill.vanish(clouds.state_dir(), clouds.server(ids[0]).native_ref)
    assert clouds.look() == "ok"
    (orphan,) = clouds.findings()
    assert (orphan.kind, orphan.server_id) == ("orphan", ids[0])
    lost = clouds.server(ids[0])
    assert (lost.phase, lost.state) == ("active", "unknown")
    clouds.look()
    assert clouds.open_kinds() == [("orphan", "")]


def test_an_empty_answer_is_unknown_and_never_all_gone(clouds: Watched) -> None:
    ids = clouds.build(count=2)
    clouds.look()
    before = clouds.backend().servers_synced_at
    for id_ in ids:
        drill.vanish(clouds.state_dir(), clouds.server(id_).native_ref)
    assert clouds.look() == "suspect"
    assert clouds.findings() == []
    assert all(row.missing_since is None for row in clouds.observed())
    backend = clouds.backend()
    assert backend.servers_synced_at == before, "it is not fresh"
    assert "none of the {present}" in backend.servers_message["template"]
    assert {clouds.server(id_).state for id_ in ids} == {"running"}


def test_a_suspect_answer_is_believed_when_it_stays_so_long_enough(clouds: Watched) -> None:
    ids = clouds.build(count=2)
    start = clock.now()
    clouds.look()
    for id_ in ids:
        drill.vanish(clouds.state_dir(), clouds.server(id_).native_ref)
    with clock.stepped(start + timedelta(minutes=1)) as advance:
        for _ in range(3):
            assert clouds.look() == "suspect", "three looks within a moment are one"
            advance(timedelta(minutes=1))
        advance(timedelta(minutes=15))
        assert clouds.look() == "ok"
    assert clouds.open_kinds() == [("orphan", ""), ("orphan", "")]


def test_a_person_may_say_that_a_suspect_answer_is_right(clouds: Watched) -> None:
    ids = clouds.build(count=2)
    clouds.look()
    for id_ in ids:
        drill.vanish(clouds.state_dir(), clouds.server(id_).native_ref)
    assert clouds.look() == "suspect"
    assert clouds.look(confirmed=True) == "ok"
    assert clouds.open_kinds() == [("orphan", ""), ("orphan", "")]


def test_losing_more_than_half_at_once_is_suspect_too(clouds: Watched) -> None:
    refs = [drill.add_foreign_server(clouds.state_dir(), f"vm-{number}") for number in range(6)]
    clouds.look()
    for ref in refs[:4]:
        drill.vanish(clouds.state_dir(), ref)
    assert clouds.look() == "suspect"
    drill.add_foreign_server(clouds.state_dir(), "vm-again")
    assert clouds.look() == "suspect", "newcomers do not make up for what is lost"
    assert [run.outcome for run in clouds.runs()] == ["ok", "suspect", "suspect"]


def test_the_last_server_that_we_retired_leaves_an_empty_cloud_that_is_believed(clouds: Watched) -> None:
    (id_,) = clouds.build()
    clouds.look()
    drill.vanish(clouds.state_dir(), clouds.server(id_).native_ref)
    with clouds.write() as session:
        server = session.get_one(type(clouds.server(id_)), id_)
        server.phase, server.released_at = "retired", clock.now()
        session.add(server)
    assert clouds.look() == "ok"
    assert clouds.findings() == []


def test_a_retired_server_that_runs_again_is_an_alarm(clouds: Watched) -> None:
    ids = clouds.build(count=2)
    clouds.look()
    with clouds.write() as session:
        server = session.get_one(type(clouds.server(ids[0])), ids[0])
        server.phase, server.released_at = "retired", clock.now()
        session.add(server)
    clouds.look()
    assert clouds.open_kinds() == [("revived", "")]
    drill.set_native_state(clouds.state_dir(), clouds.server(ids[0]).native_ref, "SHUTOFF")
    clouds.look()
    assert clouds.open_kinds() == [("leftover", "server")], "stopped it is no alarm, but it is still there"
    alarms = clouds.read(lambda session: support.audit_events(session, event="finding.alarm"))
    assert [alarm.reason for alarm in alarms] == ["revived"]


def test_an_unchanged_cloud_writes_no_server_again(clouds: Watched) -> None:
    clouds.build(count=2)
    drill.add_foreign_server(clouds.state_dir(), "other")
    clouds.look()
    before = {row.ref: row.changed_at for row in clouds.observed()}
    clouds.look()
    assert {row.ref: row.changed_at for row in clouds.observed()} == before
    first, second = clouds.runs()
    assert (first.servers, first.changed, second.changed) == (3, 3, 0)
    assert all(row.last_seen_at == second.started_at for row in clouds.observed())


def test_a_finding_that_is_ignored_stays_so_until_it_shows_something_else(clouds: Watched) -> None:
    (id_,) = clouds.build()
    clouds.look()
    ref = clouds.server(id_).native_ref
    _set(clouds, ref, vcpus=4)
    clouds.look()
    with clouds.write() as session:
        (row,) = clouds.findings()
        row = session.merge(row)
        row.state, row.reason = "ignored", "试验"
        session.add(row)
    clouds.look()
    assert [row.state for row in clouds.findings()] == ["ignored"]
    _set(clouds, ref, vcpus=8)
    clouds.look()
    assert [(row.state, row.observed) for row in clouds.findings()] == [("open", {"value": 8})]


def test_a_look_that_fails_keeps_everything_and_says_why(clouds: Watched) -> None:
    from providers.simulated.faults import Fault  # noqa: PLC0415 - drills of one test

    clouds.build()
    clouds.look()
    before = clouds.observed()
    drill.inject(clouds.state_dir(), Fault(call="list_changes", kind="unavailable"))
    assert clouds.look() == "failed"
    assert clouds.observed() == before
    assert clouds.backend().servers_message is not None
    assert [run.outcome for run in clouds.runs()] == ["ok", "failed"]
    assert clouds.look() == "ok"
    assert clouds.backend().servers_message is None


def test_images_without_an_architecture_are_listed_and_never_used(clouds: Watched) -> None:
    from cloudmgr.store import discovery  # noqa: PLC0415 - SQL of one test

    backend_id = clouds.backend().id
    images = clouds.read(lambda session: discovery.images(session, backend_id))
    assert {(image.name, image.arch) for image in images} == {("kylin-v10", "aarch64"), ("kylin-v10", "x86_64")}


def test_an_address_of_ours_that_somebody_else_uses_is_a_conflict(clouds: Watched) -> None:
    from sqlmodel import select  # noqa: PLC0415 - rows of one test

    from cloudmgr.models import Subnet  # noqa: PLC0415

    with clouds.write() as session:
        subnet = session.exec(select(Subnet).where(Subnet.family == 4)).one()
        subnet.is_managed = True
        session.add(subnet)
    (id_,) = clouds.build()
    clouds.look()
    assert clouds.findings() == []
    (address,) = clouds.server(id_).ipv4
    drill.add_foreign_address(clouds.state_dir(), "net", address, owner="appliance")
    clouds.look()
    (conflict,) = clouds.findings()
    assert (conflict.kind, conflict.server_id, conflict.observed["owner"]) == ("address_conflict", id_, "appliance")
    drill.remove_foreign_address(clouds.state_dir(), "net", address)
    clouds.look()
    assert clouds.findings() == []
