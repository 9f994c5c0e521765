"""Crossings of soft thresholds: one row each time use comes to 80, 90 or 100 % of a limit. Refuses nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from quotas.accounts import ACCOUNTS
from quotas.books import BALANCES
from quotas.timed_tables import WarningRow

WARNINGS = WarningRow.__table__  # type: ignore[attr-defined]
THRESHOLDS_PCT = (80, 90, 100)
_WHOLE = 100


@dataclass(frozen=True, slots=True)
class QuotaWarning:
    """One crossing: what was taken of which limit when it happened."""

    warning_id: UUID
    account_id: UUID
    account: str
    key: str
    threshold_pct: int
    limit: int
    taken: int
    at: datetime


def must_note(session: Session, thresholds: Sequence[int] = THRESHOLDS_PCT) -> bool:
    """Whether `note_crossings` would write anything now. Locks nothing."""
    if not thresholds:
        return False
    connection = session.connection()
    return connection.execute(_crossed(thresholds).limit(1)).first() is not None or (
        connection.execute(_fallen().limit(1)).first() is not None
    )


def note_crossings(
    session: Session, thresholds: Sequence[int] = THRESHOLDS_PCT, *, most: int = 500
) -> list[QuotaWarning]:
    """Write a row for every threshold crossed since it was last looked, and end those that use has fallen below.

    Returns the new ones. A crossing that came and went between two looks is not seen.
    """
    connection = session.connection()
    now = clock.now()
    fallen = list(connection.execute(_fallen().limit(most)).scalars())
    if fallen:
        connection.execute(sa.update(WARNINGS).where(WARNINGS.c.id.in_(fallen)).values(cleared_at=now))
    rows = connection.execute(_crossed(thresholds).limit(most)).all() if thresholds else []
    made = [
        {
            "id": new_id(),
            "account_id": row.account_id,
            "key": row.key,
            "threshold_pct": row.threshold_pct,
            "limit_amount": row.limit_amount,
            "taken": row.taken,
            "at": now,
            "cleared_at": None,
        }
        for row in rows
    ]
    if made:
        connection.execute(sa.insert(WARNINGS), made)
    ids = {row["id"] for row in made}
    accounts = {row["account_id"] for row in made}
    return [each for group in standing(session, accounts).values() for each in group if each.warning_id in ids]


def standing(session: Session, account_ids: Iterable[UUID]) -> dict[UUID, list[QuotaWarning]]:
    """Return the crossings that last, by account; of several thresholds on a key all are named, the highest first."""
    rows = session.connection().execute(
        sa.select(
            WARNINGS.c.id,
            WARNINGS.c.account_id,
            ACCOUNTS.c.name,
            WARNINGS.c.key,
            WARNINGS.c.threshold_pct,
            WARNINGS.c.limit_amount,
            WARNINGS.c.taken,
            WARNINGS.c.at,
        )
        .join(ACCOUNTS, ACCOUNTS.c.id == WARNINGS.c.account_id)
        .where(WARNINGS.c.account_id.in_(list(account_ids)), WARNINGS.c.cleared_at.is_(None))
        .order_by(WARNINGS.c.account_id, WARNINGS.c.key, WARNINGS.c.threshold_pct.desc())
    )
    found: dict[UUID, list[QuotaWarning]] = {}
    for row in rows:
        found.setdefault(row.account_id, []).append(QuotaWarning(*row))
    return found


_taken = BALANCES.c.used + BALANCES.c.reserved


def _crossed(thresholds: Sequence[int]) -> sa.Select[Any]:
    """Select balances at or above a threshold that has no standing row."""
    limits = sa.union_all(*(sa.select(sa.literal(pct, sa.Integer).label("pct")) for pct in thresholds)).subquery("at")
    told = sa.exists().where(
        WARNINGS.c.account_id == BALANCES.c.account_id,
        WARNINGS.c.key == BALANCES.c.key,
        WARNINGS.c.threshold_pct == limits.c.pct,
        WARNINGS.c.cleared_at.is_(None),
    )
    return (
        sa.select(
            BALANCES.c.account_id,
            BALANCES.c.key,
            limits.c.pct.label("threshold_pct"),
            BALANCES.c.limit_amount,
            _taken.label("taken"),
        )
        .select_from(BALANCES.join(limits, sa.true()))
        .where(BALANCES.c.limit_amount > 0, _taken * _WHOLE >= limits.c.pct * BALANCES.c.limit_amount, ~told)
        .order_by(BALANCES.c.account_id, BALANCES.c.key, limits.c.pct)
    )


def _fallen() -> sa.Select[Any]:
    """Select standing rows whose threshold is not reached any more."""
    return (
        sa.select(WARNINGS.c.id)
        .join(BALANCES, sa.and_(BALANCES.c.account_id == WARNINGS.c.account_id, BALANCES.c.key == WARNINGS.c.key))
        .where(
            WARNINGS.c.cleared_at.is_(None),
            sa.or_(
                BALANCES.c.limit_amount.is_(None),
                BALANCES.c.limit_amount == 0,
                _taken * _WHOLE < WARNINGS.c.threshold_pct * BALANCES.c.limit_amount,
            ),
        )
        .order_by(WARNINGS.c.id)
    )
