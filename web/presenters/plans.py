"""A plan for its panel: cost at every level as bars, pools that could take it, and why others could not."""

from collections.abc import Sequence
from dataclasses import dataclass

from cloudmgr.domain.messages import N_
from cloudmgr.domain.placement import Verdict
from cloudmgr.services.plans import EntryPlan, Plan
from web import formats
from web.presenters.quota import Bar, Level, in_order
from web.rendering import Words

_SHOWN = ("vcpus", "memory_mib", "disk_gib")


@dataclass(frozen=True, slots=True)
class PoolLine:
    """One zone's answer."""

    title: str
    backend: str
    cpu_family: str
    is_xinchuang: bool
    rank: int | None
    room: str
    notes: list[str]
    against: list[str]


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One group of servers with the pools' answers."""

    name: str
    count: int
    arch: str
    fits: int
    candidates: list[PoolLine]
    refused: list[PoolLine]


@dataclass(frozen=True, slots=True)
class PlanPanel:
    """What the panel shows."""

    totals: list[tuple[str, int]]
    levels: list[Level]
    entries: list[EntryLine]
    warnings: list[str]
    refusals: list[str]
    offers: list[str]


def panel(words: Words, plan: Plan) -> PlanPanel:
    """Arrange a plan."""
    levels = plan.quota.levels if plan.quota else ()
    return PlanPanel(
        totals=[(key, plan.totals[key]) for key in in_order(plan.totals) if plan.totals[key]],
        levels=[
            Level(
                level.name,
                sorted_bars(
                    [
                        Bar(row.key, row.limit, row.used, row.reserved, row.asked, row.ok)
                        for row in level.keys
                        if row.limit is not None
                    ]
                ),
            )
            for level in levels
        ],
        entries=[entry_line(words, entry, shows_room=plan.shows_capacity) for entry in plan.entries],
        warnings=[words.told(warning) for warning in plan.warnings],
        refusals=[words.told(refusal["message"]) for refusal in plan.refusals],
        offers=[words.told(offer.message) for offer in plan.offers],
    )


def sorted_bars(bars: Sequence[Bar]) -> list[Bar]:
    """Return bars in the order people expect their keys."""
    by_key = {bar.key: bar for bar in bars}
    return [by_key[key] for key in in_order(by_key)]


def entry_line(words: Words, entry: EntryPlan, *, shows_room: bool) -> EntryLine:
    """Arrange how the pools answer to one group of servers."""
    lines = [(verdict, _pool(words, verdict, shows_room=shows_room)) for verdict in entry.verdicts]
    return EntryLine(
        name=entry.name,
        count=entry.count,
        arch=entry.arch,
        fits=entry.fits,
        candidates=[line for verdict, line in lines if verdict.is_candidate],
        refused=[line for verdict, line in lines if not verdict.is_candidate],
    )


def _pool(words: Words, verdict: Verdict, *, shows_room: bool) -> PoolLine:
    zone = verdict.zone
    room = ", ".join(
        f"{words.key_label(key)} {formats.amount(max(zone.room[key], 0), key)}" for key in _SHOWN if key in zone.room
    )
    return PoolLine(
        title=zone.title or zone.name,
        backend=zone.backend,
        cpu_family=zone.cpu_family,
        is_xinchuang=zone.is_xinchuang,
        rank=verdict.rank,
        room=words.translate(N_("Left: {room}"), room=room) if shows_room and room else "",
        notes=[words.told(note) for note in verdict.notes],
        against=[words.told(reason) for reason in verdict.against],
    )
