"""Pools for their room: what each holds, how full it is and how old that word is."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cloudmgr.services.catalogue import ZoneView
from web.presenters.quota import Bar, in_order
from web.rendering import Words

_PHYSICAL_PCT = 100


@dataclass(frozen=True, slots=True)
class ZoneLine:
    """One pool. No bars: the reader may not know the numbers. `overcommit` names resources that are sold more than once."""

    id: uuid.UUID
    title: str
    name: str
    arch: str
    cpu_family: str
    cpu_model: str
    is_xinchuang: bool
    is_open: bool
    backend_id: uuid.UUID
    backend: str
    tier: str
    health: str
    freshness: str
    network_zones: str
    bars: list[Bar]
    overcommit: list[tuple[str, int]]
    last_seen_at: datetime | None


def line(words: Words, view: ZoneView, zone_names: Mapping[str, str]) -> ZoneLine:
    """Arrange one pool."""
    zone, backend = view.zone, view.backend
    return ZoneLine(
        id=zone.id,
        title=zone.title or zone.name,
        name=zone.name,
        arch=zone.arch,
        cpu_family=zone.cpu_family,
        cpu_model=zone.cpu_model if zone.cpu_model != "unknown" else "",
        is_xinchuang=zone.is_xinchuang,
        is_open=zone.is_enabled and zone.is_available and backend.is_enabled,
        backend_id=backend.id,
        backend=backend.title or backend.name,
        tier=backend.tier,
        health=view.standing.health,
        freshness=view.standing.freshness,
        network_zones=words.joined([zone_names.get(name, name) for name in sorted(view.network_zones)]),
        bars=_bars(view),
        overcommit=[
            (each.resource, each.ratio_pct) for each in view.inventory or () if each.ratio_pct != _PHYSICAL_PCT
        ],
        last_seen_at=zone.last_seen_at,
    )


def _bars(view: ZoneView) -> list[Bar]:
    if view.capacity is None or view.used is None:
        return []
    return [Bar(key, view.capacity[key], view.used.get(key, 0), 0) for key in in_order(view.capacity)]
