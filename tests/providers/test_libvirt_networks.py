"""Fixed addresses and port rules of the libvirt driver, seen from inside guests, from a neighbour and from libvirt."""

import random
import subprocess
import uuid
import xml.etree.ElementTree as ET
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from cloudmgr.domain.ids import new_id
from providers.base import FixedAddress, PortRule
from providers.errors import AddressTaken, InvalidSpec, UnknownOutcome, Unsupported
from tests.providers.checks import in_threads
from tests.providers.libvirt_lab import (
    PROC_DOMAIN_UPDATE_DEVICE,
    answers_lost_from,
    files_of,
    foreign_domain,
    lab,
    make_key,
    opened,
    short_tmp_path,
    spec,
    ssh,
    ssh_when_up,
    virsh,
)

try:
    from providers.libvirt import build, ports, storage
    from providers.libvirt.xml import mac_address
except ImportError:  # the SDK comes with the lab, and its absence is reported as the lab's
    build = None

pytestmark = pytest.mark.lab("libvirt")
# Another for each run: a guest of the run before may have asked DHCP, whose lease outlives it.
V4 = FixedAddress(f"10.231.{random.randint(128, 191)}.{random.randint(1, 254)}", 16, "10.231.0.1", ("10.231.0.1",))
V6 = FixedAddress("fd42:231::2:5", 64, "fd42:231::1")
NEIGHBOUR = "10.231.202.200"
HOST = "10.231.0.1"


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with closing(opened(tmp_path_factory.mktemp("state"), management_sources=[f"{HOST}/32"])) as provider:
        yield provider


@pytest.fixture(scope="module")
def guest(provider, tmp_path_factory):
    """A running guest with fixed addresses: its reference, and what runs a command in it."""
    key, public = make_key(tmp_path_factory.mktemp("key"))
    token = new_id()
    try:
        ref = provider.create_server(spec(ssh_keys=(public,), addresses=(V4, V6)), token).ref
        ssh_when_up(provider, ref, "true", key=key)
        yield ref, lambda command: ssh(V4.address, command, key=key).stdout
    finally:
        provider.delete_server(str(token))
        assert files_of(token) == []
        assert reservations() == []


@pytest.fixture
def token(provider):
    token = new_id()
    yield token
    provider.delete_server(str(token))
    assert files_of(token) == []


def reservations(*flags, address=None):
    """Host entries of the lab's network in its running or (--inactive) stored description."""
    hosts = ET.fromstring(virsh("net-dumpxml", *flags, "lab")).findall("ip/dhcp/host")
    return [host.attrib for host in hosts if address is None or host.get("ip") == address]


class TestFixedAddresses:
    def test_guest_has_what_its_seed_says_and_dhcp_agrees(self, provider, guest):
        ref, run = guest
        told = run("ip -br address show dev eth0; ip route; cat /etc/resolv.conf")
        assert f"{V4.address}/16" in told
        assert f"{V6.address}/64" in told
        assert "default via 10.231.0.1" in told
        assert "nameserver 10.231.0.1" in told
        seen = provider.get_server(ref)
        assert (seen.ipv4, seen.ipv6) == ((V4.address,), (V6.address,))
        mac = mac_address(uuid.UUID(ref), 0)
        for flags in ((), ("--inactive",)):
            assert reservations(*flags, address=V4.address) == [{"mac": mac, "ip": V4.address}]
            assert reservations(*flags, address=V6.address) == [{"id": f"00:03:00:01:{mac}", "ip": V6.address}]
        assert V4.address not in virsh("net-dhcp-leases", "lab"), "nobody asked for what was told"

    def test_guest_that_asks_dhcp_is_told_the_same(self, provider, guest):
        """An image that does not read its seed's network part still gets the address."""
        _, run = guest
        asked = "sudo busybox udhcpc -n -q -i eth0 -t 5 -T 3 -s /bin/true 2>&1"
        assert f"lease of {V4.address} obtained" in run(asked)

    def test_addresses_are_listed_with_who_has_them(self, provider, guest):
        listed = {one.address: one for one in provider.list_addresses("lab")}
        assert listed[V4.address].server == listed[V6.address].server == guest[0]
        assert listed[HOST].owner == "host"

    def test_two_that_ask_at_once_never_both_get_it(self, provider):
        tokens = [new_id(), new_id()]
        wanted = replace(V4, address="10.231.202.6")

        def create(token):
            try:
                return provider.create_server(spec(addresses=(wanted,)), token).ref
            except AddressTaken:
                return None

        try:
            made = [ref for ref in in_threads([lambda t=token: create(t) for token in tokens]) if ref]
            assert len(made) <= 1
            users = [one.server for one in provider.list_addresses("lab") if one.address == wanted.address]
            assert users == made
            for token in tokens:
                if str(token) not in made:
                    assert provider.list_resources(token) == []
        finally:
            for token in tokens:
                provider.delete_server(str(token))
        assert reservations(address=wanted.address) == []

    @pytest.mark.parametrize(
        "wrong",
        [
            (replace(V4, address="10.232.0.7"),),
            (replace(V4, address="not an address"),),
            (V4, replace(V4, address="10.231.202.9")),
        ],
        ids=["outside", "nonsense", "two"],
    )
    def test_what_the_network_cannot_hold_is_refused(self, provider, token, wrong):
        with pytest.raises(InvalidSpec):
            provider.create_server(spec(addresses=wrong), token)
        assert provider.list_resources(token) == []

    @pytest.mark.parametrize("taken", [HOST, "fd42:231::1"])
    def test_the_networks_own_address_is_taken(self, provider, token, taken):
        with pytest.raises(AddressTaken):
            provider.create_server(spec(addresses=(FixedAddress(taken, 16),)), token)

    def test_reservation_of_somebody_else_is_respected_and_left_alone(self, provider, token):
        theirs = "<host mac='52:54:00:00:00:99' ip='10.231.202.77'/>"
        virsh("net-update", "lab", "add", "ip-dhcp-host", theirs, "--live", "--config")
        try:
            with pytest.raises(AddressTaken):
                provider.create_server(spec(addresses=(replace(V4, address="10.231.202.77"),)), token)
            assert len(reservations(address="10.231.202.77")) == 1
            loose = {one.name for one in provider.list_resources()}
            assert "10.231.202.77" in loose, "no server has that card"
        finally:
            virsh("net-update", "lab", "delete", "ip-dhcp-host", theirs, "--live", "--config")

    def test_creation_that_was_cut_off_is_completed_with_another_address(self, provider, token):
        """Cut off after the reservation, then called with the next address: the first one is given back."""
        with provider._connection.session(write=True) as session:
            pool = storage.open_pool(session, provider.options)
            first = spec(addresses=(replace(V4, address="10.231.202.20"),))
            image = provider._images.choose(first)
            domain = build.define(session, provider.options, pool, spec=first, token=token, image=image)
            domain.undefine()
        assert provider.find_server(token) is not None
        provider.create_server(spec(addresses=(replace(V4, address="10.231.202.21"),)), token)
        for flags in ((), ("--inactive",)):
            assert reservations(*flags, address="10.231.202.20") == []
            assert len(reservations(*flags, address="10.231.202.21")) == 1
        provider.delete_server(str(token))
        assert reservations("--inactive", address="10.231.202.21") == []

    def test_removal_gives_back_what_only_half_was_reserved(self, provider, token):
        provider.create_server(spec(addresses=(replace(V4, address="10.231.202.22"),)), token)
        entry = f"<host mac='{mac_address(token, 0)}' ip='10.231.202.22'/>"
        virsh("net-update", "lab", "delete", "ip-dhcp-host", entry, "--live")
        provider.delete_server(str(token))
        assert reservations("--inactive", address="10.231.202.22") == []

    def test_network_tells_its_subnets(self, provider):
        network = next(one for one in provider.list_networks() if one.ref == "lab")
        assert [(one.cidr, one.gateway, one.dns) for one in network.subnets] == [
            ("10.231.0.0/16", HOST, (HOST,)),
            ("fd42:231::/64", "fd42:231::1", ("fd42:231::1",)),
        ]


@pytest.fixture(scope="module")
def neighbour():
    """A machine on the same bridge that is not this host: what runs a command there."""
    name, netns = f"cm-{uuid.uuid4().hex[:6]}", lab()["netns"]

    def ip(*args, inside=None):
        within = ["-n", inside] if inside else []
        subprocess.run(["ip", *within, *args], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}-b", "netns", netns, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"{name}-b", "master", "labbr0", "up", inside=netns)
        ip("link", "set", "lo", "up", inside=name)
        ip("address", "add", f"{NEIGHBOUR}/16", "dev", "eth0", inside=name)
        ip("link", "set", "eth0", "up", inside=name)
        yield name
    finally:
        ip("netns", "delete", name)


TRY = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
    print("open")
except OSError as error:
    print("closed", error)
"""
LISTEN = """
import socket, sys
for port in map(int, sys.argv[1:]):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", port)); s.listen()
    globals()[f"s{port}"] = s
while True:
    s.accept()[0].close()
"""


def is_open(netns, port, *, patience_s=10):
    """Whether somebody there reaches the guest's port; what drops packets is known by silence alone."""
    told = subprocess.run(
        ["ip", "netns", "exec", netns, "python3", "-c", TRY, V4.address, str(port), str(patience_s)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return told.startswith("open")


def is_closed(netns, port):
    return not is_open(netns, port, patience_s=2)


@contextmanager
def binding_cut_off(provider, ref):
    """The filter is defined and bound to the stored card; the running card has none yet."""
    with (
        short_tmp_path() as folder,
        answers_lost_from(folder, PROC_DOMAIN_UPDATE_DEVICE, limit_s=6, management_sources=[f"{HOST}/32"]) as cut,
        pytest.raises(UnknownOutcome),
    ):
        cut.set_port_rules(ref, [PortRule("k", "0.0.0.0/0", "tcp", 22, 22)])
    yield


class TestPortRules:
    def test_ports_are_open_to_whom_they_were_opened(self, provider, guest, neighbour):
        ref, run = guest
        run(f"nohup python3 -c '{LISTEN}' 8080 8081 40000 >/dev/null 2>&1 &")
        run("until grep -q :9C40 /proc/net/tcp; do sleep 0.2; done")  # 40000, the last of them
        assert is_open(neighbour, 8080), "without rules the network alone decides"
        assert is_open(neighbour, 22)

        provider.set_port_rules(ref, [PortRule("web", f"{NEIGHBOUR}/32", "tcp", 8080, 8080)])
        assert is_open(neighbour, 8080)
        assert all(is_closed(neighbour, port) for port in (8081, 22, 40000))
        assert run("echo in") == "in\n", "the management network always reaches port 22"

        provider.set_port_rules(ref, [PortRule("other", "192.0.2.0/24", "tcp", 8080, 8080)])
        assert is_closed(neighbour, 8080)

        provider.set_port_rules(ref, [PortRule("wide", "10.231.0.0/16", "tcp", 8081, 8090)])
        assert is_open(neighbour, 8081)
        assert is_closed(neighbour, 8080)
        assert is_open(lab()["netns"], 8081), "from the host itself"
        assert is_closed(lab()["netns"], 8080)
        assert is_open(lab()["netns"], 40000), "packets the host routes pass the first floor only: docs/providers.md"

    def test_guest_reaches_others_whatever_is_closed(self, provider, guest, neighbour):
        ref, run = guest
        provider.set_port_rules(ref, [])
        server = subprocess.Popen(["ip", "netns", "exec", neighbour, "python3", "-c", LISTEN, "9000"])
        try:
            command = f"python3 -c '{TRY}' {NEIGHBOUR} 9000 10"
            assert any(run(command).startswith("open") for _ in range(5))
            assert "0% packet loss" in run(f"sudo ping -c 1 -W 5 {HOST}")
        finally:
            server.kill()
            server.wait()

    def test_rules_hold_after_a_restart(self, provider, guest):
        ref, _ = guest
        rules = [PortRule("k", "10.0.0.0/8", "udp", 53, 53), PortRule("v6", "fd00::/8", "tcp", 443, 443)]
        provider.set_port_rules(ref, rules)
        assert provider.list_port_rules(ref) == rules
        assert f"<filterref filter='{ports.filter_name(uuid.UUID(ref))}'/>" in virsh("dumpxml", "--inactive", ref)

    def test_binding_that_was_cut_off_tells_nothing_and_is_finished(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        with binding_cut_off(provider, ref):
            assert provider.list_port_rules(ref) == []
        provider.set_port_rules(ref, [PortRule("k", "0.0.0.0/0", "tcp", 22, 22)])
        assert provider.list_port_rules(ref) == [PortRule("k", "0.0.0.0/0", "tcp", 22, 22)]
        provider.delete_server(ref)
        assert str(token) not in virsh("nwfilter-list")

    def test_going_back_to_a_snapshot_opens_nothing(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        made = provider.create_snapshot(ref, "before")
        rules = [PortRule("k", "10.0.0.0/8", "tcp", 443, 443)]
        provider.set_port_rules(ref, rules)
        provider.revert_snapshot(ref, made.ref)
        assert provider.list_port_rules(ref) == rules
        for flags in ((), ("--inactive",)):
            assert ports.filter_name(token) in virsh("dumpxml", *flags, ref)

    def test_filter_of_somebody_else_is_left_alone(self, provider, token, tmp_path):
        name = f"theirs-{token.hex[-6:]}"
        theirs = tmp_path / "filter.xml"
        theirs.write_text(f"<filter name='{name}'><rule action='accept' direction='inout'><all/></rule></filter>")
        virsh("nwfilter-define", str(theirs))
        try:
            ref = provider.create_server(spec(), token).ref
            card = ET.fromstring(virsh("dumpxml", ref)).find("devices/interface")
            ET.SubElement(card, "filterref", filter=name)
            theirs.write_bytes(ET.tostring(card))
            virsh("update-device", ref, str(theirs), "--live", "--config")
            with pytest.raises(Unsupported):
                provider.set_port_rules(ref, [])
            assert name in virsh("dumpxml", ref)
            assert str(token) not in virsh("nwfilter-list")
        finally:
            provider.delete_server(str(token))
            virsh("nwfilter-undefine", name)

    @pytest.mark.parametrize(
        "wrong",
        [
            PortRule("k", "everywhere", "tcp", 1, 2),
            PortRule("k", "0.0.0.0/0", "sctp", 1, 2),
            PortRule("k", "0.0.0.0/0", "tcp", 5, 4),
            PortRule("k", "0.0.0.0/0", "tcp"),
            PortRule("k", "0.0.0.0/0", "icmp", 1, 2),
            PortRule("k", "0.0.0.0/0", "udp", 0, 70000),
        ],
        ids=str,
    )
    def test_rule_that_says_nothing_is_refused_and_changes_nothing(self, provider, guest, wrong):
        before = provider.list_port_rules(guest[0])
        with pytest.raises(InvalidSpec):
            provider.set_port_rules(guest[0], [wrong])
        assert provider.list_port_rules(guest[0]) == before

    def test_server_that_is_not_ours_is_not_filtered(self, provider):
        with foreign_domain() as ref, pytest.raises(Unsupported):
            provider.set_port_rules(ref, [])

    def test_host_without_filters_says_so(self, guest, tmp_path):
        with closing(opened(tmp_path, port_rules=False)) as plain:
            assert plain.unable() == {"port_rules"}
            for call in (lambda: plain.set_port_rules(guest[0], []), lambda: plain.list_port_rules(guest[0])):
                with pytest.raises(Unsupported):
                    call()
