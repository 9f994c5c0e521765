"""Reading a sheet of servers to take over: encodings, headers, lines; every cell by its rule. Knows no database.

A sheet is what the inventory exports, in Chinese or English or by keys, with two columns more: `uuid` (how the cloud knows
the server) and `counts_quota`. A byte order mark is read past, and so is the apostrophe before what looks like a formula.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.inventory_columns import COLUMNS
from cloudmgr.domain.messages import N_, Message
from cloudmgr.services.import_cells import MAX_CELL, WrongCellError, value
from cloudmgr.services.sheet_lines import plain, read_lines

MAX_ROWS = 5_000
_OWN: Mapping[str, tuple[str, str]] = {
    "uuid": ("虚拟机UUID", "VM UUID"),
    "counts_quota": ("计入配额", "Counts against quota"),
}
"""Columns of a sheet that an export does not have: key → headers."""


@dataclass(frozen=True, slots=True)
class CellError:
    """One cell that cannot be taken: where, what stood there, which rule, and what to do. Row 1 is the header."""

    row: int
    column: str
    header: str
    value: str
    rule: str
    message: Message
    remedy: Message

    def as_json(self) -> dict[str, Any]:
        """Return it as the problem document and the report tell it."""
        return {
            "field": f"rows[{self.row}].{self.column}",
            "row": self.row,
            "column": self.column,
            "header": self.header,
            "value": self.value,
            "rule": self.rule,
            "message": self.message,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One line of a sheet, its cells understood; None: it is empty."""

    number: int
    cells: Mapping[str, Any]
    wrong: frozenset[str] = frozenset()
    """Columns whose cells break a rule already; the line brings no server, but its other faults are looked for too."""

    def get(self, key: str) -> Any:
        """Return the value of a cell."""
        return self.cells.get(key)


@dataclass(slots=True)
class Sheet:
    """The lines of a sheet, and what is wrong with single cells."""

    rows: list[SheetRow] = field(default_factory=list)
    errors: list[CellError] = field(default_factory=list)
    count: int = 0
    """Lines that hold anything."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Column → its header as the sheet spells it, or would."""

    def fault(self, row: int, value: str, wrong: WrongCellError, *, column: str = "") -> CellError:
        """Return the fault of a cell as it is told: by the sheet's own header."""
        key = column or wrong.column
        return CellError(row, key, self.headers.get(key, key), value, wrong.rule, wrong.message, wrong.remedy)


def read_csv(content: bytes) -> Sheet:
    """Read a CSV file (see `sheet_lines`), or the workbook that it was saved as.

    Raises:
        InvalidInput: it cannot be read, has no header, unknown or doubled columns, too many lines.
    """
    lines = read_lines(content)
    keys, headers = _keys(lines[0])
    found = []
    for number, line in enumerate(lines[1:], 2):
        if any(cell.strip() for cell in line):
            padded = [*line, *[""] * (len(keys) - len(line))]
            found.append((number, dict(zip(keys, padded, strict=False)), [cell for cell in line[len(keys) :] if cell]))
    return _understood(found, headers)


def read_rows(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """Read lines given as JSON, by column keys; the first is row 1.

    Raises:
        InvalidInput: a column that does not exist, too many lines.
    """
    found: list[tuple[int, dict[str, str], list[str]]] = []
    spelt: dict[tuple[str, ...], tuple[list[str], Mapping[str, str]]] = {}
    headers: Mapping[str, str] = {}
    for number, row in enumerate(rows, 1):
        names = tuple(row)
        if names not in spelt:
            spelt[names] = _keys(names)
        keys, headers = spelt[names]
        values = {key: _as_text(cell) for key, cell in zip(keys, row.values(), strict=True)}
        found.append((number, values, []))
    return _understood(found, headers)


def _as_text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, list | tuple):
        return ";".join(map(str, cell))
    return str(cell)


def _keys(headers: Sequence[str]) -> tuple[list[str], Mapping[str, str]]:
    """Return the key of every header, in any of its three spellings, and how the sheet spells every column."""
    keys = [_BY_HEADER.get(plain(header).lower()) for header in headers]
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
    given = {key: plain(header) for key, header in zip(known, headers, strict=False)}
    spelt = [spellings.index(given[key]) for key, spellings in SPELLINGS.items() if given.get(key) in spellings]
    style = max(set(spelt), key=spelt.count, default=0)
    return known, {key: spellings[style] for key, spellings in SPELLINGS.items()} | given


def _understood(lines: Sequence[tuple[int, Mapping[str, str], Sequence[str]]], headers: Mapping[str, str]) -> Sheet:
    if len(lines) > MAX_ROWS:
        raise InvalidInput(
            N_("{count} rows are too many for one import; send at most {most} at once."),
            count=len(lines),
            most=MAX_ROWS,
        )
    sheet = Sheet(count=len(lines), headers=headers)
    for number, cells, surplus in lines:
        wrong: set[str] = set()
        if surplus:
            error = WrongCellError(
                "surplus",
                N_("The line has more cells than there are columns."),
                N_("Look for a comma inside a cell, and put the cell in quotation marks."),
            )
            sheet.errors.append(sheet.fault(number, surplus[0][:MAX_CELL], error))
            continue
        values: dict[str, Any] = {}
        for key, raw in cells.items():
            text = plain(raw)
            try:
                values[key] = value(key, text)
            except WrongCellError as error:
                sheet.errors.append(sheet.fault(number, text[:MAX_CELL], error, column=key))
                wrong.add(key)
        sheet.rows.append(SheetRow(number, values, frozenset(wrong)))
    return sheet


SPELLINGS: Mapping[str, tuple[str, str, str]] = {
    key: (*headers, key)
    for key, headers in ({column.key: (column.header_zh, column.header_en) for column in COLUMNS} | dict(_OWN)).items()
}
"""Column → how its header may be spelt: in Chinese, in English, by key."""
_BY_HEADER: Mapping[str, str] = {spelling.lower(): key for key, each in SPELLINGS.items() for spelling in each}
