"""The history of migrations, from empty, gives exactly the models, on both databases; append-only tables are."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from cloudmgr.adapters import durable_tables, migrate
from cloudmgr.domain.clock import now
from cloudmgr.models import APPEND_ONLY, Fact
from cloudmgr.settings import Settings, load_settings
from cloudmgr.store import triggers
from cloudmgr.store.db import make_engine, new_session


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return load_settings(tmp_path / "data", database={"url": database_url})


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.database_url)
    yield engine
    engine.dispose()


def test_an_upgrade_from_empty_equals_the_models(settings: Settings, engine: sa.Engine) -> None:
    assert migrate.upgrade(settings).current is None
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_name": lambda name, kind, _: kind != "table" or name in SQLModel.metadata.tables,
            },
        )
        assert compare_metadata(context, SQLModel.metadata) == []


def _sqlite_shape(engine: sa.Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'trigger'"
        ).all()
    return {
        name: sorted(
            re.sub(r'^CREATE TABLE "(\w+)"', r"CREATE TABLE \1", line.strip().rstrip(",").strip())  # renamed: quoted
            for line in re.sub(r"[ \t]+", " ", sql).splitlines()
            if line.strip()
        )
        for name, sql in rows
        if not name.startswith(("alembic", "sqlite_"))
    }


def _postgresql_shape(engine: sa.Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        constraints = connection.exec_driver_sql(
            "SELECT c.relname || '.' || k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k "
            "JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = 'public'::regnamespace"
        ).all()
        indexes = connection.exec_driver_sql(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        ).all()
        columns = connection.exec_driver_sql(
            "SELECT table_name || '.' || column_name, data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '') "
            "|| ' ' || coalesce(character_maximum_length::text, '') FROM information_schema.columns WHERE table_schema = 'public'"
        ).all()
    rows = [*constraints, *indexes, *columns]
    return {name: [text] for name, text in rows if "alembic_version" not in name}


@pytest.fixture
def empty_engine(settings: Settings, engine: sa.Engine) -> Iterator[sa.Engine]:
    """A second database beside the first, of the same kind."""
    if settings.is_sqlite:
        second = make_engine(f"sqlite:///{settings.data_dir}/second.db")
        yield second
        second.dispose()
        return
    admin = sa.create_engine(engine.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = f"second_{engine.url.database}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    second = make_engine(engine.url.set(database=name).render_as_string(hide_password=False))
    yield second
    second.dispose()
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")


def test_constraints_and_indexes_are_those_of_the_models_too(
    settings: Settings, engine: sa.Engine, empty_engine: sa.Engine
) -> None:
    """Alembic compares no CHECK constraints and no partial indexes: the catalogues of both schemas must be equal."""
    migrate.upgrade(settings)
    SQLModel.metadata.create_all(empty_engine)
    durable_tables.ensure(empty_engine)
    shape = _sqlite_shape if settings.is_sqlite else _postgresql_shape
    assert shape(engine) == shape(empty_engine)


def test_an_upgrade_done_twice_or_by_two_processes_at_once_is_done_once(settings: Settings) -> None:
    before: list[object] = []
    threads = [threading.Thread(target=lambda: before.append(migrate.upgrade(settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(before) == 4
    assert migrate.upgrade(settings).is_current


def test_check_says_what_to_do_about_an_old_and_about_a_newer_schema(settings: Settings, engine: sa.Engine) -> None:
    with pytest.raises(migrate.SchemaRefused, match="cloudmgr db upgrade"):
        migrate.check(settings)
    migrate.upgrade(settings)
    assert migrate.check(settings).is_current
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for refused in (migrate.check, migrate.upgrade):
        with pytest.raises(migrate.SchemaRefused, match="a newer release wrote it"):
            refused(settings)
    assert not migrate.read_state(engine).is_known


def test_a_failed_upgrade_leaves_nothing_behind(settings: Settings, engine: sa.Engine) -> None:
    with engine.begin() as connection:  # the last table the history makes is in the way
        sa.Table("server_versions", sa.MetaData(), sa.Column("id", sa.Integer)).create(connection)
    with pytest.raises(sa.exc.DBAPIError):
        migrate.upgrade(settings)
    assert sa.inspect(engine).get_table_names() == ["server_versions"]


def test_append_only_tables_have_their_triggers(settings: Settings, engine: sa.Engine) -> None:
    migrate.upgrade(settings)
    with engine.connect() as connection:
        standing = triggers.present(connection)
    assert standing == {name for table in APPEND_ONLY for name in triggers.names(table, engine.dialect.name)}


def test_a_row_of_an_append_only_table_refuses_update_delete_and_truncate(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE told (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO told VALUES (1)")
        triggers.install(connection, ["told"])
        triggers.install(connection, ["told"])  # the second time it finds them there
    truncate = [] if engine.dialect.name == "sqlite" else ["TRUNCATE told"]
    for statement in ["UPDATE told SET id = 2", "DELETE FROM told", *truncate]:
        with pytest.raises(sa.exc.DBAPIError, match="append-only: told"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_the_application_can_write_what_the_migrations_made(settings: Settings, engine: sa.Engine) -> None:
    migrate.upgrade(settings)
    with new_session(engine) as session:
        session.add(Fact(name="seed", value={"done": True}, updated_at=now()))
        session.commit()
        assert session.get_one(Fact, "seed").updated_at.tzinfo is not None


def test_the_history_is_one_line_and_its_files_are_numbered_in_its_order() -> None:
    scripts = ScriptDirectory(str(migrate.MIGRATIONS))
    line = [script.revision for script in scripts.walk_revisions()][::-1]
    assert len(scripts.get_heads()) == 1
    assert all(isinstance(script.down_revision, str | None) for script in scripts.walk_revisions())
    assert list(migrate.history()) == line
