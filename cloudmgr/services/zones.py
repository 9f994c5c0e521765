"""Use cases of zones (资源池): what each can hold and which network zones it serves. What a backend reports is the worker's."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access, architectures
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.architectures import XINCHUANG_FAMILIES, CpuFamily
from cloudmgr.domain.errors import Conflict, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.freshness import Standing
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend, Organization, Zone, ZoneInventory, ZoneNetworkZone
from cloudmgr.services import audit
from cloudmgr.services.backends import require_backend
from cloudmgr.services.changes import set_changed
from cloudmgr.services.discovery import standing_of
from cloudmgr.services.inputs import Closed, Code, Input, Text, formed, unset
from cloudmgr.services.network_zones import require_network_zone
from cloudmgr.store import catalogue, organizations, zones
from cloudmgr.store.unique import add_unique

Resource = Annotated[
    str,
    formed(
        r"^[a-z][a-z0-9_]{0,31}$",
        N_("Begin with a small letter and go on with small letters, digits and underscores, 32 in all at most."),
    ),
]
Amounts = dict[Resource, Annotated[int, Field(ge=0, le=10**12)]]
RatiosPct = dict[Resource, Annotated[int, Field(ge=1, le=10_000)]]
Title = Annotated[Text, StringConstraints(max_length=200)]
Ref = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
NetworkZones = Annotated[list[Code], Field(max_length=50)]


class CreateZone(Input):
    """A zone known before the backend was first asked; the next sync finds it by backend and ref."""

    backend: Code
    ref: Ref
    name: Annotated[Text, StringConstraints(min_length=1, max_length=64)]
    title: Title = ""
    arch: Text
    cpu_family: Annotated[CpuFamily, Closed] = CpuFamily.UNKNOWN
    is_xinchuang: bool | None = None
    network_zones: NetworkZones = Field(default_factory=list)
    total: Amounts = Field(default_factory=dict)
    reserved: Amounts = Field(default_factory=dict)
    ratio_pct: RatiosPct = Field(default_factory=dict)
    is_enabled: bool = True


class UpdateZone(Input):
    """What people decide of a zone. `network_zones` is the whole new list; `reserved` and `ratio_pct` merge by resource.

    `ratio_pct` is the overcommit ratio (超分比) in percent: 300 sells three virtual for one physical.
    """

    title: Title = unset()
    is_xinchuang: bool = unset()
    network_zones: NetworkZones = unset()
    reserved: Amounts = unset()
    ratio_pct: RatiosPct = unset()
    is_enabled: bool = unset()


class ZoneFilter(Input):
    """Which zones a list shows."""

    backend: Code | None = None
    arch: Text | None = None
    network_zone: Code | None = None


@dataclass(frozen=True, slots=True)
class ZoneView:
    """A zone with its backend; `capacity` (after reserve and overcommit) and `used` are None for who may not know them."""

    zone: Zone
    backend: Backend
    network_zones: list[str]
    capacity: Mapping[str, int] | None
    used: Mapping[str, int] | None
    inventory: list[ZoneInventory] | None
    standing: Standing
    """Health and freshness of its backend, as they may be shown now."""


def list_zones(
    session: Session,
    actor: Actor,
    filters: ZoneFilter | None = None,
    *,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[ZoneView], uuid.UUID | None]:
    """Return a page of the zones, with capacity numbers only where the actor may read the owner's."""
    access.require(actor, Action.CATALOGUE_READ)
    filters = filters or ZoneFilter()
    backend_id = require_backend(session, filters.backend).id if filters.backend else None
    arch = architectures.normalise(filters.arch).value if filters.arch else None
    rows, following = zones.listed(
        session, backend_id=backend_id, arch=arch, network_zone=filters.network_zone, limit=limit, after=cursor
    )
    return _views(session, actor, rows), following


def create_zone(session: Session, actor: Actor, command: CreateZone) -> ZoneView:
    """Add a zone by hand.

    Raises:
        InvalidInput: the backend, the architecture or a network zone is unknown.
        Conflict: the backend has a zone of that ref or name.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    backend = require_backend(session, command.backend)
    xinchuang = command.cpu_family in XINCHUANG_FAMILIES if command.is_xinchuang is None else command.is_xinchuang
    zone = Zone(
        backend_id=backend.id,
        ref=command.ref,
        name=command.name,
        title=command.title,
        arch=architectures.normalise(command.arch).value,
        cpu_family=command.cpu_family.value,
        is_xinchuang=xinchuang,
        is_enabled=command.is_enabled,
    )
    if not add_unique(session, zone):
        raise Conflict(
            N_("{backend} has a zone with the name {name} or the reference {ref} already."),
            field="name",
            backend=backend.name,
            name=command.name,
            ref=command.ref,
        )
    _set_network_zones(session, zone, command.network_zones)
    _set_inventory(
        session, zone, {"total": command.total, "reserved": command.reserved, "ratio_pct": command.ratio_pct}
    )
    _record(session, actor, zone, after=command.model_dump(mode="json"))
    return _views(session, actor, [(zone, backend)])[0]


def update_zone(session: Session, actor: Actor, zone_id: uuid.UUID, command: UpdateZone) -> ZoneView:
    """Change what was given of a zone; placements being decided at this moment see it and decide again.

    Raises:
        NotFound: there is no such zone.
        InvalidInput: a network zone is unknown.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    row = zones.get(session, zone_id)
    if row is None:
        raise NotFound(N_("There is no such zone."))
    zone, backend = row
    wanted: dict[str, Any] = command.changes()
    network_zones = wanted.pop("network_zones", None)
    amounts: dict[str, dict[str, int]] = {
        column: wanted.pop(column) for column in ("reserved", "ratio_pct") if column in wanted
    }
    changed = set_changed(session, zone, wanted)
    before, after = dict(changed.before), dict(changed.after)
    if network_zones is not None:
        was = _set_network_zones(session, zone, network_zones)
        if set(was) != set(network_zones):
            before["network_zones"], after["network_zones"] = was, network_zones
    for column, (was_amounts, now_amounts) in _set_inventory(session, zone, amounts).items():
        before[column], after[column] = was_amounts, now_amounts
    if after:
        zones.raise_generation(session, zone)
        _record(session, actor, zone, before=before, after=after)
    return _views(session, actor, [(zone, backend)])[0]


def _views(session: Session, actor: Actor, rows: list[zones.ZoneRow]) -> list[ZoneView]:
    ids = [zone.id for zone, _ in rows]
    inventories, served = zones.inventories(session, ids), zones.network_zone_rows(session, ids)
    owners = catalogue.owners(session, [backend for _, backend in rows])
    root = organizations.root(session)
    views = []
    for zone, backend in rows:
        names = [row.network_zone for row in served[zone.id]]
        owner = owners.get(backend.owner_organization_id) if backend.owner_organization_id else root
        if not _may_know_capacity(actor, owner):
            views.append(ZoneView(zone, backend, names, None, None, None, standing_of(session, backend)))
            continue
        inventory = inventories[zone.id]
        capacity = {each.resource: (each.total - each.reserved) * each.ratio_pct // 100 for each in inventory}
        used = {each.resource: each.used for each in inventory}
        views.append(ZoneView(zone, backend, names, capacity, used, inventory, standing_of(session, backend)))
    return views


def _may_know_capacity(actor: Actor, owner: Organization | None) -> bool:
    return actor.may(Action.CAPACITY_READ, owner.path if owner else "/")


def _set_network_zones(session: Session, zone: Zone, wanted: list[str]) -> list[str]:
    """Make the network zones a zone serves exactly these; return what they were."""
    for index, name in enumerate(wanted):
        require_network_zone(session, name, field=f"network_zones[{index}]")
    rows = {row.network_zone: row for row in zones.network_zone_rows(session, [zone.id])[zone.id]}
    for name, row in rows.items():
        if name not in wanted:
            catalogue.remove(session, row)
    for name in wanted:
        if name not in rows:
            add_unique(session, ZoneNetworkZone(zone_id=zone.id, network_zone=name))
    return list(rows)


def _set_inventory(
    session: Session, zone: Zone, amounts: Mapping[str, Mapping[str, int]]
) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Set columns of a zone's inventory by resource; return what differed, as (before, after) by column.

    A resource not yet seen gets a row with a total of 0, which the next sync fills.
    """
    rows = {row.resource: row for row in zones.inventories(session, [zone.id])[zone.id]}
    different: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
    for column, by_resource in amounts.items():
        for resource, amount in by_resource.items():
            if resource not in rows:
                rows[resource] = ZoneInventory(zone_id=zone.id, resource=resource, total=0)
                add_unique(session, rows[resource])
            changed = set_changed(session, rows[resource], {column: amount})
            if changed:
                before, after = different.setdefault(column, ({}, {}))
                before[resource], after[resource] = changed.before[column], changed.after[column]
    return different


def _record(session: Session, actor: Actor, zone: Zone, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.ZONE_WRITE,
        object_type="zone",
        object_id=zone.id,
        object_name=zone.name,
        **detail,
    )
