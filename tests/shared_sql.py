"""Engines of one process that share what SQLAlchemy works out for each: the dialect's types and the compiled statements.

For processes that fork many short ones with a database each: compiling its statements would be half of what such a child does.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

_OF_ITS_OWN = frozenset({"connect_args", "hide_parameters", "max_overflow", "pool_size", "pool_timeout", "poolclass"})
"""What may differ between engines that share: it concerns connections, not statements."""


def share() -> None:
    """Let every engine made from now on share with the first of its kind."""
    made: dict[tuple[str, str], sa.Engine] = {}
    create_engine = sa.create_engine

    def create(url: str | sa.URL, **options: Any) -> sa.Engine:
        engine = create_engine(url, **options)
        kind = (make_url(url).drivername, repr(sorted(item for item in options.items() if item[0] not in _OF_ITS_OWN)))
        first = made.setdefault(kind, engine)
        if first is not engine:
            engine.dialect = engine.pool._dialect = first.dialect  # type: ignore[attr-defined]
            engine._compiled_cache = first._compiled_cache
        return engine

    sa.create_engine = create  # type: ignore[assignment]
