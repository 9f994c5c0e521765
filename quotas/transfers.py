"""Permanent transfer of limits from one account to another: one movement, on one document. Moves nothing that is held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from quotas.accounts import lock_tree, no_such_account, require_open
from quotas.admission import EMPTY, Balance, Level
from quotas.books import read_levels
from quotas.keys import Key
from quotas.limits import LimitChange, change_limits
from quotas.movable import checked, kept, require_limited
from quotas.parts import check_amount
from quotas.refusals import Binding, LimitInUse


@dataclass(frozen=True, slots=True)
class AccountChange:
    """The limits of one account that a movement changed."""

    account_id: UUID
    name: str
    changes: Sequence[LimitChange]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a transfer did: at the giver and above it, then at the taker and above it, nearest to the root first."""

    movement_id: UUID
    accounts: Sequence[AccountChange]


def transfer(
    session: Session,
    *,
    giver: UUID,
    taker: UUID,
    amounts: Mapping[str, int],
    reason: str,
    basis_no: str | None = None,
    actor: str,
) -> Transfer:
    """Move limits by key from one account to another, for good.

    Every account between each of them and the nearest that stands above both follows, where it has a limit on the key, so
    that the taker can use what it got and the giver's superiors keep nothing of it. Decided wholly before it is written.

    Raises:
        LimitInUse: less is free than goes, at the giver or above it; `errors` lists every account and key.
        InvalidInput: one stands above the other, either has no limit on a key, impossible amounts, no reason.
        Conflict: one of them is closed. NotFound: no such account.
    """
    wanted = checked(amounts)
    require_reason(reason)
    lock_tree(session, giver)
    giving, taking = sides(session, giver, taker)
    require_open(giving[-1], taking[-1])
    for end in (giving[-1], taking[-1]):
        require_limited(end, wanted)
    in_use = [
        Binding(level.account_id, level.name, key, held.limit, held.used, held.reserved, amount, kept(held))
        for level in giving
        for key, amount in wanted.items()
        if (held := level.balances.get(key, EMPTY)).limit is not None and _free(held, held.limit) < amount
    ]
    if in_use:
        raise LimitInUse(in_use)
    changed = [
        (level, changes)
        for side, sign in ((giving, -1), (taking, 1))
        for level in side
        if (changes := _follow(level, wanted, sign))
    ]
    movement_id = new_id()
    for level, changes in changed:
        change_limits(session, level, changes, movement_id, reason=reason, basis_no=basis_no, actor=actor)
    return Transfer(movement_id, [AccountChange(level.account_id, level.name, changes) for level, changes in changed])


def sides(session: Session, one: UUID, other: UUID, *, field: str = "to") -> tuple[list[Level], list[Level]]:
    """Return both accounts with what is above each and not above the other, nearest to the root first.

    `field` is what the input calls the other.

    Raises:
        InvalidInput: they are the same, one is above the other, or they are of different trees.
        NotFound: no such account.
    """
    chains = [read_levels(session, account_id) for account_id in (one, other)]
    for account_id, chain in zip((one, other), chains, strict=True):
        if not chain:
            raise no_such_account(account_id)
    first, second = chains
    if one == other:
        raise InvalidInput(N_("Name two different accounts."), field=field)
    if first[0].account_id != second[0].account_id:
        raise InvalidInput(N_("{one} and {other} are of different trees."), one=first[-1].name, other=second[-1].name)
    shared = {level.account_id for level in first} & {level.account_id for level in second}
    for end, lower in ((first[-1], second[-1]), (second[-1], first[-1])):
        if end.account_id in shared:
            raise InvalidInput(
                N_(
                    "{above} stands above {below}, and what is below is counted above already. "
                    "Set the limit of {below} instead."
                ),
                field=field,
                above=end.name,
                below=lower.name,
            )
    return tuple([level for level in chain if level.account_id not in shared] for chain in chains)  # type: ignore[return-value]


def require_reason(reason: str) -> None:
    """Refuse a movement of limits without a word why.

    Raises:
        InvalidInput: the reason is empty.
    """
    if not reason.strip():
        raise InvalidInput(N_("Say why the limit changes."), field="reason")


def _free(held: Balance, limit: int) -> int:
    """Return how much of a limit can leave: neither in use, nor promised to or kept for anybody, nor on loan."""
    return limit - held.used - held.reserved - kept(held)


def _follow(level: Level, wanted: Mapping[Key, int], sign: int) -> list[LimitChange]:
    changes = []
    for key, amount in wanted.items():
        limit = level.balances.get(key, EMPTY).limit
        if limit is not None:
            check_amount(str(key), limit + sign * amount)
            changes.append(LimitChange(key, limit, limit + sign * amount))
    return changes
