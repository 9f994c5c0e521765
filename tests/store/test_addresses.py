"""Addresses are taken once and given back wholly, on both databases and from many processes."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.models import Address, AddressRange, Backend, Network, ObservedAddress, ObservedServer, Server, Subnet
from cloudmgr.services import requests
from cloudmgr.store import addresses
from cloudmgr.store.addresses import Taken
from tests.stocked import Desk
from tests.world import ZONE, World

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4


def add_subnet(session: Session, cidr: str, *, gateway: str | None = None, managed: bool = True) -> Subnet:
    """Put a subnet on the network of cloud kp, which is made when it is not there."""
    backend = session.exec(select(Backend).where(Backend.name == "kp")).one()
    network = session.exec(select(Network).where(Network.backend_id == backend.id)).first()
    if network is None:
        network = Network(backend_id=backend.id, ref="net", name="net", network_zone=ZONE)
        session.add(network)
        session.flush()
    subnet = Subnet(
        network_zone=ZONE,
        network_id=network.id,
        family=6 if ":" in cidr else 4,
        cidr=cidr,
        gateway=gateway,
        is_managed=managed,
    )
    session.add(subnet)
    session.flush()
    return subnet


def add_servers(world: World, session: Session, count: int) -> list[Server]:
    """Ask for one server, and put copies of its row beside it: quota is not the subject here."""
    request = requests.submit_new(session, world.actor("requester"), world.command())
    first = session.exec(select(Server).where(Server.request_id == request.id)).one()
    plain = first.model_dump(exclude={"id", "name"})
    rows = [first, *(Server(name=f"copy-{number}", **plain) for number in range(1, count))]
    session.add_all(rows)
    session.flush()
    return rows


def take(desk: Desk, subnet: Subnet, server: Server) -> str | None:
    row = addresses.take_next(
        desk.session, subnet, server_id=server.id, organization_id=server.organization_id, by=server.name
    )
    return row.address if row else None


def ask(desk: Desk, subnet: Subnet, server: Server, address: str) -> Taken | Address:
    return addresses.take_exact(
        desk.session,
        subnet,
        address,
        state="allocated",
        server_id=server.id,
        organization_id=server.organization_id,
        by=server.name,
    )


def test_the_first_addresses_are_those_behind_network_and_gateway(desk: Desk) -> None:
    subnet = add_subnet(desk.session, "198.51.100.0/29", gateway="198.51.100.1")
    servers = add_servers(desk.world, desk.session, 6)
    assert [take(desk, subnet, each) for each in servers] == [f"198.51.100.{n}" for n in (2, 3, 4, 5, 6)] + [None]


def test_what_was_given_back_rests_until_the_others_were_had(desk: Desk) -> None:
    subnet = add_subnet(desk.session, "198.51.100.0/29")
    one, two = add_servers(desk.world, desk.session, 2)
    assert take(desk, subnet, one) == "198.51.100.1"
    addresses.give_back(desk.session, one.id)
    given = []
    for _ in range(7):
        given.append(take(desk, subnet, two))
        addresses.give_back(desk.session, two.id)
    assert given == [f"198.51.100.{n}" for n in (2, 3, 4, 5, 6, 1, 2)]


def test_pools_are_handed_out_and_what_is_excluded_is_not(desk: Desk) -> None:
    subnet = add_subnet(desk.session, "2001:db8::/64")
    for kind, first, last in (("pool", "2001:db8::10", "2001:db8::14"), ("excluded", "2001:db8::11", "2001:db8::12")):
        desk.session.add(
            AddressRange(
                subnet_id=subnet.id,
                kind=kind,
                first=first,
                last=last,
                first_key=addresses.addresses.key_of(first),
                last_key=addresses.addresses.key_of(last),
            )
        )
    desk.session.flush()
    servers = add_servers(desk.world, desk.session, 4)
    assert [take(desk, subnet, each) for each in servers] == [
        "2001:db8::10",
        "2001:db8::13",
        "2001:db8::14",
        None,
    ]


def test_what_the_cloud_reports_as_used_is_passed_over(desk: Desk) -> None:
    subnet = add_subnet(desk.session, "198.51.100.0/29")
    backend = desk.session.exec(select(Backend).where(Backend.name == "kp")).one()
    now = clock.now()
    addresses.mark_observed(desk.session, backend_id=backend.id, network_ref="net", address="198.51.100.1")
    addresses.mark_observed(desk.session, backend_id=backend.id, network_ref="net", address="198.51.100.1")
    desk.session.add(
        ObservedServer(
            backend_id=backend.id,
            ref="x",
            name="by-hand",
            power="running",
            native_state="-",
            ipv4=["198.51.100.2"],
            first_seen_at=now,
            last_seen_at=now,
            changed_at=now,
        )
    )
    desk.session.flush()
    (one,) = add_servers(desk.world, desk.session, 1)
    assert take(desk, subnet, one) == "198.51.100.3"
    told = ask(desk, subnet, one, "198.51.100.2")
    assert isinstance(told, Taken)
    assert (told.by, told.who) == ("observed", "by-hand")


def test_an_address_asked_for_is_had_or_its_holder_named(desk: Desk) -> None:
    subnet = add_subnet(desk.session, "198.51.100.0/24", gateway="198.51.100.254")
    one, two = add_servers(desk.world, desk.session, 2)
    assert isinstance(ask(desk, subnet, one, "198.51.100.77"), Address)
    assert isinstance(ask(desk, subnet, one, "198.51.100.77"), Address), "its own, again"
    told = ask(desk, subnet, two, "198.51.100.77")
    assert told == Taken("allocated", one.name, one.id)
    for address, by in (
        ("198.51.100.254", "gateway"),
        ("198.51.100.0", "outside"),
        ("198.51.100.255", "outside"),
        ("203.0.113.7", "outside"),
    ):
        told = ask(desk, subnet, two, address)
        assert isinstance(told, Taken)
        assert told.by == by
    assert addresses.next_free(desk.session, subnet) == "198.51.100.1"


def test_giving_back_keeps_what_was_asked_for_and_forgets_what_was_seen_of_it(desk: Desk) -> None:
    subnet = add_subnet(desk.session, "198.51.100.0/24")
    (one,) = add_servers(desk.world, desk.session, 1)
    ask(desk, subnet, one, "198.51.100.9")
    take(desk, subnet, one)
    backend = desk.session.exec(select(Backend).where(Backend.name == "kp")).one()
    addresses.mark_observed(desk.session, backend_id=backend.id, network_ref="net", address="198.51.100.9")
    addresses.give_back(desk.session, one.id, keep=["198.51.100.9"])
    assert [(row.address, row.state) for row, _ in addresses.of_server(desk.session, one.id)] == [
        ("198.51.100.9", "reserved")
    ]
    assert desk.session.exec(select(ObservedAddress)).all() == []
    addresses.give_back(desk.session, one.id)
    addresses.give_back(desk.session, one.id)
    assert addresses.of_server(desk.session, one.id) == []


@pytest.mark.parametrize(("cidr", "room"), [("198.51.100.0/24", 254), ("2001:db8::/64", 400)])
def test_four_processes_never_get_the_same_address_and_leak_none(any_world: World, cidr: str, room: int) -> None:
    count = int(os.environ.get("CLOUDMGR_IPAM_OPERATIONS", "800"))
    with any_world.session() as session:
        subnet = add_subnet(session, cidr)
        ids = [str(server.id) for server in add_servers(any_world, session, 400)]
        session.commit()
    done = race(any_world, subnet.id, ids, count)
    with any_world.session(write=False) as session:
        rows = session.exec(select(Address).where(Address.subnet_id == subnet.id)).all()
    held = {server: address for each in done for server, address in each["held"].items()}
    assert {str(row.server_id): row.address for row in rows} == held, "what is booked is what they hold"
    assert len(set(held.values())) == len(held) <= room
    assert sum(each["taken"] + each["given_back"] for each in done) >= count


def race(world: World, subnet_id: uuid.UUID, ids: list[str], count: int) -> list[dict]:
    """Let four processes take and give back at once."""
    share = len(ids) // PROCESSES
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.store.ipam_race",
                world.settings.database_url,
                str(subnet_id),
                str(count // PROCESSES),
                str(number),
                *ids[number * share : (number + 1) * share],
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(PROCESSES)
    ]
    answers = []
    for each in started:
        out, err = each.communicate(timeout=300)
        assert each.returncode == 0, err[-3000:]
        answers.append(json.loads(out))
    return answers
