"""Queries of sessions, tokens, failed logins by address, and remembered answers."""

import functools
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain.ids import new_id
from cloudmgr.models import LoginSource, Organization, User, UserSession
from cloudmgr.store.db import is_sqlite


@dataclass(frozen=True, slots=True)
class Holder:
    """A session with its user and where that user belongs."""

    session: UserSession
    user: User
    organization_path: str


@functools.cache
def _holder() -> sa.Select[UserSession, User, str]:
    """Return the query of `by_token_hash`, built once."""
    return (
        sa.select(UserSession, User, col(Organization.path))
        .join(User, col(User.id) == col(UserSession.user_id))
        .join(Organization, col(Organization.id) == col(User.organization_id))
        .where(col(UserSession.token_hash) == sa.bindparam("token_hash"))
    )


def by_token_hash(session: Session, token_hash: str) -> Holder | None:
    """Return whose session this is, ended or not."""
    row = session.execute(_holder(), {"token_hash": token_hash}).first()
    return Holder(*row) if row is not None else None


def touch(session: Session, session_id: uuid.UUID, at: datetime, *, older_than: datetime) -> None:
    """Note that a session was used, unless that is noted already since `older_than`."""
    session.exec(
        sa.update(UserSession)
        .where(col(UserSession.id) == session_id, col(UserSession.last_seen_at) < older_than)
        .values(last_seen_at=at)
        .execution_options(synchronize_session=False)
    )


def end_all(session: Session, user_id: uuid.UUID, at: datetime, *, but: uuid.UUID | None = None) -> int:
    """End every standing session and token of a user but one; return how many."""
    query = sa.update(UserSession).where(col(UserSession.user_id) == user_id, col(UserSession.ended_at).is_(None))
    if but is not None:
        query = query.where(col(UserSession.id) != but)
    result = session.exec(query.values(ended_at=at).execution_options(synchronize_session="fetch"))
    return cast("sa.CursorResult[Any]", result).rowcount


def end_everybodys(session: Session, at: datetime) -> int:
    """End every standing session and token of all users; return how many."""
    query = sa.update(UserSession).where(col(UserSession.ended_at).is_(None)).values(ended_at=at)
    result = session.exec(query.execution_options(synchronize_session=False))
    return cast("sa.CursorResult[Any]", result).rowcount


def previous(session: Session, user_id: uuid.UUID, before: uuid.UUID) -> UserSession | None:
    """Return the user's session before the given one."""
    query = (
        select(UserSession)
        .where(UserSession.user_id == user_id, col(UserSession.id) < before)
        .order_by(col(UserSession.id).desc())
        .limit(1)
    )
    return session.exec(query).first()


def source(session: Session, name: str) -> LoginSource | None:
    """Return what is known of failed logins under this name, freshly read."""
    query = select(LoginSource).where(LoginSource.source == name).execution_options(populate_existing=True)
    return session.exec(query).first()


def count_failure(session: Session, name: str, at: datetime, *, forget_before: datetime) -> int:
    """Add one failed login to a source and return the count; a count untouched since `forget_before` starts anew."""
    insert = sqlite.insert if is_sqlite(session) else postgresql.insert
    fresh = sa.or_(
        col(LoginSource.updated_at) < forget_before,
        sa.and_(col(LoginSource.locked_until).is_not(None), col(LoginSource.locked_until) <= at),
    )
    statement = (
        insert(LoginSource)
        .values(id=new_id(), created_at=at, source=name, failed_logins=1, updated_at=at)
        .on_conflict_do_update(
            index_elements=["source"],
            set_={
                "failed_logins": sa.case((fresh, 1), else_=col(LoginSource.failed_logins) + 1),
                "locked_until": sa.case((fresh, sa.null()), else_=col(LoginSource.locked_until)),
                "updated_at": at,
            },
        )
        .returning(col(LoginSource.failed_logins))
    )
    return int(session.connection().execute(statement).scalar_one())


def lock_source(session: Session, name: str, until: datetime) -> None:
    """Lock a source until a moment."""
    session.exec(
        sa.update(LoginSource)
        .where(col(LoginSource.source) == name)
        .values(locked_until=until)
        .execution_options(synchronize_session=False)
    )


def forget_source(session: Session, name: str) -> None:
    """Forget the failures counted under a name."""
    session.exec(sa.delete(LoginSource).where(col(LoginSource.source) == name))


def forget_sources(session: Session, before: datetime) -> None:
    """Forget sources whose last failure was before a moment and whose lock is over by then: the table stays small."""
    session.exec(
        sa.delete(LoginSource).where(
            col(LoginSource.updated_at) < before,
            sa.or_(col(LoginSource.locked_until).is_(None), col(LoginSource.locked_until) < before),
        )
    )
