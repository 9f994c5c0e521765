"""The inventory of the present: which lines, which columns, in which form; on both databases."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.errors import (
    AsOfUnavailable,
    Forbidden,
    Hidden,
    InvalidInput,
    NotFound,
    Refusal,
    UnsupportedFormat,
)
from cloudmgr.domain.events import Event
from cloudmgr.domain.inventory_columns import COLUMNS
from cloudmgr.models import AuditEvent, Export
from cloudmgr.services import exports, inventory
from cloudmgr.services.inventory import InventoryExport
from cloudmgr.store import servers
from cloudmgr.store.db import new_session
from tests.inventory_city import ACTIVATED, PHONE, InventoryCity, parts, populate
from tests.services.people import LOCAL, person
from tests.support import make_tree


@pytest.fixture
def city(session: Session) -> InventoryCity:
    return populate(session, make_tree(session))


@pytest.fixture
def auditor(city: InventoryCity) -> Actor:
    return person(Role.AUDIT_ADMIN, city.tree.city)


def export(city: InventoryCity, actor: Actor, language: str = "zh_CN", **asked: Any) -> bytes:
    job = inventory.begin(city.session, actor, InventoryExport(**asked), language=language)
    return parts(inventory.chunks(city.session, job))[0]


def table(city: InventoryCity, actor: Actor, language: str = "zh_CN", **asked: Any) -> list[dict[str, str]]:
    text = export(city, actor, language, format="csv", **asked).decode(asked.get("encoding", "utf-8-sig"))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def items(city: InventoryCity, actor: Actor, **asked: Any) -> list[dict[str, Any]]:
    return list(json.loads(export(city, actor, format="json", **asked))["items"])


def test_a_server_in_service_has_every_required_column_filled(city: InventoryCity, auditor: Actor) -> None:
    city.server()
    (line,) = table(city, auditor)
    assert list(line) == [column.header_zh for column in COLUMNS]
    assert {column.header_zh for column in COLUMNS if column.required and not line[column.header_zh]} == set()


def test_csv_reads_as_the_ledger_of_the_field(city: InventoryCity, auditor: Actor) -> None:
    city.server(data_disk_gib=500, memory_mib=1536)
    (line,) = table(city, auditor)
    expected = {
        "资源编号": "430102-VM-000001", "资源类型": "云主机", "状态": "运行中", "单位代码": "430102-mzj",
        "所属单位": "芙蓉区民政局", "行政区划代码": "430102", "所属区县": "芙蓉区", "租户": "芙蓉区",
        "信息系统": "智慧社区综合服务平台", "等保级别": "二级", "是否涉密": "否", "环境": "生产", "用途": "应用",
        "云平台": "kunpeng-a", "资源池/分区": "信创资源区", "可用区": "kp-zone-1", "宿主机": "kp-host-3",
        "网络区域": "政务外网区", "VPC/子网": "10.0.0.0/8;fd00::/64", "IPv4地址": "10.0.0.1", "IPv6地址": "fd00::a",
        "公网IP": "", "CPU架构": "aarch64", "CPU系列": "鲲鹏", "是否信创": "是", "vCPU(核)": "8", "内存(GiB)": "1.5",
        "系统盘(GiB)": "40", "数据盘(GiB)": "500", "存储合计(GiB)": "540", "内核版本": "4.19.90-89",
        "镜像": "kylin-v10@V10 SP3(2403)", "CPU月均利用率(%)": "", "创建单号": "SQ20261122-0001",
        "开通时间": "2026-11-22 10:15:07", "到期时间": "2027-11-22", "责任人": "王*", "联系电话": "138****5678",
        "数据来源": "自动采集", "备注": "业务系统应用服务器",
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected


def test_zero_is_zero_and_unknown_is_empty(city: InventoryCity, auditor: Actor) -> None:
    city.server(data_disk_gib=0, cpu_family="unknown", cpu_model="unknown", last_seen_at=None, guest={})
    (line,) = table(city, auditor)
    assert (line["数据盘(GiB)"], line["CPU系列"], line["最近采集时间"], line["内核版本"]) == ("0", "", "", "")
    assert line["CPU型号"] == "implementer=0x48 part=0xd01"


def test_json_holds_values_for_machines(city: InventoryCity, auditor: Actor) -> None:
    city.server()
    (item,) = items(city, auditor)
    assert list(item) == [column.key for column in COLUMNS]
    assert item["status"] == "running"
    assert item["is_xinchuang"] is True
    assert item["memory_gib"] == 32
    assert item["ipv6"] == ["fd00::a"]
    assert item["public_ip"] == []
    assert (item["created_at"], item["lease_end"]) == ("2026-11-22T02:15:07Z", "2027-11-22")


def test_json_and_jsonl_hold_the_same_lines(city: InventoryCity, auditor: Actor) -> None:
    city.many(7)
    lines = export(city, auditor, format="jsonl").splitlines()
    assert [json.loads(line) for line in lines] == items(city, auditor)
    document = json.loads(export(city, auditor, format="json"))
    assert [column["key"] for column in document["columns"]] == [column.key for column in COLUMNS]
    assert document["as_of"].endswith("Z")


def test_an_empty_inventory_is_whole_in_every_form(city: InventoryCity, auditor: Actor) -> None:
    assert json.loads(export(city, auditor, format="json"))["items"] == []
    assert export(city, auditor, format="jsonl") == b""
    assert table(city, auditor) == []


@pytest.mark.parametrize(
    ("phase", "state", "word"),
    [
        ("requested", "unknown", "待开通"),
        ("configuring", "running", "待开通"),
        ("active", "running", "运行中"),
        ("active", "stopped", "已关机"),
        ("active", "error", "异常"),
        ("active", "unknown", "异常"),
        ("suspended", "stopped", "已冻结"),
        ("retiring", "running", "运行中"),
        ("failed", "unknown", "异常"),
        ("retired", "unknown", "已回收"),
    ],
)
def test_the_status_follows_phase_and_state(
    city: InventoryCity, auditor: Actor, phase: str, state: str, word: str
) -> None:
    city.server(phase=phase, state=state)
    (line,) = table(city, auditor, include="retired")
    assert line["状态"] == word


def test_lines_begin_with_approval_and_end_with_retirement(city: InventoryCity, auditor: Actor) -> None:
    city.server(resource_no=None, phase="requested")
    city.server(name="placed", phase="placed", zone_id=None, backend_id=None, is_xinchuang=None)
    city.server(name="gone", phase="retired")
    assert [line["云主机名称"] for line in table(city, auditor)] == ["placed"]
    assert {line["云主机名称"] for line in table(city, auditor, include="retired")} == {"placed", "gone"}
    (waiting,) = items(city, auditor)
    assert (waiting["resource_pool"], waiting["is_xinchuang"], waiting["cloud_platform"]) == (None, None, None)


def test_lines_are_sorted_by_division_organization_system_and_number(city: InventoryCity, auditor: Actor) -> None:
    city.elsewhere()
    for number in ("430102-VM-000900", "430102-VM-000100"):
        city.server(resource_no=number)
    found = [line["资源编号"] for line in table(city, auditor)]
    assert found == ["430102-VM-000100", "430102-VM-000900", "430104-VM-000001"]


def test_another_district_is_not_in_the_file(city: InventoryCity) -> None:
    city.server()
    city.elsewhere()
    for role, place, expected in (
        (Role.DISTRICT_ADMIN, city.tree.furong, {"芙蓉区民政局"}),
        (Role.DISTRICT_ADMIN, city.tree.yuelu, {"岳麓区"}),
        (Role.EXTERNAL_AUDITOR, city.tree.city, {"芙蓉区民政局", "岳麓区"}),
    ):
        assert {line["所属单位"] for line in table(city, person(role, place))} == expected


def test_one_subtree_can_be_asked_for(city: InventoryCity, auditor: Actor) -> None:
    city.server()
    city.elsewhere()
    assert {item["org_name"] for item in items(city, auditor, organization=city.tree.yuelu.id)} == {"岳麓区"}
    with pytest.raises(Hidden):
        items(city, person(Role.DISTRICT_ADMIN, city.tree.furong), organization=city.tree.yuelu.id)
    with pytest.raises(NotFound):
        items(city, auditor, organization=city.project.id)


def test_the_division_of_a_park_is_that_of_the_district_that_administers_it(
    city: InventoryCity, auditor: Actor
) -> None:
    city.tree.yuelu.code, city.tree.yuelu.name = "CSGX", "长沙高新区"
    city.tree.yuelu.administered_by_id = city.tree.furong.id
    city.session.flush()
    city.elsewhere()
    (item,) = items(city, auditor)
    assert (item["district_code"], item["district_name"], item["tenant"]) == ("430102", "芙蓉区", "长沙高新区")


@pytest.mark.parametrize("role", [Role.REQUESTER, Role.DISTRICT_ADMIN, Role.AUDIT_ADMIN, Role.SYSTEM_ADMIN])
def test_persons_are_masked_whoever_exports(city: InventoryCity, role: Role) -> None:
    city.server()
    data = export(city, person(role, city.tree.city), format="jsonl").decode()
    assert PHONE not in data
    assert "王芳" not in data
    assert "138****5678" in data


def test_the_audit_administrator_reveals_persons_with_a_reason(city: InventoryCity, auditor: Actor) -> None:
    city.server()
    (item,) = items(city, auditor, reveal="personal", reason="网信办抽查")
    assert (item["owner_name"], item["owner_phone"]) == ("王芳", PHONE)
    (event,) = city.session.exec(select(AuditEvent).where(AuditEvent.event == Event.INVENTORY_REVEAL.value)).all()
    assert event.detail["why"] == "网信办抽查"


@pytest.mark.parametrize(
    ("role", "asked", "refusal", "field"),
    [
        (Role.AUDIT_ADMIN, {"reveal": "personal"}, InvalidInput, "reason"),
        (Role.AUDIT_ADMIN, {"reason": "因为"}, InvalidInput, "reason"),
        (Role.AUDIT_ADMIN, {"reveal": "personal", "reason": "x", "view": "public"}, InvalidInput, "reveal"),
        (Role.DISTRICT_ADMIN, {"reveal": "personal", "reason": "x"}, Forbidden, None),
        (Role.EXTERNAL_AUDITOR, {"reveal": "personal", "reason": "x"}, Forbidden, None),
        (Role.SECURITY_ADMIN, {}, Forbidden, None),
        (Role.AUDIT_ADMIN, {"format": "xlsx"}, UnsupportedFormat, "format"),
        (Role.AUDIT_ADMIN, {"include": "retired,ghosts"}, InvalidInput, "include"),
        (Role.AUDIT_ADMIN, {"as_of": "2020-01-01T00:00:00+08:00"}, AsOfUnavailable, "as_of"),
        (Role.AUDIT_ADMIN, {"as_of": "2020-01-01T00:00:00"}, AsOfUnavailable, "as_of"),
    ],
)
def test_what_is_refused_leaves_no_record_of_an_export(
    city: InventoryCity, role: Role, asked: dict[str, Any], refusal: type[Refusal], field: str | None
) -> None:
    with pytest.raises(refusal) as caught:
        export(city, person(role, city.tree.city), **asked)
    assert caught.value.field == field
    assert city.session.exec(select(Export)).all() == []


def test_a_past_moment_is_told_apart_from_one_before_all_records(city: InventoryCity, auditor: Actor) -> None:
    server = city.server()
    with clock.stepped(ACTIVATED):
        servers.keep(city.session, server, actor="test", change="active")
    for as_of, word in ((ACTIVATED - timedelta(seconds=1), "first is of"), (ACTIVATED, "present only")):
        with pytest.raises(AsOfUnavailable, match=word):
            export(city, auditor, as_of=as_of.isoformat())


def test_hosts_show_to_those_who_run_the_clouds_or_audit_them(city: InventoryCity) -> None:
    city.server()
    for role, seen in (
        (Role.REQUESTER, None),
        (Role.UNIT_REVIEWER, None),
        (Role.DISTRICT_ADMIN, None),
        (Role.SYSTEM_ADMIN, "kp-host-3"),
        (Role.TECHNICAL_APPROVER, "kp-host-3"),
        (Role.AUDIT_ADMIN, "kp-host-3"),
        (Role.EXTERNAL_AUDITOR, "kp-host-3"),
    ):
        assert [item["host"] for item in items(city, person(role, city.tree.furong))] == [seen]


def test_a_reader_with_two_roles_sees_hosts_where_that_role_reaches(city: InventoryCity) -> None:
    city.server()
    city.elsewhere()
    actor = person(Role.REQUESTER, city.tree.city, (Role.TECHNICAL_APPROVER, city.tree.furong))
    assert [(item["org_name"], item["host"]) for item in items(city, actor)] == [
        ("芙蓉区民政局", "kp-host-3"),
        ("岳麓区", None),
    ]


def test_views_show_their_columns_only(city: InventoryCity, auditor: Actor) -> None:
    city.server()
    assert not {"责任人", "联系电话", "宿主机"} & set(table(city, auditor, view="public")[0])
    assert list(table(city, auditor, view="short")[0])[:3] == ["资源编号", "云主机名称", "所属单位"]
    assert len(items(city, auditor, view="short")[0]) == 16


def test_a_formula_is_neutralised_wherever_people_can_write(city: InventoryCity, auditor: Actor) -> None:
    city.server(owner_name='=HYPERLINK("http://x")', owner_phone="+86 13812345678")
    city.project.ops_vendor = "@SUM(1+1)*cmd|' /C calc'!A0"
    city.project.system_code = "\t=1+1"
    city.session.flush()
    for encoding in ("utf-8-sig", "gb18030"):
        (line,) = table(city, auditor, encoding=encoding, reveal="personal", reason="测试")
        assert not [value for value in line.values() if value.startswith(("=", "+", "-", "@", "\t", "\r"))]
        assert line["责任人"] == '\'=HYPERLINK("http://x")'
        assert line["联系电话"] == "'+86 13812345678"
    (item,) = items(city, auditor)
    assert item["ops_vendor"].startswith("@SUM")  # programs get what was written


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_rare_characters_and_awkward_texts_survive(city: InventoryCity, auditor: Actor, encoding: str) -> None:
    awkward = '䶮㛃𠮷, "引号"\r\n第二行'
    city.project.ops_vendor = awkward
    city.project.system_code = "91430100MA4L16JJ0X"
    city.session.flush()
    city.server()
    city.server(name="last")
    data = export(city, auditor, format="csv", encoding=encoding)
    assert data.startswith(b"\xef\xbb\xbf") == (encoding == "utf-8-sig")
    assert data.count(b"\xef\xbb\xbf") == (encoding == "utf-8-sig")
    text = data.decode(encoding)
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [line["运维单位"] for line in lines] == [awkward, awkward]
    assert lines[0]["系统编码"] == "91430100MA4L16JJ0X"


def test_english_headers_and_words_for_english_readers(city: InventoryCity, auditor: Actor) -> None:
    city.server(rehearsed=True, lease_end=None, lease_long_term=True)
    for asked in ({"language": "en"}, {"lang": "en"}):
        (line,) = table(city, auditor, **asked)
        assert list(line) == [column.header_en for column in COLUMNS]
        assert (line["Status"], line["Classified?"], line["CPU family"]) == ("Running", "No", "Kunpeng")
        assert line["Lease end"] == ""
        assert line["Remarks"].startswith("Long-term；Rehearsal")


def test_everything_that_may_be_asked_for_is_collected(city: InventoryCity, auditor: Actor) -> None:
    job = inventory.begin(city.session, auditor, InventoryExport(include="unmanaged"), language="zh_CN")
    assert job.not_collected == ()
    assert json.loads(parts(inventory.chunks(city.session, job))[0])["not_collected"] == []


def test_the_file_is_named_after_place_and_moment(city: InventoryCity, auditor: Actor) -> None:
    with clock.stepped(ACTIVATED):
        job = inventory.begin(city.session, auditor, InventoryExport(format="csv"), language="zh_CN")
        furong = person(Role.DISTRICT_ADMIN, city.tree.furong)
        other = inventory.begin(city.session, furong, InventoryExport(lang="en"), language="zh_CN")
        local = inventory.begin(city.session, LOCAL, InventoryExport(), language="zh_CN")
    assert (job.filename, job.ascii_filename) == (
        "资源台账_长沙市_20261122_1015.csv",
        "inventory_CS_20261122_1015.csv",
    )
    assert other.filename == "inventory_芙蓉区_20261122_1015.json"
    assert other.ascii_filename == "inventory_430102_20261122_1015.json"
    assert local.filename == "资源台账_长沙市_20261122_1015.json"


def test_an_export_is_recorded_before_and_settled_after(city: InventoryCity, auditor: Actor) -> None:
    city.many(3)
    job = inventory.begin(city.session, auditor, InventoryExport(format="jsonl"), language="zh_CN")
    begun = exports.get_export(city.session, auditor, job.export_id)
    assert (begun.state, begun.rows, begun.sha256) == ("running", None, None)
    tally = exports.Tally()
    for chunk, rows in inventory.chunks(city.session, job):
        tally.add(chunk, rows)
    done = exports.finish(city.session, auditor, job.export_id, tally, is_whole=True)
    assert (done.state, done.rows, done.sha256) == ("done", 3, tally.sha256)
    assert exports.finish(city.session, auditor, job.export_id, exports.Tally(), is_whole=False).state == "done"
    events = city.session.exec(
        select(AuditEvent).where(AuditEvent.event == Event.INVENTORY_EXPORT.value).order_by(AuditEvent.seq)
    ).all()
    assert [event.detail["stage"] for event in events] == ["begun", "finished"]
    assert (events[1].detail["rows"], events[1].detail["sha256"]) == (3, tally.sha256)
    assert events[1].object_id == str(job.export_id)


def test_an_export_whose_process_died_is_told_as_broken(city: InventoryCity, auditor: Actor) -> None:
    job = inventory.begin(city.session, auditor, InventoryExport(), language="zh_CN")
    begun = exports.get_export(city.session, auditor, job.export_id)
    with clock.stepped(clock.now() + exports.DEADLINE + timedelta(minutes=2)):
        assert exports.state_of(begun) == "broken"
    assert exports.state_of(begun) == "running"


def test_memory_stays_flat_from_2000_to_20000_servers(database_url: str) -> None:
    from tests.support import make_database  # noqa: PLC0415 - this test alone commits

    engine = make_database(database_url)
    peaks = {}
    with new_session(engine) as session:
        city = populate(session, make_tree(session))
        for total in (2_000, 20_000):
            city.many(total - city.made)
            session.commit()
            peaks[total] = _peak(engine, total)
    engine.dispose()
    assert peaks[20_000] < 1.15 * peaks[2_000], peaks  # all rows at once: more than 1.5


def _peak(engine: sa.Engine, expected: int) -> int:
    """Return the most memory this process held while so many servers went by."""
    process, peak, rows = psutil.Process(), 0, 0
    with new_session(engine) as session:
        job = inventory.begin(session, LOCAL, InventoryExport(format="csv"), language="zh_CN")
        session.commit()
        for _, count in inventory.chunks(session, job):
            rows += count
            peak = max(peak, process.memory_info().rss)
    assert rows == expected
    return peak
