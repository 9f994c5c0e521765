"""A server made by hand and taken over lives like any other: switched, put back, retired with a certificate, whatever is killed."""

import json
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

import quotas
from cloudmgr.models import Allocation, AuditEvent, Backend, CertificateItem, DeletionCertificate, Finding, Server
from cloudmgr.services import discovery, findings, import_sheet, imports, manual_servers, servers
from cloudmgr.services.discovery import AskSync
from cloudmgr.services.findings import DecideFindings
from cloudmgr.services.imports import ImportOptions
from cloudmgr.services.manual_servers import EnterServer
from cloudmgr.services.servers import PowerAction
from providers.simulated import drill
from tests import world
from tests.workflows.follow import read, told
from tests.workflows.looking import watched
from tests.workflows.proofs import Case, Stage, Zygote

_LINE = {
    "system_name": "智慧社区综合服务平台", "env": "prd", "purpose": "db", "lease_end": "长期", "network_zone": world.ZONE,
}  # fmt: skip


@pytest.fixture(scope="session")
def towns(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """Return a maker of cities in which two servers stood before: one is taken over, the other stays nobody's."""
    made: dict[str, Stage] = {}

    def get(dialect: str) -> Stage:
        if dialect not in made:
            url = request.getfixturevalue("new_database")() if dialect == "postgresql" else None
            made[dialect] = _town(zygote, tmp_path_factory.mktemp("imported") / "city", url)
        return made[dialect]

    return get


def _town(zygote: Zygote, home: Path, url: str | None) -> Stage:
    with watched(home, url) as clouds:
        state = clouds.state_dir()
        ref, _ = (drill.add_foreign_server(state, name, arch="aarch64", zone="kp-z1") for name in ("old-db", "nobodys"))
        clouds.look()
        with clouds.write() as session:
            sheet = import_sheet.read_rows([_LINE | {"uuid": ref}])
            imports.run(session, clouds.city.actor("sysadmin"), sheet, ImportOptions())
        settings = {
            "database": {"url": url, "synchronous": "NORMAL"},
            "worker": {"poll_s": 0.05, "boot_poll_s": 0.05, "health_interval_s": 600}
            | {"full_sync_interval_s": 0, "incremental_sync_interval_s": 0},
            "backends": json.loads(json.dumps([dict(section) for section in clouds.city.settings.backends])),
        }
    ready = zygote.run(data_dir=str(home), settings=settings, request=None)
    assert ready["status"] == 0, (home / "worker.log").read_text()[-4000:]
    return Stage(zygote, home, settings, url, uuid.UUID(int=0))


@pytest.fixture
def case(towns: Callable[[str], Stage], dialect: str, tmp_path: Path) -> Case:
    return towns(dialect).case(tmp_path / "case")


def _do(case: Case, deed: Callable[[Session, world.World], Any]) -> Any:
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    with city.session() as session:
        done = deed(session, city)
        session.commit()
    engine.dispose()
    return done


def _work(case: Case) -> None:
    """Let a worker do what waits."""
    done = case.zygote.run(
        data_dir=str(case.data_dir), settings=case.settings, request=None, until_idle=True, timeout_s=180
    )
    assert done["status"] == 0, case.log()


def _server(case: Case) -> Server:
    return read(case, lambda session: session.exec(select(Server)).one())


def _cloud(case: Case) -> dict[str, Any]:
    return {server.name: server for server in drill.list_servers(case.state_dir("kp"))}


def _look(case: Case) -> None:
    """Ask for a full look and have it taken."""

    def deed(session: Session, city: world.World) -> None:
        backend = session.exec(select(Backend)).one()
        discovery.ask_sync(session, city.actor("sysadmin"), backend.id, AskSync())

    _do(case, deed)
    _work(case)


def _findings(case: Case) -> list[Finding]:
    """Return what is open of what is ours."""
    return read(
        case,
        lambda session: [
            row
            for row in session.exec(select(Finding).order_by(col(Finding.field)))
            if row.server_id and not row.closed_at
        ],
    )


def _decide(case: Case, decision: str, rows: list[Finding]) -> None:
    command = DecideFindings.model_validate(
        {"ids": [str(row.id) for row in rows], "decision": decision, "reason": "核对"}
    )
    _do(case, lambda session, city: findings.decide(session, city.actor("sysadmin"), command))
    _work(case)


def _retire(case: Case, who: str = "requester") -> None:
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    case.request = city.submit_retire([_server(case).id], who)
    city.approve(case.request)
    engine.dispose()


def _check_gone(case: Case) -> None:
    assert case.phase() == "fulfilled", told(case)
    assert _cloud(case).keys() == {"nobodys"}, "only what was taken over goes"
    server = _server(case)
    assert (server.phase, server.source) == ("retired", "imported")

    def look(session: Session) -> None:
        certificate = session.exec(select(DeletionCertificate)).one()
        assert (certificate.state, certificate.number is not None) == ("complete", True)
        items = list(session.exec(select(CertificateItem)))
        assert [(item.kind, item.ref, item.state) for item in items] == [("server", server.native_ref, "gone")]
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        assert not any(usage.used.values())
        assert not any(usage.reserved.values())
        assert quotas.verify(session).mismatches == []
        assert all(row.released_at is not None for row in session.exec(select(Allocation)))

    read(case, look)


def test_what_was_taken_over_is_switched_put_back_and_retired_with_a_certificate(case: Case) -> None:
    id_ = _server(case).id
    command = PowerAction.model_validate({"action": "stop"})
    _do(case, lambda session, city: servers.act(session, city.actor("admin"), id_, command))
    _work(case)
    assert (_cloud(case)["old-db"].power, _server(case).state) == ("stopped", "stopped")
    asked = read(case, lambda s: list(s.exec(select(AuditEvent).where(AuditEvent.event == "vm.stop"))))
    assert [event.outcome for event in asked][-1] == "success"

    drill.change(case.state_dir("kp"), _server(case).native_ref or "", vcpus=4, memory_mib=8192)
    _look(case)
    grown = _findings(case)
    assert [(row.kind, row.field, row.server_id) for row in grown] == [
        ("drift", "memory_mib", id_),
        ("drift", "vcpus", id_),
    ], "nothing is said of the power that we asked for"
    _decide(case, "accept", [row for row in grown if row.field == "vcpus"])
    _decide(case, "restore", [row for row in grown if row.field == "memory_mib"])
    there = _cloud(case)["old-db"]
    assert (there.vcpus, there.memory_mib, there.power) == (4, 4096, "stopped")
    held = _server(case)
    assert (held.vcpus, held.memory_mib) == (4, 4096)
    _look(case)
    assert _findings(case) == []

    _retire(case)
    case.finish()
    _check_gone(case)
    _look(case)
    assert _findings(case) == []


@pytest.mark.parametrize("kill_at", ["evidence:after", "delete:after", "checked:inside", "retired:inside"])
def test_a_kill_while_it_is_retired_leaves_nothing(case: Case, kill_at: str) -> None:
    _retire(case)
    died = case.run(kill_at=kill_at)
    assert died["died_by"] == signal.SIGKILL, (died, case.log())
    case.finish()
    _check_gone(case)


def test_one_taken_away_by_hand_is_an_orphan_whose_loss_is_confirmed(case: Case) -> None:
    drill.vanish(case.state_dir("kp"), _server(case).native_ref or "")
    _look(case)
    (orphan,) = _findings(case)
    assert (orphan.kind, _server(case).phase) == ("orphan", "active")
    _decide(case, "confirm_loss", [orphan])
    assert _server(case).phase == "retired"
    assert not any(read(case, lambda s: quotas.tree(s, root_id=None, depth=1))[0].used.values())


def test_a_row_kept_by_hand_is_retired_by_request_too_and_asks_no_cloud(case: Case) -> None:
    fields = {
        "name": "rack-07", "resource_type": "baremetal", "counts_quota": True, "env": "prd", "purpose_kind": "db",
        "network_zone": world.ZONE, "arch": "aarch64", "vcpus": 64, "memory_mib": 262144, "system_disk_gib": 960,
        "datacenter": "老机房",
    }  # fmt: skip

    def enter(session: Session, city: world.World) -> uuid.UUID:
        command = EnterServer.model_validate(fields | {"project": str(city.project.id)})
        return manual_servers.enter(session, city.actor("admin"), command)[0].id

    id_ = _do(case, enter)
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    case.request = city.submit_retire([id_])
    city.approve(case.request)
    engine.dispose()
    calls = len(case.calls())
    case.finish()
    assert case.phase() == "fulfilled", told(case)
    assert read(case, lambda session: session.get_one(Server, id_).phase) == "retired"
    assert len(case.calls()) == calls
    usage = read(case, lambda session: quotas.tree(session, root_id=None, depth=1))[0]
    assert usage.used["vcpus"] == 2, "what was taken over counts on"
