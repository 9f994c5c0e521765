"""Triggers that make a table append-only: rows refuse UPDATE, DELETE and (PostgreSQL) TRUNCATE, whoever asks."""

from collections.abc import Iterable

import sqlalchemy as sa

_FUNCTION = """
CREATE OR REPLACE FUNCTION cloudmgr_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'append-only: %', TG_TABLE_NAME; END $$
"""


def names(table: str, dialect: str) -> list[str]:
    """Return the names of the triggers that `append_only` makes for a table."""
    verbs = ("update", "delete") if dialect == "sqlite" else ("rows", "truncate")
    return [f"append_only_{table}_{verb}" for verb in verbs]


def append_only(table: str, dialect: str) -> list[str]:
    """Return the DDL after which UPDATE and DELETE on `table` raise `append-only: <table>`; running it twice is fine.

    `table` is a name of ours, never input. `dialect` is "sqlite" or "postgresql".
    """
    first, second = names(table, dialect)
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'append-only: {table}'); END"
            for name, verb in ((first, "UPDATE"), (second, "DELETE"))
        ]
    call = "EXECUTE FUNCTION cloudmgr_append_only()"
    return [
        _FUNCTION,
        f"CREATE OR REPLACE TRIGGER {first} BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {call}",
        f"CREATE OR REPLACE TRIGGER {second} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}",
    ]


def present(connection: sa.Connection) -> set[str]:
    """Return the names of all triggers in the database."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = (
            "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
        )
    return set(connection.execute(sa.text(query)).scalars())


def install(connection: sa.Connection, tables: Iterable[str]) -> None:
    """Make the triggers that are missing on `tables`, in the transaction at hand."""
    dialect = connection.dialect.name
    standing = present(connection)
    for table in tables:
        if not standing.issuperset(names(table, dialect)):
            for statement in append_only(table, dialect):
                connection.exec_driver_sql(statement.replace("%", "%%") if dialect != "sqlite" else statement)
