"""Volumes and snapshots by request: killed at every step, failed at every call; nothing lost, doubled or left counted."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

import quotas
from cloudmgr.domain.errors import Conflict
from cloudmgr.models import CertificateItem, Snapshot, Volume, Zone
from providers.capabilities import Snapshots, Volumes
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests.workflows.follow import Stories, ask, cloud, read, server, snapshot, told, volume
from tests.workflows.proofs import Case, Stage


def make(session: Session) -> dict[str, Any]:
    """A volume for the server."""
    return {"kind": "volume", "create": [{"name": "data", "size_gib": 100, "server": str(server(session).id)}]}


def make_loose(session: Session) -> dict[str, Any]:
    """Two volumes in the pool."""
    zone = session.exec(select(Zone)).one()
    return {"kind": "volume", "create": [{"name": "data", "size_gib": 100, "zone": str(zone.id), "count": 2}]}


def detach(session: Session) -> dict[str, Any]:
    return {"kind": "volume", "detach": [str(volume(session).id)]}


def attach(session: Session) -> dict[str, Any]:
    return {"kind": "volume", "attach": [{"volume": str(volume(session).id), "server": str(server(session).id)}]}


def delete(session: Session) -> dict[str, Any]:
    return {"kind": "volume", "delete": [str(volume(session).id)]}


def take(session: Session) -> dict[str, Any]:
    return {"kind": "snapshot", "create": [{"server": str(server(session).id), "name": "before"}]}


def revert(session: Session) -> dict[str, Any]:
    return {"kind": "snapshot", "revert": [{"snapshot": str(snapshot(session).id), "server": server(session).name}]}


def forget(session: Session) -> dict[str, Any]:
    return {"kind": "snapshot", "delete": [str(snapshot(session).id)]}


def retire_and_delete(session: Session) -> dict[str, Any]:
    return {"kind": "retire", "servers": [str(server(session).id)], "volumes": "delete"}


def retire_and_keep(session: Session) -> dict[str, Any]:
    return {"kind": "retire", "servers": [str(server(session).id)], "volumes": "detach"}


KILLS: list[tuple[list[Any], list[str]]] = [
    ([make], ["volume_begin", "volume_create", "volume_made", "attach_begin", "volume_attach", "volume_attached"]),
    ([make, detach], ["detach_begin", "volume_detach", "volume_detached"]),
    ([make, detach, attach], ["attach_begin", "volume_attach", "volume_attached"]),
    ([make, detach, delete], ["volume_end", "volume_delete", "volume_deleted"]),
    ([take], ["snapshot_begin", "snapshot_take", "snapshot_taken"]),
    ([take, revert], ["revert_begin", "snapshot_revert", "snapshot_look", "snapshot_reverted"]),
    ([take, forget], ["snapshot_end", "snapshot_delete", "snapshot_deleted"]),
    ([make, retire_and_delete], ["list_pieces", "volume_detach", "volume_delete", "volume_deleted", "retired"]),
    ([make, retire_and_keep], ["volume_detach", "volume_detached"]),
]
POINTS = [
    pytest.param(bodies, step, id=f"{'-'.join(body.__name__ for body in bodies)}-{step}")
    for bodies, steps in KILLS
    for step in steps
]


@pytest.fixture(scope="module")
def stories(stages: Callable[..., Stage], tmp_path_factory: pytest.TempPathFactory) -> Stories:
    return Stories(stages, tmp_path_factory.mktemp("stories"))


@pytest.fixture
def story(stories: Stories, dialect: str, tmp_path: Path) -> Callable[..., Case]:
    """Return a maker of cases: `story(make, detach)` is a city in which a volume was made and its detaching waits."""
    return lambda *bodies: stories.case(dialect, tmp_path / "case", bodies)


def check(case: Case) -> None:
    """Cloud and ledger have the same volumes and snapshots, attached to the same servers, and each is counted once."""
    seen = cloud(case)
    assert isinstance(seen, Volumes)
    assert isinstance(seen, Snapshots)
    there = {str(one.token): one.server for one in seen.list_volumes()}
    points = [one.name for found in seen.list_servers() for one in seen.list_snapshots(found.ref)]
    seen.close()

    def look(session: Session) -> None:
        rows = [row for row in session.exec(select(Volume)) if row.phase not in ("deleted", "failed")]
        refs = {server_.id: server_.native_ref for server_ in [server(session)]}
        assert {str(row.id): refs.get(row.server_id) for row in rows} == there
        assert {row.phase for row in rows} <= {"available", "attached"}
        assert all((row.server_id is not None) == (row.phase == "attached") for row in rows)
        kept = [row for row in session.exec(select(Snapshot)) if row.phase not in ("deleted", "failed")]
        assert sorted(str(row.id) for row in kept) == sorted(points)
        assert quotas.verify(session).mismatches == []
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        assert usage.used.get("volumes", 0) == len(rows)
        assert usage.used.get("snapshots", 0) == len(kept)
        stands = 40 if server(session).phase == "active" else 0
        assert usage.used.get("disk_gib", 0) == stands + sum(row.size_gib for row in rows)
        assert not any(usage.reserved.values()), "no pending quota is left"

    read(case, look)
    made = [call for call in case.calls() if call.call == "create_volume" and call.outcome == "built"]
    assert len({call.token for call in made}) == len(made), "no volume was made twice"


@pytest.mark.parametrize(("bodies", "step"), POINTS)
def test_a_kill_at_a_step_comes_to_the_same_end(story: Callable[..., Case], bodies: list[Any], step: str) -> None:
    one = story(*bodies)
    died = one.run(kill_at=f"{step}:inside")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", (told(one), one.log())
    check(one)


@pytest.mark.parametrize(
    ("bodies", "call"),
    [
        ([make], "create_volume"),
        ([make], "attach_volume"),
        ([make, detach], "detach_volume"),
        ([make, detach, delete], "delete_volume"),
        ([take], "create_snapshot"),
        ([take, revert], "revert_snapshot"),
        ([take, forget], "delete_snapshot"),
    ],
)
def test_a_lost_answer_does_it_once(story: Callable[..., Case], bodies: list[Any], call: str) -> None:
    one = story(*bodies)
    drill.inject(one.state_dir("kp"), Fault(call=call, kind="lost_answer"))
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    check(one)


@pytest.mark.parametrize("kill_at", [None, "volume_failed:inside", "volume_delete:inside"])
def test_a_refused_volume_leaves_nothing_and_can_be_tried_again(
    story: Callable[..., Case], kill_at: str | None
) -> None:
    one = story(make)
    drill.inject(one.state_dir("kp"), Fault(call="create_volume", kind="auth", times=None))
    if kill_at:
        assert one.run(kill_at=kill_at)["died_by"] == signal.SIGKILL
    one.finish()
    assert one.phase() == "failed", told(one)
    assert "Volume data could not be made" in told(one)
    check(one)


def test_a_volume_that_cannot_be_attached_stays_free(story: Callable[..., Case]) -> None:
    one = story(make)
    drill.inject(one.state_dir("kp"), Fault(call="attach_volume", kind="auth"))
    one.finish()
    assert one.phase() == "failed" or one.phase() == "partly_fulfilled", told(one)
    assert read(one, lambda session: volume(session).phase) == "available"
    seen = cloud(one)
    assert isinstance(seen, Volumes)
    assert [row.server for row in seen.list_volumes()] == [None]
    seen.close()


def test_a_pool_keeps_volumes_until_a_server_needs_them(story: Callable[..., Case]) -> None:
    one = story(make_loose)
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    assert read(one, lambda session: sorted(row.name for row in session.exec(select(Volume)))) == ["data01", "data02"]
    check(one)


def test_a_server_with_volumes_is_not_retired_without_a_word_about_them(story: Callable[..., Case]) -> None:
    one = story(make)
    one.finish()
    body = {"kind": "retire", "servers": [str(read(one, server).id)]}
    with pytest.raises(Conflict, match="data"):
        ask(one, body)


@pytest.mark.parametrize(("end", "state"), [(retire_and_keep, "kept"), (retire_and_delete, "gone")])
def test_a_certificate_tells_what_became_of_a_volume(story: Callable[..., Case], end: Any, state: str) -> None:
    one = story(make, end)
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    found = read(one, lambda session: {row.kind: row.state for row in session.exec(select(CertificateItem))})
    assert found["volume"] == state
    assert found["server"] == "gone"
    check(one)


def test_snapshots_of_a_retired_server_are_gone_and_free(story: Callable[..., Case]) -> None:
    one = story(take)
    one.finish()
    ask(one, {"kind": "retire", "servers": [str(read(one, server).id)]})
    one.finish()
    assert read(one, snapshot).phase == "deleted"
    check(one)
    found = read(one, lambda session: {row.kind: row.state for row in session.exec(select(CertificateItem))})
    assert found["snapshot"] == "gone"
