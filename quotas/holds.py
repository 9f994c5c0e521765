"""What is held and not used yet, and since when: reservations that wait. Ends none of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from quotas.accounts import ACCOUNTS, RESERVATIONS
from quotas.holdings import PART_AMOUNTS, PARTS, PartState


@dataclass(frozen=True, slots=True)
class Hold:
    """One reservation of which something is still pending, with how much."""

    reservation_id: UUID
    account_id: UUID
    account: str
    since: datetime
    amounts: Mapping[str, int]

    @property
    def days(self) -> int:
        """Whole days it has been held."""
        return (clock.now() - self.since).days


def holds_below(session: Session, account_id: UUID, *, most: int = 200) -> list[Hold]:
    """Return what is held at an account and below it, the oldest first."""
    start = sa.select(ACCOUNTS.c.id, ACCOUNTS.c.name).where(ACCOUNTS.c.id == account_id).cte("members", recursive=True)
    below = ACCOUNTS.alias("below")
    members = start.union_all(sa.select(below.c.id, below.c.name).where(below.c.parent_id == start.c.id))
    chosen = (
        sa.select(RESERVATIONS.c.id, RESERVATIONS.c.account_id, members.c.name, RESERVATIONS.c.created_at)
        .join(members, members.c.id == RESERVATIONS.c.account_id)
        .where(RESERVATIONS.c.state == PartState.PENDING.value)
        .order_by(RESERVATIONS.c.created_at, RESERVATIONS.c.id)
        .limit(most)
        .subquery("chosen")
    )
    rows = session.connection().execute(
        sa.select(chosen, PART_AMOUNTS.c.resource, sa.func.sum(PART_AMOUNTS.c.remaining).label("amount"))
        .join(PARTS, PARTS.c.reservation_id == chosen.c.id)
        .join(
            PART_AMOUNTS,
            sa.and_(PART_AMOUNTS.c.reservation_id == PARTS.c.reservation_id, PART_AMOUNTS.c.part_id == PARTS.c.part_id),
        )
        .where(PARTS.c.state == PartState.PENDING.value)
        .group_by(*chosen.c, PART_AMOUNTS.c.resource)
        .order_by(chosen.c.created_at, chosen.c.id, PART_AMOUNTS.c.resource)
    )
    found: dict[UUID, Hold] = {}
    amounts: dict[UUID, dict[str, int]] = {}
    for row in rows:
        if row.id not in found:
            amounts[row.id] = {}
            found[row.id] = Hold(row.id, row.account_id, row.name, row.created_at, amounts[row.id])
        if row.amount:
            amounts[row.id][row.resource] = int(row.amount)
    return list(found.values())


def pending_of(session: Session, reservation_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these reservations of which something is still pending."""
    found = session.connection().execute(
        sa.select(RESERVATIONS.c.id).where(
            RESERVATIONS.c.id.in_(list(reservation_ids)), RESERVATIONS.c.state == PartState.PENDING.value
        )
    )
    return set(found.scalars())


def held_since_below(session: Session, account_ids: Collection[UUID]) -> dict[UUID, datetime]:
    """Return since when the oldest thing is held at each of these accounts or below; those with nothing are left out."""
    start = (
        sa.select(RESERVATIONS.c.account_id.label("id"), sa.func.min(RESERVATIONS.c.created_at).label("since"))
        .where(RESERVATIONS.c.state == PartState.PENDING.value)
        .group_by(RESERVATIONS.c.account_id)
        .subquery("holding")
    )
    chain = (
        sa.select(ACCOUNTS.c.id, ACCOUNTS.c.parent_id, start.c.since)
        .join(start, start.c.id == ACCOUNTS.c.id)
        .cte("chain", recursive=True)
    )
    above = ACCOUNTS.alias("above")
    chain = chain.union_all(
        sa.select(above.c.id, above.c.parent_id, chain.c.since).where(above.c.id == chain.c.parent_id)
    )
    rows = session.connection().execute(
        sa.select(chain.c.id, sa.func.min(chain.c.since, type_=RESERVATIONS.c.created_at.type)).group_by(chain.c.id)
    )
    wanted = set(account_ids)
    return {account_id: since for account_id, since in rows if account_id in wanted}
