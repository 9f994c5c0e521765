"""Bringing the schema to this release's, and refusing one that this release does not know. The engine's own tables come along.

Revisions are files `NNNN_name.py` in one line, so where a database stands is told by its number alone: Alembic is loaded
only when there is something to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlalchemy as sa

import cloudmgr
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_
from cloudmgr.models import APPEND_ONLY
from cloudmgr.settings import Settings
from cloudmgr.store import triggers
from cloudmgr.store.db import make_engine

MIGRATIONS = Path(cloudmgr.__file__).parent / "migrations"
_LOCK_KEY = 0x636D6772
"""Of PostgreSQL's advisory locks: two processes that start together migrate once."""
_LOCK_TIMEOUT = "10s"


class SchemaRefused(Refusal):
    """The database's schema is not the one this release works with."""

    code = "schema_mismatch"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """`current` is the database's revision (None: empty), `head` this release's; `is_known` says whether this release
    has `current` in its history.
    """

    current: str | None
    head: str
    is_known: bool

    @property
    def is_current(self) -> bool:
        """Whether the database is exactly at this release's schema."""
        return self.current == self.head


def read_state(engine: sa.Engine) -> SchemaState:
    """Return where the database's schema stands. Writes nothing; one short query."""
    with engine.connect() as connection:
        made = sa.inspect(connection).has_table("alembic_version")
        current = connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if made else None
    return SchemaState(current, history()[-1], current is None or current in history())


def check(settings: Settings) -> SchemaState:
    """Refuse unless the database is at exactly this release's schema.

    Raises:
        SchemaRefused: the schema is missing, older, or of a newer release; the message says what to do.
    """
    engine = make_engine(settings.database_url, pool_size=2)
    try:
        state = read_state(engine)
    finally:
        engine.dispose()
    _refuse_newer(state)
    if not state.is_current:
        raise SchemaRefused(
            N_("The database is at schema {current} and this release needs {head}. Run `cloudmgr db upgrade`."),
            current=state.current or "-",
            head=state.head,
        )
    return state


def upgrade(settings: Settings) -> SchemaState:
    """Bring the database to this release's schema, from empty or from any older release; return the state before.

    One transaction: all of it or nothing. Idempotent; processes that do it at the same time wait for each other. On
    PostgreSQL a statement that waits for another's table lock gives up after 10 s rather than stop the service behind it.

    Raises:
        SchemaRefused: the database was written by a newer release.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.database_url, pool_size=2)
    try:
        before = read_state(engine)
        _refuse_newer(before)
        if not before.is_current:
            _upgrade(engine)
        _ensure_engine_tables(engine)
    finally:
        engine.dispose()
    return before


def _ensure_engine_tables(engine: sa.Engine) -> None:
    from cloudmgr.adapters import durable_tables  # noqa: PLC0415 - DBOS takes seconds to import, and checks need none of it

    durable_tables.ensure(engine)


def _upgrade(engine: sa.Engine) -> None:
    from alembic import command  # noqa: PLC0415 - a tenth of the start's time, and hardly ever needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with _exclusive(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        triggers.install(connection, APPEND_ONLY)  # a table that SQLite had to rebuild lost its triggers


@contextmanager
def _exclusive(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction that no other upgrade shares; commit at the end."""
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # SQLite rebuilds a table to alter it: foreign keys rest meanwhile and are checked before the commit.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                raise RuntimeError(f"the upgrade would leave broken references: {broken[:5]}")
            connection.commit()
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            connection.execute(sa.text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": _LOCK_TIMEOUT})
            yield connection
            connection.commit()


@cache
def history() -> tuple[str, ...]:
    """Return this release's revisions, oldest first."""
    return tuple(sorted(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")))


def _refuse_newer(state: SchemaState) -> None:
    if not state.is_known:
        raise SchemaRefused(
            N_(
                "The database is at schema {current}, which release {release} does not know: a newer release wrote it. "
                "Start that release, or restore a backup made before the upgrade."
            ),
            current=state.current,
            release=cloudmgr.__version__,
        )
