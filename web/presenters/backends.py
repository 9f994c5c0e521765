"""Cloud platforms for their pages: how each is and how old that word is, what it can do, and what is left of it."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cloudmgr.domain import clock
from cloudmgr.models import SyncRun
from cloudmgr.services.catalogue import BackendView, ZoneView
from web import labels
from web.presenters.quota import Bar, in_order
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class BackendLine:
    """One cloud platform. `health` is what may be said of it now: an old `ok` is not told as well."""

    id: uuid.UUID
    title: str
    name: str
    provider: str
    version: str | None
    vendor: str | None
    rehearses: bool
    tier: str
    datacenter: str
    owner: str
    shared_with: str
    counts_city_quota: bool
    is_owned: bool
    is_enabled: bool
    is_configured: bool
    expected_offline_hours: int
    health: str
    freshness: str
    message: str
    last_seen_at: datetime | None
    checked_at: datetime | None
    failures: int
    retry_at: datetime | None
    servers_freshness: str
    servers_synced_at: datetime | None
    servers_message: str


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing a driver may be able to do."""

    name: str
    text: str
    has: bool


@dataclass(frozen=True, slots=True)
class ArchitectureLine:
    """What the pools of one architecture hold together. No bars: the reader may not know the numbers."""

    arch: str
    pools: int
    closed: int
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class RunLine:
    """One look at the servers of a cloud platform."""

    started_at: datetime
    kind: str
    outcome: str
    message: str
    servers: int
    changed: int
    missing: int
    seconds: float


def line(words: Words, view: BackendView) -> BackendLine:
    """Arrange one cloud platform; a pause that is over is not told."""
    backend, standing = view.backend, view.standing
    resting = backend.retry_at if backend.retry_at is not None and backend.retry_at > clock.now() else None
    return BackendLine(
        id=backend.id,
        title=backend.title or backend.name,
        name=backend.name,
        provider=backend.provider,
        version=backend.version,
        vendor=backend.vendor,
        rehearses=backend.rehearses,
        tier=backend.tier,
        datacenter=backend.datacenter,
        owner=view.owner.name if view.owner else "",
        shared_with=words.joined([each.name for each in view.shared_with]),
        counts_city_quota=backend.counts_city_quota,
        is_owned=view.owner is not None,
        is_enabled=backend.is_enabled,
        is_configured=backend.is_configured,
        expected_offline_hours=backend.expected_offline_hours,
        health=standing.health,
        freshness=standing.freshness,
        message=words.told(backend.health_message),
        last_seen_at=backend.last_seen_at,
        checked_at=backend.checked_at,
        failures=backend.failures,
        retry_at=resting,
        servers_freshness=view.servers_freshness,
        servers_synced_at=backend.servers_synced_at,
        servers_message=words.told(backend.servers_message),
    )


def abilities(words: Words, capabilities: Sequence[str]) -> list[Ability]:
    """Return everything a driver may be able to do, with what this one can; a name we do not know stands at the end."""
    known = labels.VOCABULARIES["capability"]
    names = [*known, *sorted(set(capabilities) - set(known))]
    return [Ability(name, words.label("capability", name), name in capabilities) for name in names]


def by_architecture(views: Iterable[ZoneView]) -> list[ArchitectureLine]:
    """Add the pools up by architecture, after what is kept back and overcommit."""
    groups: dict[str, list[ZoneView]] = {}
    for view in views:
        groups.setdefault(view.zone.arch, []).append(view)
    return [
        ArchitectureLine(
            arch=arch,
            pools=len(group),
            closed=sum(1 for view in group if not (view.zone.is_enabled and view.zone.is_available)),
            bars=_bars(group),
        )
        for arch, group in sorted(groups.items())
    ]


def own_quota(told: Sequence[Mapping[str, int | str | None]]) -> list[Bar]:
    """Return the cloud's own limits for the account in use as bars; None: it has no limit there."""
    return [
        Bar(str(each["resource"]), None if each["limit"] is None else int(each["limit"]), int(each["used"] or 0), 0)
        for each in told
    ]


def placed_here(architectures: Iterable[ArchitectureLine]) -> list[tuple[str, int]]:
    """Return what servers of this system take of a cloud, to stand beside what the cloud itself counts."""
    used: dict[str, int] = {}
    for each in architectures:
        for bar in each.bars:
            used[bar.key] = used.get(bar.key, 0) + bar.used
    return [(key, used[key]) for key in in_order(used)]


def run(words: Words, row: SyncRun) -> RunLine:
    """Arrange one look."""
    return RunLine(
        started_at=row.started_at,
        kind=row.kind,
        outcome=row.outcome,
        message=words.told(row.message),
        servers=row.servers,
        changed=row.changed,
        missing=row.missing,
        seconds=row.duration_ms / 1000,
    )


def _bars(group: Sequence[ZoneView]) -> list[Bar]:
    totals: dict[str, int] = {}
    used: dict[str, int] = {}
    for view in group:
        if view.capacity is None or view.used is None:
            return []
        for resource, amount in view.capacity.items():
            totals[resource] = totals.get(resource, 0) + amount
            used[resource] = used.get(resource, 0) + view.used.get(resource, 0)
    return [Bar(resource, totals[resource], used[resource], 0) for resource in in_order(totals)]
