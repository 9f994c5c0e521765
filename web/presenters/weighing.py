"""What an approver weighs, arranged: quota levels as bars, limits that are asked for, pools as they answer now."""

from dataclasses import dataclass

from cloudmgr.services.weighing import LimitWeight, Weighing
from web import formats
from web.presenters.consequences import consequence
from web.presenters.plans import EntryLine, entry_line
from web.presenters.quota import Level, ratio_pct, weighed
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One limit that is asked for. Amounts are in words already, empty where there is no limit."""

    key: str
    now: str
    wanted: str
    taken: str
    above: str
    allotted: str
    pct_now: int | None
    pct_then: int | None
    """What is allotted right below the level above in percent of its limit, now and then."""
    has_moved: bool
    """The limit is not what it was when this was asked for."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Everything that stands beside a decision."""

    levels: list[Level]
    account: str
    account_above: str
    limits: list[LimitLine]
    over: list[str]
    pools: list[EntryLine]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is taken at all."""
        return not (self.levels or self.limits or self.pools)


def scale(words: Words, found: Weighing) -> Scale:
    """Arrange it."""
    return Scale(
        levels=weighed(found.usage, found.taken) if found.taken else [],
        account=found.account,
        account_above=found.account_above,
        limits=[_limit(row) for row in found.limits],
        over=[consequence(words, each) for each in found.over],
        pools=[entry_line(words, entry, shows_room=True) for entry in found.pools],
    )


def _limit(row: LimitWeight) -> LimitLine:
    return LimitLine(
        key=row.key,
        now=formats.amount(row.now, row.key),
        wanted=formats.amount(row.wanted, row.key),
        taken=formats.amount(row.taken, row.key),
        above=formats.amount(row.above, row.key),
        allotted=formats.amount(row.allotted_then, row.key),
        pct_now=ratio_pct(row.above, row.allotted),
        pct_then=ratio_pct(row.above, row.allotted_then),
        has_moved=row.before != row.now,
    )
