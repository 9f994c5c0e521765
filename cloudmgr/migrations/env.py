"""Alembic's entry: runs revisions on the connection it is given, in that connection's transaction.

`cloudmgr.adapters.migrate` gives the connection. The `alembic` command (`make migration`) gives none: then the database
is the one named by CLOUDMGR_DATABASE__URL, and the transaction is committed here.
"""

import os
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from sqlmodel import AutoString, SQLModel
from sqlmodel.sql.sqltypes import UTCDateTime

import cloudmgr.models  # noqa: F401 - registers every table

target = SQLModel.metadata


def ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether autogenerate may look at something in the database: DBOS keeps its own tables there."""
    return kind != "table" or name in target.tables


def plain_types(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    """Write plain SQLAlchemy types into revisions, so that they stay valid whatever SQLModel does later."""
    if kind == "type" and isinstance(item, sa.JSON):
        autogen.imports.add("from sqlalchemy.dialects.postgresql import JSONB")
        return 'sa.JSON().with_variant(JSONB(), "postgresql")'
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, AutoString):
        return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return False


def run(connection: sa.Connection) -> None:
    """Run the revisions asked for; the caller commits."""
    context.configure(
        connection=connection,
        target_metadata=target,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        include_name=ours,
        render_item=plain_types,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with sa.create_engine(os.environ["CLOUDMGR_DATABASE__URL"]).begin() as own:
        run(own)
