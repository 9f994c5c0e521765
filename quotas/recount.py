"""Counting balances anew from the parts that are held: the second source that the first is proved against."""

from uuid import UUID

import sqlalchemy as sa

from quotas.accounts import ACCOUNTS
from quotas.admission import PLACE_DIMENSIONS
from quotas.books import BALANCES
from quotas.holdings import PART_AMOUNTS, PARTS, PartState
from quotas.keys import DIMENSIONS


def recounted(account_id: UUID | None = None) -> sa.Subquery:
    """Return (account_id, key, used, reserved) from the parts, for balances with anything held under them.

    Of one account or of all. One statement, so one snapshot on every database.
    """
    members = _members(account_id)
    above = members.alias("above")
    counted = sa.func.sum(PART_AMOUNTS.c.remaining)
    return (
        sa.select(
            BALANCES.c.account_id,
            BALANCES.c.key,
            _whole(counted.filter(PARTS.c.state == PartState.POSTED.value)).label("used"),
            _whole(counted.filter(PARTS.c.state == PartState.PENDING.value)).label("reserved"),
        )
        .select_from(members)
        .join(PARTS, PARTS.c.account_id == members.c.member_id)
        .join(
            PART_AMOUNTS,
            sa.and_(PART_AMOUNTS.c.reservation_id == PARTS.c.reservation_id, PART_AMOUNTS.c.part_id == PARTS.c.part_id),
        )
        .join(
            BALANCES,
            sa.and_(
                BALANCES.c.account_id == members.c.account_id,
                BALANCES.c.resource == PART_AMOUNTS.c.resource,
                *(sa.or_(BALANCES.c[name].is_(None), BALANCES.c[name] == PARTS.c[name]) for name in DIMENSIONS),
            ),
        )
        .outerjoin(
            above,
            sa.and_(
                above.c.member_id == PARTS.c.top_account_id,
                above.c.account_id == BALANCES.c.account_id,
                above.c.account_id != PARTS.c.top_account_id,
            ),
        )
        .where(
            PARTS.c.state.in_([PartState.POSTED.value, PartState.PENDING.value]),
            sa.or_(above.c.account_id.is_(None), *(BALANCES.c[name].is_not(None) for name in sorted(PLACE_DIMENSIONS))),
        )
        .group_by(BALANCES.c.account_id, BALANCES.c.key)
        .subquery("recounted")
    )


def _members(account_id: UUID | None) -> sa.CTE:
    """Return (account_id, member_id): every account with itself and all below it."""
    start = sa.select(ACCOUNTS.c.id.label("account_id"), ACCOUNTS.c.id.label("member_id"))
    if account_id is not None:
        start = start.where(ACCOUNTS.c.id == account_id)
    members = start.cte("members", recursive=True)
    below = ACCOUNTS.alias("below")
    return members.union_all(
        sa.select(members.c.account_id, below.c.id).where(below.c.parent_id == members.c.member_id)
    )


def _whole(total: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """PostgreSQL sums bigint into numeric; the books are whole numbers."""
    return sa.cast(sa.func.coalesce(total, 0), sa.BigInteger)
