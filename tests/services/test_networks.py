"""Addresses that people choose, ports and public addresses: what is asked at plan and submit, and what is held."""

import uuid
from typing import Any

import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.addresses import key_of
from cloudmgr.domain.errors import (
    AddressUnavailable,
    Conflict,
    Forbidden,
    InvalidInput,
    Refusal,
    Unsupported,
)
from cloudmgr.models import (
    Address,
    Backend,
    Network,
    ObservedAddress,
    PortOpening,
    PublicIp,
    ResourceRequest,
    Server,
    Subnet,
)
from cloudmgr.services import approvals, plans, reported_addresses, requests, subnets
from cloudmgr.services.request_inputs import Decide, body_adapter
from cloudmgr.services.subnets import RangeInput
from cloudmgr.store import addresses
from tests.stocked import Desk, stand
from tests.store.test_addresses import add_subnet

ENTRY = {"name": "srv", "count": 1, "flavor": "2C4G", "image": "kylin-v10", "arch": "aarch64"}
PORT = {"source": "198.51.100.0/24", "protocol": "tcp", "port": 443, "purpose": "门户"}


def create(desk: Desk, **entry: Any) -> ResourceRequest:
    return requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(servers=[ENTRY | entry]))


def ask(desk: Desk, **body: Any) -> ResourceRequest:
    return requests.submit_new(desk.session, desk.actor("requester"), command(desk, **body))


def command(desk: Desk, **body: Any) -> Any:
    return body_adapter.validate_python({"project": str(desk.world.project.id), "purpose": "网络变更", **body})


def decide(desk: Desk, request: ResourceRequest, decision: str = "approve") -> None:
    given = Decide.model_validate({"decision": decision, "comment": "说明"})
    approvals.decide(desk.session, desk.actor("admin"), request.id, given)


def servers_of(desk: Desk, request: ResourceRequest) -> list[Server]:
    return list(desk.session.exec(select(Server).where(Server.request_id == request.id).order_by(Server.name)))


def standing(desk: Desk, *capabilities: str, **entry: Any) -> Server:
    """Bring one server to where it stands, on a cloud that can do so much."""
    (server,) = servers_of(desk, create(desk, **entry))
    backend = desk.session.exec(select(Backend).where(Backend.name == "kp")).one()
    backend.capabilities = list(capabilities)
    desk.session.add(backend)
    return stand(desk.session, server.id)


def refused(desk: Desk, kind: type[Refusal], **entry: Any) -> Any:
    with pytest.raises(kind) as error, desk.session.begin_nested():
        create(desk, **entry)
    return error.value


class TestChosenAddresses:
    def test_it_is_reserved_at_once_and_decides_the_cloud(self, desk: Desk) -> None:
        add_subnet(desk.session, "198.51.100.0/24")
        (server,) = servers_of(desk, create(desk, ipv4="198.51.100.7"))
        assert server.wanted_addresses == {"ipv4": "198.51.100.7"}
        assert server.wanted_backend_id is not None
        row = desk.session.exec(select(Address)).one()
        assert (row.address, row.state, row.server_id) == ("198.51.100.7", "reserved", server.id)

    def test_an_address_of_ipv6_is_kept_in_its_one_form(self, desk: Desk) -> None:
        add_subnet(desk.session, "2001:db8::/64")
        (server,) = servers_of(desk, create(desk, ipv6="2001:DB8:0:0::7"))
        assert server.wanted_addresses == {"ipv6": "2001:db8::7"}

    def test_several_servers_have_a_line_each(self, desk: Desk) -> None:
        add_subnet(desk.session, "198.51.100.0/24")
        lines = [{"ipv4": "198.51.100.8"}, {"ipv4": "198.51.100.7"}, {}]
        made = servers_of(desk, create(desk, count=3, addresses=lines))
        assert [each.wanted_addresses.get("ipv4") for each in made] == ["198.51.100.8", "198.51.100.7", None]

    def test_one_that_is_taken_is_refused_with_its_holder_and_the_next_free(self, desk: Desk) -> None:
        add_subnet(desk.session, "198.51.100.0/24")
        create(desk, ipv4="198.51.100.7")
        error = refused(desk, AddressUnavailable, name="other", ipv4="198.51.100.7")
        assert error.field == "servers[0].ipv4"
        assert error.extra == {"next_free": "198.51.100.1"}
        assert "srv" in str(error)
        plan = plans.plan(
            desk.session,
            desk.actor("requester"),
            desk.world.command(servers=[ENTRY | {"name": "other", "ipv4": "198.51.100.7"}]),
        )
        assert [(each["code"], each["field"], each["next_free"]) for each in plan.refusals] == [
            ("address_unavailable", "servers[0].ipv4", "198.51.100.1")
        ]

    @pytest.mark.parametrize(
        ("entry", "field"),
        [
            ({"ipv4": "203.0.113.7"}, "servers[0].ipv4"),
            ({"ipv4": "2001:db8::7"}, "servers[0].ipv4"),
            ({"ipv4": "198.51.100.7", "count": 2}, "servers[0].ipv4"),
            ({"addresses": [{}], "count": 2}, "servers[0].addresses"),
            ({"addresses": [{"ipv4": "198.51.100.7"}] * 2, "count": 2}, "servers[0].addresses[1].ipv4"),
            ({"ipv4": "198.51.100.7", "backend": "yl"}, "servers[0].ipv4"),
        ],
    )
    def test_what_breaks_a_rule_is_named(self, desk: Desk, entry: dict[str, Any], field: str) -> None:
        add_subnet(desk.session, "198.51.100.0/24")
        assert refused(desk, InvalidInput, **entry).field == field

    def test_where_the_cloud_chooses_nobody_else_does(self, desk: Desk) -> None:
        add_subnet(desk.session, "198.51.100.0/24", managed=False)
        assert refused(desk, InvalidInput, ipv4="198.51.100.7").field == "servers[0].ipv4"

    @pytest.mark.parametrize("end", ["withdraw", "reject", "return"])
    def test_it_is_free_again_when_the_request_comes_to_nothing(self, desk: Desk, end: str) -> None:
        add_subnet(desk.session, "198.51.100.0/24")
        request = create(desk, ipv4="198.51.100.7", ports=[PORT])
        if end == "withdraw":
            requests.withdraw(desk.session, desk.actor("requester"), request.id)
        else:
            decide(desk, request, end)
        assert desk.session.exec(select(Address)).all() == []
        assert desk.session.exec(select(PortOpening)).all() == []

    def test_a_retry_asks_for_it_again(self, desk: Desk) -> None:
        subnet = add_subnet(desk.session, "198.51.100.0/24")
        request = create(desk, ipv4="198.51.100.7")
        (server,) = servers_of(desk, request)
        quotas.void(desk.session, reservation_id=server.reservation_id, part_id=server.id)
        addresses.give_back(desk.session, server.id)
        server.phase, server.failed_step, request.phase = "failed", "create", "failed"
        desk.session.add_all([server, request])
        desk.session.flush()
        requests.retry(desk.session, desk.actor("requester"), request.id)
        assert [row.address for row, _ in addresses.of_server(desk.session, server.id)] == ["198.51.100.7"]
        assert addresses.next_free(desk.session, subnet) == "198.51.100.1"


class TestPorts:
    def test_a_request_for_servers_brings_its_table(self, desk: Desk) -> None:
        request = create(desk, count=2, ports=[PORT, PORT | {"port": None, "ports": "8000-8100"}])
        rows = desk.session.exec(select(PortOpening)).all()
        assert {row.server_id for row in rows} == {server.id for server in servers_of(desk, request)}
        assert sorted({(row.port_from, row.port_to) for row in rows}) == [(443, 443), (8000, 8100)]
        assert {row.state for row in rows} == {"requested"}

    def test_management_ports_to_everybody_need_a_reason(self, desk: Desk) -> None:
        error = refused(desk, InvalidInput, ports=[PORT | {"source": "0.0.0.0/0", "port": 22}])
        assert error.field == "servers[0].ports[0].reason"

    def test_they_open_for_a_server_that_stands_and_close_again(self, desk: Desk) -> None:
        server = standing(desk, "port_rules")
        request = ask(desk, kind="ports", open=[{**PORT, "server": str(server.id)}])
        assert request.number is not None
        assert request.number.startswith("BG")
        decide(desk, request)
        opening = desk.session.exec(select(PortOpening)).one()
        opening.state = "active"
        desk.session.add(opening)
        closing = ask(desk, kind="ports", close=[str(opening.id)])
        assert opening.state == "active", "nothing is closed before it is approved"
        decide(desk, closing)
        assert opening.state == "closing"

    def test_a_cloud_without_rules_is_told_of_beforehand(self, desk: Desk) -> None:
        server = standing(desk, "power")
        wanted = command(desk, kind="ports", open=[{**PORT, "server": str(server.id)}])
        plan = plans.plan(desk.session, desk.actor("requester"), wanted)
        assert plan.would_be_accepted
        assert len(plan.warnings) == 1

    def test_of_others_and_of_what_does_not_stand_there_is_none(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput):
            ask(desk, kind="ports", open=[{**PORT, "server": str(uuid.uuid4())}])
        (building,) = servers_of(desk, create(desk))
        with pytest.raises(Conflict):
            ask(desk, kind="ports", open=[{**PORT, "server": str(building.id)}])
        with pytest.raises(InvalidInput):
            ask(desk, kind="ports", close=[str(uuid.uuid4())])
        with pytest.raises(InvalidInput):
            ask(desk, kind="ports")


class TestPublicAddresses:
    def test_quota_and_bandwidth_are_held_at_submit(self, desk: Desk) -> None:
        server = standing(desk, "public_ips")
        ask(desk, kind="public_ip", assign=[{"server": str(server.id), "bandwidth_mbps": 20}])
        for key, amount in (("public_ips", 1), ("bandwidth_mbps", 20)):
            assert desk.used(desk.world.root.account_id, key) == (0, amount)

    def test_withdrawn_it_holds_nothing(self, desk: Desk) -> None:
        server = standing(desk, "public_ips")
        request = ask(desk, kind="public_ip", assign=[{"server": str(server.id), "bandwidth_mbps": 20}])
        requests.withdraw(desk.session, desk.actor("requester"), request.id)
        assert desk.used(desk.world.root.account_id, "public_ips") == (0, 0)
        assert desk.session.exec(select(PublicIp)).all() == []
        assert quotas.verify(desk.session).mismatches == []

    def test_over_quota_nothing_is_held(self, desk: Desk) -> None:
        server = standing(desk, "public_ips")
        quotas.set_limits(
            desk.session,
            account_id=desk.world.project.account_id,
            limits={"bandwidth_mbps": 10},
            replace=False,
            reason="测试",
            basis_no=None,
            actor="test",
        )
        body = {"kind": "public_ip", "assign": [{"server": str(server.id), "bandwidth_mbps": 20}]}
        plan = plans.plan(desk.session, desk.actor("requester"), command(desk, **body))
        assert [each["key"] for each in plan.refusals] == ["bandwidth_mbps"]
        with pytest.raises(quotas.QuotaExceeded):
            ask(desk, **body)

    def test_a_server_has_one(self, desk: Desk) -> None:
        server = standing(desk, "public_ips")
        line = {"server": str(server.id), "bandwidth_mbps": 20}
        with pytest.raises(Conflict):
            ask(desk, kind="public_ip", assign=[line, line])
        ask(desk, kind="public_ip", assign=[line])
        with pytest.raises(Conflict):
            ask(desk, kind="public_ip", assign=[line])

    def test_a_cloud_that_has_none_says_so(self, desk: Desk) -> None:
        server = standing(desk, "power")
        with pytest.raises(Unsupported):
            ask(desk, kind="public_ip", assign=[{"server": str(server.id), "bandwidth_mbps": 20}])


def test_a_subnet_that_a_cloud_reports_is_learnt_and_not_managed(desk: Desk) -> None:
    subnet = add_subnet(desk.session, "198.51.100.0/24")
    network = addresses.get(desk.session, subnet.id)
    assert network is not None
    assert network[1] is not None
    for cidr in ("198.51.100.128/25", "127.0.0.0/8", "x"):
        assert addresses.learn(desk.session, network[1], cidr=cidr, gateway=None, dns=[], name="") is None
    learnt = addresses.learn(
        desk.session, network[1], cidr="203.0.113.0/24", gateway="203.0.113.1", dns=["203.0.113.2"], name="外"
    )
    assert isinstance(learnt, Subnet)
    assert (learnt.is_managed, learnt.gateway) == (False, "203.0.113.1")


class TestWhatBackendsSay:
    def test_only_what_the_record_does_not_explain_is_told(self, desk: Desk) -> None:
        server = standing(desk)
        subnet = add_subnet(desk.session, "198.51.100.0/24", gateway="198.51.100.1")
        for text, state in (("198.51.100.7", "allocated"), ("198.51.100.8", "allocated")):
            addresses.take_exact(
                desk.session, subnet, text, state=state, server_id=server.id,
                organization_id=server.organization_id, by="test",
            )  # fmt: skip
        addresses.take_exact(
            desk.session, subnet, "198.51.100.9", state="reserved", server_id=None, organization_id=None, by="test"
        )
        network = desk.session.get_one(Network, subnet.network_id)
        for last, ref in ((1, "router"), (7, server.native_ref), (8, "vm-of-others"), (9, "printer"), (20, "unknown")):
            text = f"198.51.100.{last}"
            desk.session.add(
                ObservedAddress(
                    backend_id=network.backend_id, network_ref=network.ref, address=text, key=key_of(text),
                    server_ref=ref, last_seen_at=clock.now(),
                )
            )  # fmt: skip
        desk.session.flush()
        rows, _ = reported_addresses.list_reported(desk.session, desk.actor("sysadmin"), subnet.id)
        told = {seen.address: (held is not None, holder is not None) for seen, held, holder in rows}
        assert told == {
            "198.51.100.8": (True, True),
            "198.51.100.9": (True, False),
            "198.51.100.20": (False, False),
        }
        for nobody in ("requester", "admin"):
            with pytest.raises(Forbidden):
                reported_addresses.list_reported(desk.session, desk.actor(nobody), subnet.id)
        by_page = {seen.address: server for seen, _, server in rows}
        for explained, expected in ((False, by_page), (True, {"198.51.100.1": None, "198.51.100.7": server})):
            seen_rows, _ = reported_addresses.list_seen(
                desk.session, desk.actor("auditor"), explained=explained, backend="kp", subnet_id=subnet.id
            )
            assert {row[0].address: row[4] for row in seen_rows} == expected
        own = desk.session.get_one(Backend, network.backend_id)
        assert reported_addresses.list_seen(desk.session, desk.actor("admin"))[0] == []
        own.owner_organization_id = desk.world.furong.id
        desk.session.flush()
        assert len(reported_addresses.list_seen(desk.session, desk.actor("admin"))[0]) == 5, (
            "its district owns the cloud"
        )

    def test_ranges_come_and_go_one_by_one(self, desk: Desk) -> None:
        subnet = add_subnet(desk.session, "198.51.100.0/24")
        actor = desk.actor("sysadmin")
        for kind, first, last in (("pool", 10, 19), ("excluded", 11, 12)):
            given = RangeInput.model_validate(
                {"kind": kind, "first": f"198.51.100.{first}", "last": f"198.51.100.{last}"}
            )
            view = subnets.add_range(desk.session, actor, subnet.id, given)
        assert view.counts["free"] == 8
        excluded = next(each for each in view.ranges if each.kind == "excluded")
        assert subnets.remove_range(desk.session, actor, subnet.id, excluded.id).counts["free"] == 10
        with pytest.raises(Conflict):
            subnets.remove_range(desk.session, actor, subnet.id, excluded.id)
        with pytest.raises(InvalidInput) as error:
            subnets.add_range(desk.session, actor, subnet.id, given.model_copy(update={"last": "203.0.113.1"}))
        assert error.value.field == "ranges[1].last"
