"""Many servers by a sheet, and an old request again, in a served city: told by the cell, all or the good lines, each line once."""

import csv
import io
import time
from typing import Any

import openpyxl

from tests.journeys.office import Office
from tests.world import ZONE

SHEETS = "/requests/sheets"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def line(office: Office, name: str, **changes: str) -> dict[str, str]:
    cells = {"信息系统名称": office.world.project.name, "云主机名称": name, "规格": "2C4G", "镜像": "kylin-v10"}
    cells |= {"CPU架构": "aarch64", "网络区域": ZONE, "申请用途": "社区服务", "到期时间": office.day(200)}
    return cells | changes


def as_csv(*lines: dict[str, str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for each in lines for key in each)))
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode("gb18030")


def send(office: Office, content: bytes, status: int = 200, **params: Any) -> dict[str, Any]:
    headers = {"Content-Type": "text/csv"}
    answer = office.send("requester", "POST", SHEETS, content=content, headers=headers, params=params)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_a_template_is_filled_in_corrected_and_sent(office: Office) -> None:
    template = office.send("requester", "GET", "/requests/sheet-template", headers={"Accept-Language": "zh-CN"})
    book = openpyxl.load_workbook(io.BytesIO(template.content))
    sheet = book.worksheets[0]
    headers = [str(cell.value).rstrip("*＊ ") for cell in sheet[1]]
    cells = line(office, "app", 数量="2")
    assert set(cells) <= set(headers), headers
    for name, value in cells.items():
        sheet.cell(row=2, column=headers.index(name) + 1, value=value)
    for row, wrong in ((3, {"规格": "9C9G"}), (4, {"到期时间": "2026/13/1"})):
        for name, value in line(office, f"db{row}", **wrong).items():
            sheet.cell(row=row, column=headers.index(name) + 1, value=value)
    filled = io.BytesIO()
    book.save(filled)
    content, kind = filled.getvalue(), {"Content-Type": XLSX}
    refused = office.send("requester", "POST", SHEETS, content=content, headers=kind)
    assert refused.status_code == 422
    told = {(each["row"], each["field"].rpartition(".")[2]) for each in refused.json()["errors"]}
    assert told == {(3, "flavor"), (4, "lease_end")}
    assert office.reserved() == 0, "all or nothing"
    good = office.send("requester", "POST", SHEETS, content=content, headers=kind, params={"accept": "good"}).json()
    assert ([each["rows"] for each in good["requests"]], good["servers"], good["error_count"]) == ([[2]], 2, 2)
    done = office.fulfil(office.read(good["requests"][0]["id"]))
    assert len(done["servers"]) == 2


def test_a_sheet_sent_again_after_a_kill_asks_once(office: Office) -> None:
    content = as_csv(line(office, "web"), line(office, "job", 申请用途="定时任务"))
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "sheet-of-today"}
    answers = []
    for _ in range(2):
        answers.append(office.send("requester", "POST", SHEETS, content=content, headers=headers).json())
        office.kill()
        office.start()
    assert answers[0] == answers[1]
    assert [each["rows"] for each in answers[0]["requests"]] == [[2], [3]]
    listed = office.get("requester", "/requests", mine=True, phase="in_review")["items"]
    assert {each["id"] for each in listed} == {each["id"] for each in answers[0]["requests"]}
    assert send(office, content, 422)["code"] == "import_refused", "the names are taken now"
    for each in listed:
        office.post("requester", f"/requests/{each['id']}/withdraw")


def test_an_old_request_is_asked_again(office: Office) -> None:
    old = office.ask(name="portal", count=2)
    office.decide("admin", old["id"], "reject", "本季度不批")
    draft = office.post("requester", f"/requests/{old['id']}/clone", None, 201)
    assert (draft["phase"], draft["number"], office.reserved()) == ("draft", None, 0)
    assert draft["body"]["purpose"] == old["body"]["purpose"]
    again = office.post("requester", f"/requests/{draft['id']}/submit")
    assert (again["phase"], again["number"] != old["number"], office.reserved()) == ("in_review", True, 2)
    office.post("requester", f"/requests/{again['id']}/withdraw")
    office.post("stranger", f"/requests/{old['id']}/clone", None, 404)


def test_a_thousand_lines_are_tried_in_seconds_and_refused_by_the_cell(office: Office) -> None:
    lines = [line(office, f"n{number:04}", 申请用途=f"用途{number // 50}") for number in range(999)]
    content = as_csv(*lines, line(office, "n9999", 规格="9C9G"))
    began = time.monotonic()
    tried = send(office, content, dry_run=True)
    assert time.monotonic() - began < 120, "seconds on a quiet machine"
    assert (tried["rows"], tried["error_count"], tried["errors"][0]["row"]) == (1000, 1, 1001)
    assert office.reserved() == 0
