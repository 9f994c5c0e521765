"""Sizes, leases and freezing by request: killed at every step, failed at every call; cloud, ledger and pool stay one."""

import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.models import Allocation, Flavor, ServerChange, ServerVersion, ZoneInventory
from cloudmgr.services import requests, servers
from cloudmgr.services.request_inputs import PowerAction
from providers.base import PowerState
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests import world
from tests.workflows.follow import Stories, ask, cloud, read, server, told
from tests.workflows.proofs import Case, Stage


def _bigger(session: Session) -> str:
    now = server(session)
    flavor = Flavor(name="bigger", vcpus=now.vcpus * 2, memory_mib=now.memory_mib * 2, system_disk_gib=40)
    if (found := session.exec(select(Flavor).where(Flavor.name == "bigger")).first()) is None:
        session.add(flavor)
        session.commit()
    return (found or flavor).name


def grow(session: Session) -> dict[str, Any]:
    return {"kind": "resize", "servers": [str(server(session).id)], "flavor": _bigger(session)}


def grow_with_disk(session: Session) -> dict[str, Any]:
    return grow(session) | {"add_data_disk_gib": 100}


def freeze(session: Session) -> dict[str, Any]:
    return {"kind": "freeze", "servers": [str(server(session).id)]}


def unfreeze(session: Session) -> dict[str, Any]:
    return {"kind": "unfreeze", "servers": [str(server(session).id)]}


def renew(session: Session) -> dict[str, Any]:
    end = (server(session).lease_end or clock.today()) + timedelta(days=90)
    return {"kind": "renew", "servers": [str(server(session).id)], "lease_end": end.isoformat()}


KILLS: list[tuple[list[Any], list[str]]] = [
    (
        [grow],
        [
            "resize_begin",
            "resize_look",
            "resize_stop",
            "resize_resize",
            "resize_resize_look",
            "resize_start",
            "resized",
        ],
    ),
    ([grow_with_disk], ["volume_create", "volume_attached", "resized"]),
    ([freeze], ["freeze_begin", "freeze_stop", "freeze_stop_look", "frozen"]),
    ([freeze, unfreeze], ["unfreeze_begin", "unfreeze_start", "unfrozen"]),
    ([freeze, grow], ["resize_begin", "resize_resize", "resized"]),
    ([renew], ["renew_begin"]),
]
POINTS = [
    pytest.param(bodies, step, id=f"{'-'.join(body.__name__ for body in bodies)}-{step}")
    for bodies, steps in KILLS
    for step in steps
]


@pytest.fixture(scope="module")
def stories(stages: Callable[..., Stage], tmp_path_factory: pytest.TempPathFactory) -> Stories:
    return Stories(stages, tmp_path_factory.mktemp("changes"))


@pytest.fixture
def story(stories: Stories, dialect: str, tmp_path: Path) -> Callable[..., Case]:
    """Return a maker of cases: `story(freeze, unfreeze)` is a city in which a server is frozen and its return waits."""
    return lambda *bodies: stories.case(dialect, tmp_path / "case", bodies)


def check(case: Case) -> None:
    """The server is at its cloud what it is here; quota and pool count just that, and nothing is held beside."""
    opened = cloud(case)
    seen = {one.token: one for one in opened.list_servers()}
    opened.close()

    def look(session: Session) -> None:
        one = server(session)
        there = seen[one.id]
        assert (there.vcpus, there.memory_mib) == (one.vcpus, one.memory_mib)
        assert there.power is (PowerState.STOPPED if one.phase == "suspended" else PowerState.RUNNING)
        assert (one.frozen_by is not None, one.frozen_at is not None) == ((one.phase == "suspended"),) * 2
        assert one.resizing_since is None
        assert quotas.verify(session).mismatches == []
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        assert (usage.used["vcpus"], usage.used["memory_mib"]) == (one.vcpus, one.memory_mib)
        assert not any(usage.reserved.values()), "no pending quota is left"
        held = session.exec(select(Allocation).where(col(Allocation.released_at).is_(None))).one()
        assert (held.amounts["vcpus"], held.amounts["memory_mib"]) == (one.vcpus, one.memory_mib)
        used = {row.resource: row.used for row in session.exec(select(ZoneInventory))}
        assert (used["vcpus"], used["memory_mib"]) == (one.vcpus, one.memory_mib)
        states = {row.state for row in session.exec(select(ServerChange))}
        assert states <= {"done", "failed"}

    read(case, look)


def versions(case: Case, change: str) -> int:
    return read(
        case, lambda session: len(list(session.exec(select(ServerVersion).where(ServerVersion.change == change))))
    )


@pytest.mark.parametrize(("bodies", "step"), POINTS)
def test_a_kill_at_a_step_comes_to_the_same_end(story: Callable[..., Case], bodies: list[Any], step: str) -> None:
    one = story(*bodies)
    died = one.run(kill_at=f"{step}:inside")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", (told(one), one.log())
    check(one)
    name = {grow: "resized", grow_with_disk: "resized", freeze: "frozen", unfreeze: "unfrozen", renew: "renewed"}
    assert versions(one, name[bodies[-1]]) == 1


@pytest.mark.parametrize(
    ("bodies", "call"),
    [
        ([grow], "stop_server"),
        ([grow], "resize_server"),
        ([grow], "start_server"),
        ([freeze], "stop_server"),
        ([freeze, unfreeze], "start_server"),
    ],
)
def test_a_lost_answer_does_it_once(story: Callable[..., Case], bodies: list[Any], call: str) -> None:
    one = story(*bodies)
    drill.inject(one.state_dir("kp"), Fault(call=call, kind="lost_answer"))
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    check(one)


@pytest.mark.parametrize(
    "kill_at", [None, "resize_undo_look:inside", "resize_undo_start:inside", "resize_failed:inside"]
)
def test_a_size_that_is_refused_is_put_back_and_can_be_tried_again(
    story: Callable[..., Case], kill_at: str | None
) -> None:
    one = story(grow)
    drill.inject(one.state_dir("kp"), Fault(call="resize_server", kind="auth"))
    if kill_at:
        assert one.run(kill_at=kill_at)["died_by"] == signal.SIGKILL
    one.finish()
    assert one.phase() == "failed", told(one)
    assert "it is as before" in told(one)
    check(one)
    again(one)
    assert one.phase() == "fulfilled", told(one)
    check(one)


def test_a_start_that_fails_brings_the_old_size_back(story: Callable[..., Case]) -> None:
    one = story(grow)
    drill.inject(one.state_dir("kp"), Fault(call="start_server", kind="auth", times=1))
    one.finish()
    assert one.phase() == "failed", told(one)
    check(one)
    assert versions(one, "resized") == 0


def test_what_the_cloud_does_not_confirm_stays_held_until_it_is_tried_again(story: Callable[..., Case]) -> None:
    one = story(grow)
    drill.inject(one.state_dir("kp"), Fault(call="start_server", kind="auth", times=None))
    one.finish()
    assert one.phase() == "failed", told(one)
    assert "quota stays held" in told(one)
    assert read(one, lambda session: _reserved(session, "vcpus")) > 0
    drill.clear_faults(one.state_dir("kp"))
    again(one)
    assert one.phase() == "fulfilled", told(one)
    check(one)


def test_a_full_pool_changes_nothing(story: Callable[..., Case]) -> None:
    one = story(grow)
    engine = one.engine
    with Session(engine) as session:
        row = session.exec(select(ZoneInventory).where(ZoneInventory.resource == "vcpus")).one()
        row.reserved = row.total - row.used
        session.add(row)
        session.commit()
    engine.dispose()
    one.finish()
    assert one.phase() == "failed", told(one)
    assert "has no room" in told(one)
    check(one)
    assert not [call for call in one.calls() if call.call in ("stop_server", "resize_server")]


def test_a_freeze_that_the_cloud_refuses_leaves_it_in_service(story: Callable[..., Case]) -> None:
    one = story(freeze)
    drill.inject(one.state_dir("kp"), Fault(call="stop_server", kind="auth", times=None))
    one.finish()
    assert one.phase() == "failed", told(one)
    check(one)
    assert read(one, server).phase == "active"


def test_one_change_at_a_time(story: Callable[..., Case]) -> None:
    one = story(freeze)
    with pytest.raises(Conflict, match="Another request changes"):
        ask(one, read(one, grow))
    with pytest.raises(Conflict, match="Another request changes"):
        ask(one, {"kind": "retire", "servers": [str(read(one, server).id)]})


def test_growth_is_held_when_it_is_asked_for_and_refused_when_there_is_none(story: Callable[..., Case]) -> None:
    one = story(grow)
    assert read(one, lambda session: _reserved(session, "vcpus")) == read(one, server).vcpus
    one.finish()
    check(one)
    with pytest.raises(InvalidInput, match="that size already"):
        ask(one, read(one, grow))


def test_a_frozen_server_keeps_its_quota_and_comes_back_the_same(story: Callable[..., Case]) -> None:
    one = story(freeze)
    before = read(one, server)
    one.finish()
    assert read(one, server).phase == "suspended"
    check(one)
    ask(one, read(one, unfreeze))
    one.finish()
    after = read(one, server)
    assert (after.phase, after.native_ref, after.ipv4) == ("active", before.native_ref, before.ipv4)
    check(one)


@pytest.mark.parametrize(
    ("by", "kill_at"),
    [
        ("owner", None),
        ("guest", "freeze_look:inside"),
        ("guest", "frozen:inside"),
    ],
)
def test_what_was_off_before_it_was_frozen_stays_off(story: Callable[..., Case], by: str, kill_at: str | None) -> None:
    one = story(renew)
    one.finish()
    if by == "owner":
        switch(one, "stop")
    else:
        opened = cloud(one)
        opened.stop_server(read(one, server).native_ref)  # type: ignore[attr-defined]
        opened.close()
    for body, phase in ((freeze, "suspended"), (unfreeze, "active")):
        ask(one, read(one, body))
        if kill_at is not None and kill_at.startswith({"suspended": "fr", "active": "unfr"}[phase]):
            assert one.run(kill_at=kill_at)["died_by"] == signal.SIGKILL
        one.finish()
        assert read(one, server).phase == phase, told(one)
        assert power(one) is PowerState.STOPPED
    assert "stays off" in told(one)
    assert (read(one, server).state, read(one, server).intended_power) == ("stopped", "stopped")
    if by == "owner":
        switch(one, "start")
        for body in (freeze, unfreeze):
            ask(one, read(one, body))
            one.finish()
        assert power(one) is PowerState.RUNNING, "its owner had started it again"


def test_a_freeze_that_was_tried_twice_remembers_what_it_found_first(story: Callable[..., Case]) -> None:
    one = story(freeze)
    drill.inject(one.state_dir("kp"), Fault(call="stop_server", kind="auth", times=1))
    one.finish()
    assert one.phase() == "failed", told(one)
    opened = cloud(one)
    opened.stop_server(read(one, server).native_ref)  # type: ignore[attr-defined] - as if the first attempt came late
    opened.close()
    again(one)
    assert one.phase() == "fulfilled", told(one)
    ask(one, read(one, unfreeze))
    one.finish()
    check(one)
    assert power(one) is PowerState.RUNNING


def switch(case: Case, action: str) -> None:
    """Have the server switched by a person, and let it be done."""
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    with city.session() as session:
        command = PowerAction.model_validate({"action": action})
        servers.act(session, city.actor("admin"), server(session).id, command)
        session.commit()
    engine.dispose()
    case.finish()


def power(case: Case) -> PowerState:
    """Return what the cloud says of the server."""
    opened = cloud(case)
    (seen,) = opened.list_servers()
    opened.close()
    return seen.power


def test_a_lease_is_not_renewed_backwards(story: Callable[..., Case]) -> None:
    one = story(renew)
    one.finish()
    day = read(one, server).lease_end
    with pytest.raises(InvalidInput, match="must end later"):
        ask(one, {"kind": "renew", "servers": [str(read(one, server).id)], "lease_end": day.isoformat()})


def again(case: Case) -> None:
    """Try a failed request again, and let it run."""
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    with city.session() as session:
        requests.retry(session, city.actor("requester"), case.request)
        session.commit()
    engine.dispose()
    case.finish()


def _reserved(session: Session, key: str) -> int:
    usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
    return usage.reserved.get(key, 0)
