"""Where a server may go: every zone is judged, and says why it was taken or not. Pure: no database, no backend."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Health, Spread, Tier

_TIER_ORDER = {Tier.CITY: 0, Tier.DISTRICT: 1, Tier.EDGE: 2, Tier.PUBLIC: 3}
_RESOURCE_WORDS = {
    "vcpus": N_("vCPU"),
    "memory_mib": N_("memory in MiB"),
    "disk_gib": N_("disk in GiB"),
    "servers": N_("servers"),
}


GOVERNMENT_EXTRANET = "政务外网区"
"""The one network zone that a public cloud never carries."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One server looking for a place. `amounts` are per server: vcpus, memory_mib, disk_gib."""

    arch: str
    amounts: Mapping[str, int]
    network_zone: str
    image: str
    organization_path: str
    backend: str | None = None
    spread: Spread = Spread.HOST
    prefer_xinchuang: bool = True
    tried: frozenset[str] = frozenset()
    """Ids of zones that already said no."""


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """What is known of a zone at this moment; `room` is what is left of each resource after overcommit."""

    id: uuid.UUID
    name: str
    title: str
    backend_id: uuid.UUID
    backend: str
    tier: Tier
    arch: str
    cpu_family: str
    is_xinchuang: bool
    is_enabled: bool
    is_available: bool
    health: Health
    network_zones: frozenset[str]
    room: Mapping[str, int]
    total: Mapping[str, int]
    owner_path: str | None
    shared_paths: tuple[str, ...] = ()
    image_archs: frozenset[str] = frozenset()
    """Architectures in which this backend has the wanted image."""
    private_network_zones: frozenset[str] = frozenset()
    """Network zones that no public cloud may carry, as the dictionary has it."""
    siblings: int = 0
    """Servers of the same request already in this zone."""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One zone's answer: no reasons against it means candidate; `rank` 1 is the best."""

    zone: ZoneFacts
    against: tuple[Message, ...]
    rank: int | None = None
    notes: tuple[Message, ...] = field(default=())
    may_pass: bool = False
    """Whether everything against it may be over in a moment: its backend does not answer or was not seen yet."""
    is_unfit: bool = False
    """Whether it could never take this server, however empty it were: another architecture, network zone, owner."""

    @property
    def is_candidate(self) -> bool:
        return not self.against


def judge(wanted: Wanted, zones: Iterable[ZoneFacts]) -> list[Verdict]:
    """Judge every zone; candidates first, best first, then the refused by name."""
    taken: list[ZoneFacts] = []
    refused: list[Verdict] = []
    for zone in zones:
        unfit, full, passing = tuple(_unfit(wanted, zone)), tuple(_full(wanted, zone)), tuple(_outages(zone))
        if unfit or full or passing:
            may_pass = not (unfit or full)
            refused.append(Verdict(zone, (*unfit, *full, *passing), may_pass=may_pass, is_unfit=bool(unfit)))
        else:
            taken.append(zone)
    taken.sort(key=lambda zone: _preference(wanted, zone))
    ranked = [Verdict(zone, (), rank, tuple(_notes(wanted, zone))) for rank, zone in enumerate(taken, 1)]
    return ranked + sorted(refused, key=lambda verdict: verdict.zone.name)


def _unfit(wanted: Wanted, zone: ZoneFacts) -> Iterable[Message]:
    if zone.arch != wanted.arch:
        yield Message(N_("its architecture is {zone}, asked is {asked}"), {"zone": zone.arch, "asked": wanted.arch})
    if wanted.backend is not None and zone.backend != wanted.backend:
        yield Message(
            N_("it belongs to {backend}, the request names {asked}"), {"backend": zone.backend, "asked": wanted.backend}
        )
    if wanted.network_zone not in zone.network_zones:
        yield Message(N_("it does not serve the network zone {network_zone}"), {"network_zone": wanted.network_zone})
    if zone.tier is Tier.PUBLIC and wanted.network_zone in {GOVERNMENT_EXTRANET, *zone.private_network_zones}:
        yield Message(
            N_("it is a public cloud, which never carries {network_zone}"), {"network_zone": wanted.network_zone}
        )
    if not may_use(wanted.organization_path, zone.owner_path, zone.shared_paths):
        yield Message(N_("it is not shared with your organization"))
    if zone.arch == wanted.arch and wanted.arch not in zone.image_archs:
        yield Message(N_("its backend has no {image} for {arch}"), {"image": wanted.image, "arch": wanted.arch})


def _full(wanted: Wanted, zone: ZoneFacts) -> Iterable[Message]:
    if not zone.is_enabled:
        yield Message(N_("it is closed to new servers"))
    if str(zone.id) in wanted.tried:
        yield Message(N_("it was tried and had no room"))
    for resource, amount in wanted.amounts.items():
        room = zone.room.get(resource)
        if room is not None and amount > room:
            yield Message(
                N_("{resource}: {room} left, {asked} asked"),
                {"resource": Message(_RESOURCE_WORDS.get(resource, resource)), "room": max(room, 0), "asked": amount},
            )


def _outages(zone: ZoneFacts) -> Iterable[Message]:
    if zone.health is Health.DOWN:
        yield Message(N_("its backend does not answer"))
    elif zone.health is Health.UNKNOWN:
        yield Message(N_("its backend has not been seen yet"))
    elif not zone.is_available:
        yield Message(N_("its backend reports it as not available"))


def may_use(organization_path: str, owner_path: str | None, shared_paths: Iterable[str]) -> bool:
    """Whether an organization may use a backend: nobody's is everybody's, the owner's subtree and those it shares with."""
    return owner_path is None or any(organization_path.startswith(path) for path in (owner_path, *shared_paths))


def _preference(wanted: Wanted, zone: ZoneFacts) -> tuple[int, int, int, int, float, str]:
    return (
        0 if zone.is_xinchuang or not wanted.prefer_xinchuang else 1,
        _TIER_ORDER[zone.tier],
        0 if zone.health is Health.OK else 1,
        zone.siblings if wanted.spread is Spread.ZONE else 0,
        -_share_left(zone),
        zone.name,
    )


def _share_left(zone: ZoneFacts) -> float:
    """Smallest share of room over all counted resources: the emptiest zone is filled first."""
    shares = [zone.room[key] / total for key, total in zone.total.items() if total > 0 and key in zone.room]
    return min(shares, default=0.0)


def _notes(wanted: Wanted, zone: ZoneFacts) -> Iterable[Message]:
    if zone.is_xinchuang and wanted.prefer_xinchuang:
        yield Message(N_("domestic (Xinchuang) pool, preferred"))
    if zone.tier is Tier.CITY:
        yield Message(N_("municipal cloud, before district clouds"))
    if zone.health is Health.DEGRADED:
        yield Message(N_("its backend answers slowly or with errors"))
