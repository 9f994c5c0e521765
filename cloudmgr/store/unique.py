"""Inserting what the database itself keeps unique."""

from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

_UNIQUE_VIOLATION = "23505"
"""PostgreSQL's SQLSTATE; SQLite says it in words only."""


def add_unique(session: Session, row: Any) -> bool:
    """Insert a row; False when a unique constraint refuses it, with the transaction still usable.

    On SQLite the caller's transaction must have begun already (`store.db.begin_immediate`), as that of every change has.
    """
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError as error:
        if not _is_duplicate(error):
            raise
        return False
    return True


def _is_duplicate(error: IntegrityError) -> bool:
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlstate == _UNIQUE_VIOLATION or (sqlstate is None and "UNIQUE constraint failed" in str(error.orig))
