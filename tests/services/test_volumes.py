"""Asking for volumes and snapshots: what is refused and why, what is held, and what is given back."""

import uuid
from typing import Any

import pytest
from sqlmodel import select

from cloudmgr.domain.errors import Conflict, Hidden, InvalidInput, Unsupported
from cloudmgr.domain.volumes import SnapshotPhase, VolumePhase
from cloudmgr.models import Backend, Server, Snapshot, Volume, Zone
from cloudmgr.services import approvals, requests, snapshots, volumes
from cloudmgr.services.request_inputs import Decide, body_adapter
from quotas import QuotaExceeded, post
from tests.stocked import Desk, stand


def able(desk: Desk, *capabilities: str, backend: str = "kp") -> None:
    found = desk.session.exec(select(Backend).where(Backend.name == backend)).one()
    found.capabilities = ["power", *capabilities]
    desk.session.add(found)
    desk.session.flush()


def standing(desk: Desk, name: str = "srv") -> Server:
    request = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(name=name))
    server = desk.session.exec(select(Server).where(Server.request_id == request.id)).one()
    return stand(desk.session, server.id)


def command(desk: Desk, kind: str = "volume", **body: Any) -> Any:
    return body_adapter.validate_python(
        {"kind": kind, "project": str(desk.world.project.id), "purpose": "测试", **body}
    )


def submit(desk: Desk, kind: str = "volume", **body: Any) -> Any:
    return requests.submit_new(desk.session, desk.actor("requester"), command(desk, kind, **body))


def held(desk: Desk, key: str) -> tuple[int, int]:
    return desk.used(desk.world.project.account_id, key)


def volume_of(desk: Desk, server: Server | None = None, phase: VolumePhase = VolumePhase.AVAILABLE) -> Volume:
    zone = desk.session.exec(select(Zone).where(Zone.name == "kp-zone")).one()
    request = submit(desk, create=[{"name": f"v{uuid.uuid4().hex[:8]}", "size_gib": 10, "zone": str(zone.id)}])
    row = desk.session.exec(select(Volume).where(Volume.request_id == request.id)).one()
    post(desk.session, reservation_id=row.reservation_id, part_id=row.id)
    row.phase, row.server_id = phase.value, server.id if server else None
    desk.session.add(row)
    desk.session.flush()
    return row


def test_a_volume_holds_quota_at_once_and_gives_it_back_when_it_is_rejected(desk: Desk) -> None:
    able(desk, "volumes")
    server = standing(desk)
    before = held(desk, "disk_gib")
    request = submit(desk, create=[{"name": "data", "size_gib": 100, "count": 2, "server": str(server.id)}])
    assert request.number.startswith("BG")
    assert held(desk, "volumes") == (0, 2)
    assert held(desk, "disk_gib") == (before[0], before[1] + 200)
    names = [row.name for row in desk.session.exec(select(Volume).order_by(Volume.name))]
    assert names == ["data01", "data02"]
    decision = Decide.model_validate({"decision": "reject", "comment": "太大"})
    approvals.decide(desk.session, desk.actor("admin"), request.id, decision)
    assert held(desk, "volumes") == (0, 0)
    assert held(desk, "disk_gib") == before
    assert desk.session.exec(select(Volume)).all() == []


def test_the_plan_tells_what_it_costs_and_writes_nothing(desk: Desk) -> None:
    able(desk, "volumes")
    server = standing(desk)
    before = desk.counts()
    told = requests.plan(
        desk.session,
        desk.actor("requester"),
        command(desk, create=[{"name": "data", "size_gib": 100, "server": str(server.id)}]),
    )
    assert told.totals == {"volumes": 1, "disk_gib": 100}
    assert told.would_be_accepted
    assert desk.counts() == before


@pytest.mark.parametrize("deed", ["submit", "plan"])
def test_a_cloud_without_the_capability_is_refused_by_name(desk: Desk, deed: str) -> None:
    server = standing(desk)
    make = {"create": [{"name": "data", "size_gib": 100, "server": str(server.id)}]}
    take = {"create": [{"name": "before", "server": str(server.id)}]}
    run = requests.plan if deed == "plan" else requests.submit_new
    for kind, body in (("volume", make), ("snapshot", take)):
        with pytest.raises(Unsupported, match="云 kp"):
            run(desk.session, desk.actor("requester"), command(desk, kind, **body))


def test_more_disk_than_the_project_may_have_is_refused(desk: Desk) -> None:
    able(desk, "volumes")
    server = standing(desk)
    with pytest.raises(QuotaExceeded) as refusal:
        submit(desk, create=[{"name": "data", "size_gib": 60000, "count": 30, "server": str(server.id)}])
    assert {error["key"] for error in refusal.value.errors} == {"disk_gib"}


def test_a_volume_needs_a_server_or_a_pool_and_not_both(desk: Desk) -> None:
    able(desk, "volumes")
    server = standing(desk)
    both = {"server": str(server.id), "zone": str(server.zone_id)}
    for where in ({}, both):
        with pytest.raises(InvalidInput, match="one of them"):
            submit(desk, create=[{"name": "data", "size_gib": 1, **where}])


def test_a_pool_of_another_district_is_not_there(desk: Desk) -> None:
    able(desk, "volumes", backend="yl")
    zone = desk.session.exec(select(Zone).where(Zone.name == "yl-zone")).one()
    with pytest.raises(InvalidInput, match="no such pool"):
        submit(desk, create=[{"name": "data", "size_gib": 1, "zone": str(zone.id)}])


def test_a_request_that_asks_for_nothing_is_refused(desk: Desk) -> None:
    for kind in ("volume", "snapshot"):
        with pytest.raises(InvalidInput, match="Say which"):
            submit(desk, kind)


def test_an_attached_volume_is_not_deleted_and_a_free_one_not_detached(desk: Desk) -> None:
    able(desk, "volumes")
    server = standing(desk)
    taken, free = volume_of(desk, server, VolumePhase.ATTACHED), volume_of(desk)
    for body in ({"delete": [str(taken.id)]}, {"detach": [str(free.id)]}):
        with pytest.raises(Conflict):
            submit(desk, **body)


def test_a_volume_is_changed_by_one_request_at_a_time(desk: Desk) -> None:
    able(desk, "volumes")
    free = volume_of(desk)
    first = submit(desk, delete=[str(free.id)])
    server = standing(desk)
    with pytest.raises(Conflict, match="Another request"):
        submit(desk, attach=[{"volume": str(free.id), "server": str(server.id)}])
    requests.withdraw(desk.session, desk.actor("requester"), first.id)
    desk.session.refresh(free)
    assert free.delete_request_id is None
    submit(desk, attach=[{"volume": str(free.id), "server": str(server.id)}])


def test_another_projects_volume_is_not_there(desk: Desk) -> None:
    able(desk, "volumes")
    free = volume_of(desk)
    free.project_id = desk.world.other_project.id
    desk.session.add(free)
    desk.session.flush()
    with pytest.raises(InvalidInput, match="no such volume"):
        submit(desk, delete=[str(free.id)])
    with pytest.raises(InvalidInput, match="no such volume"):
        submit(desk, delete=[str(uuid.uuid4())])


def test_a_server_with_volumes_retires_only_with_a_word_about_them(desk: Desk) -> None:
    able(desk, "volumes")
    server = standing(desk)
    volume_of(desk, server, VolumePhase.ATTACHED)
    with pytest.raises(Conflict, match="detached and kept"):
        submit(desk, "retire", servers=[str(server.id)])
    submit(desk, "retire", servers=[str(server.id)], volumes="detach")


def test_going_back_wants_the_servers_name(desk: Desk) -> None:
    able(desk, "snapshots")
    server = standing(desk)
    request = submit(desk, "snapshot", create=[{"server": str(server.id), "name": "before"}])
    assert held(desk, "snapshots") == (0, 1)
    row = desk.session.exec(select(Snapshot).where(Snapshot.request_id == request.id)).one()
    with pytest.raises(Conflict, match="already has a snapshot"):
        submit(desk, "snapshot", create=[{"server": str(server.id), "name": "before"}])
    row.phase = SnapshotPhase.AVAILABLE.value
    desk.session.add(row)
    desk.session.flush()
    with pytest.raises(InvalidInput, match="type that name"):
        submit(desk, "snapshot", revert=[{"snapshot": str(row.id), "server": "srv2"}])
    submit(desk, "snapshot", revert=[{"snapshot": str(row.id), "server": "srv"}])


def test_others_do_not_see_them(desk: Desk) -> None:
    able(desk, "volumes")
    free = volume_of(desk)
    assert [row[0].id for row in volumes.list_volumes(desk.session, desk.actor("requester"))[0]] == [free.id]
    assert volumes.list_volumes(desk.session, desk.actor("stranger"))[0] == []
    assert snapshots.list_snapshots(desk.session, desk.actor("stranger"))[0] == []
    assert volumes.get_volume(desk.session, desk.actor("external"), free.id)[0].id == free.id
    with pytest.raises(Hidden):
        volumes.get_volume(desk.session, desk.actor("stranger"), free.id)
