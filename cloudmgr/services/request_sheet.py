"""Reading a sheet that asks for servers, one line each: its columns, its template, every cell by its rule. Knows no database."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudmgr.adapters import workbooks
from cloudmgr.domain import naming
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.inventory_columns import BY_KEY
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Environment, PurposeKind
from cloudmgr.services import import_cells
from cloudmgr.services.import_cells import MAX_CELL, WrongCellError
from cloudmgr.services.import_sheet import Sheet, SheetRow
from cloudmgr.services.request_inputs import MAX_COUNT, MAX_DATA_DISK_GIB
from cloudmgr.services.sheet_lines import plain, read_lines

MAX_ROWS = 2_000
Rule = Callable[[str], Any]


def _like(key: str) -> Rule:
    """Return the rule of a column of the inventory."""
    return lambda text: import_cells.value(key, text)


def _between(least: int, most: int) -> Rule:
    def rule(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = import_cells.value("vcpu", text)
        if number is None or not least <= number <= most:
            raise WrongCellError(
                "range",
                N_("{value} is not from {least} to {most}."),
                N_("Write a whole number from {least} to {most}."),
                value=text[:50],
                least=least,
                most=most,
            )
        return int(number)

    return rule


def _name(text: str) -> str:
    if not naming.is_label(text):
        raise WrongCellError(
            "name",
            N_("{value} is no name of a server."),
            N_("Use lower-case letters, digits and hyphens, 63 at most, beginning and ending with a letter or digit."),
            value=text[:50],
        )
    return text


_PRIORITIES: Mapping[str, str] = {"普通": "normal", "normal": "normal", "高": "high", "high": "high"}


def _priority(text: str) -> str:
    if text.lower() not in _PRIORITIES:
        raise WrongCellError(
            "priority", N_("{value} is no priority."), N_("Write 普通 or 高, or nothing."), value=text[:50]
        )
    return _PRIORITIES[text.lower()]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: headers in Chinese and English, whether every line needs it, what it takes, and a note for whoever fills it."""

    key: str
    chinese: str
    english: str
    rule: Rule
    is_required: bool = False
    note: str = ""
    most: int = MAX_CELL
    """Characters a cell may have."""


COLUMNS: Sequence[Column] = (
    Column("system_name", "信息系统名称", "Information system", _like("system_name"), note=N_("As registered here; or give its code.")),
    Column("system_code", "信息系统编码", "System code", _like("system_code")),
    Column("org_name", "单位名称", "Unit", _like("org_name"), note=N_("Only where two units have a system of this name.")),
    Column("name", "云主机名称", "Server name", _name, True, N_("Lower-case letters, digits, hyphens; for more than one, two digits are appended.")),
    Column("count", "数量", "How many", _between(1, MAX_COUNT), note=N_("Empty: 1.")),
    Column("flavor", "规格", "Flavor", _like("name"), True, N_("A name of the catalogue, such as 8C32G.")),
    Column("image", "镜像", "Image", _like("name"), True, N_("A name of the catalogue, such as kylin-v10.")),
    Column("arch", "CPU架构", "Architecture", _like("arch"), True, N_("aarch64, x86_64 or loongarch64.")),
    Column("data_disk_gib", "数据盘(GiB)", "Data disk (GiB)", _between(0, MAX_DATA_DISK_GIB), note=N_("Empty: none.")),
    Column("env", "环境", "Environment", _like("env"), note=N_("Empty: production.")),
    Column("role", "用途类别", "Role", _like("purpose"), note=N_("Empty: other.")),
    Column("network_zone", "网络区域", "Network zone", _like("network_zone"), note=N_("Empty: the information system's.")),
    Column("purpose", "申请用途", "Purpose", str, True, N_("What the servers are for; printed on the request."), 2000),
    Column("lease_end", "到期时间", "Lease end", _like("lease_end"), True, N_("A day such as 2027-11-22, or 长期 with a reason.")),
    Column("lease_reason", "长期使用理由", "Reason for a long-term lease", str),
    Column("owner_name", "责任人", "Responsible", _like("owner_name"), note=N_("Empty: the information system's.")),
    Column("owner_phone", "联系电话", "Telephone", _like("owner_phone")),
    Column("funding_source", "资金来源", "Source of funding", str, note=N_("Needed where the policy says so."), most=200),
    Column("priority", "优先级", "Priority", _priority, note=N_("普通 or 高; empty: 普通.")),
    Column("exclusive_reason", "独占宿主机理由", "Reason for hosts of its own", str, note=N_("Empty: no hosts of its own.")),
)  # fmt: skip
_BY_KEY: Mapping[str, Column] = {column.key: column for column in COLUMNS}
_BY_HEADER: Mapping[str, str] = {
    spelling.lower(): column.key for column in COLUMNS for spelling in (column.chinese, column.english, column.key)
}
_MARK = "*"
_EITHER = ("system_name", "system_code")


def read(content: bytes) -> Sheet:
    """Read a sheet: a workbook, or CSV in UTF-8 or GB 18030. Row 1 is the header.

    Raises:
        InvalidInput: it cannot be read, has unknown or doubled columns, lacks a needed one, or has too many lines.
    """
    lines = read_lines(content)
    keys = _keys([plain(header).removesuffix(_MARK).strip() for header in lines[0]])
    found = [
        (number, dict(zip(keys, [*line, *[""] * len(keys)], strict=False)))
        for number, line in enumerate(lines[1:], 2)
        if any(cell.strip() for cell in line)
    ]
    return _understood(found, {key: plain(header) for key, header in zip(keys, lines[0], strict=False)})


def read_rows(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """Read lines given as JSON by column keys; the first is row 1. Raises like `read`."""
    for row in rows:
        _known(list(row))
    found = [
        (number, {key: "" if cell is None else str(cell) for key, cell in row.items()})
        for number, row in enumerate(rows, 1)
    ]
    return _understood(found, {})


def _keys(headers: Sequence[str]) -> list[str]:
    while headers and not headers[-1]:
        headers = headers[:-1]
    keys = [_BY_HEADER.get(header.lower(), header) for header in headers]
    _known(keys)
    missing = [column.chinese for column in COLUMNS if column.is_required and column.key not in keys]
    if not any(key in keys for key in _EITHER):
        missing.insert(0, _BY_KEY["system_name"].chinese)
    if missing:
        raise InvalidInput(
            N_("These columns are missing: {columns}. Take the template, and leave its header as it is."),
            columns="、".join(missing),
        )
    return keys


def _known(keys: Sequence[str]) -> None:
    unknown = [key for key in keys if key not in _BY_KEY]
    if unknown:
        raise InvalidInput(
            N_("These columns are not known: {columns}. Take the template, and leave its header as it is."),
            columns=", ".join(repr(key[:50]) for key in unknown[:10]),
        )
    doubled = [column.chinese for column in COLUMNS if list(keys).count(column.key) > 1]
    if doubled:
        raise InvalidInput(N_("These columns stand twice: {columns}."), columns="、".join(doubled))


def _understood(lines: Sequence[tuple[int, Mapping[str, str]]], headers: Mapping[str, str]) -> Sheet:
    if len(lines) > MAX_ROWS:
        raise InvalidInput(
            N_("{count} rows are too many for one sheet of requests; send at most {most} at once."),
            count=len(lines),
            most=MAX_ROWS,
        )
    sheet = Sheet(count=len(lines), headers={column.key: column.chinese for column in COLUMNS} | dict(headers))
    for number, cells in lines:
        values: dict[str, Any] = {}
        wrong: set[str] = set()
        for column in COLUMNS:
            text = plain(cells.get(column.key, ""))
            try:
                values[column.key] = _value(column, text)
            except WrongCellError as error:
                sheet.errors.append(sheet.fault(number, text[:MAX_CELL], error, column=column.key))
                wrong.add(column.key)
        sheet.rows.append(SheetRow(number, values, frozenset(wrong)))
    return sheet


def _value(column: Column, text: str) -> Any:
    if len(text) > column.most:
        raise WrongCellError(
            "max_length",
            N_("The cell is longer than {most} characters."),
            N_("Shorten it to at most {most} characters."),
            most=column.most,
        )
    if not text:
        if column.is_required:
            raise WrongCellError("required", N_("The cell is empty."), N_("Fill in the cell."))
        return None
    if any(ord(character) < ord(" ") and character not in "\n\t" for character in text):
        raise WrongCellError(
            "control_character", N_("The cell holds control characters."), N_("Type it anew, as plain text.")
        )
    return column.rule(text)


def template(form: str, *, language: str, choices: Mapping[str, Sequence[str]], notes: Sequence[str]) -> bytes:
    """Return an empty sheet, as `xlsx` with notes and lists of choices, or as `csv`; columns that every line needs have a star.

    `notes` are the columns' own in the reader's language, in their order.
    """
    at = 0 if language == "zh_CN" else 1
    headers = [(column.chinese, column.english)[at] + (_MARK if column.is_required else "") for column in COLUMNS]
    if form == "csv":
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerow(headers)
        return text.getvalue().encode("utf-8-sig")
    listed = {
        "env": [BY_KEY["env"].labels[each.value][at] for each in Environment],
        "role": [BY_KEY["purpose"].labels[each.value][at] for each in PurposeKind],
        "priority": [("普通", "高"), ("normal", "high")][at],
    } | dict(choices)
    return workbooks.write(
        headers,
        title=("云主机申请", "Servers")[at],
        notes=notes,
        choices=[listed.get(column.key, ()) for column in COLUMNS],
        required=[column.is_required for column in COLUMNS],
    )
