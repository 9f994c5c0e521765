"""Addresses, ports and public addresses through the real workflows: killed at every step, answers lost, addresses in use."""

import itertools
import signal
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.models import Address, PortOpening, PublicIp, Server
from cloudmgr.store.db import new_session
from cloudmgr.workflows import openings
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests.workflows.conftest import _database
from tests.workflows.networks import PORT, Body, check_network, prepare
from tests.workflows.proofs import Case, Stage, Zygote, check_slate

_numbers = itertools.count()
WHERE = (("sqlite", "inside"), ("sqlite", "after"), ("postgresql", "inside"))


def open_port(servers: list[Server], _ips: list[PublicIp], _ports: list[PortOpening]) -> dict[str, Any]:
    return {"kind": "ports", "open": [{**PORT, "server": str(servers[0].id)}]}


def close_port(_servers: list[Server], _ips: list[PublicIp], ports: list[PortOpening]) -> dict[str, Any]:
    return {"kind": "ports", "close": [str(ports[0].id)]}


def assign(servers: list[Server], _ips: list[PublicIp], _ports: list[PortOpening]) -> dict[str, Any]:
    return {"kind": "public_ip", "assign": [{"server": str(servers[0].id), "bandwidth_mbps": 20}]}


def give_back(_servers: list[Server], ips: list[PublicIp], _ports: list[PortOpening]) -> dict[str, Any]:
    return {"kind": "public_ip", "release": [str(ips[0].id)]}


def retire(servers: list[Server], _ips: list[PublicIp], _ports: list[PortOpening]) -> dict[str, Any]:
    return {"kind": "retire", "servers": [str(servers[0].id)]}


STORIES: dict[str, tuple[dict[str, Any], list[Body]]] = {
    "create": ({"ports": [PORT]}, []),
    "manual": ({"ipv4": "10.60.7.7"}, []),
    "open": ({}, [open_port]),
    "close": ({"ports": [PORT]}, [close_port]),
    "assign": ({}, [assign]),
    "give_back": ({}, [assign, give_back]),
    "retire": ({"ports": [PORT]}, [assign, retire]),
}


@pytest.fixture(scope="session")
def network_stages(
    zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str, str], Stage]:
    made: dict[tuple[str, str], Stage] = {}

    def get(dialect: str, story: str) -> Stage:
        if (dialect, story) not in made:
            url = _database(request.getfixturevalue("postgres_url")) if dialect == "postgresql" else None
            made[dialect, story] = prepare(zygote, tmp_path_factory.mktemp("networks") / "city", url, *STORIES[story])
        return made[dialect, story]

    return get


@pytest.fixture
def told(network_stages: Callable[[str, str], Stage], dialect: str, tmp_path: Path) -> Callable[[str], Case]:
    """Return a maker of cases in which the last request of a story waits to be done."""
    return lambda story: network_stages(dialect, story).case(tmp_path / f"case{next(_numbers)}")


@pytest.mark.parametrize(("dialect", "where"), WHERE)
@pytest.mark.parametrize(
    ("story", "step", "standing", "ports", "ips"),
    [
        ("create", "place", 1, 1, 0),
        ("create", "ports_begin", 1, 1, 0),
        ("create", "set_ports", 1, 1, 0),
        ("create", "ports_end", 1, 1, 0),
        ("open", "ports_begin", 1, 1, 0),
        ("open", "set_ports", 1, 1, 0),
        ("open", "ports_end", 1, 1, 0),
        ("close", "set_ports", 1, 0, 0),
        ("close", "ports_end", 1, 0, 0),
        ("assign", "ip_begin", 1, 0, 1),
        ("assign", "ip_assign", 1, 0, 1),
        ("assign", "ip_assigned", 1, 0, 1),
        ("give_back", "ip_release_begin", 1, 0, 0),
        ("give_back", "ip_release", 1, 0, 0),
        ("give_back", "ip_released", 1, 0, 0),
        ("retire", "ip_release", 0, 0, 0),
        ("retire", "retired", 0, 0, 0),
    ],
)
def test_a_kill_leaves_the_network_as_it_was_asked(
    told: Callable[[str], Case], story: str, step: str, standing: int, ports: int, ips: int, where: str
) -> None:
    one = told(story)
    died = one.run(kill_at=f"{step}:{where}")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=standing)
    check_network(one, ports=ports, ips=ips)


@pytest.mark.parametrize("story", ["open", "assign", "give_back"])
def test_a_lost_answer_changes_nothing(told: Callable[[str], Case], story: str) -> None:
    one = told(story)
    call = {"open": "set_port_rules", "assign": "assign_public_address", "give_back": "release_public_address"}[story]
    drill.inject(one.state_dir("kp"), Fault(call=call, kind="lost_answer"))
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_network(one, ports=int(story == "open"), ips=int(story == "assign"))


def test_an_address_somebody_else_has_is_passed_over_and_another_taken(told: Callable[[str], Case]) -> None:
    one = told("create")
    drill.add_foreign_address(one.state_dir("kp"), "net", "10.60.0.2")
    drill.add_foreign_address(one.state_dir("kp"), "net", "10.60.0.3")
    died = one.run(kill_at="next_address:inside")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=1)
    check_network(one, ports=1, ips=0)
    assert {address for address, _ in booked(one)} == {"10.60.0.4", "fd00:60::2"}


@pytest.mark.parametrize("kill_at", [None, "next_address:inside", "next_address:after", "create:inside"])
def test_an_address_found_in_use_halfway_is_passed_over_too(told: Callable[[str], Case], kill_at: str | None) -> None:
    """A cloud that makes servers in steps may notice in a later one, when somebody was quicker."""
    one = told("create")
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="unfinished"))
    drill.add_foreign_address(one.state_dir("kp"), "net", "10.60.0.2")
    drill.add_foreign_address(one.state_dir("kp"), "net", "10.60.0.3")
    if kill_at:
        died = one.run(kill_at=kill_at, occurrence=2)
        assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=1)
    check_network(one, ports=1, ips=0)
    assert {address for address, _ in booked(one)} == {"10.60.0.4", "fd00:60::2"}


def test_an_address_asked_for_that_is_in_use_halfway_fails_and_leaves_nothing(told: Callable[[str], Case]) -> None:
    one = told("manual")
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="unfinished"))
    drill.add_foreign_address(one.state_dir("kp"), "net", "10.60.7.7")
    one.finish()
    assert one.phase() == "failed"
    check_slate(one, standing=0)
    assert booked(one) == []


def test_an_address_asked_for_is_given(told: Callable[[str], Case]) -> None:
    one = told("manual")
    one.finish()
    check_slate(one, standing=1)
    check_network(one, ports=0, ips=0)
    assert "10.60.7.7" in {address for address, _ in booked(one)}


def test_an_address_asked_for_that_somebody_else_has_fails_and_says_so(told: Callable[[str], Case]) -> None:
    one = told("manual")
    drill.add_foreign_address(one.state_dir("kp"), "net", "10.60.7.7")
    one.finish()
    assert one.phase() == "failed"
    check_slate(one, standing=0)
    assert booked(one) == []
    with new_session(one.engine) as session:
        failure = session.exec(select(Server)).one().failure
    assert failure is not None
    assert "10.60.7.7" in str(failure["message"])


def test_a_public_address_that_cannot_be_had_gives_its_quota_back(told: Callable[[str], Case]) -> None:
    one = told("assign")
    drill.inject(one.state_dir("kp"), Fault(call="assign_public_address", kind="no_capacity"))
    one.finish()
    assert one.phase() == "failed"
    check_network(one, ports=0, ips=0)
    with new_session(one.engine) as session:
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        assert usage.used.get("public_ips", 0) == usage.reserved.get("public_ips", 0) == 0
        assert usage.used.get("bandwidth_mbps", 0) == 0
        assert quotas.verify(session).mismatches == []


def test_a_public_address_is_counted_with_its_bandwidth(told: Callable[[str], Case]) -> None:
    one = told("assign")
    one.finish()
    with new_session(one.engine) as session:
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        assert (usage.used.get("public_ips"), usage.used.get("bandwidth_mbps")) == (1, 20)


def test_an_opening_ends_by_itself_after_its_last_day(told: Callable[[str], Case]) -> None:
    one = told("create")
    one.finish()
    yesterday = clock.today() - timedelta(days=1)
    with new_session(one.engine) as session:
        opening = session.exec(select(PortOpening)).one()
        opening.valid_until = yesterday
        session.add(opening)
        session.flush()
        assert openings.schedule(session) == 1
        assert openings.schedule(session) == 1, "twice in an hour is once"
        session.commit()
    one.run(drain=True)
    with new_session(one.engine) as session:
        assert session.exec(select(PortOpening)).one().state == "expired"
        assert openings.schedule(session) == 0
        session.rollback()
    check_network(one, ports=0, ips=0)


def booked(case: Case) -> list[tuple[str, uuid.UUID | None]]:
    with new_session(case.engine) as session:
        return [(row.address, row.server_id) for row in session.exec(select(Address))]
