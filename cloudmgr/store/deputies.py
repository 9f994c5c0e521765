"""Reading and writing who decides for people who are away."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import date, datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.models import Deputy, Organization, User

DeputyRow = tuple[Deputy, User, User]
"""The row, who is away, and who decides instead."""


def listed(session: Session, *, paths: Sequence[str], person_id: uuid.UUID | None, since: date) -> list[DeputyRow]:
    """Return what has not ended before a day, of people in the subtrees at `paths` and of one person, first to begin first."""
    absent, deputy = sa.orm.aliased(User), sa.orm.aliased(User)
    mine = [col(Deputy.absent_id) == person_id, col(Deputy.deputy_id) == person_id] if person_id else []
    rows = session.execute(
        sa.select(Deputy, absent, deputy)
        .join(absent, col(Deputy.absent_id) == col(absent.id))
        .join(deputy, col(Deputy.deputy_id) == col(deputy.id))
        .join(Organization, col(Organization.id) == col(absent.organization_id))
        .where(
            col(Deputy.ended_at).is_(None),
            col(Deputy.valid_until) >= since,
            sa.or_(*mine, *(col(Organization.path).startswith(path, autoescape=True) for path in paths), sa.false()),
        )
        .order_by(col(Deputy.valid_from), col(Deputy.id))
        .limit(500)
    ).all()
    return [(row[0], row[1], row[2]) for row in rows]


def count_standing(session: Session, absent_id: uuid.UUID, since: date) -> int:
    """Return how many deputyships of a person have not ended before a day."""
    query = sa.select(sa.func.count()).where(
        col(Deputy.absent_id) == absent_id, col(Deputy.ended_at).is_(None), col(Deputy.valid_until) >= since
    )
    return int(session.execute(query).scalar_one())


def beginning(session: Session, at: datetime, *, limit: int) -> list[DeputyRow]:
    """Return the deputyships whose days hold at a moment and whose deputy was not told that they have begun."""
    absent, deputy = sa.orm.aliased(User), sa.orm.aliased(User)
    day = at.astimezone(clock.SHANGHAI).date()
    rows = session.execute(
        sa.select(Deputy, absent, deputy)
        .join(absent, col(Deputy.absent_id) == col(absent.id))
        .join(deputy, col(Deputy.deputy_id) == col(deputy.id))
        .where(
            col(Deputy.told_at).is_(None),
            col(Deputy.ended_at).is_(None),
            col(Deputy.valid_from) <= day,
            col(Deputy.valid_until) >= day,
        )
        .order_by(col(Deputy.valid_from), col(Deputy.id))
        .limit(limit)
    ).all()
    return [(row[0], row[1], row[2]) for row in rows]


def standing_in(session: Session, absent: Iterable[uuid.UUID], at: datetime) -> set[uuid.UUID]:
    """Return who decides at a moment for one of these people; for nobody whose account is disabled or has expired."""
    day = at.astimezone(clock.SHANGHAI).date()
    query = (
        select(Deputy.deputy_id)
        .join(User, col(User.id) == Deputy.absent_id)
        .where(
            col(Deputy.absent_id).in_(list(absent)),
            col(Deputy.ended_at).is_(None),
            col(Deputy.valid_from) <= day,
            col(Deputy.valid_until) >= day,
            col(User.disabled).is_(False),
            sa.or_(col(User.expires_at).is_(None), col(User.expires_at) > at),
        )
    )
    return set(session.exec(query))
