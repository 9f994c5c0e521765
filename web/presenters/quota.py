"""Quota numbers as bars: shares in percent of what is drawn, and whether what is asked fits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

PLAIN_ORDER = ("servers", "vcpus", "memory_mib", "disk_gib", "ip_addresses", "public_ips", "volumes", "snapshots")


@dataclass(frozen=True, slots=True)
class Bar:
    """One key at one account. `limit` None: no limit at this level. Percentages fill a bar of 100."""

    key: str
    limit: int | None
    used: int
    reserved: int
    asked: int | None = None
    ok: bool = True
    guaranteed: int = 0
    """How much of the limit is kept free for the account by those beside it; a mark on the bar."""

    @property
    def taken(self) -> int:
        """Used and held together."""
        return self.used + self.reserved

    @property
    def available(self) -> int | None:
        """What is left, never shown below zero; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.taken)

    @property
    def left(self) -> int | None:
        """What would be left after this request; below zero where it does not fit."""
        return None if self.limit is None else self.limit - self.taken - (self.asked or 0)

    @property
    def over(self) -> bool:
        """More is taken than the limit allows, as after a limit was lowered."""
        return self.limit is not None and self.taken > self.limit

    @property
    def used_pct(self) -> float:
        """Width of the used part."""
        return self._share(self.used, 0)

    @property
    def held_pct(self) -> float:
        """Width of the part held for requests."""
        return self._share(self.reserved, self.used_pct)

    @property
    def asked_pct(self) -> float:
        """Width of what is asked for now."""
        return self._share(self.asked or 0, self.used_pct + self.held_pct)

    @property
    def guaranteed_pct(self) -> float:
        """Where the mark of the guaranteed share stands."""
        return self._share(self.guaranteed, 0)

    def _share(self, amount: int, before: float) -> float:
        whole = self.limit if self.limit is not None else 0
        if amount <= 0 or whole <= 0:
            return 0 if amount <= 0 or self.limit is None else 100 - before
        return round(min(100 - before, 100 * amount / whole), 1)


def bars(
    limits: Mapping[str, int | None],
    used: Mapping[str, int],
    reserved: Mapping[str, int],
    guaranteed: Mapping[str, int],
    *,
    only_limited: bool = False,
) -> list[Bar]:
    """Return the keys of one account, the usual resources first, then the narrowed ones."""
    keys = sorted({*limits, *used, *reserved}, key=_order)
    made = [
        Bar(key, limits.get(key), used.get(key, 0), reserved.get(key, 0), guaranteed=guaranteed.get(key, 0))
        for key in keys
    ]
    return [bar for bar in made if not only_limited or bar.limit is not None]


@dataclass(frozen=True, slots=True)
class Level:
    """One account of a chain, with its bars."""

    name: str
    bars: list[Bar]

    @property
    def has_guarantee(self) -> bool:
        """Whether a bar carries the mark of a guarantee."""
        return any(bar.guaranteed for bar in self.bars)


class Usage(Protocol):
    """What is read of an account."""

    @property
    def name(self) -> str: ...
    @property
    def limits(self) -> Mapping[str, int | None]: ...
    @property
    def used(self) -> Mapping[str, int]: ...
    @property
    def reserved(self) -> Mapping[str, int]: ...
    @property
    def guaranteed(self) -> Mapping[str, int]: ...


def weighed(usage: Iterable[Usage], taken: Mapping[str, int]) -> list[Level]:
    """Return every level with what a request takes told apart from what others hold. Only plain keys are told apart:
    of a narrowed one a request may take a part.
    """
    levels = []
    for account in usage:
        shown = []
        for bar in bars(account.limits, account.used, account.reserved, account.guaranteed, only_limited=True):
            if bar.key.partition("{")[0] not in taken:
                continue
            own = min(taken.get(bar.key, 0), bar.reserved)
            shown.append(replace(bar, reserved=bar.reserved - own, asked=own or None))
        levels.append(Level(account.name, shown))
    return levels


def ratio_pct(limit: int | None, of_children: int | None) -> int | None:
    """Return by how much the limits of the children exceed their parent's, in percent: 120 is over-allocated by a fifth."""
    return round(100 * of_children / limit) if limit and of_children else None


def in_order(keys: Iterable[str]) -> list[str]:
    """Return quota keys in the order people expect them."""
    return sorted(keys, key=_order)


def _order(key: str) -> tuple[int, str, str]:
    resource, _, conditions = key.partition("{")
    place = PLAIN_ORDER.index(resource) if resource in PLAIN_ORDER else len(PLAIN_ORDER)
    return (place + (100 if conditions else 0), resource, conditions)
