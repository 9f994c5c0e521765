"""Asking for servers by a sheet: what is understood, told cell by cell, gathered, tried and submitted."""

import csv
import io
import time
from datetime import timedelta
from typing import Any

import openpyxl
import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.errors import ImportRefused, InvalidInput
from cloudmgr.models import Happening, ResourceRequest, Server
from cloudmgr.services import request_clones, request_sheet, sheet_requests, sheet_templates
from cloudmgr.services.request_sheet import COLUMNS
from cloudmgr.services.sheet_requests import SheetOptions
from tests.stocked import Desk
from tests.world import ZONE, World

PROJECT = "智慧社区综合服务平台"
END = (clock.today() + timedelta(days=300)).isoformat()


def _line(name: str, **changes: str) -> dict[str, str]:
    cells = {"信息系统名称": PROJECT, "云主机名称": name, "规格": "2C4G", "镜像": "kylin-v10", "CPU架构": "aarch64"}
    cells |= {"网络区域": ZONE, "申请用途": "社区服务", "到期时间": END}
    return cells | changes


def _csv(*lines: dict[str, str], encoding: str = "utf-8-sig") -> bytes:
    headers = list(dict.fromkeys(key for line in lines for key in line))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, headers)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode(encoding)


def _run(desk: Desk, content: bytes, who: str = "requester", **options: Any) -> sheet_requests.SheetReport:
    sheet = request_sheet.read(content)
    return sheet_requests.submit(desk.session, desk.actor(who), sheet, SheetOptions(**options))


def test_lines_that_belong_together_become_one_request(desk: Desk) -> None:
    report = _run(desk, _csv(_line("a", 数量="2"), _line("b"), _line("c", 申请用途="另一用途"), _line("d")))
    assert [(each.rows, each.servers) for each in report.requests] == [([2, 3, 5], 4), ([4], 1)]
    assert report.is_good
    names = {server.name for server in desk.session.exec(select(Server))}
    assert {"a01", "a02", "b", "c", "d"} <= names
    assert desk.used(desk.world.project.account_id) == (0, 5)
    events = [happening.event for happening in desk.session.exec(select(Happening))]
    assert events == ["request.to_decide"] * 2


def test_funding_priority_and_hosts_of_its_own_have_columns(desk: Desk) -> None:
    more = {"资金来源": "2027 年度预算", "优先级": "高", "独占宿主机理由": "等保三级"}
    report = _run(desk, _csv(_line("a", **more), _line("b")))
    first, second = (desk.session.get_one(ResourceRequest, each.id).body for each in report.requests)
    assert {name: first[name] for name in ("funding_source", "priority", "exclusive", "exclusive_reason")} == {
        "funding_source": "2027 年度预算",
        "priority": "high",
        "exclusive": True,
        "exclusive_reason": "等保三级",
    }
    assert "exclusive" not in second


def test_a_trial_tells_everything_and_leaves_nothing(desk: Desk) -> None:
    before = desk.counts()
    report = _run(desk, _csv(_line("a"), _line("b")), dry_run=True)
    assert [each.servers for each in report.requests] == [2]
    assert desk.counts() == before


@pytest.mark.parametrize(
    ("changes", "header", "rule"),
    [
        ({"数量": "0"}, "数量", "range"),
        ({"数量": "两台"}, "数量", "number"),
        ({"云主机名称": "Server A"}, "云主机名称", "name"),
        ({"规格": "9C9G"}, "规格", "invalid"),
        ({"镜像": ""}, "镜像", "required"),
        ({"镜像": "windows"}, "镜像", "invalid"),
        ({"CPU架构": "sparc"}, "CPU架构", "one_of"),
        ({"CPU架构": "loongarch64"}, "CPU架构", "arch_mismatch"),
        ({"CPU架构": "x86_64", "镜像": "arm-only"}, "镜像", "arch_mismatch"),
        ({"网络区域": "火星区"}, "网络区域", "invalid"),
        ({"到期时间": "2026/13/1"}, "到期时间", "date"),
        ({"到期时间": "2020-01-01"}, "到期时间", "invalid"),
        ({"信息系统名称": "没有的系统"}, "信息系统名称", "no_such_project"),
        ({"信息系统名称": "涉密项目"}, "信息系统名称", "classification_refused"),
        ({"信息系统名称": "无主项目"}, "owner_name", "required"),
        ({"申请用途": "x" * 2001}, "申请用途", "max_length"),
        ({"数量": "-3"}, "数量", "range"),
        ({"优先级": "特急"}, "优先级", "priority"),
        ({"资金来源": "x" * 201}, "资金来源", "max_length"),
    ],
)
def test_a_wrong_cell_is_told_with_its_row_and_column(
    desk: Desk, changes: dict[str, str], header: str, rule: str
) -> None:
    content = _csv(_line("good"), _line("bad", **changes))
    report = _run(desk, content, dry_run=True)
    [error] = report.errors
    assert (error.row, error.rule) == (3, rule), error
    assert header in (error.header, error.column)
    assert [each.rows for each in report.requests] == [[2]]
    with pytest.raises(ImportRefused) as refused:
        _run(desk, content)
    assert refused.value.errors[0]["row"] == 3
    assert list(desk.session.exec(select(ResourceRequest))) == []
    assert [each.rows for each in _run(desk, content, accept="good").requests] == [[2]]


def test_everything_that_is_wrong_with_a_line_is_told_at_once(desk: Desk) -> None:
    wrong = {
        "规格": "9C9G",
        "镜像": "windows",
        "CPU架构": "loongarch64",
        "网络区域": "火星区",
        "到期时间": "2020-01-01",
    }
    report = _run(desk, _csv(_line("bad", **wrong), _line("worse", **wrong, 数量="两台")), dry_run=True)
    columns = ["flavor", "image", "arch", "network_zone", "lease_end"]
    assert [error.column for error in report.errors if error.row == 2] == columns
    assert sorted(error.column for error in report.errors if error.row == 3) == sorted([*columns, "count"])


def test_a_name_stands_once_in_a_sheet_and_among_live_servers(desk: Desk) -> None:
    _run(desk, _csv(_line("app01")))
    report = _run(desk, _csv(_line("app", 数量="2"), _line("new"), _line("new")), dry_run=True)
    assert [(error.row, error.rule) for error in report.errors] == [(2, "taken"), (4, "twice")]


def test_over_quota_one_request_is_left_out_or_all_are(desk: Desk) -> None:
    content = _csv(_line("many", 数量="19"), _line("more", 数量="9", 申请用途="二期"))
    report = _run(desk, content, dry_run=True)
    assert [(refusal["code"], refusal["rows"]) for refusal in report.refusals] == [("quota_exceeded", [3])]
    with desk.session.begin_nested() as savepoint:
        with pytest.raises(quotas.QuotaExceeded):
            _run(desk, content)
        savepoint.rollback()
    assert desk.used(desk.world.project.account_id) == (0, 0)
    good = _run(desk, content, accept="good")
    assert [each.servers for each in good.requests] == [19]
    assert desk.used(desk.world.project.account_id) == (0, 19)


def test_the_template_is_in_chinese_and_what_is_written_into_it_is_read(desk: Desk) -> None:
    content = sheet_templates.template(desk.session, desk.actor("requester"), "xlsx", language="zh_CN")
    book = openpyxl.load_workbook(io.BytesIO(content))
    sheet = book.active
    headers = [cell.value for cell in sheet[1]]
    assert headers[:4] == ["信息系统名称", "信息系统编码", "单位名称", "云主机名称*"]
    row = {"信息系统名称": PROJECT, "云主机名称*": "from-xlsx", "规格*": "2C4G", "镜像*": "kylin-v10"}
    row |= {"CPU架构*": "aarch64", "网络区域": ZONE, "申请用途*": "测试", "数量": 2, "数据盘(GiB)": 100}
    row |= {"到期时间*": clock.today() + timedelta(days=300)}
    sheet.append([row.get(header) for header in headers])
    filled = io.BytesIO()
    book.save(filled)
    [asked] = _run(desk, filled.getvalue()).requests
    assert asked.servers == 2
    assert asked.amounts["disk_gib"] == 2 * (40 + 100)
    english = sheet_templates.template(desk.session, desk.actor("requester"), "csv", language="en").decode("utf-8-sig")
    assert english.startswith("Information system,System code,Unit,Server name*")


def test_gb18030_and_english_headers_are_read(desk: Desk) -> None:
    assert _run(desk, _csv(_line("a"), encoding="gb18030")).is_good
    by_chinese = {column.chinese: column.english for column in COLUMNS}
    line = {by_chinese[key]: value for key, value in _line("b").items()}
    assert _run(desk, _csv(line)).is_good


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\x02",
        b"PK\x03\x04 not a zip",
        "信息系统名称,颜色\n甲,红\n".encode(),
        "信息系统名称\n甲\n".encode(),
        "云主机名称,云主机名称\n".encode(),
    ],
)
def test_what_is_no_sheet_is_refused(desk: Desk, content: bytes) -> None:
    with pytest.raises(InvalidInput):
        _run(desk, content)


def test_another_units_systems_are_not_there(desk: Desk) -> None:
    report = _run(desk, _csv(_line("a")), who="stranger", dry_run=True)
    assert [error.rule for error in report.errors] == ["no_such_project"]


def test_a_thousand_lines_take_seconds(small_world: World) -> None:
    with small_world.session() as session:
        for account in (small_world.project.account_id, small_world.furong.account_id):
            limits = dict.fromkeys(("servers", "vcpus"), 10_000)
            quotas.set_limits(
                session, account_id=account, limits=limits, replace=False, reason="测", basis_no=None, actor="test"
            )
        session.commit()
    content = _csv(*(_line(f"s{number:04}") for number in range(1000)))
    with small_world.session() as session:
        began, cpu = time.monotonic(), time.process_time()
        sheet = request_sheet.read(content)
        report = sheet_requests.submit(session, small_world.actor("requester"), sheet, SheetOptions())
        session.commit()
        cpu_s = time.process_time() - cpu
        print(f"1,000 lines: {time.monotonic() - began:.1f} s, {cpu_s:.1f} s of CPU, {len(report.requests)} requests")
    assert (len(report.requests), report.is_good) == (20, True)
    assert cpu_s < 30


def test_a_clone_is_a_draft_without_what_belonged_to_that_time(desk: Desk) -> None:
    [asked] = _run(desk, _csv(_line("app"), _line("db", 数量="2"))).requests
    source = desk.session.get_one(ResourceRequest, asked.id)
    source.body = {**source.body, "emergency": True, "lease_end": "2020-01-01"}
    source.body["servers"][0]["ipv4"] = "10.60.0.9"
    made = request_clones.clone(desk.session, desk.actor("colleague"), asked.id)
    assert (made.phase, made.number, made.requester_id) == ("draft", None, desk.world.people["colleague"])
    assert "lease_end" not in made.body
    assert "emergency" not in made.body
    assert [(line["name"], line.get("ipv4")) for line in made.body["servers"]] == [("app-2", None), ("db-2", None)]
    assert made.body["purpose"] == "社区服务"
    assert desk.used(desk.world.project.account_id) == (0, 3)
