"""New rows of several tables written together: one round trip on PostgreSQL, one statement a table on SQLite.

Inside `together` the functions that only append (`add` here) hand their rows over instead of writing them at once; leaving
it, or `flush`, writes them. A row is the session's own from then on, as if it had been flushed, and is not read back.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import make_transient_to_detached
from sqlmodel import Session, SQLModel

from cloudmgr.store.db import is_sqlite


@dataclass(frozen=True, slots=True)
class Series:
    """A series of numbers, like those of requests: prefix and day, and what stands in new rows until one is taken."""

    prefix: str
    day: str
    token: str


_KEY, _ADDED = "cloudmgr.inserts.waiting", "cloudmgr.inserts.added"


@contextmanager
def together(session: Session) -> Iterator[list[SQLModel]]:
    """Collect what `add` is given and write it at the end; after an error nothing is written. Yields all that was added."""
    with collected(session) as added:
        yield added
        flush(session)


@contextmanager
def collected(session: Session) -> Iterator[list[SQLModel]]:
    """Collect what `add` is given and write nothing of it: see `numbered`. Yields all that was added."""
    session.info[_KEY] = []
    added: list[SQLModel] = []
    session.info[_ADDED] = added
    try:
        yield added
    finally:
        del session.info[_KEY], session.info[_ADDED]


def is_collecting(session: Session) -> bool:
    """Whether rows wait for the end of `together`."""
    return _KEY in session.info


def add(session: Session, *rows: SQLModel) -> None:
    """Write new rows now, or with the others inside `together`. Rows that the session has already are changed as ever."""
    if not is_collecting(session):
        session.add_all(rows)
        session.flush()
        return
    session.info[_KEY] += [row for row in rows if not sa.inspect(row).persistent]
    session.info[_ADDED] += rows


def flush(session: Session) -> None:
    """Write what was collected so far, parents before children in the order of the tables."""
    waiting: list[SQLModel] = session.info.get(_KEY) or []
    session.flush()
    if not waiting:
        return
    ordered = _by_table(waiting)
    (_insert_apart if is_sqlite(session) else _insert_at_once)(session, ordered)
    _keep(session, waiting)
    waiting.clear()


def numbered(rows: Sequence[SQLModel], series: Series) -> tuple[str, list[Any]]:
    """Return one statement for PostgreSQL, with its parameters, that takes the next number of a series and writes new rows with it.

    Wherever `series.token` stands in the rows' texts the number is put in. Its one row is what `written` takes.
    """
    ordered = _by_table(rows)
    values = [series.prefix, series.day, f"{series.prefix}{series.day}-", series.token]
    return _statement(tuple(ordered), is_numbered=True), [*values, *_texts(ordered)]


def written(session: Session, rows: Sequence[SQLModel], series: Series, told: Sequence[Any]) -> None:
    """Make rows that were written by `numbered` the session's own, with the number and what the database counted."""
    number = str(told[0])
    for row in rows:
        for name, value in [*sa.inspect(row).dict.items()]:
            if isinstance(value, str):
                if series.token in value:
                    setattr(row, name, value.replace(series.token, number))
            elif isinstance(value, dict | list) and series.token in (text := orjson.dumps(value).decode()):
                setattr(row, name, orjson.loads(text.replace(series.token, number)))
    _count(_by_table(rows), told[1:])
    _keep(session, rows)


def _by_table(rows: Sequence[SQLModel]) -> dict[sa.Table, list[SQLModel]]:
    grouped: dict[sa.Table, list[SQLModel]] = {}
    for row in rows:
        grouped.setdefault(row.__table__, []).append(row)  # type: ignore[attr-defined]
    return {table: grouped[table] for table in _order() if table in grouped}


def _keep(session: Session, rows: Sequence[SQLModel]) -> None:
    for row in rows:
        make_transient_to_detached(row)
        session.add(row)


@functools.cache
def _order() -> tuple[sa.Table, ...]:
    return tuple(SQLModel.metadata.sorted_tables)


def _values(row: SQLModel, columns: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in columns}


@functools.cache
def _columns(table: sa.Table) -> tuple[tuple[str, ...], str | None]:
    """Return the columns we give values for, and the key that the database counts up by itself."""
    counted = table.autoincrement_column
    own = tuple(column.name for column in table.columns if column is not counted)
    return own, counted.name if counted is not None else None


def _insert_apart(session: Session, grouped: dict[sa.Table, list[SQLModel]]) -> None:
    connection = session.connection()
    for table, rows in grouped.items():
        columns, counted = _columns(table)
        values = [_values(row, columns) for row in rows]
        if counted is None:
            connection.execute(_plain_insert(table), values)
            continue
        for row, each in zip(rows, values, strict=True):
            key = connection.execute(_plain_insert(table), each).inserted_primary_key
            setattr(row, counted, key[0] if key else None)


@functools.cache
def _plain_insert(table: sa.Table) -> sa.Insert:
    return sa.insert(table)


def _insert_at_once(session: Session, grouped: dict[sa.Table, list[SQLModel]]) -> None:
    """Give each table's rows as one JSON text to one statement; keys the database counts come back, oldest first."""
    _count(grouped, session.connection().exec_driver_sql(_statement(tuple(grouped)), tuple(_texts(grouped))).one()[1:])


def _texts(grouped: dict[sa.Table, list[SQLModel]]) -> list[str]:
    return [
        orjson.dumps([_values(row, _columns(table)[0]) for row in rows]).decode() for table, rows in grouped.items()
    ]


def _count(grouped: dict[sa.Table, list[SQLModel]], keys: Sequence[Sequence[Any]]) -> None:
    """Give rows the keys that the database counted."""
    counted = [(table, rows) for table, rows in grouped.items() if _columns(table)[1] is not None]
    for (table, rows), found in zip(counted, keys, strict=True):
        for row, key in zip(rows, found, strict=True):
            setattr(row, str(_columns(table)[1]), key)


_NUMBER = """
taken AS (INSERT INTO number_sequences (prefix, day, last) VALUES (%s, %s, 1)
  ON CONFLICT (prefix, day) DO UPDATE SET last = number_sequences.last + 1 RETURNING last),
named AS (SELECT %s || lpad(last::text, greatest(4, length(last::text)), '0') AS number, %s AS token FROM taken),
"""


@functools.cache
def _statement(tables: tuple[sa.Table, ...], *, is_numbered: bool = False) -> str:
    """Return the INSERTs of these tables as one statement; foreign keys are checked at its end.

    Rows go in in the order of the text, so keys that are counted rise with it. Names are those of our own models.
    """
    parts, keys = [], ["(SELECT number FROM named)" if is_numbered else "1"]
    for number, table in enumerate(tables):
        columns, counted = _columns(table)
        listed = ", ".join(f'"{column}"' for column in columns)
        back = ""
        if counted is not None:
            back = f" RETURNING {counted}"
            keys.append(f"(SELECT array_agg({counted} ORDER BY {counted}) FROM t{number})")  # noqa: S608
        text = "named.token, named.number" if is_numbered else ""
        rows = f"jsonb_populate_recordset(NULL::{table.name}, {f'replace(%s, {text})' if text else '%s'}::jsonb) AS r"
        source = f"named, {rows}" if is_numbered else rows
        given = ", ".join(f'r."{column}"' for column in columns)
        parts.append(f"t{number} AS (INSERT INTO {table.name} ({listed}) SELECT {given} FROM {source}{back})")  # noqa: S608
    return f"WITH {_NUMBER if is_numbered else ''} {', '.join(parts)} SELECT {', '.join(keys)}"
