"""Reading a sheet of servers to take over: headers, encodings, and each cell by its rule. Knows no database.

A sheet is what the inventory exports, in Chinese or English or by keys, with two columns more: `uuid` (how the cloud knows
the server) and `counts_quota`. Excel's ways are understood: a byte order mark or GB 18030, `2026/1/20`, `/` for what does
not apply, the apostrophe before what looks like a formula.
"""

import csv
import io
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cloudmgr.domain import addresses
from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.inventory_columns import BY_KEY, COLUMNS, LONG_TERM
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Environment, PurposeKind

MAX_ROWS = 5_000
MAX_CELL = 500
MAX_PERSON, MAX_PHONE = 64, 32
LONG_TERM_WORDS = frozenset({*(word.lower() for word in LONG_TERM), "长期", "long term", "longterm"})
_NOT_APPLICABLE = frozenset({"/", "／", "-", "—", "无", "n/a"})
_OWN: Mapping[str, tuple[str, str]] = {
    "uuid": ("虚拟机UUID", "VM UUID"),
    "counts_quota": ("计入配额", "Counts against quota"),
}
"""Columns of a sheet that an export does not have: key → headers."""
_YES = {"是": True, "yes": True, "true": True, "1": True, "否": False, "no": False, "false": False, "0": False}
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S")
_TOP_GIB = 10**6


@dataclass(frozen=True, slots=True)
class CellError:
    """One cell that cannot be taken: where, what stood there, which rule, and what to do. Row 1 is the header."""

    row: int
    column: str
    value: str
    rule: str
    message: Message
    remedy: Message

    def as_json(self) -> dict[str, Any]:
        """Return it as the problem document and the report tell it."""
        header = _HEADERS.get(self.column, (self.column, self.column))
        return {
            "field": f"rows[{self.row}].{self.column}",
            "row": self.row,
            "column": self.column,
            "header": header[0],
            "value": self.value,
            "rule": self.rule,
            "message": self.message,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One line of a sheet with every cell understood; None: it was empty."""

    number: int
    cells: Mapping[str, Any]

    def get(self, key: str) -> Any:
        """Return the value of a cell."""
        return self.cells.get(key)


@dataclass(slots=True)
class Sheet:
    """The lines that could be read, and the errors of those that could not."""

    rows: list[SheetRow] = field(default_factory=list)
    errors: list[CellError] = field(default_factory=list)
    count: int = 0
    """Lines that hold anything."""


class _WrongError(Exception):
    def __init__(self, rule: str, template: str, remedy: str, **params: Any) -> None:
        self.rule, self.message, self.remedy = rule, Message(template, params), Message(remedy, params)
        super().__init__(rule)


def read_csv(content: bytes) -> Sheet:
    """Read a CSV file: UTF-8 with or without a mark, or GB 18030; comma, semicolon or tab.

    Raises:
        InvalidInput: no text in either encoding, no header, unknown or doubled columns, too many lines.
    """
    text = _decoded(content)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    if not lines or not any(cell.strip() for cell in lines[0]):
        raise InvalidInput(N_("The sheet is empty: its first line must name the columns."))
    keys = _keys(lines[0])
    found = []
    for number, line in enumerate(lines[1:], 2):
        if any(cell.strip() for cell in line):
            padded = [*line, *[""] * (len(keys) - len(line))]
            found.append((number, dict(zip(keys, padded, strict=False)), [cell for cell in line[len(keys) :] if cell]))
    return _understood(found)


def read_rows(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """Read lines given as JSON, by column keys; the first is row 1.

    Raises:
        InvalidInput: a column that does not exist, too many lines.
    """
    found: list[tuple[int, dict[str, str], list[str]]] = []
    for number, row in enumerate(rows, 1):
        keys = _keys(list(row))
        values = {key: _as_text(value) for key, value in zip(keys, row.values(), strict=True)}
        found.append((number, values, []))
    return _understood(found)


def _decoded(content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise InvalidInput(
        N_("The file is no text in UTF-8 or GB 18030. Save it as CSV (UTF-8); a workbook (.xlsx) is not read.")
    )


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return str(value)


def _keys(headers: Sequence[str]) -> list[str]:
    """Return the key of every header, in any of its three spellings."""
    keys = [_BY_HEADER.get(_plain(header).lower()) for header in headers]
    while keys and keys[-1] is None and not headers[len(keys) - 1].strip():
        keys.pop()
    unknown = [header for header, key in zip(headers, keys, strict=False) if key is None]
    if unknown:
        raise InvalidInput(
            N_("These columns are not known: {columns}. Use the headers of an exported inventory, or remove them."),
            columns=", ".join(repr(header[:50]) for header in unknown[:10]),
        )
    known = [key for key in keys if key is not None]
    doubled = sorted({key for key in known if known.count(key) > 1})
    if doubled:
        raise InvalidInput(N_("These columns stand twice: {columns}."), columns=", ".join(doubled))
    return known


def _understood(lines: Sequence[tuple[int, Mapping[str, str], Sequence[str]]]) -> Sheet:
    if len(lines) > MAX_ROWS:
        raise InvalidInput(
            N_("{count} rows are too many for one import; send at most {most} at once."),
            count=len(lines),
            most=MAX_ROWS,
        )
    sheet = Sheet(count=len(lines))
    for number, cells, surplus in lines:
        wrong = len(sheet.errors)
        if surplus:
            message = Message(N_("The line has more cells than there are columns."))
            remedy = Message(N_("Look for a comma inside a cell, and put the cell in quotation marks."))
            sheet.errors.append(CellError(number, "", surplus[0][:MAX_CELL], "surplus", message, remedy))
        values: dict[str, Any] = {}
        for key, raw in cells.items():
            text = _plain(raw)
            try:
                values[key] = _value(key, text)
            except _WrongError as error:
                sheet.errors.append(CellError(number, key, text[:MAX_CELL], error.rule, error.message, error.remedy))
        if len(sheet.errors) == wrong:
            sheet.rows.append(SheetRow(number, values))
    return sheet


def _plain(text: str) -> str:
    """Return a cell without the apostrophe that made it harmless, and without space around it."""
    stripped = text.strip().strip("\ufeff")
    return stripped[1:].strip() if stripped[:1] == "'" else stripped


def _value(key: str, text: str) -> Any:
    rule = _RULES.get(key)
    if rule is None or not text:
        return None
    if len(text) > MAX_CELL:
        raise _WrongError(
            "max_length",
            N_("The cell is longer than {most} characters."),
            N_("Shorten it to at most {most} characters."),
            most=MAX_CELL,
        )
    if any(unicodedata.category(character) == "Cc" and character != "\n" for character in text):
        raise _WrongError(
            "control_character", N_("The cell holds control characters."), N_("Type it anew, as plain text.")
        )
    if text.lower() in _NOT_APPLICABLE and key != "lease_end":
        return None
    return rule(text)


def _one_of(labels: Mapping[str, Iterable[str]]) -> Callable[[str], str]:
    by_word = {word.lower(): code for code, words in labels.items() for word in (code, *words)}

    def rule(text: str) -> str:
        code = by_word.get(unicodedata.normalize("NFKC", text).lower())
        if code is None:
            raise _WrongError(
                "one_of",
                N_("{value} is none of the words of this column."),
                N_("Use one of: {known}."),
                value=text[:50],
                known=", ".join(next(iter(words), code) for code, words in labels.items()),
            )
        return code

    return rule


def _integer(text: str) -> int:
    number = _decimal(text)
    if number != int(number):
        raise _WrongError(
            "integer", N_("{value} is no whole number."), N_("Write a whole number in digits."), value=text[:50]
        )
    return int(number)


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(unicodedata.normalize("NFKC", text).replace(",", ""))
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or not 0 <= number <= _TOP_GIB:
        raise _WrongError(
            "number",
            N_("{value} is no number from 0 to {most}."),
            N_("Write digits only; the unit stands in the header."),
            value=text[:50],
            most=_TOP_GIB,
        )
    return number


def _memory(text: str) -> int:
    mib = _decimal(text) * 1024
    if mib != int(mib):
        raise _WrongError(
            "number",
            N_("{value} GiB are no whole MiB."),
            N_("Write memory in GiB, such as 16 or 0.5."),
            value=text[:50],
        )
    return int(mib)


def _day(text: str) -> date:
    for form in _DAYS:
        try:
            return datetime.strptime(unicodedata.normalize("NFKC", text), form).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            continue
    raise _WrongError("date", N_("{value} is no day."), N_("Write it as 2026-01-20 or 2026/1/20."), value=text[:50])


def _lease_end(text: str) -> date | str:
    """Return a day, or "" for a lease without an end."""
    if text.lower() in LONG_TERM_WORDS or text in _NOT_APPLICABLE or text.startswith("9999"):
        return ""
    return _day(text)


def _yes_no(text: str) -> bool:
    answer = _YES.get(text.lower())
    if answer is None:
        raise _WrongError("boolean", N_("{value} is neither yes nor no."), N_("Write 是 or 否."), value=text[:50])
    return answer


def _addresses(text: str) -> list[str]:
    found = []
    for each in unicodedata.normalize("NFKC", text).replace(",", ";").replace("、", ";").split(";"):
        if each.strip():
            try:
                found.append(addresses.parse_address(each.strip()))
            except InvalidInput:
                raise _WrongError(
                    "address",
                    N_("{value} is no IP address."),
                    N_("Write addresses separated by semicolons, without a prefix length."),
                    value=each.strip()[:50],
                ) from None
    return found


def _uuid(text: str) -> str:
    """Return a UUID in its written form; what a cloud names otherwise stays as it is."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text


def _person(text: str) -> str:
    if "*" in text:
        raise _WrongError(
            "masked",
            N_("{value} is masked."),
            N_("Write it in full, or leave it empty to use the information system's."),
            value=text[:50],
        )
    if len(text) > MAX_PERSON:
        raise _WrongError(
            "max_length",
            N_("The cell is longer than {most} characters."),
            N_("Shorten it to at most {most} characters."),
            most=MAX_PERSON,
        )
    return text


def _phone(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _person(text))
    if len(plain) > MAX_PHONE or not set(plain) <= set("0123456789+() -"):
        raise _WrongError(
            "phone", N_("{value} is no telephone number."), N_("Write digits, +, spaces and hyphens."), value=text[:50]
        )
    return plain


def _words(key: str) -> Mapping[str, Iterable[str]]:
    return BY_KEY[key].labels


_RULES: Mapping[str, Callable[[str], Any]] = {
    "uuid": _uuid,
    "counts_quota": _yes_no,
    "resource_type": _one_of({code: _words("resource_type")[code] for code in ("vm", "baremetal")}),
    "name": str,
    "org_name": str,
    "org_code": str,
    "system_name": str,
    "system_code": str,
    "env": _one_of({each.value: _words("env")[each.value] for each in Environment}),
    "purpose": _one_of({each.value: _words("purpose")[each.value] for each in PurposeKind}),
    "cloud_platform": str,
    "datacenter": str,
    "host": str,
    "network_zone": str,
    "ipv4": _addresses,
    "ipv6": _addresses,
    "arch": _one_of({each.value: () for each in Architecture}),
    "cpu_family": _one_of({each.value: _words("cpu_family").get(each.value, ()) for each in CpuFamily}),
    "cpu_model": str,
    "vcpu": _integer,
    "memory_gib": _memory,
    "system_disk_gib": _integer,
    "data_disk_gib": _integer,
    "os_name": str,
    "os_version": str,
    "lease_start": _day,
    "lease_end": _lease_end,
    "owner_name": _person,
    "owner_phone": _phone,
    "source": _one_of(
        {"collected": (*_words("source")["collected"], "imported"), "entered": (*_words("source")["entered"], "manual")}
    ),
    "remark": str,
}
"""Column → how its cells are understood. Other columns of an export are known, and read past."""

_HEADERS: Mapping[str, tuple[str, str]] = {
    **{column.key: (column.header_zh, column.header_en) for column in COLUMNS},
    **_OWN,
}
_BY_HEADER: Mapping[str, str] = {
    spelling.lower(): key for key, headers in _HEADERS.items() for spelling in (key, *headers)
}
