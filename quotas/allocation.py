"""How much of a limit has been allotted to the accounts right below, and whether policy lets it be more. Writes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_, Message
from quotas.accounts import ACCOUNTS
from quotas.books import BALANCES
from quotas.keys import Key

_WHOLE = 100
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Allotment:
    """One limit beside the sum of the limits right below it."""

    account_id: UUID
    name: str
    key: Key
    limit: int
    allotted: int

    @property
    def pct(self) -> int | None:
        """The sum in percent of the limit, rounded up; None of a limit of nothing."""
        return -(-self.allotted * _WHOLE // self.limit) if self.limit else None

    def is_above(self, most_pct: int) -> bool:
        """Whether more than so much of the limit is allotted."""
        return self.allotted * _WHOLE > most_pct * self.limit


class OverAllotted(Refusal):
    """Limits below an account would add up to more than policy allows; `errors` names every account and key."""

    code: ClassVar[str] = "over_allotted"

    def __init__(self, found: Sequence[Allotment], most_pct: int) -> None:
        told = [
            Message(
                N_("the limits below {account} would add up to {allotted} of its {limit} {key}"),
                {"account": each.name, **each.key.told(allotted=each.allotted, limit=each.limit)},
            )
            for each in found[:_TOLD]
        ]
        super().__init__(
            N_("At most {most} % of a limit may be allotted below it: {findings}."),
            errors=[
                {
                    "account": str(each.account_id),
                    "name": each.name,
                    "key": str(each.key),
                    "limit": each.limit,
                    "allotted": each.allotted,
                }
                for each in found
            ],
            extra={"most_pct": most_pct},
            most=most_pct,
            findings=told,
        )


Changes = Mapping[UUID, Mapping[Key, tuple[int | None, int | None]]]
"""Limits that one movement changed, before and after, by account and key."""


def require_allotment(session: Session, changes: Changes, most_pct: int) -> None:
    """Refuse a movement of limits, already written, that allots more than policy allows.

    A raise is weighed against the limit of the account above, a cut against the limits right below, all of them as the
    whole movement leaves them; what it makes no worse is let through, whatever stood before. 0 percent: nothing is refused.

    Raises:
        OverAllotted: naming every account and key.
    """
    keys = {key for some in changes.values() for key in some}
    if not most_pct or not keys:
        return
    rows = session.connection().execute(
        sa.select(ACCOUNTS.c.id, ACCOUNTS.c.parent_id).where(ACCOUNTS.c.id.in_(list(changes)))
    )
    above = {row.id: row.parent_id for row in rows}
    concerned = {*changes, *above.values()} - {None}
    found = _allotments(session, ACCOUNTS.c.id.in_(concerned), keys)
    over = [each for each in found if each.is_above(most_pct) and _is_worse(each, changes, above)]
    if over:
        raise OverAllotted(over, most_pct)


def _is_worse(now: Allotment, changes: Changes, above: Mapping[UUID, UUID | None]) -> bool:
    """Whether more of the limit is allotted, as a share, than before the movement."""
    limit = changes.get(now.account_id, {}).get(now.key, (now.limit, now.limit))[0]
    if limit is None:
        return True
    more = sum(
        (after or 0) - (before or 0)
        for account_id, some in changes.items()
        if above.get(account_id) == now.account_id
        for key, (before, after) in some.items()
        if key == now.key
    )
    if now.limit == limit:
        return more > 0
    return now.allotted * limit > (now.allotted - more) * now.limit


def _allotments(session: Session, account: sa.ColumnElement[bool], keys: Iterable[Key]) -> list[Allotment]:
    below, theirs = ACCOUNTS.alias("below"), BALANCES.alias("theirs")
    wanted = {str(key): key for key in keys}
    rows: Iterable[Any] = session.connection().execute(
        sa.select(
            ACCOUNTS.c.id,
            ACCOUNTS.c.name,
            BALANCES.c.key,
            BALANCES.c.limit_amount,
            sa.cast(sa.func.sum(theirs.c.limit_amount), sa.BigInteger).label("allotted"),
        )
        .select_from(ACCOUNTS)
        .join(BALANCES, BALANCES.c.account_id == ACCOUNTS.c.id)
        .join(below, below.c.parent_id == ACCOUNTS.c.id)
        .join(theirs, sa.and_(theirs.c.account_id == below.c.id, theirs.c.key == BALANCES.c.key))
        .where(account, BALANCES.c.key.in_(list(wanted)), BALANCES.c.limit_amount.is_not(None))
        .group_by(ACCOUNTS.c.id, ACCOUNTS.c.name, BALANCES.c.key, BALANCES.c.limit_amount)
        .order_by(BALANCES.c.key)
    )
    return [Allotment(row.id, row.name, wanted[row.key], row.limit_amount, row.allotted or 0) for row in rows]
