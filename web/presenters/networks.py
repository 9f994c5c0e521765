"""The address plan for its pages: subnets with how full they are, ranges, addresses, and what clouds say beside it."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cloudmgr.domain.messages import N_
from cloudmgr.models import Address, AddressRange, ObservedAddress, Server
from cloudmgr.services.networks import NetworkView
from cloudmgr.services.subnets import AddressView, SubnetView
from web import formats
from web.rendering import Words

_MOST_DIGITS = 10**9
"""From here on a number is told as a power of two: nobody reads eighteen digits."""


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a subnet is. The bar, filled by percentages, is what is taken and what is free: without what is kept back."""

    allocated: int
    reserved: int
    free: str
    total: str
    used_pct: float
    held_pct: float
    is_full: bool

    @property
    def taken(self) -> int:
        """Allocated and reserved together."""
        return self.allocated + self.reserved


@dataclass(frozen=True, slots=True)
class RangeLine:
    """One range of a subnet."""

    id: uuid.UUID
    kind: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubnetLine:
    """One subnet. `stack` says which families its network has: 4, 6 or both."""

    id: uuid.UUID
    cidr: str
    family: int
    name: str
    network_zone: str
    network: str
    backend_id: uuid.UUID | None
    backend: str
    is_dual: bool
    is_external: bool
    gateway: str
    dns: str
    vlan: int | None
    is_managed: bool
    is_enabled: bool
    fill: Fill
    ranges: list[RangeLine]
    pools: list[str]
    excluded: list[str]


@dataclass(frozen=True, slots=True)
class ZoneGroup:
    """The subnets of one network zone that are on this page."""

    name: str
    lines: list[SubnetLine]


@dataclass(frozen=True, slots=True)
class BareNetwork:
    """A network that the address plan has no subnet for."""

    id: uuid.UUID
    name: str
    network_zone: str
    backend: str
    is_external: bool


@dataclass(frozen=True, slots=True)
class AddressLine:
    """A taken address. `is_told` False: whose it is is not for this reader."""

    id: uuid.UUID
    address: str
    state: str
    server_id: uuid.UUID | None
    server: str
    organization: str
    purpose: str
    by: str
    at: datetime
    is_told: bool
    can_free: bool


@dataclass(frozen=True, slots=True)
class ReportedLine:
    """An address that a cloud says is in use, and what our own record says of it."""

    address: str
    verdict: str
    server_id: uuid.UUID | None
    server: str
    purpose: str
    who: str
    last_seen_at: datetime


def line(view: SubnetView, zone_names: Mapping[str, str], *, is_dual: bool = False) -> SubnetLine:
    """Arrange one subnet."""
    subnet, network, backend = view.subnet, view.network, view.backend
    ranges = [_range(row) for row in view.ranges]
    return SubnetLine(
        id=subnet.id,
        cidr=subnet.cidr,
        family=subnet.family,
        name=subnet.name,
        network_zone=zone_names.get(subnet.network_zone, subnet.network_zone),
        network=network.name if network else "",
        backend_id=backend.id if backend else None,
        backend=(backend.title or backend.name) if backend else "",
        is_dual=is_dual,
        is_external=bool(network and network.is_external),
        gateway=subnet.gateway or "",
        dns=" ".join(subnet.dns),
        vlan=subnet.vlan,
        is_managed=subnet.is_managed,
        is_enabled=subnet.is_enabled,
        fill=fill(view.counts),
        ranges=ranges,
        pools=[row.text for row in ranges if row.kind == "pool"],
        excluded=[row.text for row in ranges if row.kind == "excluded"],
    )


def by_zone(views: Sequence[SubnetView], zone_names: Mapping[str, str]) -> list[ZoneGroup]:
    """Group subnets by network zone, in the order of the dictionary; those of one network stand together."""
    families: dict[uuid.UUID | None, set[int]] = {}
    for view in views:
        families.setdefault(view.subnet.network_id, set()).add(view.subnet.family)
    groups: dict[str, list[SubnetView]] = {}
    for view in views:
        groups.setdefault(view.subnet.network_zone, []).append(view)
    order = list(zone_names)
    return [
        ZoneGroup(
            zone_names.get(name, name),
            [
                line(view, zone_names, is_dual=view.network is not None and len(families[view.subnet.network_id]) > 1)
                for view in sorted(groups[name], key=_place)
            ],
        )
        for name in sorted(groups, key=lambda each: (order.index(each) if each in order else len(order), each))
    ]


def bare(views: Iterable[NetworkView], zone_names: Mapping[str, str]) -> list[BareNetwork]:
    """Arrange networks without a subnet."""
    return [
        BareNetwork(
            id=view.network.id,
            name=view.network.name,
            network_zone=zone_names.get(view.network.network_zone, view.network.network_zone),
            backend=view.backend.title or view.backend.name,
            is_external=view.network.is_external,
        )
        for view in views
    ]


def network_name(view: NetworkView, zone_names: Mapping[str, str]) -> str:
    """Name a network so that it can be told from those of other clouds."""
    network, backend = view.network, view.backend
    zone = zone_names.get(network.network_zone, network.network_zone)
    return f"{backend.title or backend.name} · {network.name} ({zone})"


def address(view: AddressView) -> AddressLine:
    """Arrange one taken address."""
    row = view.address
    is_told = view.organization is not None or row.organization_id is None
    return AddressLine(
        id=row.id,
        address=row.address,
        state=row.state,
        server_id=view.server.id if view.server else None,
        server=view.server.name if view.server else "",
        organization=view.organization.name if view.organization else "",
        purpose=row.purpose if is_told else "",
        by=row.taken_by if is_told else "",
        at=row.taken_at,
        is_told=is_told,
        can_free=row.server_id is None,
    )


def reported(row: tuple[ObservedAddress, Address | None, Server | None]) -> ReportedLine:
    """Arrange one address that a cloud reports; a conflict is one that our record gives to a server of ours."""
    seen, held, server = row
    verdict = "conflict" if server is not None else "reserved" if held is not None else "unknown"
    return ReportedLine(
        address=seen.address,
        verdict=verdict,
        server_id=server.id if server else None,
        server=server.name if server else "",
        purpose=held.purpose if held else "",
        who=" · ".join(each for each in (seen.owner, seen.server_ref or "", seen.mac or "") if each),
        last_seen_at=seen.last_seen_at,
    )


def fill(counts: Mapping[str, int]) -> Fill:
    """Return how full a subnet is."""
    total, allocated, reserved = counts["total"], counts["allocated"], counts["reserved"]
    whole = allocated + reserved + max(0, counts["free"])
    used_pct = _share(allocated, whole, 100)
    return Fill(
        allocated=allocated,
        reserved=reserved,
        free=_many(counts["free"]),
        total=_many(total),
        used_pct=used_pct,
        held_pct=_share(reserved, whole, 100 - used_pct),
        is_full=counts["free"] <= 0,
    )


def fill_text(words: Words, shown: Fill) -> str:
    """Say how full a subnet is in one line."""
    return words.translate(
        N_("{allocated} allocated, {reserved} reserved of {total}"),
        allocated=formats.number(shown.allocated),
        reserved=formats.number(shown.reserved),
        total=shown.total,
    )


def _range(row: AddressRange) -> RangeLine:
    return RangeLine(row.id, row.kind, row.first if row.first == row.last else f"{row.first} - {row.last}", row.reason)


def _place(view: SubnetView) -> tuple[str, str, int, str]:
    backend = view.backend.name if view.backend else "~"
    return backend, view.network.name if view.network else "", view.subnet.family, view.subnet.cidr


def _share(amount: int, whole: int, most: float) -> float:
    return round(min(most, 100 * amount / whole), 1) if whole > 0 else 0


def _many(value: int) -> str:
    return formats.number(value) if value < _MOST_DIGITS else f"≈ 2^{value.bit_length() - (0 if _nearly(value) else 1)}"


def _nearly(value: int) -> bool:
    """Whether a number is nearer to the power of two above it."""
    return value > 3 << (value.bit_length() - 2)
