"""A network of a cloud need not reach all its zones: a server goes on one that reaches its own."""

from collections.abc import Callable

from sqlmodel import select

from cloudmgr.models import Server
from cloudmgr.store.db import new_session
from tests import world
from tests.workflows.proofs import Case, check_slate


def _halves() -> list[dict[str, object]]:
    """One cloud of an x86 and an Arm zone, each with a network of its own that carries the same network zone."""
    cloud = world.simulated_backend("kp")
    x86 = {"name": "hg", "model": "hygon-7285", "count": 1, "vcpus": 64, "memory_mib": 262144, "disk_gib": 8000}
    cloud["zones"] = [{"ref": "kp-z0", "name": "kp-x86", "hosts": [x86]}, *cloud["zones"]]
    cloud["networks"] = [
        {"ref": "net-0", "name": "first", "cidr_v4": "10.60.0.0/16", "zones": ["kp-z0"]},
        {"ref": "net-1", "name": "second", "cidr_v4": "10.61.0.0/16", "zones": ["kp-z1"]},
    ]
    cloud["network_zones"] = {"net-0": world.ZONE, "net-1": world.ZONE}
    return [cloud]


def test_a_server_goes_on_a_network_that_reaches_its_zone(case: Callable[..., Case]) -> None:
    one = case(backends=_halves())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    engine = one.engine
    with new_session(engine) as session:
        server = session.exec(select(Server)).one()
        assert (server.arch, server.network_ref) == ("aarch64", "net-1")
        assert server.ipv4[0].startswith("10.61.")
    engine.dispose()
    check_slate(one, standing=1)
