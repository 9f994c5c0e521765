"""Who is charged how much, and whether it fits: pure arithmetic over balances that were read. Writes nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from quotas.keys import Key
from quotas.refusals import Binding


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds of one key; `limit` None means no limit there."""

    limit: int | None
    used: int
    reserved: int
    overhang: int = 0
    guaranteed: int = 0
    set_aside: int = 0
    """What the accounts right below have been guaranteed and have not taken yet."""
    borrowed: int = 0

    @property
    def unfilled(self) -> int:
        """How much of the own guarantee is not taken yet: the level above keeps it free."""
        return max(0, self.guaranteed - self.used - self.reserved)

    @property
    def available(self) -> int | None:
        """How much this limit still lets in; 0 when use stands above it, None without one."""
        return None if self.limit is None else max(0, self.limit - self.used - self.reserved)


@dataclass(frozen=True, slots=True)
class Level:
    """One account on the way from the root to the account asked about, with its balances."""

    account_id: UUID
    parent_id: UUID | None
    code: str
    name: str
    balances: Mapping[Key, Balance]
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Charge:
    """One change of one balance on behalf of one part (None: of the account itself)."""

    account_id: UUID
    key: Key
    part_id: UUID | None
    used: int = 0
    reserved: int = 0


Amounts = Mapping[str, int]
Dims = Mapping[str, str]

EMPTY = Balance(None, 0, 0)


PLACE_DIMENSIONS = frozenset({"backend", "tier"})
"""What a limit must be narrowed by to count things whose counting ends further down the tree."""


def charged(
    levels: Sequence[Level], amounts: Amounts, dims: Dims, top: UUID | None = None
) -> Iterator[tuple[UUID, Key, int]]:
    """Yield every (account, key, amount) that a thing of these amounts and dimensions is counted under, root first.

    Plain keys count at every account; a narrowed key counts where its row exists, which is since it was limited there.
    Above `top` only keys narrowed by backend or tier count: a district's own cloud is not the city's, unless the city
    limits just that.
    """
    is_above = top is not None and any(level.account_id == top for level in levels)
    for level in levels:
        is_above = is_above and level.account_id != top
        for resource, amount in amounts.items():
            if not is_above:
                yield level.account_id, Key(resource), amount
        for key in level.balances:
            if is_above and not PLACE_DIMENSIONS & {name for name, _ in key.dims}:
                continue
            if key.dims and key.resource in amounts and key.matches(dims):
                yield level.account_id, key, amounts[key.resource]


def totals(charges: Iterable[Charge]) -> dict[tuple[UUID, Key], tuple[int, int]]:
    """Return the summed (used, reserved) change per balance."""
    summed: dict[tuple[UUID, Key], tuple[int, int]] = {}
    for charge in charges:
        used, reserved = summed.get((charge.account_id, charge.key), (0, 0))
        summed[charge.account_id, charge.key] = (used + charge.used, reserved + charge.reserved)
    return summed


def bindings(levels: Sequence[Level], growth: Mapping[tuple[UUID, Key], int]) -> list[Binding]:
    """Return every limit that the growth would pass, root first, keys in order.

    What siblings have been guaranteed counts as taken, except for growth that stays within the guarantee of the account
    through which it comes: that was kept free for it.
    """
    asides = set_aside_changes(levels, growth)
    found = []
    for level in levels:
        for (account_id, key), asked in growth.items():
            if account_id != level.account_id or asked <= 0:
                continue
            balance = level.balances.get(key, EMPTY)
            if balance.limit is None:
                continue
            aside = asides.get((account_id, key), 0)
            kept = balance.set_aside + aside if asked + aside > 0 else 0
            if balance.used + balance.reserved + asked + kept > balance.limit:
                found.append(
                    Binding(account_id, level.name, key, balance.limit, balance.used, balance.reserved, asked, kept)
                )
    return found


def set_aside_changes(levels: Sequence[Level], growth: Mapping[tuple[UUID, Key], int]) -> dict[tuple[UUID, Key], int]:
    """Return by how much what is set aside at each account changes, when the account below it fills its guarantee or not.

    `levels` lead down from account to account; `growth` may shrink.
    """
    changes: dict[tuple[UUID, Key], int] = {}
    for above, below in pairwise(levels):
        for key, balance in below.balances.items():
            grown = growth.get((below.account_id, key), 0)
            if balance.guaranteed and grown:
                taken = balance.used + balance.reserved + grown
                if change := max(0, balance.guaranteed - taken) - balance.unfilled:
                    changes[above.account_id, key] = change
    return changes


def room(levels: Sequence[Level], key: Key) -> int | None:
    """Return how much of `key` the last level and all above it let in; None where nothing limits it.

    A narrowed key is bound by the wider ones too: vCPUs on Arm are vCPUs. What accounts beside the way have been
    guaranteed is not room.
    """
    free = []
    for number, level in enumerate(levels):
        below = levels[number + 1].balances if number + 1 < len(levels) else {}
        for other, balance in level.balances.items():
            if balance.available is not None and other.contains(key):
                own = below.get(other, EMPTY).unfilled
                free.append(max(min(own, balance.available), balance.available - (balance.set_aside - own)))
    return min(free, default=None)
