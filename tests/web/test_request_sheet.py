"""Servers by sheet, and clones, as pages."""

import io
from datetime import timedelta

import openpyxl
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import ResourceRequest
from tests.web.conftest import Console, sound
from tests.world import ZONE

PROJECT = "智慧社区综合服务平台"


def _filled(template: bytes, **cells: str | int) -> bytes:
    book = openpyxl.load_workbook(io.BytesIO(template))
    sheet = book.active
    headers = [str(cell.value).removesuffix("*") for cell in sheet[1]]
    row = {"信息系统名称": PROJECT, "云主机名称": "app", "数量": 2, "规格": "2C4G", "镜像": "kylin-v10"}
    row |= {"CPU架构": "aarch64", "网络区域": ZONE, "申请用途": "社区服务"}
    row |= {"到期时间": (clock.today() + timedelta(days=200)).isoformat(), **cells}
    sheet.append([row.get(header) for header in headers])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_sheet_is_downloaded_filled_tried_and_submitted(console: Console) -> None:
    reader = console.reader("requester")
    assert "/requests/sheet" in reader.client.get("/requests").text
    template = reader.client.get("/requests/sheet/template").content

    def send(content: bytes, action: str, status: int = 200) -> str:
        answer = reader.client.post(
            "/requests/sheet",
            data={"csrf_token": reader.csrf, "action": action},
            files={"file": ("申请.xlsx", content)},
        )
        assert answer.status_code == status, answer.text[-500:]
        return sound(answer.text, "/requests/sheet").text

    assert "尚未提交" in send(_filled(template), "try")
    wrong = send(_filled(template, 规格="9C9G"), "submit", 422)
    assert "规格" in wrong
    assert "第 2 行" in wrong
    with console.world.session(write=False) as session:
        assert list(session.exec(select(ResourceRequest))) == []
    assert "已申请 2 台云主机" in send(_filled(template), "submit")
    send(b"no sheet", "try", 422)
    console.reader("admin").page("/requests/sheet", 403)


def test_an_old_request_is_cloned_by_its_button(console: Console) -> None:
    request_id = console.world.submit(name="srv")
    reader = console.reader("requester")
    assert f"/requests/{request_id}/clone" in reader.client.get(f"/requests/{request_id}").text
    reader.post(f"/requests/{request_id}/clone")
    assert reader.location.endswith("?done=cloned")
    page = reader.page(reader.location)
    assert "srv-2" in reader.client.get(reader.location.split("?")[0] + "/edit").text
    assert "草稿" in page.text
