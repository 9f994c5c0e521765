"""Decisions on findings: who may, what each does to ledger, quota and history, and what is refused with a reason."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

import quotas
from cloudmgr.domain.errors import Conflict, Forbidden, Hidden, InvalidInput, Refusal, Unsupported
from cloudmgr.models import Allocation, Backend, Finding, ServerVersion
from cloudmgr.services import discovery, findings
from cloudmgr.services.discovery import AskSync
from cloudmgr.services.findings import DecideFindings
from providers.simulated import drill
from providers.simulated.state import StateFile
from tests import support
from tests.workflows.looking import Watched, watched


@pytest.fixture(params=["sqlite", "postgresql"])
def clouds(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    url = request.getfixturevalue("pg_database") if request.param == "postgresql" else None
    with watched(tmp_path / "city", url, limits={"vcpus": 10}) as one:
        yield one


def _differ(one: Watched, id_: uuid.UUID, **columns: Any) -> list[Finding]:
    with closing(StateFile(one.state_dir())) as state, state.writing() as db:
        for name, value in columns.items():
            db.execute(f"UPDATE servers SET {name} = ? WHERE ref = ?", (value, one.server(id_).native_ref))
    one.look()
    return one.findings()


def _decide(one: Watched, who: str, decision: str, *rows: Finding, reason: str = "") -> list[findings.Decided]:
    command = DecideFindings(ids=[row.id for row in rows], decision=decision, reason=reason)  # type: ignore[arg-type]
    with one.write() as session:
        return findings.decide(session, one.city.actor(who), command)


def test_accepting_a_size_moves_quota_capacity_and_history(clouds: Watched) -> None:
    (id_,) = clouds.build()
    clouds.look()
    (row,) = _differ(clouds, id_, vcpus=8)
    _decide(clouds, "sysadmin", "accept", row)
    server = clouds.server(id_)
    assert server.vcpus == 8
    usage = clouds.read(lambda session: quotas.account_usage(session, clouds.city.project.account_id))
    assert (usage.used["vcpus"], usage.room["vcpus"]) == (8, 2)
    assert clouds.read(lambda session: quotas.verify(session).mismatches) == []
    allocation = clouds.read(lambda s: s.exec(select(Allocation).where(Allocation.server_id == id_)).one())
    assert allocation.amounts["vcpus"] == 8
    query = select(ServerVersion).where(ServerVersion.server_id == id_).order_by(col(ServerVersion.id))
    last = clouds.read(lambda session: list(session.exec(query)))[-1]
    assert (last.change, last.actor, last.snapshot["vcpus"]) == ("accepted.vcpus", "sysadmin", 8)
    clouds.look()
    assert clouds.findings() == []
    (settled,) = clouds.findings(closed=True)
    assert (settled.state, settled.decided_by) == ("accepted", "sysadmin")
    (event,) = clouds.read(lambda session: support.audit_events(session, event="finding.decide"))
    assert (event.detail["decision"], event.detail["field"]) == ("accept", "vcpus")


def test_a_size_that_does_not_fit_the_quota_is_refused_by_the_ledger(clouds: Watched) -> None:
    (id_,) = clouds.build()
    clouds.look()
    (row,) = _differ(clouds, id_, vcpus=16)
    with pytest.raises(quotas.QuotaExceeded):
        _decide(clouds, "sysadmin", "accept", row)
    assert clouds.server(id_).vcpus == 2
    assert clouds.findings()[0].state == "open"
    assert clouds.read(lambda session: quotas.verify(session).mismatches) == []


def test_accepting_a_smaller_size_gives_quota_back(clouds: Watched) -> None:
    (id_,) = clouds.build(flavor="8C32G")
    clouds.look()
    rows = _differ(clouds, id_, vcpus=2, memory_mib=4096)
    _decide(clouds, "sysadmin", "accept", *rows)
    usage = clouds.read(lambda session: quotas.account_usage(session, clouds.city.project.account_id))
    assert usage.used["vcpus"] == 2
    assert clouds.read(lambda session: quotas.verify(session).mismatches) == []
    from cloudmgr.models import Flavor  # noqa: PLC0415 - one look

    server = clouds.server(id_)
    assert clouds.read(lambda session: session.get_one(Flavor, server.flavor_id)).name == "2C4G"


def test_accepting_a_name_renames_and_a_name_that_cannot_be_is_refused(clouds: Watched) -> None:
    one, other = clouds.build(count=2)
    clouds.look()
    (row,) = _differ(clouds, one, name="better-name")
    _decide(clouds, "sysadmin", "accept", row)
    assert clouds.server(one).name == "better-name"
    (row,) = _differ(clouds, other, name="Not A Label")
    with pytest.raises(Conflict, match="cannot be a name"):
        _decide(clouds, "sysadmin", "accept", row)
    (row,) = _differ(clouds, other, name="better-name")
    with pytest.raises(Conflict, match="already"):
        _decide(clouds, "sysadmin", "accept", row)


def test_an_image_cannot_be_put_back_and_is_told_so(clouds: Watched) -> None:
    (id_,) = clouds.build()
    clouds.look()
    (row,) = _differ(clouds, id_, image="img-kylin-x86")
    with pytest.raises(Unsupported):
        _decide(clouds, "sysadmin", "restore", row)
    _decide(clouds, "sysadmin", "accept", row)
    clouds.look()
    assert clouds.findings() == []


def test_several_are_decided_at_once_and_each_is_told_what_became_of_it(clouds: Watched) -> None:
    (id_,) = clouds.build()
    clouds.look()
    rows = _differ(clouds, id_, vcpus=16, image="img-kylin-x86")
    told = {each.id: each for each in _decide(clouds, "sysadmin", "accept", *rows)}
    refused = next(row for row in rows if row.field == "vcpus")
    assert isinstance(told[refused.id].refusal, quotas.QuotaExceeded)
    assert [each.state for each in told.values() if each.refusal is None] == ["accepted"]


def test_ignoring_asks_for_a_reason(clouds: Watched) -> None:
    drill.add_foreign_server(clouds.state_dir(), "theirs")
    clouds.look()
    (row,) = clouds.findings()
    with pytest.raises(InvalidInput):
        _decide(clouds, "sysadmin", "ignore", row)
    _decide(clouds, "sysadmin", "ignore", row, reason="厂商自用")
    clouds.look()
    assert [(row.state, row.reason) for row in clouds.findings()] == [("ignored", "厂商自用")]
    with pytest.raises(Conflict, match="import"):
        _decide(clouds, "sysadmin", "accept", row)


def test_a_district_decides_on_its_own_servers_and_sees_no_others(clouds: Watched) -> None:
    (id_,) = clouds.build()
    drill.add_foreign_server(clouds.state_dir(), "theirs")
    clouds.look()
    _differ(clouds, id_, vcpus=4)

    def listed(who: str) -> list[str]:
        rows = clouds.read(lambda session: findings.list_findings(session, clouds.city.actor(who))[0])
        return sorted(row[0].kind for row in rows)

    assert (listed("admin"), listed("stranger"), listed("sysadmin")) == (["drift"], [], ["drift", "unmanaged"])
    with pytest.raises(Forbidden):
        listed("requester")
    drifted = next(row for row in clouds.findings() if row.kind == "drift")
    foreign = next(row for row in clouds.findings() if row.kind == "unmanaged")
    with pytest.raises(Hidden):
        _decide(clouds, "stranger", "accept", drifted)
    with pytest.raises(Hidden):
        _decide(clouds, "admin", "ignore", foreign, reason="不是我们的")
    with pytest.raises(Forbidden):
        _decide(clouds, "auditor", "accept", drifted)
    _decide(clouds, "admin", "accept", drifted)
    assert clouds.server(id_).vcpus == 4


def test_confirming_a_loss_begins_the_end_of_the_server_once(clouds: Watched) -> None:
    ids = clouds.build(count=3)
    clouds.look()
    drill.vanish(clouds.state_dir(), clouds.server(ids[0]).native_ref)
    clouds.look()
    (row,) = clouds.findings()
    _decide(clouds, "sysadmin", "wait", row, reason="厂商在查")
    assert clouds.findings()[0].state == "open"
    _decide(clouds, "sysadmin", "confirm_loss", row, reason="已确认丢失")
    assert clouds.server(ids[0]).phase == "retiring"
    with pytest.raises(Conflict):
        _decide(clouds, "sysadmin", "confirm_loss", row, reason="已确认丢失")
    clouds.look()
    assert clouds.findings() == []


def test_a_look_can_be_asked_for_by_who_keeps_the_catalogue(clouds: Watched) -> None:
    backend = clouds.backend()
    with clouds.write() as session:
        asked = discovery.ask_sync(session, clouds.city.actor("sysadmin"), backend.id, AskSync(confirm_losses=True))
    assert asked.id.startswith("look:kp:asked:")
    with pytest.raises(Refusal), clouds.write() as session:
        discovery.ask_sync(session, clouds.city.actor("admin"), backend.id, AskSync())
    (event,) = clouds.read(lambda session: support.audit_events(session, event="backend.sync"))
    assert event.detail["confirm_losses"] is True


def test_what_stands_at_a_districts_cloud_is_the_districts_to_see(clouds: Watched) -> None:
    drill.add_foreign_server(clouds.state_dir(), "theirs")
    clouds.look()

    def seen(who: str) -> list[str]:
        actor = clouds.city.actor(who)
        rows = clouds.read(lambda session: discovery.list_observed(session, actor, managed=False)[0])
        return [row.name for row, _ in rows]

    assert (seen("sysadmin"), seen("admin")) == (["theirs"], [])
    with clouds.write() as session:
        backend = session.exec(select(Backend).where(Backend.name == "kp")).one()
        backend.owner_organization_id = clouds.city.furong.id
        session.add(backend)
    assert (seen("sysadmin"), seen("admin"), seen("stranger")) == (["theirs"], ["theirs"], [])
