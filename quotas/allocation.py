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


def require_allotment(
    session: Session, account_id: UUID, changes: Mapping[Key, tuple[int | None, int | None]], most_pct: int
) -> None:
    """Refuse changes (before, after) of one account's limits, already written, that allot more than policy allows.

    A raise is weighed against the limit of the account above, a cut against the limits right below; a change that makes
    nothing worse is let through, whatever stood before. 0 percent: nothing is refused.

    Raises:
        OverAllotted: naming every account and key.
    """
    if not most_pct:
        return
    raised = [key for key, (before, after) in changes.items() if after is not None and after > (before or 0)]
    cut = [key for key, (before, after) in changes.items() if after is not None and (before is None or after < before)]
    above = sa.select(ACCOUNTS.c.parent_id).where(ACCOUNTS.c.id == account_id).scalar_subquery()
    found = [
        *(_allotments(session, ACCOUNTS.c.id == above, raised) if raised else ()),
        *(_allotments(session, ACCOUNTS.c.id == account_id, cut) if cut else ()),
    ]
    over = [each for each in found if each.is_above(most_pct)]
    if over:
        raise OverAllotted(over, most_pct)


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
