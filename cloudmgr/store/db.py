"""Engines and sessions on SQLite and PostgreSQL, with the same guarantees on both."""

import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlmodel import Session

_SUBSEC_SINCE = (3, 42)
_BUSY_TIMEOUT_MS = 30_000
_USED = "cloudmgr.used"
_TRUSTED_S = 1.0
"""A connection given back so recently is not asked whether it stands: that would be a journey for every request."""


def make_engine(
    url: str,
    *,
    pool_size: int = 10,
    pool_timeout_s: float = 10.0,
    synchronous: str = "FULL",
    application_name: str = "cloudmgr",
) -> sa.Engine:
    """Create the engine for a database URL; it keeps `pool_size` connections and opens at most twice as many.

    SQLite: WAL, IMMEDIATE transactions, foreign keys, 30 s busy timeout, `synchronous` FULL or NORMAL; a function that
    Debian 12's SQLite lacks and DBOS needs is registered. PostgreSQL: psycopg 3, READ COMMITTED (the ledger orders its
    own locks), connections checked before use.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sa.create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=pool_timeout_s,
            hide_parameters=True,  # a failed statement is logged, and its parameters may be secrets
            connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000},
        )
        event.listen(engine, "connect", _sqlite_hook(synchronous))
        event.listen(engine, "checkout", _restore_immediate)
        return engine
    parsed = parsed.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=pool_timeout_s,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args={"application_name": application_name, "connect_timeout": 10},
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _ask_after_rest)
    return engine


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_USED] = time.monotonic()


def _ask_after_rest(connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that rested whether it still stands; one that is gone is replaced, with all that rested as long."""
    if time.monotonic() - record.info.get(_USED, time.monotonic()) < _TRUSTED_S:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise sa.exc.DisconnectionError from error


def _sqlite_hook(synchronous: str) -> Any:
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        if sqlite3.sqlite_version_info < _SUBSEC_SINCE:
            connection.create_function("unixepoch", -1, _unixepoch)

    return prepare


def _restore_immediate(connection: sqlite3.Connection, _record: Any, _proxy: Any) -> None:
    """Undo what SQLAlchemy's isolation_level option leaves on a pooled connection (DBOS's datasource sets it)."""
    connection.isolation_level = "IMMEDIATE"


def _unixepoch(*arguments: str) -> float | int:
    """Stand in for SQLite's unixepoch('now'[, 'subsec']), new in 3.38 and 3.42."""
    moment = datetime.now(UTC).timestamp()
    return round(moment, 3) if "subsec" in arguments or "subsecond" in arguments else int(moment)


def new_session(engine: sa.Engine) -> Session:
    """Open a session; objects stay readable after commit."""
    return Session(engine, expire_on_commit=False, autoflush=True)


def is_sqlite(session: Session) -> bool:
    """Whether the session speaks to SQLite."""
    return session.get_bind().dialect.name == "sqlite"


def begin_immediate(session: Session) -> None:
    """Take SQLite's write lock at once, before anything is read; PostgreSQL has row locks for that.

    pysqlite begins a transaction only at the first write, so a read-then-write transaction could decide on a stale read.
    """
    if is_sqlite(session):
        raw = session.connection().connection.driver_connection
        if raw is not None and not raw.in_transaction:
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
