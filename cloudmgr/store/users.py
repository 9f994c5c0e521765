"""Queries of people and the roles granted to them."""

import functools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from cloudmgr.domain import clock
from cloudmgr.domain.access import EXCLUSIVE_ROLES, ROLE_ACTIONS, Action, Grant, Role
from cloudmgr.models import Deputy, Organization, RoleGrant, User
from cloudmgr.store.paging import below, newest_first


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user with the organization it belongs to and the roles standing now."""

    user: User
    organization: Organization
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant with the organization it is on."""

    grant: RoleGrant
    organization: Organization


def by_key(session: Session, username_key: str, *, lock: bool = False) -> User | None:
    """Return the user of a case-folded name; `lock` reads it anew and keeps it from changing until the commit."""
    query = select(User).where(User.username_key == username_key)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return session.exec(query).first()


def get(session: Session, user_id: uuid.UUID, *, lock: bool = False) -> UserRow | None:
    """Return one user with its organization and roles."""
    query = (
        select(User, Organization)
        .join(Organization, col(Organization.id) == User.organization_id)
        .where(User.id == user_id)
    )
    if lock:
        query = query.with_for_update(of=User).execution_options(populate_existing=True)
    row = session.exec(query).first()
    return UserRow(row[0], row[1], roles_of(session, [user_id]).get(user_id, ())) if row else None


def page(
    session: Session,
    *,
    paths: Sequence[str],
    organization_path: str | None,
    search: str | None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[UserRow], uuid.UUID | None]:
    """Return users of the given subtrees, newest first."""
    query = (
        select(User, Organization)
        .join(Organization, col(Organization.id) == User.organization_id)
        .where(below(col(Organization.path), paths))
    )
    if organization_path is not None:
        query = query.where(col(Organization.path).startswith(organization_path, autoescape=True))
    if search:
        query = query.where(
            sa.or_(
                col(User.username_key).contains(search.casefold(), autoescape=True),
                col(User.display_name).contains(search, autoescape=True),
            )
        )
    rows, following = newest_first(session, query, col(User.id), limit=limit, cursor=cursor)
    roles = roles_of(session, [row[0].id for row in rows])
    return [UserRow(user, organization, roles.get(user.id, ())) for user, organization in rows], following


def roles_of(session: Session, user_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[str, ...]]:
    """Return the names of unrevoked roles by user, sorted."""
    query = (
        select(RoleGrant.user_id, RoleGrant.role)
        .where(col(RoleGrant.user_id).in_(user_ids), col(RoleGrant.revoked_at).is_(None))
        .distinct()
        .order_by(RoleGrant.role)
    )
    found: dict[uuid.UUID, tuple[str, ...]] = {}
    for user_id, role in session.exec(query).all():
        found[user_id] = (*found.get(user_id, ()), role)
    return found


@functools.cache
def _grants() -> sa.Select[str, uuid.UUID, str, datetime | None, uuid.UUID]:
    """Return the query of `grants_now`, built once."""
    user_id, at = sa.bindparam("user_id", type_=sa.Uuid()), sa.bindparam("at", type_=sa.DateTime(timezone=True))
    day = sa.bindparam("day", type_=sa.Date())
    return (
        sa.select(
            col(RoleGrant.role),
            col(RoleGrant.organization_id),
            col(Organization.path),
            col(RoleGrant.valid_until),
            col(RoleGrant.user_id),
        )
        .join(Organization, col(Organization.id) == col(RoleGrant.organization_id))
        .where(
            sa.or_(col(RoleGrant.user_id) == user_id, col(RoleGrant.user_id).in_(_away(user_id, at, day))),
            col(RoleGrant.revoked_at).is_(None),
            sa.or_(col(RoleGrant.valid_until).is_(None), col(RoleGrant.valid_until) > at),
        )
        .order_by(col(RoleGrant.role), col(Organization.path))
    )


def grants_now(session: Session, user_id: uuid.UUID, at: datetime) -> tuple[Grant, ...]:
    """Return the grants of a user that hold at a moment, and those of people away whose deputy the user is on that day."""
    values = {"user_id": user_id, "at": at, "day": at.astimezone(clock.SHANGHAI).date()}
    found = []
    for role, organization_id, path, until, holder_id in session.execute(_grants(), values):
        lender = holder_id if holder_id != user_id else None
        if lender is None or Action.REQUEST_DECIDE in ROLE_ACTIONS[Role(role)]:
            found.append(Grant(Role(role), organization_id, path, until, lender))
    return tuple(found)


def away_for(session: Session, user_id: uuid.UUID, at: datetime) -> set[uuid.UUID]:
    """Return the people away at a moment whose deputy the user is."""
    return set(session.exec(away(user_id, at)))


def away(user_id: uuid.UUID, at: datetime) -> SelectOfScalar[uuid.UUID]:
    """Return the query for the people away at a moment whose deputy the user is."""
    return _away(user_id, at, at.astimezone(clock.SHANGHAI).date())


def _away(user_id: Any, at: Any, day: Any) -> SelectOfScalar[uuid.UUID]:
    return (
        select(Deputy.absent_id)
        .join(User, col(User.id) == Deputy.absent_id)
        .where(
            Deputy.deputy_id == user_id,
            col(Deputy.ended_at).is_(None),
            col(Deputy.valid_from) <= day,
            col(Deputy.valid_until) >= day,
            col(User.disabled).is_(False),
            sa.or_(col(User.expires_at).is_(None), col(User.expires_at) > at),
        )
    )


def grants(session: Session, user_id: uuid.UUID) -> list[GrantRow]:
    """Return the unrevoked grants of a user, expired ones included."""
    query = (
        select(RoleGrant, Organization)
        .join(Organization, col(Organization.id) == RoleGrant.organization_id)
        .where(RoleGrant.user_id == user_id, col(RoleGrant.revoked_at).is_(None))
        .order_by(col(RoleGrant.id))
    )
    return [GrantRow(*row) for row in session.exec(query).all()]


def standing_grant(session: Session, user_id: uuid.UUID, role: Role, organization_id: uuid.UUID) -> RoleGrant | None:
    """Return the unrevoked grant of a role on an organization."""
    query = select(RoleGrant).where(
        RoleGrant.user_id == user_id,
        RoleGrant.role == role.value,
        RoleGrant.organization_id == organization_id,
        col(RoleGrant.revoked_at).is_(None),
    )
    return session.exec(query).first()


def exclusive_role(session: Session, user_id: uuid.UUID) -> str | None:
    """Return which of the three administrators' roles a user holds."""
    query = select(RoleGrant.role).where(
        RoleGrant.user_id == user_id,
        col(RoleGrant.role).in_([role.value for role in EXCLUSIVE_ROLES]),
        col(RoleGrant.revoked_at).is_(None),
    )
    return session.exec(query).first()


def organization(session: Session, organization_id: uuid.UUID) -> Organization | None:
    """Return an organization by id."""
    return session.get(Organization, organization_id)
