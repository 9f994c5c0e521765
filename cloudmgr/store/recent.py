"""What every request asks for and hardly ever changes, remembered by each process for a second.

Good only for what may rest on knowledge a second old: whoever would refuse because of it reads it afresh first. A change made
in this process is seen at once; one made by another process within `MAX_AGE_S`.
"""

import time
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, UOWTransaction
from sqlalchemy.orm import Session as AnySession
from sqlmodel import Session, SQLModel

T = TypeVar("T")
R = TypeVar("R", bound=SQLModel)

MAX_AGE_S = 1.0
TABLES = frozenset(
    {
        "backend_shares",
        "backends",
        "flavors",
        "image_variants",
        "images",
        "network_zones",
        "organizations",
        "zone_network_zones",
        "zones",
    }
)
"""What may be remembered; a commit that changed one of these forgets everything."""

_CHANGED = "cloudmgr.recent.changed"
_remembered: weakref.WeakKeyDictionary[Any, dict[Hashable, tuple[float, Any]]] = weakref.WeakKeyDictionary()


def recent(session: Session, key: Hashable, read: Callable[[], T]) -> T:
    """Return what `read` returned at most a second ago; `key` names it. It is shared: nobody may change it.

    A transaction that has itself changed one of the tables reads what it wrote.
    """
    if session.info.get(_CHANGED):
        return read()
    known = _remembered.setdefault(session.get_bind(), {})
    found = known.get(key)
    now = time.monotonic()
    if found is not None and now - found[0] < MAX_AGE_S:
        value: T = found[1]
        return value
    value = read()
    known[key] = (now, value)
    return value


def copied(row: R) -> R:
    """Return a row as an object of no session, to be remembered."""
    return type(row)(**row.model_dump())


@event.listens_for(AnySession, "after_flush")
def _note_rows(session: AnySession, _context: UOWTransaction) -> None:
    for rows in (session.new, session.dirty, session.deleted):
        if any(row.__tablename__ in TABLES for row in rows):
            session.info[_CHANGED] = True
            return


@event.listens_for(AnySession, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> None:
    if not state.is_select and isinstance(state.statement, sa.Insert | sa.Update | sa.Delete):
        table = state.statement.table
        if isinstance(table, sa.Table) and table.name in TABLES:
            state.session.info[_CHANGED] = True


@event.listens_for(AnySession, "after_commit")
def _forget(session: AnySession) -> None:
    if session.info.pop(_CHANGED, False):
        _remembered.pop(session.get_bind(), None)


@event.listens_for(AnySession, "after_rollback")
def _keep(session: AnySession) -> None:
    session.info.pop(_CHANGED, None)
