"""Subnets, the table of ports and public addresses over HTTP, with the audit of what changes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.addresses import key_of
from cloudmgr.models import AuditEvent, Backend, Network, ObservedAddress, PortOpening, PublicIp, Server
from cloudmgr.services import requests
from cloudmgr.store import addresses
from cloudmgr.store.db import begin_immediate, new_session
from tests import support
from tests.stocked import stand
from tests.store.test_addresses import add_subnet
from tests.world import ZONE, World

Call = Callable[..., Any]


@pytest.fixture
def call(small_world: World) -> Iterator[Call]:
    """Return a function that calls a route as somebody: `call("sysadmin", "POST", "/subnets", {...})`."""
    app = support.make_app(small_world.settings.database_url)

    def as_somebody(who: str, method: str, path: str, body: Any = None) -> Any:
        with new_session(small_world.engine) as session:
            user = session.get_one(support.User, small_world.people[who])
            token = support.open_token(session, user)
            session.commit()
        client = TestClient(app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)
        return client.request(method, f"/api/v1{path}", **({} if body is None else {"json": body}))

    yield as_somebody
    app.state.engine.dispose()


def test_a_subnet_lives_from_its_making_to_its_end(call: Call, small_world: World) -> None:
    body = {
        "network_zone": ZONE,
        "cidr": "198.51.100.0/24",
        "gateway": "198.51.100.1",
        "dns": ["2001:DB8::53"],
        "vlan": 100,
        "ranges": [
            {"kind": "pool", "first": "198.51.100.10", "last": "198.51.100.19"},
            {"kind": "excluded", "first": "198.51.100.11", "last": "198.51.100.12", "reason": "打印机"},
        ],
    }
    made = call("sysadmin", "POST", "/subnets", body)
    assert made.status_code == 201, made.text
    subnet = made.json()
    assert (subnet["total"], subnet["free"], subnet["allocated"], subnet["dns"]) == (254, 8, 0, ["2001:db8::53"])
    at = f"/subnets/{subnet['id']}"
    kept = call("sysadmin", "POST", f"{at}/addresses", {"purpose": "短信网关"}).json()
    assert (kept["address"], kept["state"]) == ("198.51.100.10", "reserved")
    again = call("sysadmin", "POST", f"{at}/addresses", {"purpose": "x", "address": "198.51.100.10"})
    assert (again.status_code, again.json()["code"]) == (409, "address_unavailable")
    assert again.json()["next_free"] == "198.51.100.13"
    assert call("requester", "GET", at).json()["free"] == 7
    assert [each["purpose"] for each in call("requester", "GET", f"{at}/addresses").json()["items"]] == ["短信网关"]
    assert call("sysadmin", "DELETE", at).status_code == 409
    assert call("sysadmin", "DELETE", f"{at}/addresses/{kept['id']}").status_code == 204
    assert call("sysadmin", "PUT", f"{at}/ranges", {"ranges": []}).json()["free"] == 253
    assert call("sysadmin", "PATCH", at, {"is_managed": False, "gateway": None}).json()["gateway"] is None
    assert call("sysadmin", "DELETE", at).status_code == 204
    assert call("sysadmin", "GET", at).status_code == 404
    with new_session(small_world.engine) as session:
        done = select(AuditEvent).where(AuditEvent.outcome == "success")
        told = [row.event for row in session.exec(done.where(AuditEvent.object_type == "subnet"))]
        kept_events = [row.event for row in session.exec(done.where(AuditEvent.object_type == "address"))]
    assert told.count("network.write") == 4
    assert kept_events == ["address.write", "address.write"]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"cidr": "198.51.100.128/25"}, "conflict", "cidr"),
        ({"cidr": "198.51.100.1/24"}, "invalid", "cidr"),
        ({"cidr": "203.0.113.0/24", "gateway": "198.51.100.1"}, "invalid", "gateway"),
        ({"cidr": "203.0.113.0/24", "gateway": "2001:db8::1"}, "invalid", "gateway"),
        ({"cidr": "203.0.113.0/24", "network_zone": "无此区"}, "invalid", "network_zone"),
        (
            {"cidr": "203.0.113.0/24", "ranges": [{"kind": "pool", "first": "203.0.113.9", "last": "203.0.113.8"}]},
            "invalid",
            "ranges[0].first",
        ),
        (
            {"cidr": "203.0.113.0/24", "ranges": [{"kind": "pool", "first": "203.0.114.1", "last": "203.0.114.8"}]},
            "invalid",
            "ranges[0].first",
        ),
    ],
)
def test_what_does_not_fit_the_plan_is_refused(
    call: Call, small_world: World, body: dict[str, Any], code: str, field: str
) -> None:
    with small_world.session() as session:
        add_subnet(session, "198.51.100.0/24")
        session.commit()
    answer = call("sysadmin", "POST", "/subnets", {"network_zone": ZONE, **body})
    assert answer.json()["code"] == code, answer.text
    assert field in answer.text


def test_whose_an_address_is_strangers_are_not_told(call: Call, small_world: World) -> None:
    with small_world.session() as session:
        subnet = add_subnet(session, "198.51.100.0/24")
        requests.submit_new(
            session,
            small_world.actor("requester"),
            small_world.command(
                servers=[
                    {"name": "s", "count": 1, "flavor": "2C4G", "image": "kylin-v10", "arch": "aarch64"}
                    | {"ipv4": "198.51.100.7"}
                ]
            ),
        )
        session.commit()
        path = f"/subnets/{subnet.id}/addresses"
    (own,) = call("requester", "GET", path).json()["items"]
    (strange,) = call("stranger", "GET", path).json()["items"]
    assert own["server_name"] == "s"
    assert (strange["address"], strange["server"], strange["organization"]) == ("198.51.100.7", None, None)
    assert (strange["purpose"], strange["taken_by"]) == ("", "")


def test_open_ports_and_public_addresses_are_listed_and_stand_in_the_inventory(call: Call, small_world: World) -> None:
    with small_world.session() as session:
        request = requests.submit_new(session, small_world.actor("requester"), small_world.command())
        server = session.exec(select(Server).where(Server.request_id == request.id)).one()
        server.resource_no = "430102-VM-000001"
        stand(session, server.id)
        for protocol, first, last, state in (
            ("tcp", 443, 443, "active"),
            ("tcp", 80, 80, "recorded"),
            ("udp", 1000, 1010, "active"),
            ("tcp", 22, 22, "closed"),
        ):
            session.add(
                PortOpening(
                    request_id=request.id,
                    server_id=server.id,
                    organization_id=server.organization_id,
                    source="198.51.100.0/24",
                    protocol=protocol,
                    port_from=first,
                    port_to=last,
                    purpose="门户",
                    state=state,
                )
            )
        backend = session.exec(select(Backend).where(Backend.name == "kp")).one()
        session.add(
            PublicIp(
                request_id=request.id,
                reservation_id=request.id,
                project_id=server.project_id,
                organization_id=server.organization_id,
                server_id=server.id,
                backend_id=backend.id,
                address="203.0.113.9",
                bandwidth_mbps=20,
                phase="active",
            )
        )
        session.commit()
        server_id = server.id
    table = call("requester", "GET", f"/port-openings?server={server_id}&state=active&state=recorded").json()["items"]
    assert sorted(line["port"] for line in table) == ["tcp/443", "tcp/80", "udp/1000-1010"]
    assert {line["request_number"] for line in table} == {f"SQ{clock.today():%Y%m%d}-0001"}
    (led,) = call("requester", "GET", f"/public-ips?server={server_id}").json()["items"]
    assert (led["address"], led["bandwidth_mbps"]) == ("203.0.113.9", 20)
    assert call("stranger", "GET", "/port-openings").json()["items"] == []
    assert call("stranger", "GET", "/public-ips").json()["items"] == []
    (row,) = call("requester", "GET", "/inventory?format=json").json()["items"]
    assert row["open_ports"] == "tcp/80;tcp/443;udp/1000-1010"
    assert (row["public_ip"], row["bandwidth_mbps"]) == (["203.0.113.9"], 20)


def test_addresses_that_backends_report_are_listed_with_what_we_hold(call: Call, small_world: World) -> None:
    with new_session(small_world.engine) as session:
        begin_immediate(session)
        subnet = add_subnet(session, "198.51.100.0/24", gateway="198.51.100.1")
        network = session.get_one(Network, subnet.network_id)
        addresses.take_exact(
            session, subnet, "198.51.100.9", state="reserved", server_id=None, organization_id=None, by="test"
        )
        lines = (
            ("198.51.100.1", "router"),
            ("198.51.100.9", None),
            ("198.51.100.20", "vm-of-others"),
            ("192.0.2.7", None),
        )
        for text, ref in lines:
            session.add(
                ObservedAddress(
                    backend_id=network.backend_id, network_ref=network.ref if text.startswith("198") else "gone",
                    address=text, key=key_of(text), server_ref=ref, owner="printer", last_seen_at=clock.now(),
                )
            )  # fmt: skip
        session.commit()
        subnet_id, backend_id, network_id = subnet.id, network.backend_id, network.id
    for who in ("sysadmin", "auditor"):
        rows = call(who, "GET", "/observed-addresses").json()["items"]
        assert [(row["address"], row["held"], row["network"]) for row in rows] == [
            ("198.51.100.1", None, str(network_id)),
            ("198.51.100.9", "reserved", str(network_id)),
            ("198.51.100.20", None, str(network_id)),
            ("192.0.2.7", None, None),
        ]
        assert (rows[2]["server_ref"], rows[2]["owner"], rows[2]["server"]) == ("vm-of-others", "printer", None)
    told = {
        query: [row["address"] for row in call("sysadmin", "GET", f"/observed-addresses?{query}").json()["items"]]
        for query in (
            "explained=true",
            f"explained=false&subnet={subnet_id}",
            "backend=kp&explained=false",
            "backend=x",
        )
    }
    assert list(told.values()) == [
        ["198.51.100.1"],
        ["198.51.100.9", "198.51.100.20"],
        ["198.51.100.9", "198.51.100.20", "192.0.2.7"],
        [],
    ]
    first = call("sysadmin", "GET", "/observed-addresses?limit=3").json()
    rest = call("sysadmin", "GET", f"/observed-addresses?limit=3&cursor={first['next_cursor']}").json()
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [3, 1, None]
    assert call("sysadmin", "GET", f"/observed-addresses?subnet={backend_id}").status_code == 404
    assert call("requester", "GET", "/observed-addresses").status_code == 403
    assert call("admin", "GET", "/observed-addresses").json()["items"] == [], "the cloud is the city's"
