"""Many rows in one statement and one parameter, the same on SQLite and PostgreSQL. Knows JSON, not quotas.

Rows travel as one JSON text, so a statement's shape does not depend on their number: it is compiled, cached and
prepared once, and admission needs the same few round trips for one server as for two hundred.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import TypeEngine

Columns = Mapping[str, type[TypeEngine[Any]] | TypeEngine[Any]]


def rowset(dialect: str, parameter: str, columns: Columns) -> sa.FromClause:
    """Return a table-like source over the JSON array of objects bound to `parameter`."""
    text = sa.bindparam(parameter, type_=sa.Text())
    if dialect == "sqlite":
        element = sa.func.json_each(text).table_valued("value", name=f"each_{parameter}")
        extracted = (sa.func.json_extract(element.c.value, f"$.{name}").label(name) for name in columns)
        # the limit keeps SQLite from merging this into the join and then parsing the whole text once a row
        return sa.select(*extracted).limit(-1).subquery(parameter)
    typed = [sa.column(name, kind) for name, kind in columns.items()]
    function = sa.func.jsonb_to_recordset(sa.cast(text, JSONB))
    return function.table_valued(*typed, name=parameter).render_derived(with_types=True)


def encode(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as the text `rowset` reads; ids are given as hex strings."""
    return json.dumps(list(rows), separators=(",", ":"), ensure_ascii=False)


def combined(dialect: str, changes: Sequence[UpdateBase]) -> list[sa.Executable]:
    """Return what to execute for several changes that do not depend on each other's results.

    PostgreSQL: one statement of data-modifying CTEs, so one round trip; its row is the number of rows each touched.
    SQLite has no such CTEs and no round trips: the changes themselves.
    """
    if dialect == "sqlite":
        return list(changes)
    touched = [
        change.returning(sa.literal(1).label("one")).cte(f"change_{number}") for number, change in enumerate(changes)
    ]
    counts = (sa.select(sa.func.count()).select_from(cte).scalar_subquery() for cte in touched)
    return [sa.select(*(count.label(f"rows_{number}") for number, count in enumerate(counts)))]
