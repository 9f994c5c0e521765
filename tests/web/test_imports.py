"""The room of imports: a sheet is tried before it is taken, faults stand by cell, and rows are kept by hand."""

import uuid
from datetime import timedelta
from typing import Any

from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import AuditEvent, Backend, Finding, ObservedServer, Server
from tests.web.conftest import Console, sound
from tests.web.html import Page
from tests.world import ZONE

SYSTEM = "智慧社区综合服务平台"
HEADER = "虚拟机UUID,云主机名称,信息系统,环境,用途,到期时间,网络区域"


def _stand(console: Console, *names: str) -> dict[str, uuid.UUID]:
    """Let a cloud show servers that nobody owns, and the inbox tell of them; return what was observed by name."""
    now = clock.now()
    with console.world.session() as session:
        backend = session.exec(select(Backend)).one()
        made = {}
        for at, name in enumerate(names):
            seen = ObservedServer(
                backend_id=backend.id, ref=f"ref {name}&1", native_uuid=str(uuid.uuid4()), name=name, power="running",
                native_state="running", arch="aarch64", vcpus=2, memory_mib=4096, system_disk_gib=40,
                zone_ref="kp-z1", ipv4=[f"10.60.9.{at + 1}"], first_seen_at=now, last_seen_at=now, changed_at=now,
            )  # fmt: skip
            finding = Finding(
                kind="unmanaged", backend_id=backend.id, ref=seen.ref, name=name, first_seen_at=now, last_seen_at=now,
                observed={"power": "running", "vcpus": 2, "memory_mib": 4096},
            )  # fmt: skip
            session.add_all([seen, finding])
            session.flush()
            made[name] = seen.id
        session.commit()
        return made


def _line(observed: uuid.UUID, name: str, day: str = "") -> str:
    day = day or (clock.today() + timedelta(days=300)).isoformat()
    return f"{observed},{name},{SYSTEM},生产,应用,{day},{ZONE}"


def _send(console: Console, who: str, action: str, status: int, sheet: bytes | str, **fields: str) -> Page:
    """Send a sheet as a file (bytes) or as text, as a browser does without scripts."""
    reader = console.reader(who)
    data = {"csrf_token": reader.csrf, "action": action, "text": sheet if isinstance(sheet, str) else "", **fields}
    content = sheet if isinstance(sheet, bytes) else b""
    answer = reader.client.post(
        "/imports", data=data, files={"file": ("台账.csv" if content else "", content, "text/csv")}
    )
    assert answer.status_code == status, Page(answer.text).text[:900]
    return sound(answer.text, "/imports")


def _servers(console: Console) -> list[Server]:
    with console.world.session(write=False) as session:
        return list(session.exec(select(Server)))


def test_a_sheet_is_tried_then_taken(console: Console) -> None:
    made = _stand(console, "old-web", "old-db")
    sheet = "\r\n".join([HEADER, _line(made["old-web"], "old-web"), _line(made["old-db"], "old-db")])
    tried = _send(console, "sysadmin", "try", 200, sheet.encode("gb18030"))
    assert "全部 2 行均可纳入" in tried.text
    assert _servers(console) == []
    assert "old-web" in tried.text
    assert _line(made["old-db"], "old-db") in tried.text, "the sheet stays, to be mended or taken"
    taken = _send(console, "sysadmin", "take", 200, sheet, reason="清产核资")
    assert "已将 2 台纳入台账" in taken.text
    assert {row.name for row in _servers(console)} == {"old-web", "old-db"}
    assert any(link.startswith("/servers/") for link in taken.links)
    again = _send(console, "sysadmin", "take", 200, sheet)
    assert "2 行此前已纳入" in again.text


def test_faults_stand_by_line_and_column_and_the_sheet_can_be_mended(console: Console) -> None:
    made = _stand(console, "old-web", "old-db")
    sheet = "\n".join([HEADER, _line(made["old-web"], "old-web"), _line(made["old-db"], "old-db", "2026-13-01")])
    tried = _send(console, "sysadmin", "try", 200, sheet)
    assert "可纳入 1 行" in tried.text
    for words in ("到期时间", "2026-13-01", "第 3 行"):
        assert words in tried.words, words
    refused = _send(console, "sysadmin", "take", 422, sheet)
    assert "2026-13-01" in refused.words
    assert _servers(console) == []
    good = _send(console, "sysadmin", "take", 200, sheet, accept="1")
    assert "共 2 行，已纳入 1 台" in good.text
    assert len(_servers(console)) == 1


def test_what_is_no_sheet_is_told_on_the_form(console: Console) -> None:
    assert "第一行必须是列名" in _send(console, "sysadmin", "try", 422, "").text
    assert "列" in _send(console, "sysadmin", "try", 422, "甲,乙\n1,2").text
    assert "xlsx" in _send(console, "sysadmin", "try", 422, b"PK\x03\x04\x00\xff\xfe\x00").text
    _send(console, "requester", "try", 403, HEADER)


def test_an_opening_balance_is_for_quota_administrators(console: Console) -> None:
    made = _stand(console, "old-web")
    sheet = "\n".join([HEADER, _line(made["old-web"], "old-web")])
    assert "opening_balance" in {each.get("name") for _, each in console.reader("quota").page("/imports").fields}
    assert "opening_balance" not in {each.get("name") for _, each in console.reader("admin").page("/imports").fields}
    assert "期初" in _send(console, "quota", "take", 422, sheet, opening_balance="1").text
    _send(console, "quota", "take", 200, sheet, opening_balance="1", reason="期初盘点")
    with console.world.session(write=False) as session:
        assert session.exec(select(AuditEvent).where(AuditEvent.event == "inventory.open")).one()
    _send(console, "sysadmin", "take", 403, sheet, opening_balance="1", reason="x")


def test_the_empty_sheet_has_every_column_that_is_read(console: Console) -> None:
    answer = console.reader("sysadmin").client.get("/imports/template")
    assert answer.content.startswith("\ufeff".encode())
    header = answer.content.decode("utf-8-sig")
    assert {"虚拟机UUID", "信息系统", "到期时间"} <= set(header.strip().split(","))
    empty = _send(console, "sysadmin", "try", 422, answer.content)
    assert "表格中没有数据行" in empty.text


def test_the_inbox_leads_to_a_form_that_is_filled(console: Console) -> None:
    _stand(console, "Old Web_1")
    reader = console.reader("sysadmin")
    link = next(each for each in reader.page("/findings").links if each.startswith("/imports/one?"))
    form = reader.page(link)
    assert {"name": "old-web-1"}.items() <= {
        each.get("name", ""): each.get("value", "") for _, each in form.fields
    }.items()
    assert "10.60.9.1" in form.words
    fields: dict[str, str] = {"name": "old-web-1", "env": "prd", "purpose": "app", "network_zone": ZONE}
    missing = reader.post(link, 422, project=str(console.world.project.id), lease_end="2026-13-01", **fields)
    assert "2026-13-01" in missing.text
    reader.post(link, project=str(console.world.project.id), lease_long_term="1", reason="补登记", **fields)
    page = reader.page(reader.location)
    assert "纳管" in page.text
    assert "/imports/one" not in " ".join(reader.page("/findings").links)
    reader.page(link, 404)


def _by_hand(console: Console, **changes: Any) -> dict[str, str]:
    return {
        "project": str(console.world.project.id), "name": "pm-01", "resource_type": "baremetal", "env": "prd",
        "purpose_kind": "db", "network_zone": ZONE, "arch": "aarch64", "cpu_family": "kunpeng", "vcpus": "64",
        "memory_gib": "256", "system_disk_gib": "960", "data_disk_gib": "0", "datacenter": "老机房",
        "ipv4": "198.51.100.10", "owner_name": "王芳", "counts_quota": "1",
    } | changes  # fmt: skip


def test_a_row_kept_by_hand_is_entered_changed_confirmed_and_ended(console: Console) -> None:
    reader = console.reader("sysadmin")
    wrong = reader.post("/imports/by-hand", 422, **_by_hand(console, vcpus="many", memory_gib=""))
    assert [each["value"] for _, each in wrong.fields if each.get("name") == "vcpus"] == ["many"]
    assert "Required" not in wrong.words
    reader.post("/imports/by-hand", **_by_hand(console))
    address = reader.location.partition("?")[0]
    page = reader.page(address)
    for words in ("人工登记", "老机房", "确认与实际一致"):
        assert words in page.text, words
    assert "未采集" not in [words for words in page.words if "采集时" in words]
    edit = reader.page(f"{address}/by-hand")
    assert [each["value"] for _, each in edit.fields if each.get("name") == "memory_gib"] == ["256"]
    assert "13800000000" not in [
        each.get("value") for _, each in console.reader("quota").page(f"{address}/by-hand").fields
    ]
    kept = {name: text for name, text in _by_hand(console).items() if name not in ("project", "name", "ipv4")}
    reader.post(f"{address}/by-hand", **kept | {"memory_gib": "512", "datacenter": "新机房"})
    [server] = _servers(console)
    assert (server.memory_mib, server.stated["datacenter"]) == (512 * 1024, "新机房")
    reader.post(f"{address}/by-hand/confirmations")
    assert reader.location == f"{address}?done=confirmed"
    reader.post(f"{address}/by-hand/retirement", 422)
    reader.post(f"{address}/by-hand/retirement", reason="报废")
    assert [row.phase for row in _servers(console)] == ["retired"]
    assert "已回收" in reader.page(address).text
    console.reader("requester").page(f"{address}/by-hand", 403)


def test_what_stands_at_a_cloud_is_not_changed_by_hand(console: Console, standing: Any) -> None:
    server_id = standing()
    console.reader("sysadmin").page(f"/servers/{server_id}/by-hand", 409)
    console.reader("stranger").page(f"/servers/{server_id}/by-hand", 404)
