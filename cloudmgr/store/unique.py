"""Inserting what the database itself keeps unique."""

from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session


def add_unique(session: Session, row: Any) -> bool:
    """Insert a row; False when a constraint of the database refuses it, with the transaction still usable.

    On SQLite the caller's transaction must have begun already (`store.db.begin_immediate`), as that of every change has.
    """
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        return False
    return True
