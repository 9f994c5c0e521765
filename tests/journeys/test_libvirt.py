"""The journey on real guests: one request, an Arm and an x86 server, configured over SSH, killed on the way, retired, certified."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col, select

import quotas
from cloudmgr.models import (
    Allocation,
    CertificateItem,
    DeletionCertificate,
    PlaybookEvent,
    PlaybookRunServer,
    ResourceRequest,
    Server,
)
from cloudmgr.store.db import make_engine, new_session
from tests import world
from tests.providers import libvirt_lab
from tests.workflows.proofs import Case, Zygote, playbooks_running, prepare

pytestmark = pytest.mark.lab("libvirt")

TIMEOUT_S = 1200
IMAGES = ("debian-12-aarch64", "debian-12-x86_64")
PIECES = {"server", "disk", "nic", "seed"}
"""What the host keeps for every server, whatever its architecture."""


def backend() -> dict[str, Any]:
    """Return the lab as a `[[backends]]` section: its two small guests are one logical image."""
    options = libvirt_lab.options()
    options["images"] = [image | {"name": "debian-12"} for image in options["images"] if image["ref"] in IMAGES]
    return {
        "name": "lab",
        "provider": "libvirt",
        "tier": "city",
        "datacenter": "实验室",
        "network_zones": {"lab": world.ZONE},
        "overcommit": {"vcpus": 400},
        **options,
    }


def entry(name: str, arch: str, playbook: str) -> dict[str, Any]:
    return {"name": name, "count": 1, "flavor": "small", "image": "debian-12", "arch": arch, "playbook": playbook}


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The requester's own key pair."""
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "wang@furong", "-f", path], check=True)
    return path


def approved(zygote: Zygote, home: Path, key: Path, servers: list[dict[str, Any]]) -> Case:
    """Make a city whose only cloud is the lab, with one approved request."""
    stage = prepare(
        zygote,
        home,
        None,
        backends=[backend()],
        worker={
            "boot_poll_s": 1.0,
            "boot_timeout_s": 600,
            "ansible_command_prefix": ["ip", "netns", "exec", libvirt_lab.lab()["netns"]],
        },
        servers=servers,
        ssh_keys=[Path(f"{key}.pub").read_text().strip()],
    )
    return Case(zygote, home, None, stage.settings, stage.request, ["lab"])


def domains(*names: str) -> list[str]:
    """Return what virsh lists of servers with these names; other domains of the host are other people's."""
    uri = libvirt_lab.lab()["uri"]
    found = subprocess.run(["virsh", "-c", uri, "list", "--all", "--name"], capture_output=True, text=True, check=True)
    return sorted(domain for domain in found.stdout.split() if domain.startswith(names))


def of(case: Case) -> tuple[ResourceRequest, list[Server]]:
    engine = case.engine
    with new_session(engine) as session:
        request = session.get_one(ResourceRequest, case.request)
        servers = list(session.exec(select(Server).order_by(col(Server.name))))
    engine.dispose()
    return request, servers


def retire(case: Case) -> Case:
    """Ask for the end of every server, approve it and see it done."""
    _, servers = of(case)
    engine = make_engine(f"sqlite:///{case.data_dir / 'cloudmgr.db'}")
    city = world.reopen(case.data_dir, engine)
    request = city.submit_retire([server.id for server in servers])
    city.approve(request)
    engine.dispose()
    ending = Case(case.zygote, case.data_dir, None, case.settings, request, case.backends)
    done = ending.run(timeout_s=TIMEOUT_S)
    assert done["status"] == 0, (done, case.log())
    assert ending.phase() == "fulfilled", case.log()
    return ending


def check_nothing_left(case: Case, servers: list[Server]) -> None:
    assert domains(*(server.name for server in servers)) == []
    for server in servers:
        assert libvirt_lab.files_of(server.id) == [], "no disk, seed or nvram is left"
    engine = case.engine
    with new_session(engine) as session:
        assert quotas.verify(session).mismatches == []
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        assert (usage.used.get("servers", 0), usage.reserved.get("servers", 0)) == (0, 0)
        assert list(session.exec(select(Allocation).where(col(Allocation.released_at).is_(None)))) == []
    engine.dispose()


def check_certified(case: Case, servers: list[Server]) -> None:
    """Each server has a certificate of its own, which lists every piece as gone."""
    engine = case.engine
    with new_session(engine) as session:
        issued = {row.server_id: row for row in session.exec(select(DeletionCertificate))}
        assert issued.keys() == {server.id for server in servers}
        for certificate in issued.values():
            assert (certificate.state, certificate.evidence, (certificate.number or "")[:2]) == (
                "complete",
                "asked",
                "XH",
            )
            query = select(CertificateItem).where(CertificateItem.certificate_id == certificate.id)
            pieces = list(session.exec(query))
            assert {piece.kind for piece in pieces} >= PIECES
            assert {piece.state for piece in pieces} == {"gone"}
            assert all(piece.gone_at for piece in pieces)
    engine.dispose()


def test_one_request_builds_and_configures_an_arm_and_an_x86_server(zygote: Zygote, key: Path, tmp_path: Path) -> None:
    case = approved(
        zygote,
        tmp_path / "city",
        key,
        [entry("journey-arm", "aarch64", "configure_server"), entry("journey-x86", "x86_64", "configure_server")],
    )
    done = case.run(timeout_s=TIMEOUT_S)
    assert done["status"] == 0, (done, case.log())
    request, servers = of(case)
    assert request.phase == "fulfilled", (case.log(), [(s.name, s.phase, s.failure) for s in servers])
    assert [(server.arch, server.phase, server.rehearsed) for server in servers] == [
        ("aarch64", "active", False),
        ("x86_64", "active", False),
    ]
    assert domains("journey-arm-", "journey-x86-") == sorted(
        f"{server.name}-{server.id.hex[-8:]}" for server in servers
    )
    for server in servers:
        assert server.ipv4
        answer = libvirt_lab.ssh(server.ipv4[0], "uname -m; hostname; sudo cat /etc/cloudmgr/server.json", key=key)
        assert answer.returncode == 0, answer.stderr
        arch, host_name, marker = answer.stdout.split("\n", 2)
        assert (arch, host_name) == (server.arch, server.name)
        assert json.loads(marker)["server_id"] == str(server.id)
        assert json.loads(marker)["request"] == request.number
        assert server.guest["arch"] == server.arch
    ending = retire(case)
    check_nothing_left(ending, servers)
    check_certified(ending, servers)


@pytest.mark.parametrize("kill_at", ["create:inside", "await_running:after", "configure:inside"])
def test_killed_on_the_way_it_builds_exactly_one_guest(zygote: Zygote, key: Path, tmp_path: Path, kill_at: str) -> None:
    case = approved(zygote, tmp_path / "city", key, [entry("journey-kill", "aarch64", "collect_facts")])
    died = case.run(kill_at=kill_at, timeout_s=TIMEOUT_S)
    assert died["died_by"] == signal.SIGKILL, (died, case.log())
    done = case.run(timeout_s=TIMEOUT_S)
    assert done["status"] == 0, (done, case.log())
    request, servers = of(case)
    assert request.phase == "fulfilled", (case.log(), [(s.name, s.phase, s.failure) for s in servers])
    assert domains("journey-kill-") == [f"journey-kill-{servers[0].id.hex[-8:]}"]
    assert not playbooks_running(case.data_dir)
    engine = case.engine
    with new_session(engine) as session:
        runs = session.exec(select(PlaybookRunServer)).all()
        assert [run.state for run in runs] == ["ok"], "one run, whatever died"
        assert session.exec(select(sa.func.count()).select_from(PlaybookEvent)).one() > 0
        assert quotas.verify(session).mismatches == []
    engine.dispose()
    ending = retire(case)
    check_nothing_left(ending, servers)
    check_certified(ending, servers)
