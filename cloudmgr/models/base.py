"""What every table shares: naming of constraints, identifiers, JSON, closed sets as CHECK constraints."""

import functools
import inspect
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id

T = TypeVar("T")

Json = sa.JSON().with_variant(JSONB(), "postgresql")
"""JSON text on SQLite, jsonb on PostgreSQL."""

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def factory(make: Callable[[], T]) -> Callable[[], T]:
    """Return `make` with its signature at hand: pydantic asks for it at every row made, and finding it out takes longer than the row."""

    def made() -> T:
        return make()

    made.__signature__ = inspect.Signature()  # type: ignore[attr-defined]
    return made


def id_field() -> Any:
    """Return a primary key of our own making, ordered by time."""
    return Field(default_factory=factory(new_id), primary_key=True)


def made_at() -> Any:
    """Return a column filled with the present moment."""
    return Field(default_factory=factory(clock.now), nullable=False)


def json_field(default: Any = None) -> Any:
    """Return a JSON column; `default` is a factory such as dict or list, or None for a nullable column."""
    if default is None:
        return Field(default=None, sa_column=sa.Column(Json, nullable=True))
    return Field(default_factory=factory(default), sa_column=sa.Column(Json, nullable=False))


def one_of(column: str, values: type[StrEnum] | Iterable[str]) -> sa.CheckConstraint:
    """Return a CHECK constraint that closes a text column to the given values."""
    listed = ", ".join("'" + str(value).replace("'", "''") + "'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


class Table(SQLModel):
    """Base of all tables: rows are made without Pydantic, which would set each column by itself and take twenty times as long.

    As in every table of SQLModel nothing is validated here. Input models do that at the edge, and the database at last.
    """

    def __init__(self, **values: Any) -> None:
        """Take the values of columns; what is left out has its default.

        Raises:
            TypeError: there is no such column.
        """
        names, fixed, made = _defaults(type(self))
        if not names.issuperset(values):
            raise TypeError(f"{type(self).__name__} has no column {', '.join(sorted(values.keys() - names))}")
        own = self.__dict__
        own.update(fixed)
        for name, make in made:
            if name not in values:
                own[name] = make()
        own.update(values)


@functools.cache
def _defaults(
    model: type[SQLModel],
) -> tuple[frozenset[str], dict[str, Any], tuple[tuple[str, Callable[[], Any]], ...]]:
    """Return the columns of a table, the defaults that never change, and how the others are made."""
    fixed, made = {}, []
    for name, field in model.model_fields.items():
        if field.default_factory is not None:
            made.append((name, cast("Callable[[], Any]", field.default_factory)))
        elif not field.is_required():
            fixed[name] = field.default
    return frozenset(model.model_fields), fixed, tuple(made)


class Row(Table):
    """Base of tables with an id and a birth date. `table=True` validates nothing: input models do that at the edge."""

    id: uuid.UUID = id_field()
    created_at: datetime = made_at()
