"""Workbooks (.xlsx) as lines of text, and back: what a CSV file of the same sheet would say. Calculates nothing.

A workbook is a zip of XML from whoever sent it: how large it is unpacked is asked before it is read.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.comments import Comment
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_

MAX_UNPACKED = 64 * 1024 * 1024
MAX_CELLS = 500_000
SIGNATURE = b"PK\x03\x04"
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FORMULA = re.compile(rb"<(?:\w+:)?f[ />]")
_WIDTH, _LIST_ROWS = 18, 5_000


def is_workbook(content: bytes) -> bool:
    """Whether these bytes begin like a workbook."""
    return content.startswith(SIGNATURE)


def read(content: bytes) -> list[list[str]]:
    """Return the first sheet line by line, every cell as text; lines behind the last one that holds anything are left out.

    A formula is what was calculated of it; one that nobody has calculated stands as it was written, beginning with `=`.

    Raises:
        InvalidInput: no workbook, a damaged one, or one too large unpacked.
    """
    try:
        _check_size(content)
        rows = _rows(content, calculated=True)
        if _has_formulas(content):
            rows = map(_with_formulas, rows, _rows(content, calculated=False))
        return _lines(rows)
    except InvalidInput:
        raise
    except Exception as error:  # the edge to a parser of foreign bytes: whatever it trips over, the file is at fault
        raise InvalidInput(
            N_("The file is no workbook that can be read. Save it as .xlsx or CSV (UTF-8) once more."),
            detail=f"{type(error).__name__}: {error}",
        ) from error


def _check_size(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
            raise InvalidInput(N_("The workbook is too large when unpacked. Send it in parts."))


def _has_formulas(content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return any(
            _FORMULA.search(archive.read(name)) for name in archive.namelist() if name.startswith("xl/worksheets/")
        )


def _rows(content: bytes, *, calculated: bool) -> Iterator[Sequence[Any]]:
    book = load_workbook(io.BytesIO(content), read_only=True, data_only=calculated, keep_links=False)
    try:
        yield from book.worksheets[0].iter_rows(values_only=True)
    finally:
        book.close()


def _with_formulas(row: Sequence[Any], written: Sequence[Any]) -> list[Any]:
    return [
        getattr(formula, "text", formula) if value is None else value
        for value, formula in zip(row, written, strict=True)
    ]


def _lines(rows: Iterable[Sequence[Any]]) -> list[list[str]]:
    lines: list[list[str]] = []
    cells = last = 0
    for row in rows:
        line = [_text(value) for value in row]
        while line and not line[-1]:
            line.pop()
        cells += max(1, len(line))
        if cells > MAX_CELLS:
            raise InvalidInput(N_("The workbook is too large when unpacked. Send it in parts."))
        lines.append(line)
        if line:
            last = len(lines)
    return lines[:last]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date):
        return value.isoformat()
    return str(value).strip()


def column_name(at: int) -> str:
    """Return what a spreadsheet program calls a column; the first, at 0, is A."""
    return get_column_letter(at + 1)


def write(
    headers: Sequence[str],
    rows: Iterable[Sequence[str | int]] = (),
    *,
    title: str,
    notes: Sequence[str] = (),
    choices: Sequence[Sequence[str]] = (),
    required: Sequence[bool] = (),
) -> bytes:
    """Return a workbook of one sheet: a header that stays in sight, with a note and a list of choices a column where given."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None  # noqa: S101 - a new workbook has one
    sheet.title = title[:31]
    sheet.append([_legal(header) for header in headers])
    for row in rows:
        sheet.append([_legal(value) if isinstance(value, str) else value for value in row])
    for number, _ in enumerate(headers, 1):
        letter = get_column_letter(number)
        cell = sheet.cell(1, number)
        cell.font = Font(bold=True)
        cell.alignment = Alignment(wrap_text=True, vertical="center")
        if number <= len(required) and required[number - 1]:
            cell.fill = PatternFill("solid", fgColor="FFF2CC")
        if number <= len(notes) and notes[number - 1]:
            cell.comment = Comment(notes[number - 1], "cloudmgr", width=320, height=160)
        if number <= len(choices) and choices[number - 1]:
            validation = DataValidation("list", formula1=f'"{",".join(choices[number - 1])}"', allow_blank=True)
            validation.showErrorMessage = False  # our own check tells more, and takes other spellings too
            sheet.add_data_validation(validation)
            validation.add(f"{letter}2:{letter}{_LIST_ROWS}")
        sheet.column_dimensions[letter].width = _WIDTH
    sheet.freeze_panes = "A2"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _legal(text: str) -> str:
    """Return text that is no formula and holds no character XML cannot."""
    plain = ILLEGAL_CHARACTERS_RE.sub("", text)
    return f"'{plain}" if plain[:1] in ("=", "+", "-", "@") else plain
