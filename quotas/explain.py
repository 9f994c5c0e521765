"""What a limit would mean before it is set: who would be over, at which level, and by how much. Writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from quotas.accounts import ACCOUNTS, no_such_account
from quotas.admission import EMPTY, Level
from quotas.books import BALANCES, read_levels
from quotas.keys import Key
from quotas.parts import by_key


class Consequence(StrEnum):
    """What a limit would bring about."""

    USE_ABOVE = "use_above"
    """More is in use there than the limit: nothing is taken away, and every growth is refused."""
    CHILDREN_ABOVE = "children_above"
    """The limits right below would add up to more than this limit."""
    PROMISED_ABOVE = "promised_above"
    """At an account above, the limits right below would add up to more than its own limit."""
    ROOM_MISSING = "room_missing"
    """The limit would let in more than an account above has left: there the next request is refused."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One account that would be over for one key: `amount` stands against `limit`, `over` by how much, `before` as it is."""

    account_id: UUID
    name: str
    depth: int
    key: str
    consequence: Consequence
    limit: int
    amount: int
    before: int
    """By how much it is over already, without the change."""

    @property
    def over(self) -> int:
        """By how much it would be over."""
        return self.amount - self.limit


def what_if(session: Session, account_id: UUID, limits: Mapping[str, int | None]) -> list[Finding]:
    """Return who would be over if these limits were set at an account, root first; empty: nobody.

    None is no limit. Reads without locking: it is an answer of this moment.

    Raises:
        NotFound: no such account. InvalidInput: a malformed key or an impossible amount.
    """
    wanted = by_key(limits, within="limits")
    levels = read_levels(session, account_id)
    if not levels:
        raise no_such_account(account_id)
    below = _limits_below(session, [level.account_id for level in levels], [str(key) for key in wanted])
    found: list[Finding] = []
    for key, amount in wanted.items():
        found += _above(levels, key, amount, below)
        if amount is not None:
            found += _here(levels, key, amount, below)
    return sorted(found, key=lambda finding: (finding.depth, finding.key, finding.consequence))


def _above(levels: list[Level], key: Key, amount: int | None, below: Mapping[tuple[UUID, str], int]) -> list[Finding]:
    *above, own = levels
    held = own.balances.get(key, EMPTY)
    now = held.limit
    found = []
    for depth, level in enumerate(above):
        for limited, balance in level.balances.items():
            if balance.limit is None or not limited.contains(key):
                continue
            if limited == key and depth == len(above) - 1:
                promised = below.get((level.account_id, str(key)), 0)
                after = promised - (now or 0) + (amount or 0)
                if after > balance.limit and (amount or 0) > (now or 0):
                    before = max(0, promised - balance.limit)
                    found.append(_finding(level, depth, key, Consequence.PROMISED_ABOVE, balance.limit, after, before))
            room = balance.limit - balance.used - balance.reserved
            growth = _growth(held.used + held.reserved, amount)
            if growth is not None and growth > max(0, room):
                was = _growth(held.used + held.reserved, now)
                before = 0 if was is None else max(0, was - max(0, room))
                if growth > (was or 0):
                    found.append(
                        _finding(level, depth, limited, Consequence.ROOM_MISSING, max(0, room), growth, before)
                    )
    return found


def _here(levels: list[Level], key: Key, amount: int, below: Mapping[tuple[UUID, str], int]) -> list[Finding]:
    own = levels[-1]
    depth = len(levels) - 1
    held = own.balances.get(key, EMPTY)
    now = held.limit
    found = []
    taken = held.used + held.reserved
    if taken > amount:
        before = max(0, taken - now) if now is not None else 0
        found.append(_finding(own, depth, key, Consequence.USE_ABOVE, amount, taken, before))
    promised = below.get((own.account_id, str(key)), 0)
    if promised > amount:
        before = max(0, promised - now) if now is not None else 0
        found.append(_finding(own, depth, key, Consequence.CHILDREN_ABOVE, amount, promised, before))
    return found


def _growth(taken: int, limit: int | None) -> int | None:
    return None if limit is None else max(0, limit - taken)


def _finding(
    level: Level, depth: int, key: Key, consequence: Consequence, limit: int, amount: int, before: int
) -> Finding:
    return Finding(level.account_id, level.name, depth, str(key), consequence, limit, amount, before)


def _limits_below(session: Session, parents: list[UUID], keys: list[str]) -> dict[tuple[UUID, str], int]:
    """Return the sum of the limits right below each of some accounts, by key."""
    rows = session.connection().execute(
        sa.select(ACCOUNTS.c.parent_id, BALANCES.c.key, sa.func.sum(BALANCES.c.limit_amount))
        .join(BALANCES, BALANCES.c.account_id == ACCOUNTS.c.id)
        .where(
            ACCOUNTS.c.parent_id.in_(parents),
            BALANCES.c.key.in_(keys),
            BALANCES.c.limit_amount.is_not(None),
        )
        .group_by(ACCOUNTS.c.parent_id, BALANCES.c.key)
    )
    return {(parent, key): int(total) for parent, key, total in rows}
