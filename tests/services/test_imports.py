"""Taking into the ledger what stands already: matched, counted, tried first, told cell by cell; and rows kept by hand."""

import csv
import io
import json
import time
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col, select

import quotas
from cloudmgr.domain.errors import Conflict, Forbidden, Hidden, ImportRefused, InvalidInput
from cloudmgr.models import (
    Address,
    Allocation,
    Flavor,
    Network,
    ResourceRequest,
    Server,
    ServerVersion,
    Subnet,
    ZoneInventory,
)
from cloudmgr.services import import_cells, import_sheet, imports, inventory, manual_servers, requests
from cloudmgr.services.imports import ImportOptions, ImportReport
from cloudmgr.services.inventory import InventoryExport
from cloudmgr.services.manual_servers import ChangeServer, EndServer, EnterServer
from cloudmgr.store import discovery as discovery_store
from cloudmgr.store import inventory as inventory_store
from cloudmgr.store.db import new_session
from cloudmgr.workflows import evidence, power, provision
from cloudmgr.workflows.locate import ref_of
from providers.simulated import drill
from tests import support, world
from tests.workflows.looking import Watched, watched

HEADER = ["虚拟机UUID", "IPv4地址", "云主机名称", "信息系统", "环境", "用途", "到期时间", "网络区域"]


@pytest.fixture(params=["sqlite", "postgresql"])
def clouds(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    url = request.getfixturevalue("pg_database") if request.param == "postgresql" else None
    with watched(tmp_path / "city", url, limits={"vcpus": 10}) as one:
        yield one


def _stand(clouds: Watched, *names: str, **what: Any) -> list[str]:
    """Let servers stand at the cloud that nobody of ours made, and look."""
    refs = [drill.add_foreign_server(clouds.state_dir(), name, zone="kp-z1", **_ARM, **what) for name in names]
    clouds.look()
    return refs


_ARM: dict[str, Any] = {"arch": "aarch64"}


def _line(ref: str, **changes: Any) -> dict[str, Any]:
    return {
        "uuid": ref,
        "system_name": "智慧社区综合服务平台",
        "env": "prd",
        "purpose": "app",
        "lease_end": "2027/1/20",
        "network_zone": world.ZONE,
    } | changes


def _manual_line(name: str) -> dict[str, Any]:
    line = _line("", name=name, source="人工登记", resource_type="物理机", counts_quota="否", arch="aarch64")
    sizes = {"vcpu": 64, "memory_gib": 256, "system_disk_gib": 960}
    return line | sizes | {"datacenter": "老机房", "ipv4": "198.51.100.10"}


def _import(clouds: Watched, who: str, rows: list[dict[str, Any]] | bytes, **options: Any) -> ImportReport:
    sheet = import_sheet.read_csv(rows) if isinstance(rows, bytes) else import_sheet.read_rows(rows)
    with clouds.write() as session:
        return imports.run(session, clouds.city.actor(who), sheet, ImportOptions(**options))


def _used(clouds: Watched, account_id: uuid.UUID) -> dict[str, int]:
    return dict(clouds.read(lambda session: quotas.account_usage(session, account_id)).used)


def _proved(clouds: Watched) -> bool:
    return clouds.read(lambda session: quotas.verify(session).mismatches) == []


def test_an_import_counts_at_every_level_takes_room_and_closes_the_finding(clouds: Watched) -> None:
    (ref,) = _stand(clouds, "stood-before")
    assert clouds.open_kinds() == [("unmanaged", "")]
    report = _import(clouds, "sysadmin", [_line(ref)])
    (taken,) = report.servers
    server = clouds.server(taken.id)
    assert (server.source, server.phase, server.native_ref) == ("imported", "active", ref)
    assert (server.vcpus, server.memory_mib, server.arch, server.state) == (2, 4096, "aarch64", "running")
    assert (server.owner_name, server.lease_end.isoformat(), server.env) == ("王芳", "2027-01-20", "prd")
    assert clouds.read(lambda session: session.get_one(Flavor, server.flavor_id)).name == "2C4G"
    assert server.resource_no == "430102-VM-000001"
    for account_id in (clouds.city.project.account_id, clouds.city.furong.account_id, clouds.city.root.account_id):
        assert _used(clouds, account_id)["vcpus"] == 2
    assert _proved(clouds)
    allocation = clouds.read(lambda s: s.exec(select(Allocation).where(Allocation.server_id == server.id)).one())
    query = select(ZoneInventory.used).where(
        ZoneInventory.zone_id == allocation.zone_id, ZoneInventory.resource == "vcpus"
    )
    assert clouds.read(lambda session: session.exec(query).one()) == 2
    assert clouds.findings() == []
    (settled,) = clouds.findings(closed=True)
    assert (settled.state, settled.decided_by, settled.server_id) == ("accepted", "sysadmin", server.id)
    clouds.look()
    assert clouds.findings() == []
    assert clouds.server(server.id).last_seen_at is not None
    (version,) = clouds.read(lambda s: s.exec(select(ServerVersion).where(ServerVersion.server_id == server.id)).all())
    assert (version.change, version.snapshot["request_no"]) == ("imported", report.requests[0].number)


def test_an_import_is_a_request_that_can_be_read(clouds: Watched) -> None:
    (ref,) = _stand(clouds, "stood-before")
    report = _import(clouds, "sysadmin", [_line(ref)], reason="盘点")
    (posted,) = report.requests
    assert posted.number.startswith("DR")
    with clouds.write() as session:
        view = requests.get_request(session, clouds.city.actor("admin"), posted.id)
    assert (view.request.phase, view.request.kind, view.request.purpose) == ("fulfilled", "import", "盘点")
    assert [row[0].name for row in view.servers] == ["stood-before"]
    assert view.amounts["vcpus"] == 2
    (event,) = clouds.read(lambda session: support.audit_events(session, event="inventory.import"))
    assert (event.object_name, event.detail["servers"]) == (posted.number, 1)


def test_what_does_not_fit_the_quota_is_refused_and_an_opening_balance_counts_it_all_the_same(clouds: Watched) -> None:
    refs = _stand(clouds, "big-1", "big-2", vcpus=8)
    rows = [_line(ref) for ref in refs]
    with pytest.raises(quotas.QuotaExceeded):
        _import(clouds, "sysadmin", rows)
    assert _used(clouds, clouds.city.project.account_id).get("vcpus", 0) == 0
    with pytest.raises(Forbidden):
        _import(clouds, "sysadmin", rows, opening_balance=True, reason="期初")
    with pytest.raises(InvalidInput):
        _import(clouds, "quota", rows, opening_balance=True)
    report = _import(clouds, "quota", rows, opening_balance=True, reason="长数〔2026〕1号")
    (posted,) = report.requests
    assert [(each["key"], each["limit"]) for each in posted.passed] == [("vcpus", 10)]
    assert _used(clouds, clouds.city.project.account_id)["vcpus"] == 16
    assert _proved(clouds)
    with pytest.raises(quotas.QuotaExceeded):
        clouds.city.submit()
    (event,) = clouds.read(lambda session: support.audit_events(session, event="inventory.open"))
    assert (event.reason, event.detail["passed"][0]["key"]) == ("长数〔2026〕1号", "vcpus")


def test_a_dry_run_tells_everything_and_leaves_nothing(clouds: Watched) -> None:
    small, big = *_stand(clouds, "small"), *_stand(clouds, "big", vcpus=16)
    report = _import(clouds, "sysadmin", [_line(small), _line(big, lease_end="2026/13/1")], dry_run=True)
    assert (len(report.servers), [error.column for error in report.errors]) == (1, ["lease_end"])
    report = _import(clouds, "sysadmin", [_line(small), _line(big)], dry_run=True)
    assert (report.servers, [each["code"] for each in report.refusals]) == ([], ["quota_exceeded"])
    assert not report.would_be_taken
    assert clouds.read(lambda s: (list(s.exec(select(Server))), list(s.exec(select(ResourceRequest))))) == ([], [])
    assert _used(clouds, clouds.city.project.account_id).get("vcpus", 0) == 0
    assert _proved(clouds)


def test_all_or_nothing_unless_the_good_lines_are_chosen(clouds: Watched) -> None:
    one, other = _stand(clouds, "one", "other")
    rows = [_line(one), _line(other, env="生铲"), _line("no-such")]
    with pytest.raises(ImportRefused) as refused:
        _import(clouds, "sysadmin", rows)
    errors = refused.value.errors
    assert [(each["row"], each["column"], each["rule"]) for each in errors] == [
        (2, "env", "one_of"),
        (3, "uuid", "no_such_server"),
    ]
    assert errors[0]["value"] == "生铲"
    assert "生产" in str(errors[0]["remedy"])
    assert clouds.read(lambda session: list(session.exec(select(Server)))) == []
    report = _import(clouds, "sysadmin", rows, accept="good")
    assert [taken.name for taken in report.servers] == ["one"]


def test_the_same_sheet_again_takes_the_new_lines_only_and_says_so(clouds: Watched) -> None:
    one, other = _stand(clouds, "one", "other")
    by_hand = _manual_line("rack-09")
    rows = [_line(one), by_hand, _line(other, env="生铲")]
    first = _import(clouds, "sysadmin", rows, accept="good")
    assert [taken.name for taken in first.servers] == ["one", "rack-09"]
    rows[2] = _line(other)
    for taken, known in ((["other"], 2), ([], 3)):
        report = _import(clouds, "sysadmin", rows)
        assert ([each.name for each in report.servers], len(report.known)) == (taken, known)
        assert report.would_be_taken
    assert [known.name for known in report.known] == ["one", "rack-09", "other"]
    assert len(clouds.read(lambda session: list(session.exec(select(Server))))) == 3
    assert _used(clouds, clouds.city.project.account_id)["servers"] == 2, "what is kept by hand was said not to count"
    report = _import(clouds, "sysadmin", [by_hand | {"vcpu": 32}, _line(one, system_name="别的系统")], accept="good")
    assert [(error.column, error.rule) for error in report.errors] == [
        ("vcpu", "differs"),
        ("system_name", "no_such_project"),
    ]


def test_every_wrong_cell_of_a_line_is_told_at_once(clouds: Watched) -> None:
    (ref,) = _stand(clouds, "Big.Name")
    wrong = _line(
        ref, env="生铲", purpose="", vcpu=64, network_zone="没有的区", lease_end="2026/13/1", counts_quota="否"
    )
    report = _import(clouds, "sysadmin", [wrong, _line("", system_name="", lease_end="")], dry_run=True)
    assert sorted((error.row, error.column, error.rule) for error in report.errors) == [
        (1, "counts_quota", "always"),
        (1, "env", "one_of"),
        (1, "lease_end", "date"),
        (1, "name", "name"),
        (1, "network_zone", "one_of"),
        (1, "purpose", "required"),
        (1, "vcpu", "differs"),
        (2, "lease_end", "required"),
        (2, "system_name", "required"),
        (2, "uuid", "required"),
    ]


@pytest.mark.parametrize(
    ("headers", "told"),
    [(["虚拟机UUID", "环境"], "到期时间"), (["VM UUID", "Environment"], "Lease end"), (["uuid", "env"], "lease_end")],
)
def test_a_fault_names_the_column_as_the_sheet_does(headers: list[str], told: str) -> None:
    sheet = import_sheet.read_csv((",".join(headers) + "\nx,y\n").encode())
    assert (sheet.headers["env"], sheet.headers["lease_end"]) == (headers[1], told)
    assert sheet.errors[0].header == headers[1]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026/1/20", date(2026, 1, 20)),
        ("2026-01-20", date(2026, 1, 20)),
        ("2026年1月20日", date(2026, 1, 20)),
        ("２０２６/１/２０", date(2026, 1, 20)),
        ("2026/1/20 00:00:00", date(2026, 1, 20)),
        ("长期", ""),
        ("/", ""),
        ("", None),
    ],
)
def test_days_are_read_as_offices_write_them(text: str, day: date | str | None) -> None:
    assert import_cells.value("lease_end", text) == day


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_sheet_is_read_in_every_encoding_that_spreadsheets_write(clouds: Watched, encoding: str) -> None:
    (ref,) = _stand(clouds, "䶮-host", network="net", addresses=["192.0.2.77"])
    text = io.StringIO()
    csv.writer(text).writerows(
        [HEADER, ["/", "192.0.2.77", "yan-host", "智慧社区综合服务平台", "生产", "应用", "2027/1/20", world.ZONE]]
    )
    report = _import(clouds, "sysadmin", text.getvalue().encode(encoding))
    assert [taken.name for taken in report.servers] == ["yan-host"]
    assert clouds.server(report.servers[0].id).native_ref == ref


def test_what_a_cloud_shows_is_not_written_over_by_a_sheet(clouds: Watched) -> None:
    (ref,) = _stand(clouds, "stood-before")
    report = _import(clouds, "sysadmin", [_line(ref, vcpu=4), _line(ref, owner_phone="138****0000")], accept="good")
    assert [(error.column, error.rule) for error in report.errors] == [("vcpu", "differs"), ("owner_phone", "masked")]


def test_a_server_is_imported_once_and_by_whom_it_concerns(clouds: Watched) -> None:
    (ref,) = _stand(clouds, "stood-before")
    report = _import(clouds, "sysadmin", [_line(ref), _line(ref, name="again")], accept="good")
    assert [(error.row, error.rule) for error in report.errors] == [(2, "twice")]
    report = _import(clouds, "admin", [_line(ref)], accept="good")
    assert [error.rule for error in report.errors] == ["no_such_server"], (
        "the city's cloud is not the district's to see"
    )
    with pytest.raises(Forbidden):
        _import(clouds, "requester", [_line(ref)])


def test_an_imported_server_is_found_by_its_reference_to_its_end(clouds: Watched) -> None:
    (ref,) = _stand(clouds, "stood-before")
    report = _import(clouds, "sysadmin", [_line(ref)])
    server = clouds.server(report.servers[0].id)
    token = str(server.id)
    assert provision.look(token, "kp")["result"] is None, "it carries no token of ours"
    assert provision.look(token, "kp", ref_of(server))["result"]["ref"] == ref
    with clouds.write() as session:
        where = power._where(session, token, "stop")
    assert where == {"backend": "kp", "ref": ref, "imported": ref}
    gathered = evidence.gather(token, "kp", ref)
    assert [(piece["kind"], piece["ref"]) for piece in gathered["result"]["pieces"]] == [("server", ref)]
    assert provision.delete(token, "kp", ref)["result"] is True
    assert evidence.ask(token, "kp", gathered["result"]["pieces"], ref)["result"] == []


def test_a_thousand_lines_take_seconds(clouds: Watched) -> None:
    refs = [
        drill.add_foreign_server(clouds.state_dir(), f"vm-{n:04d}", arch="aarch64", zone="kp-z1") for n in range(1000)
    ]
    clouds.look()
    asked: list[str] = []
    listener = ("before_cursor_execute", lambda _connection, _cursor, statement, *_: asked.append(statement))
    sa.event.listen(clouds.city.engine, *listener)
    began = time.process_time()
    report = _import(clouds, "quota", [_line(ref) for ref in refs], opening_balance=True, reason="期初")
    took_s = time.process_time() - began
    sa.event.remove(clouds.city.engine, *listener)
    assert len(report.servers) == 1000
    assert _used(clouds, clouds.city.root.account_id)["vcpus"] == 2000
    assert _proved(clouds)
    assert len(asked) < 200, "statements do not grow with lines, but for pieces of them"
    assert took_s < 20, "processor time: the clock of a shared machine tells nothing"
    print(f"1,000 lines: {took_s:.1f} s of processor time, {len(asked)} statements")


def _entered(clouds: Watched, who: str = "admin", **changes: Any) -> Server:
    fields = {
        "project": str(clouds.city.project.id),
        "name": "rack-07",
        "resource_type": "baremetal",
        "counts_quota": False,
        "env": "prd",
        "purpose_kind": "db",
        "network_zone": world.ZONE,
        "arch": "aarch64",
        "cpu_family": "phytium",
        "vcpus": 64,
        "memory_mib": 262144,
        "system_disk_gib": 960,
        "ipv4": ["198.51.100.9"],
        "datacenter": "老机房",
        "os_name": "麒麟",
    } | changes
    with clouds.write() as session:
        row = manual_servers.enter(session, clouds.city.actor(who), EnterServer.model_validate(fields))
        return row[0]


def test_a_physical_machine_is_kept_by_hand_and_counts_only_where_it_is_said(clouds: Watched) -> None:
    free = _entered(clouds)
    assert (free.source, free.resource_type, free.resource_no) == ("manual", "baremetal", "430102-PM-000001")
    assert (free.last_seen_at, free.last_confirmed_at is None, free.lease_long_term) == (None, False, True)
    assert _used(clouds, clouds.city.project.account_id).get("vcpus", 0) == 0
    with pytest.raises(quotas.QuotaExceeded):
        _entered(clouds, name="rack-08", counts_quota=True)
    counted = _entered(clouds, name="rack-08", counts_quota=True, vcpus=8)
    assert _used(clouds, clouds.city.project.account_id)["vcpus"] == 8
    with clouds.write() as session, pytest.raises(quotas.QuotaExceeded):
        manual_servers.change(session, clouds.city.actor("admin"), counted.id, ChangeServer(vcpus=16))
    with clouds.write() as session:
        manual_servers.change(session, clouds.city.actor("admin"), counted.id, ChangeServer(vcpus=4, remark="降配"))
    assert _used(clouds, clouds.city.project.account_id)["vcpus"] == 4
    before = clouds.server(counted.id).last_confirmed_at
    with clouds.write() as session:
        manual_servers.confirm(session, clouds.city.actor("admin"), counted.id)
    assert clouds.server(counted.id).last_confirmed_at > before
    for each in (free, counted):
        with clouds.write() as session:
            manual_servers.retire(session, clouds.city.actor("admin"), each.id, EndServer(reason="报废"))
    assert clouds.server(counted.id).phase == "retired"
    assert _used(clouds, clouds.city.project.account_id).get("vcpus", 0) == 0
    assert _proved(clouds)


def test_rows_kept_by_hand_come_by_sheet_too_and_belong_to_their_district(clouds: Watched) -> None:
    report = _import(clouds, "admin", [_manual_line("rack-09")])
    assert [(taken.source, taken.backend) for taken in report.servers] == [("manual", None)]
    with clouds.write() as session, pytest.raises(Hidden):
        manual_servers.confirm(session, clouds.city.actor("stranger"), report.servers[0].id)
    (ref,) = _stand(clouds, "stood-before")
    imported = _import(clouds, "sysadmin", [_line(ref)]).servers[0]
    with clouds.write() as session, pytest.raises(Conflict, match="at a cloud"):
        manual_servers.confirm(session, clouds.city.actor("sysadmin"), imported.id)


def test_addresses_of_what_is_taken_over_belong_to_it(clouds: Watched) -> None:
    with clouds.write() as session:
        network = session.exec(select(Network).order_by(col(Network.name))).first()
        assert network is not None
        session.add(
            Subnet(network_zone=network.network_zone, network_id=None, family=4, cidr="198.51.100.0/24", name="旧网")
        )
    server = _entered(clouds)
    (address,) = clouds.read(lambda session: list(session.exec(select(Address))))
    assert (address.address, address.server_id, address.state) == ("198.51.100.9", server.id, "allocated")
    with pytest.raises(ImportRefused) as refused:
        _entered(clouds, name="rack-10")
    assert [each["rule"] for each in refused.value.errors] == ["address_taken"]
    with clouds.write() as session:
        manual_servers.retire(session, clouds.city.actor("admin"), server.id, EndServer(reason="报废"))
    assert clouds.read(lambda session: list(session.exec(select(Address)))) == []


def test_the_inventory_shows_sources_and_what_nobody_owns(clouds: Watched) -> None:
    imported, _ = _stand(clouds, "taken-over", "nobodys")
    _import(clouds, "sysadmin", [_line(imported)])
    _entered(clouds)

    def lines(who: str, include: str) -> list[dict[str, Any]]:
        with clouds.write() as session:
            command = InventoryExport(format="jsonl", include=include)
            job = inventory.begin(session, clouds.city.actor(who), command, language="zh_CN")
            content = b"".join(chunk for chunk, _ in inventory.chunks(session, job))
        return [json.loads(line) for line in content.splitlines()]

    shown = {line["name"]: line for line in lines("auditor", "unmanaged")}
    assert {name: (line["source"], line["resource_type"]) for name, line in shown.items()} == {
        "taken-over": ("collected", "vm"),
        "rack-07": ("entered", "baremetal"),
        "nobodys": ("collected", "vm"),
    }
    nobodys = shown["nobodys"]
    assert (nobodys["vcpu"], nobodys["memory_gib"], nobodys["cloud_platform"]) == (2, 4, "kp")
    assert (nobodys["resource_id"], nobodys["org_name"], nobodys["owner_name"]) == (None, None, None)
    assert nobodys["remark"] == "未纳管"
    assert "人工确认" in shown["rack-07"]["remark"]
    assert (shown["rack-07"]["os_name"], shown["rack-07"]["datacenter"]) == ("麒麟", "老机房")
    assert {line["name"] for line in lines("auditor", "")} == {"taken-over", "rack-07"}
    assert {line["name"] for line in lines("admin", "unmanaged")} == {"taken-over", "rack-07"}


def test_a_server_imported_while_an_inventory_is_written_stands_in_it_once(clouds: Watched) -> None:
    (ref,) = _stand(clouds, "stood-before")
    with new_session(clouds.city.engine) as session:
        inventory_store.hold_moment(session)
        owned = [row for piece in inventory_store.pieces(session, paths=["/"], include_retired=False) for row in piece]
        _import(clouds, "sysadmin", [_line(ref)])
        assert owned == []
        assert [seen.ref for seen, _ in discovery_store.unmanaged_rows(session)] == [ref]
    with new_session(clouds.city.engine) as session:
        assert list(discovery_store.unmanaged_rows(session)) == []


def test_what_nobody_owns_stands_in_every_form_and_view(clouds: Watched) -> None:
    _stand(clouds, "nobodys", host="kp-z1-h1")

    def text(form: str, view: str) -> str:
        with clouds.write() as session:
            command = InventoryExport.model_validate({"format": form, "view": view, "include": "retired,unmanaged"})
            job = inventory.begin(session, clouds.city.actor("auditor"), command, language="zh_CN")
            return b"".join(chunk for chunk, _ in inventory.chunks(session, job)).decode("utf-8-sig")

    for view, shows_host in (("audit", True), ("short", False), ("public", False)):
        (line,) = csv.DictReader(io.StringIO(text("csv", view)))
        (item,) = json.loads(text("json", view))["items"]
        assert item == json.loads(text("jsonl", view))
        assert (line["云主机名称"], line["状态"], item["name"], item["org_name"]) == (
            "nobodys",
            "运行中",
            "nobodys",
            None,
        )
        assert ("宿主机" in line, "host" in item) == (shows_host, shows_host)
