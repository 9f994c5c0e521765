"""Writing the inventory: csv for spreadsheets, json and jsonl for programs, in chunks of bytes that are never all in memory."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import orjson

from cloudmgr.domain.cells import cell, machine
from cloudmgr.domain.inventory_columns import Column

Line = dict[str, Any]
Chunk = tuple[bytes, int]
"""Bytes to send and how many lines of the inventory they hold."""

MEDIA_TYPES = {"csv": "text/csv", "json": "application/json", "jsonl": "application/x-ndjson"}


class Writer(Protocol):
    """One format. `head` comes before the first lines, `tail` after the last."""

    def head(self) -> bytes: ...
    def lines(self, lines: Sequence[Line]) -> bytes: ...
    def tail(self) -> bytes: ...


class CsvWriter:
    """Commas, CRLF, quotes where needed (RFC 4180), headers in the reader's language, cells no spreadsheet computes.

    `utf-8-sig` begins with a byte order mark, without which Chinese spreadsheets read GBK; `gb18030` is for older tools
    and, unlike GBK, has every character of Unicode (䶮, 㛃, 𠮷).
    """

    def __init__(self, columns: Sequence[Column], *, encoding: str, language: str) -> None:
        self._columns = [(column.key, column.words(language)) for column in columns]
        self._headers = [column.header(language) for column in columns]
        self._encoding = encoding
        self._language = language

    def head(self) -> bytes:
        return self._rows([self._headers]).encode(self._encoding)  # utf-8-sig: here alone the mark is written

    def lines(self, lines: Sequence[Line]) -> bytes:
        rows = ([cell(line[key], self._language, words) for key, words in self._columns] for line in lines)
        return self._rows(rows).encode("utf-8" if self._encoding == "utf-8-sig" else self._encoding)

    def tail(self) -> bytes:
        return b""

    @staticmethod
    def _rows(rows: Any) -> str:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        return text.getvalue()


class JsonlWriter:
    """One object a line, keys as in the columns' table, values for machines."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._keys = [column.key for column in columns]

    def head(self) -> bytes:
        return b""

    def lines(self, lines: Sequence[Line]) -> bytes:
        return b"".join(self.line(line) + b"\n" for line in lines)

    def tail(self) -> bytes:
        return b""

    def line(self, line: Line) -> bytes:
        """Return one line as a JSON object."""
        return orjson.dumps({key: machine(line[key]) for key in self._keys})


class JsonWriter(JsonlWriter):
    """One document: `{"as_of", "view", "columns": […], "items": […]}` and what was asked for but is not collected."""

    def __init__(self, columns: Sequence[Column], about: dict[str, Any]) -> None:
        super().__init__(columns)
        described = [
            {
                "key": column.key,
                "header_zh": column.header_zh,
                "header_en": column.header_en,
                "type": column.kind,
                "required": column.required,
            }
            for column in columns
        ]
        self._about = {key: machine(value) for key, value in about.items()} | {"columns": described}
        self._is_first = True

    def head(self) -> bytes:
        return orjson.dumps(self._about)[:-1] + b',"items":['

    def lines(self, lines: Sequence[Line]) -> bytes:
        before = b"\n" if self._is_first else b",\n"
        self._is_first = self._is_first and not lines
        return before + b",\n".join(self.line(line) for line in lines) if lines else b""

    def tail(self) -> bytes:
        return b"\n]}\n"


def chunks(writer: Writer, pieces: Iterator[Sequence[Line]]) -> Iterator[Chunk]:
    """Yield the whole file, a chunk for each piece of lines."""
    head = writer.head()
    for piece in pieces:
        yield head + writer.lines(piece), len(piece)
        head = b""
    yield head + writer.tail(), 0
