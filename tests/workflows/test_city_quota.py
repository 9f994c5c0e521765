"""A district's own cloud does not eat the city's quota: what each level holds from submitting to retirement, cloud by cloud."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session, select

import quotas
from cloudmgr.models import Backend, Organization, Server
from cloudmgr.store.db import begin_immediate, new_session
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests import world
from tests.workflows.follow import ask, read, told
from tests.workflows.proofs import Case

DISTRICT = {"tier": "district", "owner": "430102"}
OWN = [world.simulated_backend("kp", **DISTRICT)]
NOTHING = (0, 0)


def both(name: str) -> list[dict[str, Any]]:
    """Return the district's own domestic cloud, tried first, and the city's, which is not domestic and of equal processors."""
    own = world.simulated_backend("kp", **DISTRICT)
    city = world.simulated_backend(name, model="cortex-a72")
    return [own, city]


def held(case: Case) -> dict[str, tuple[int, int]]:
    """Return used and reserved vCPUs at city, district and bureau, and that every balance is the sum of its entries."""

    def look(session: Session) -> dict[str, tuple[int, int]]:
        assert quotas.verify(session).mismatches == []
        rows = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}
        return {
            code: (rows[code].used.get("vcpus", 0), rows[code].reserved.get("vcpus", 0))
            for code in ("CS", "430102", "430102-mzj")
        }

    return dict(read(case, look))


def everywhere(used: int, reserved: int) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(("CS", "430102", "430102-mzj"), (used, reserved))


def below_the_city(used: int, reserved: int) -> dict[str, tuple[int, int]]:
    return everywhere(used, reserved) | {"CS": NOTHING}


def counts_at_the_city(case: Case) -> None:
    engine = case.engine
    with new_session(engine) as session:
        begin_immediate(session)
        for backend in session.exec(select(Backend)):
            backend.counts_city_quota = True
            session.add(backend)
        session.commit()
    engine.dispose()


def retire(case: Case) -> None:
    ids = read(case, lambda session: [str(server.id) for server in session.exec(select(Server))])
    ask(case, {"kind": "retire", "servers": ids})


def test_a_server_on_the_districts_own_cloud_is_held_at_the_city_only_until_it_is_placed(
    case: Callable[..., Case],
) -> None:
    one = case(backends=OWN)
    assert held(one) == everywhere(0, 2), "where it will go is not known yet: it must fit everywhere"
    one.run(kill_at="place:after")
    assert held(one) == below_the_city(0, 2)
    one.run(kill_at="post:after")
    assert held(one) == below_the_city(2, 0)
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    assert held(one) == below_the_city(2, 0)
    retire(one)
    assert held(one) == below_the_city(2, 0), "it counts until it is gone"
    one.run(kill_at="retire_begin:after")
    assert held(one) == below_the_city(2, 0)
    one.finish()
    assert held(one) == everywhere(0, 0)


def test_a_cloud_that_counts_at_the_city_is_held_there_from_first_to_last(case: Callable[..., Case]) -> None:
    one = case(backends=OWN)
    counts_at_the_city(one)
    one.run(kill_at="place:after")
    assert held(one) == everywhere(0, 2)
    one.finish()
    assert held(one) == everywhere(2, 0)
    retire(one)
    one.finish()
    assert held(one) == everywhere(0, 0)


@pytest.mark.parametrize("kill_at", [None, "unplace:inside", "unplace:after"])
def test_moving_on_to_a_cloud_of_the_city_is_counted_there_again(
    case: Callable[..., Case], kill_at: str | None
) -> None:
    one = case(backends=both("city"))
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="no_capacity", times=None))
    one.run(kill_at="place:after")
    assert held(one) == below_the_city(0, 2), "the domestic cloud of the district comes first"
    assert placed(one) == {"backend=kp": 2, "tier=district": 2, "cpu_family=kunpeng": 2}
    if kill_at:
        one.run(kill_at=kill_at)
        assert held(one) == below_the_city(0, 2), "what was given back comes back with the next place"
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    assert "Another pool is tried" in told(one)
    assert held(one) == everywhere(2, 0)
    assert placed(one) == {"backend=city": 2, "tier=city": 2, "cpu_family=unknown": 2}
    retire(one)
    one.finish()
    assert held(one) == everywhere(0, 0)


def placed(case: Case) -> dict[str, int]:
    """Return what the server holds under the keys that only placement fixes."""

    def look(session: Session) -> dict[str, int]:
        server = session.exec(select(Server)).one()
        (part,) = quotas.get_reservation(session, server.reservation_id).parts
        return {
            f"{name}={part.dims[name]}": part.amounts["vcpus"]
            for name in ("backend", "tier", "cpu_family")
            if name in part.dims
        }

    return dict(read(case, look))


def test_a_city_without_room_holds_back_nobody_who_names_a_cloud_of_the_district(
    case: Callable[..., Case],
) -> None:
    one = case(backends=OWN)
    one.finish()
    engine = one.engine
    with new_session(engine) as session:
        begin_immediate(session)
        root = session.exec(select(Organization).where(Organization.code == "CS")).one()
        quotas.set_limits(
            session, account_id=root.account_id, limits={"vcpus": 2}, replace=False, reason="测试", actor="test"
        )
        session.commit()
    engine.dispose()
    ask(one, {**body("kp"), "purpose": "写明本区云"})
    assert held(one)["CS"] == NOTHING, "a request that names the district's cloud never touches the city"
    one.finish()
    assert held(one) == below_the_city(4, 0)


def body(backend: str | None) -> dict[str, Any]:
    entry = {"name": "more", "count": 1, "flavor": "2C4G", "image": "kylin-v10", "arch": "aarch64"}
    return {
        "kind": "create",
        "network_zone": world.ZONE,
        "lease_end": "2027-06-01",
        "owner": {"name": "王芳", "phone": "13800000000"},
        "ssh_keys": [world.KEY],
        "servers": [entry | ({"backend": backend} if backend else {}) | {"playbook": "collect_facts"}],
    }
