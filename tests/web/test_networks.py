"""Rooms of networks: the address plan, port openings, public addresses and pools; who changes what, and what is told."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.addresses import key_of
from cloudmgr.models import (
    Address,
    AddressRange,
    Backend,
    Network,
    ObservedAddress,
    PortOpening,
    PublicIp,
    ResourceRequest,
    Server,
    Subnet,
    ZoneInventory,
)
from tests.store.test_addresses import add_subnet
from tests.web.conftest import Console
from tests.web.html import Page
from tests.world import ZONE
from web import port_lines


def _subnet(console: Console, cidr: str = "198.51.100.0/24", *, gateway: str | None = None) -> str:
    with console.world.session() as session:
        subnet = add_subnet(session, cidr, gateway=gateway)
        session.commit()
        return f"/networks/subnets/{subnet.id}"


def _ranges(console: Console) -> list[AddressRange]:
    with console.world.session(write=False) as session:
        return list(session.exec(select(AddressRange)))


def names(page: Page) -> set[str]:
    return {each.get("name", "") for _, each in page.fields}


def test_the_plan_is_shown_by_network_zone_with_both_families(console: Console) -> None:
    _subnet(console, gateway="198.51.100.1")
    _subnet(console, "2001:db8::/64")
    page = console.reader("requester", "en").page("/networks")
    assert "198.51.100.0/24" in page.words
    assert page.words.count("IPv4 and IPv6") == 2
    assert "253 free, 0 taken" in page.text
    assert "≈ 2^64 free, 0 taken" in page.text
    assert "Add subnet" not in page.words
    only = console.reader("requester").page("/networks?family=6")
    assert "198.51.100.0/24" not in only.words
    console.reader("requester").page("/networks?family=5", 422)
    assert "暂无子网" in console.reader("requester").page("/networks?zone=nowhere").text


def test_a_network_the_plan_does_not_know_is_listed_with_the_way_to_add_it(console: Console) -> None:
    with console.world.session() as session:
        backend = session.exec(select(Backend)).one()
        session.add(Network(backend_id=backend.id, ref="bare", name="空网", network_zone=ZONE))
        session.commit()
    keeper = console.reader("sysadmin")
    page = keeper.page("/networks")
    assert "空网" in page.words
    (address,) = [link for link in page.links if "new?network=" in link]
    answer = keeper.client.get(address)
    assert f'value="{address.partition("=")[2]}" selected' in answer.text


def test_a_subnet_is_made_changed_and_taken_away(console: Console) -> None:
    _subnet(console)
    keeper = console.reader("sysadmin", "en")
    form = {"network_zone": ZONE, "cidr": "203.0.113.0/25", "gateway": "203.0.113.1", "dns": "203.0.113.2 203.0.113.3"}
    refused = keeper.post("/networks/subnets/new", 422, **form | {"gateway": "198.51.100.9"})
    assert "The gateway must lie inside 203.0.113.0/25." in refused.text
    overlapping = keeper.post("/networks/subnets/new", 409, **form | {"cidr": "198.51.100.0/25", "gateway": ""})
    assert "overlaps with 198.51.100.0/24" in overlapping.text
    keeper.post("/networks/subnets/new", 422, **form | {"vlan": "many"})
    keeper.post("/networks/subnets/new", vlan="100", is_managed="1", is_enabled="1", **form)
    at = keeper.location.partition("?")[0]
    page = keeper.page(at)
    assert "203.0.113.2 203.0.113.3" in page.words
    assert "For the ledger only" in page.words
    keeper.post(f"{at}/edit", 422, gateway="nonsense")
    keeper.post(f"{at}/edit", name="打印", gateway="", vlan="", dns="", is_enabled="1")
    with console.world.session(write=False) as session:
        row = session.exec(select(Subnet).where(Subnet.cidr == "203.0.113.0/25")).one()
        assert (row.name, row.gateway, row.vlan, row.dns, row.is_managed) == ("打印", None, None, [], False)
    keeper.post(f"{at}/delete")
    assert keeper.location == "/networks?done=saved"
    keeper.page(at, 404)


def test_ranges_are_added_and_removed_with_faults_beside_their_field(console: Console) -> None:
    at = _subnet(console)
    keeper = console.reader("sysadmin", "en")
    pool = {"ranges[0].kind": "pool", "ranges[0].first": "198.51.100.10", "ranges[0].last": "198.51.100.19"}
    keeper.post(f"{at}/ranges", **pool)
    page = keeper.page(at)
    assert "198.51.100.10 - 198.51.100.19" in page.words
    assert "10 free" in page.words
    assert "ranges[1].first" in names(page)
    outside = keeper.post(
        f"{at}/ranges", 422, **{"ranges[1].kind": "excluded", "ranges[1].first": "203.0.113.9", "ranges[1].last": ""}
    )
    assert "203.0.113.9 lies outside of 198.51.100.0/24." in outside.text
    assert any(each.get("aria-invalid") for _, each in outside.fields if each.get("name") == "ranges[1].first")
    keeper.post(f"{at}/ranges", 422, **{"ranges[1].kind": "pool", "ranges[1].first": ""})
    keeper.post(f"{at}/ranges", **{"ranges[1].kind": "excluded", "ranges[1].first": "198.51.100.11"})
    assert sorted((row.kind, row.first, row.last) for row in _ranges(console)) == [
        ("excluded", "198.51.100.11", "198.51.100.11"),
        ("pool", "198.51.100.10", "198.51.100.19"),
    ]
    gone = next(row.id for row in _ranges(console) if row.kind == "pool")
    keeper.post(f"{at}/ranges/{gone}/remove")
    assert "no such range any more" in keeper.post(f"{at}/ranges/{gone}/remove", 409).text
    assert [row.kind for row in _ranges(console)] == ["excluded"]


def test_an_address_is_kept_and_let_go(console: Console) -> None:
    at = _subnet(console, gateway="198.51.100.1")
    keeper = console.reader("sysadmin", "en")
    keeper.post(f"{at}/addresses", purpose="短信网关")
    assert keeper.location == f"{at}?done=reserved"
    page = keeper.page(at)
    assert "198.51.100.2" in page.words
    assert "短信网关" in page.words
    taken = keeper.post(f"{at}/addresses", 409, purpose="x", address="198.51.100.2")
    assert "The next free one is 198.51.100.3." in taken.text
    assert "Please correct" in keeper.post(f"{at}/addresses", 422, purpose="").text
    with console.world.session(write=False) as session:
        kept = session.exec(select(Address)).one().id
    assert "1 reserved addresses; it must be empty first" in keeper.post(f"{at}/delete", 409).text
    keeper.post(f"{at}/addresses/{kept}/free")
    assert "No address is taken" in keeper.page(at).text


def test_whose_an_address_is_is_told_to_those_who_may_read_it(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    at, server_id = _subnet(console), standing()
    with console.world.session() as session:
        server = session.get_one(Server, server_id)
        subnet = session.exec(select(Subnet)).one()
        for last in (7, 8):
            text = f"198.51.100.{last}"
            session.add(
                Address(
                    subnet_id=subnet.id, address=text, key=key_of(text), state="allocated", server_id=server.id,
                    organization_id=server.organization_id, taken_by=server.name, taken_at=clock.now(),
                )
            )  # fmt: skip
        network = session.exec(select(Network)).one()
        for last, ref in ((7, server.native_ref), (8, "vm-of-others"), (20, "vm-unknown")):
            text = f"198.51.100.{last}"
            session.add(
                ObservedAddress(
                    backend_id=network.backend_id, network_ref=network.ref, address=text, key=key_of(text),
                    server_ref=ref, last_seen_at=clock.now(),
                )
            )  # fmt: skip
        session.commit()
    own = console.reader("requester", "en").page(at)
    assert f"/servers/{server_id}" in own.links
    assert "vm-unknown" not in own.words
    stranger = console.reader("stranger", "en").page(at)
    assert f"/servers/{server_id}" not in stranger.links
    assert "Not shown to your role" in stranger.words
    keeper = console.reader("sysadmin", "en").page(at)
    assert "Conflict: ours, and somebody else uses it" in keeper.words
    assert "vm-unknown" in keeper.words
    assert keeper.words.count("In use, unknown to us") == 1


def test_only_system_administrators_change_the_plan(console: Console) -> None:
    at = _subnet(console)
    for person in ("requester", "admin", "auditor"):
        reader = console.reader(person)
        assert "ranges[0].first" not in names(reader.page(at))
        for address in ("/networks/subnets/new", f"{at}/edit"):
            reader.page(address, 403)
            reader.post(address, 403, cidr="203.0.113.0/24")
        for address in ("delete", "ranges", f"ranges/{uuid.uuid4()}/remove", "addresses"):
            reader.post(f"{at}/{address}", 403, purpose="x")
        reader.post(f"{at}/addresses/{uuid.uuid4()}/free", 403)
    console.reader("sysadmin").page(f"/networks/subnets/{uuid.uuid4()}", 404)


def _opening(console: Console, server_id: uuid.UUID, state: str = "active", **changes: Any) -> uuid.UUID:
    with console.world.session() as session:
        server = session.get_one(Server, server_id)
        row = PortOpening(
            request_id=server.request_id, server_id=server.id, organization_id=server.organization_id,
            source="198.51.100.0/24", protocol="tcp", port_from=443, port_to=443, purpose="门户网站", state=state,
            **changes,
        )  # fmt: skip
        session.add(row)
        session.commit()
        return row.id


def _capable(console: Console, *capabilities: str) -> None:
    with console.world.session() as session:
        backend = session.exec(select(Backend)).one()
        backend.capabilities = list(capabilities)
        session.add(backend)
        session.commit()


def test_the_table_of_ports_says_what_a_cloud_does_not_do(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    told = {"template": "The cloud {backend} opens and closes no ports itself: the opening is recorded, and whoever "
            "runs its firewall must do it.", "params": {"backend": "市级鲲鹏云"}}  # fmt: skip
    _opening(console, server_id, "recorded", message=told)
    _opening(console, server_id, "active", valid_until=clock.today())
    reader = console.reader("requester", "en")
    page = reader.page("/openings")
    assert f"/servers/{server_id}/openings" in page.links
    assert "10.60.0.9 fd00:60::9" in page.words
    assert page.words.count("tcp/443") == 2
    assert "Recorded only" in page.words
    assert "opens and closes no ports itself" in page.text
    assert clock.today().isoformat() in page.words
    assert reader.page("/openings?state=active").words.count("tcp/443") == 1
    assert "No port is open" in reader.page("/openings?state=failed").text
    reader.page("/openings?state=nonsense", 422)
    assert "tcp/443" not in console.reader("stranger", "en").page("/openings").words


def test_ports_are_asked_for_and_closed_on_the_page_of_a_server(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id = standing()
    at, open_id = f"/servers/{server_id}/openings", _opening(console, server_id)
    reader = console.reader("requester", "en")
    assert {at, f"/servers/{server_id}/public-ip"} <= set(reader.page(f"/servers/{server_id}").links)
    page = reader.page(at)
    assert "opens and closes no ports itself" in page.text, "said before anything is asked"
    assert {"open[0].source", "open[0].port", "close", "purpose"} <= names(page)
    assert "open[1].source" in names(reader.post(at, 200, action="add-row", **{"open[0].source": "198.51.100.0/24"}))
    line = {"source": "203.0.113.0/24", "protocol": "tcp", "port": "8000-8100", "purpose": "接口"}
    typed = {f"open[1].{name}": value for name, value in line.items()} | {"open[0].source": ""}
    assert "Please correct" in reader.post(at, 422, **typed, purpose="").text
    wide = typed | {"open[1].source": "0.0.0.0/0", "open[1].port": "22"}
    refused = reader.post(at, 422, **wide, purpose="运维")
    assert "would open management ports (22) to everybody" in refused.text
    assert any(each.get("aria-invalid") for _, each in refused.fields if each.get("name") == "open[0].reason")
    bad = reader.post(at, 422, **typed | {"open[1].port": "80-x"}, purpose="接口")
    assert any(each.get("aria-invalid") for _, each in bad.fields if each.get("name") == "open[0].port")
    reader.post(at, close=str(open_id), purpose="对外接口", **typed)
    assert reader.location.startswith("/requests/")
    asked = reader.page(reader.location)
    assert "203.0.113.0/24" in asked.text, "whoever decides sees what is to be opened"
    assert "tcp/443" in asked.text, "and what is to be closed"
    with console.world.session(write=False) as session:
        row = session.exec(select(PortOpening).where(PortOpening.id != open_id)).one()
        assert (row.source, row.port_from, row.port_to, row.state) == ("203.0.113.0/24", 8000, 8100, "requested")
        body = session.get_one(ResourceRequest, row.request_id).body
        assert (body["kind"], body["close"]) == ("ports", [str(open_id)])
    assert "Say which ports to open" in reader.post(at, 422, purpose="无").text


def test_who_may_not_ask_reads_and_a_server_that_goes_is_left_alone(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id, going = standing(), standing(name="going", phase="retiring")
    _opening(console, server_id)
    for at in (f"/servers/{server_id}/openings", f"/servers/{server_id}/public-ip"):
        auditor = console.reader("auditor")
        assert "purpose" not in names(auditor.page(at))
        auditor.post(at, 403, purpose="x")
        console.reader("stranger").page(at, 404)
        console.reader("stranger").post(at, 404, purpose="x")
    for at in (f"/servers/{going}/openings", f"/servers/{going}/public-ip"):
        assert "purpose" not in names(console.reader("requester").page(at))


def test_a_public_address_is_asked_for_where_the_cloud_has_one_and_given_back(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id = standing()
    at, reader = f"/servers/{server_id}/public-ip", console.reader("requester", "en")
    page = reader.page(at)
    assert "has no public addresses to give" in page.text
    assert "purpose" not in names(page)
    _capable(console, "public_ips")
    bandwidth = {"assign[0].bandwidth_mbps": "many"}
    wrong = reader.post(at, 422, purpose="对外", **bandwidth)
    assert any(each.get("aria-invalid") for _, each in wrong.fields if "bandwidth" in each.get("name", ""))
    reader.post(at, purpose="对外", **{"assign[0].bandwidth_mbps": "20"})
    assert "20 Mbit/s" in reader.page(reader.location).text
    assert "purpose" not in names(reader.page(at)), "one at a time"
    with console.world.session() as session:
        address = session.exec(select(PublicIp)).one()
        assert address.bandwidth_mbps == 20
        address.phase, address.address = "active", "203.0.113.9"
        session.add(address)
        session.commit()
    assert "203.0.113.9" in reader.page("/public-ips").words
    assert "203.0.113.9" in reader.page("/public-ips?phase=active").words
    reader.page("/public-ips?phase=nonsense", 422)
    assert "203.0.113.9" not in console.reader("stranger").page("/public-ips").words
    back = reader.page(at)
    (released,) = [each["value"] for _, each in back.fields if each.get("name") == "release"]
    reader.post(at, purpose="不再需要", release=released)
    assert "203.0.113.9" in reader.page(reader.location).text


def test_pools_are_shown_by_architecture_with_what_is_left(console: Console) -> None:
    with console.world.session() as session:
        inventory = session.exec(select(ZoneInventory).where(ZoneInventory.resource == "vcpus")).one()
        inventory.used, inventory.ratio_pct = 28, 200
        session.add(inventory)
        session.commit()
    page = console.reader("sysadmin", "en").page("/zones")
    assert "228 left of 256" in page.text
    assert "vCPUs is sold at 200 %" in page.text
    assert "Kunpeng" in page.text
    assert "No pools yet" in console.reader("sysadmin", "en").page("/zones?arch=x86_64").text
    console.reader("sysadmin").page("/zones?arch=vax", 422)
    requester = console.reader("requester", "en").page("/zones")
    assert "228 left" not in requester.text
    assert "Not shown to your role" in requester.words


def test_a_pool_not_heard_of_lately_is_not_shown_as_well(console: Console) -> None:
    with console.world.session() as session:
        backend = session.exec(select(Backend)).one()
        backend.last_seen_at = clock.now() - timedelta(hours=2)
        session.add(backend)
        session.commit()
    page = console.reader("sysadmin").page("/zones")
    assert "已过期" in page.words
    assert "正常" not in page.words


def test_lines_of_ports_are_read_and_written_the_same() -> None:
    text = "198.51.100.0/24 tcp/443 门户 网站 2027-06-30\n0.0.0.0/0 tcp/8000-8100 接口 # 公众\n10.0.0.0/8 icmp 探测"
    entries = port_lines.parse(text)
    assert entries == [
        {
            "source": "198.51.100.0/24", "protocol": "tcp", "port": 443, "purpose": "门户 网站",
            "valid_until": "2027-06-30",
        },
        {"source": "0.0.0.0/0", "protocol": "tcp", "ports": "8000-8100", "purpose": "接口", "reason": "公众"},
        {"source": "10.0.0.0/8", "protocol": "icmp", "purpose": "探测"},
    ]  # fmt: skip
    assert port_lines.written(entries) == text
    assert port_lines.parse("\n10.0.0.0/8\ttcp/443\n") == [{"source": "10.0.0.0/8", "protocol": "tcp", "port": 443}]
    assert port_lines.written([1, {}]) == ""


def _asked(console: Console, **row: str) -> dict[str, str]:
    usual = {"name": "srv", "count": "1", "flavor": "2C4G", "image": "kylin-v10", "arch": "aarch64"}
    return {
        "project": str(console.world.project.id), "purpose": "应用", "env": "prd", "network_zone": ZONE,
        "lease_end": (clock.today() + timedelta(days=99)).isoformat(), "owner.name": "王芳", "owner.phone": "13800000000",
        **{f"servers[0].{name}": value for name, value in (usual | row).items()},
    }  # fmt: skip


def test_a_new_server_is_asked_for_with_its_address_and_its_ports(console: Console) -> None:
    _subnet(console)
    reader = console.reader("requester", "en")
    form = _asked(console, ipv4="198.51.100.7", ports="10.0.0.0/8 tcp/443 门户")
    taken = reader.post("/requests/new", 422, **form | {"servers[0].ipv4": "203.0.113.7"})
    assert any(each.get("aria-invalid") for _, each in taken.fields if each.get("name") == "servers[0].ipv4")
    everybody = reader.post("/requests/new", 422, **form | {"servers[0].ports": "0.0.0.0/0 tcp/22 运维"})
    assert any(each.get("aria-invalid") for _, each in everybody.fields if each.get("name") == "servers[0].ports")
    reader.post("/requests/new", action="draft", **form)
    draft = reader.location.partition("?")[0]
    again = reader.client.get(f"{draft}/edit").text
    assert 'value="198.51.100.7"' in again
    assert "10.0.0.0/8 tcp/443 门户</textarea>" in again
    reader.post("/requests/new", **form)
    assert "Open tcp/443 of srv to 10.0.0.0/8: 门户" in reader.page(reader.location).text
    with console.world.session(write=False) as session:
        assert session.exec(select(Address.address)).all() == ["198.51.100.7"]


def test_several_servers_have_an_address_each(console: Console) -> None:
    _subnet(console)
    reader = console.reader("requester", "en")
    form = _asked(console, count="2", ipv4="198.51.100.7 198.51.100.9")
    one = reader.post("/requests/new", 422, **form | {"servers[0].ipv4": "198.51.100.7 203.0.113.1"})
    assert any(each.get("aria-invalid") for _, each in one.fields if each.get("name") == "servers[0].ipv4")
    reader.post("/requests/new", action="draft", **form)
    assert "198.51.100.7 198.51.100.9" in reader.client.get(reader.location.partition("?")[0] + "/edit").text
    reader.post("/requests/new", **form)
    with console.world.session(write=False) as session:
        assert sorted(session.exec(select(Address.address))) == ["198.51.100.7", "198.51.100.9"]
