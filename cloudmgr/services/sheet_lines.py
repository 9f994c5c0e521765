"""A sheet that somebody sent, as lines of text: a workbook (.xlsx) or CSV in whichever encoding. Knows no columns."""

import csv
import io

from cloudmgr.adapters import workbooks
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_


def read_lines(content: bytes) -> list[list[str]]:
    """Return the lines of a workbook's first sheet, or of a CSV file; the first names the columns.

    Raises:
        InvalidInput: neither a workbook nor text that can be read, or it is empty.
    """
    lines = workbooks.read(content) if workbooks.is_workbook(content) else read_csv_lines(content)
    if not lines or not any(cell.strip() for cell in lines[0]):
        raise InvalidInput(N_("The sheet is empty: its first line must name the columns."))
    return lines


def read_csv_lines(content: bytes) -> list[list[str]]:
    """Return the lines of a CSV file: UTF-8 with or without a mark, or GB 18030; comma, semicolon or tab.

    Raises:
        InvalidInput: no text in either encoding.
    """
    text = _decoded(content)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def plain(text: str) -> str:
    """Return a cell without the apostrophe that made it harmless, and without space around it."""
    stripped = text.strip().strip("\ufeff")
    return stripped[1:].strip() if stripped[:1] == "'" else stripped


def _decoded(content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise InvalidInput(
        N_("The file is no text in UTF-8 or GB 18030, and no workbook. Save it as .xlsx or CSV (UTF-8).")
    )
