"""A prepared city whose addresses we choose: subnets are managed before anybody asks, and the cloud has an external network."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlmodel import select

from cloudmgr.models import Address, Network, PortOpening, PublicIp, Server, Subnet
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import body_adapter
from cloudmgr.settings import load_settings
from cloudmgr.store.db import new_session
from cloudmgr.workflows.runtime import open_provider
from providers.simulated.provider import SimulatedProvider
from tests import world
from tests.workflows.proofs import Case, Stage, Zygote
from tests.world import World

EXTERNAL = {"ref": "ext", "name": "ext", "cidr_v4": "203.0.113.0/24", "is_external": True}
PORT = {"source": "198.51.100.0/24", "protocol": "tcp", "port": 443, "purpose": "门户网站"}
ENTRY = {
    "name": "srv",
    "count": 1,
    "flavor": "2C4G",
    "image": "kylin-v10",
    "arch": "aarch64",
    "playbook": "collect_facts",
}
Body = Callable[[list[Server], list[PublicIp], list[PortOpening]], dict[str, Any]]


def prepare(
    zygote: Zygote, home: Path, url: str | None, entry: dict[str, Any] | None = None, then: list[Body] | None = None
) -> Stage:
    """Ask for one server; with `then`, let that and each further request but the last be done, and approve the last."""
    section = world.simulated_backend()
    section["networks"].append(EXTERNAL)
    city = world.build(home, url, backends=[section])
    settings: dict[str, Any] = {
        "database": {"url": url, "synchronous": "NORMAL"},
        "worker": {"poll_s": 0.05, "boot_poll_s": 0.05, "health_interval_s": 600}
        | {"full_sync_interval_s": 0, "incremental_sync_interval_s": 0},
        "backends": [section],
    }
    ready = zygote.run(data_dir=str(home), settings=settings, request=None)
    assert ready["status"] == 0, (home / "worker.log").read_text()[-4000:]
    with city.session() as session:
        network = session.exec(select(Network).where(Network.ref == "net")).one()
        for family, cidr, gateway in ((4, "10.60.0.0/16", "10.60.0.1"), (6, "fd00:60::/64", "fd00:60::1")):
            subnet = session.exec(select(Subnet).where(Subnet.network_id == network.id, Subnet.cidr == cidr)).one()
            subnet.is_managed, subnet.gateway = True, gateway
            assert subnet.family == family
            session.add(subnet)
        session.commit()
    request = city.submit(servers=[ENTRY | (entry or {})])
    city.approve(request)
    for body in then or []:
        Case(zygote, home, url, settings, request).finish()
        with new_session(city.engine) as session:
            wanted = body(
                list(session.exec(select(Server))),
                list(session.exec(select(PublicIp))),
                list(session.exec(select(PortOpening))),
            )
        request = submit(city, wanted)
        city.approve(request)
    city.engine.dispose()
    (home / "worker.log").unlink(missing_ok=True)
    return Stage(zygote, home, settings, url, request)


def submit(city: World, body: dict[str, Any]) -> uuid.UUID:
    """Submit a request of any kind for the city's project."""
    command = body_adapter.validate_python({"project": str(city.project.id), "purpose": "网络变更", **body})
    with city.session() as session:
        request = requests.submit_new(session, city.actor("requester"), command)
        session.commit()
        return request.id


def cloud(case: Case) -> SimulatedProvider:
    """Open the case's cloud beside the worker."""
    settings = load_settings(case.data_dir, **json.loads(json.dumps(case.settings)))
    provider = open_provider(settings, "kp")
    assert isinstance(provider, SimulatedProvider)
    return provider


def check_network(case: Case, *, ports: int, ips: int) -> None:
    """Addresses booked are those the servers have; so many ports are open and so many public addresses lead to servers."""
    provider, engine = cloud(case), case.engine
    with new_session(engine) as session:
        alive = [server for server in session.exec(select(Server)) if server.phase == "active"]
        booked = {row.address for row in session.exec(select(Address))}
        assert booked == {text for server in alive for text in (*server.ipv4, *server.ipv6)}
        assert {row.state for row in session.exec(select(Address))} <= {"allocated"}
        active = {str(row.id) for row in session.exec(select(PortOpening)) if row.state == "active"}
        there = {rule.key for server in alive for rule in provider.list_port_rules(str(server.native_ref))}
        assert there == active
        assert len(active) == ports
        led = list(session.exec(select(PublicIp)))
        assert {row.phase for row in led} <= {"active", "released", "failed"}
        assert len([row for row in led if row.phase == "active"]) == ips
        for row in led:
            seen = provider.find_public_address(row.id)
            assert (seen is not None) == (row.phase == "active")
            assert seen is None or seen.address == row.address
    engine.dispose()
    provider.close()
