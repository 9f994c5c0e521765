"""What placement reads and the conditional updates by which capacity is claimed and given back."""

import uuid
from collections.abc import Mapping

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import clock, freshness
from cloudmgr.domain.phases import Health, Tier
from cloudmgr.domain.placement import ZoneFacts, may_use
from cloudmgr.models import (
    Allocation,
    Backend,
    BackendShare,
    ImageVariant,
    Network,
    NetworkZone,
    Organization,
    Server,
    Zone,
    ZoneInventory,
    ZoneNetworkZone,
)
from cloudmgr.store import organizations


def zone_facts(
    session: Session, *, image_id: uuid.UUID, request_id: uuid.UUID | None = None, health_interval_s: float = 30.0
) -> list[ZoneFacts]:
    """Read every zone of the enabled backends with what a judgement needs; a handful of queries, whatever the number.

    A backend whose last word is too old for its interval is not known to be well.
    """
    zones = session.exec(
        select(Zone, Backend, Organization.path)
        .join(Backend, col(Zone.backend_id) == col(Backend.id))
        .join(Organization, col(Backend.owner_organization_id) == col(Organization.id), isouter=True)
        .where(col(Backend.is_enabled), col(Backend.is_configured))
        .order_by(col(Zone.name))
        .execution_options(populate_existing=True)  # asked again after a lost race, it must see what the winner wrote
    ).all()
    inventories: dict[uuid.UUID, list[ZoneInventory]] = {}
    for inventory in session.exec(select(ZoneInventory).execution_options(populate_existing=True)):
        inventories.setdefault(inventory.zone_id, []).append(inventory)
    network_zones: dict[uuid.UUID, set[str]] = {}
    for row in session.exec(select(ZoneNetworkZone)):
        network_zones.setdefault(row.zone_id, set()).add(row.network_zone)
    shares: dict[uuid.UUID, list[str]] = {}
    for backend_id, path in session.exec(
        select(BackendShare.backend_id, Organization.path).join(
            Organization, col(BackendShare.organization_id) == col(Organization.id)
        )
    ):
        shares.setdefault(backend_id, []).append(path)
    variants: dict[uuid.UUID, set[str]] = {}
    for variant in session.exec(select(ImageVariant).where(ImageVariant.image_id == image_id)):
        variants.setdefault(variant.backend_id, set()).add(variant.arch)
    private = frozenset(session.exec(select(NetworkZone.name).where(~col(NetworkZone.allows_public_cloud))))
    siblings: dict[uuid.UUID, int] = {}
    if request_id is not None:
        counted = session.exec(
            select(Server.zone_id, sa.func.count()).where(Server.request_id == request_id).group_by(col(Server.zone_id))
        )
        siblings = {zone_id: count for zone_id, count in counted if zone_id is not None}
    return [
        ZoneFacts(
            id=zone.id,
            name=zone.name,
            title=zone.title or zone.name,
            backend_id=backend.id,
            backend=backend.name,
            tier=Tier(backend.tier),
            arch=zone.arch,
            cpu_family=zone.cpu_family,
            is_xinchuang=zone.is_xinchuang,
            is_enabled=zone.is_enabled,
            is_available=zone.is_available,
            health=_health(backend, health_interval_s),
            network_zones=frozenset(network_zones.get(zone.id, ())),
            room={i.resource: _capacity(i) - i.used for i in inventories.get(zone.id, ())},
            total={i.resource: _capacity(i) for i in inventories.get(zone.id, ())},
            owner_path=owner_path,
            shared_paths=tuple(shares.get(backend.id, ())),
            image_archs=frozenset(variants.get(backend.id, ())),
            private_network_zones=private,
            siblings=siblings.get(zone.id, 0),
            generation=zone.generation,
        )
        for zone, backend, owner_path in zones
    ]


def _health(backend: Backend, health_interval_s: float) -> Health:
    return freshness.standing(backend.health, backend.last_seen_at, now=clock.now(), period_s=health_interval_s).health


def _capacity(inventory: ZoneInventory) -> int:
    return (inventory.total - inventory.reserved) * inventory.ratio_pct // 100


def claim(
    session: Session, *, zone_id: uuid.UUID, generation: int, server_id: uuid.UUID, amounts: Mapping[str, int]
) -> bool:
    """Allocate capacity for a server in a zone seen at `generation`; False when somebody else was faster.

    The zone's generation is raised by a conditional update first, which locks the zone's row; each inventory is then
    raised under its own guard, so capacity is never passed even if a generation were misread.
    """
    raised = session.execute(
        sa.update(Zone)
        .where(col(Zone.id) == zone_id, col(Zone.generation) == generation)
        .values(generation=Zone.generation + 1)
        .execution_options(synchronize_session=False)
    )
    if raised.rowcount != 1:  # type: ignore[attr-defined]
        return False
    for resource, amount in amounts.items():
        guarded = session.execute(
            sa.update(ZoneInventory)
            .where(
                col(ZoneInventory.zone_id) == zone_id,
                col(ZoneInventory.resource) == resource,
                col(ZoneInventory.used) + amount
                <= (col(ZoneInventory.total) - col(ZoneInventory.reserved)) * col(ZoneInventory.ratio_pct) / 100,
            )
            .values(used=ZoneInventory.used + amount)
            .execution_options(synchronize_session=False)
        )
        if guarded.rowcount != 1 and _is_counted(session, zone_id, resource):  # type: ignore[attr-defined]
            return False
    session.add(Allocation(zone_id=zone_id, server_id=server_id, amounts=dict(amounts)))
    session.flush()
    return True


def _is_counted(session: Session, zone_id: uuid.UUID, resource: str) -> bool:
    return (
        session.exec(
            select(ZoneInventory.id).where(ZoneInventory.zone_id == zone_id, ZoneInventory.resource == resource)
        ).first()
        is not None
    )


def resize_allocation(session: Session, server_id: uuid.UUID, amounts: Mapping[str, int]) -> None:
    """Let a server's open allocation be what its backend already gives it; without one nothing happens.

    Not held to the zone's room: the capacity is taken there, whatever we say.
    """
    allocation = open_allocation(session, server_id)
    if allocation is None:
        return
    before = dict(allocation.amounts)
    for resource, amount in amounts.items():
        session.execute(
            sa.update(ZoneInventory)
            .where(col(ZoneInventory.zone_id) == allocation.zone_id, col(ZoneInventory.resource) == resource)
            .values(used=ZoneInventory.used + amount - before.get(resource, 0))
            .execution_options(synchronize_session=False)
        )
    allocation.amounts = before | dict(amounts)
    session.add(allocation)
    session.execute(
        sa.update(Zone)
        .where(col(Zone.id) == allocation.zone_id)
        .values(generation=Zone.generation + 1)
        .execution_options(synchronize_session=False)
    )
    session.flush()


def lacking(session: Session, zone_id: uuid.UUID, growth: Mapping[str, int]) -> list[str]:
    """Return the resources of which a zone has less room now than a server there would grow by."""
    rows = session.exec(
        select(ZoneInventory).where(ZoneInventory.zone_id == zone_id).execution_options(populate_existing=True)
    )
    return sorted(row.resource for row in rows if growth.get(row.resource, 0) > max(0, _capacity(row) - row.used))


def grow_allocation(session: Session, server_id: uuid.UUID, amounts: Mapping[str, int]) -> bool:
    """Let a server's open allocation be at least `amounts`, held to the zone's room; False when that has too little.

    What shrinks is given back later, by `resize_allocation`, when the server has become smaller. Without an allocation
    there is nothing to hold. When it is refused the caller rolls back to where it was before.
    """
    allocation = open_allocation(session, server_id)
    if allocation is None:
        return True
    before = dict(allocation.amounts)
    growth = {name: amount - before.get(name, 0) for name, amount in amounts.items() if amount > before.get(name, 0)}
    for resource, more in growth.items():
        guarded = session.execute(
            sa.update(ZoneInventory)
            .where(
                col(ZoneInventory.zone_id) == allocation.zone_id,
                col(ZoneInventory.resource) == resource,
                col(ZoneInventory.used) + more
                <= (col(ZoneInventory.total) - col(ZoneInventory.reserved)) * col(ZoneInventory.ratio_pct) / 100,
            )
            .values(used=ZoneInventory.used + more)
            .execution_options(synchronize_session=False)
        )
        if guarded.rowcount != 1 and _is_counted(session, allocation.zone_id, resource):  # type: ignore[attr-defined]
            return False
    allocation.amounts = before | {name: before.get(name, 0) + more for name, more in growth.items()}
    session.add(allocation)
    session.execute(
        sa.update(Zone)
        .where(col(Zone.id) == allocation.zone_id)
        .values(generation=Zone.generation + 1)
        .execution_options(synchronize_session=False)
    )
    session.flush()
    return True


def give_back(session: Session, server_id: uuid.UUID) -> None:
    """Release the open allocation of a server; without one nothing happens."""
    allocation = session.exec(
        select(Allocation).where(Allocation.server_id == server_id, col(Allocation.released_at).is_(None))
    ).first()
    if allocation is None:
        return
    allocation.released_at = clock.now()
    for resource, amount in allocation.amounts.items():
        session.execute(
            sa.update(ZoneInventory)
            .where(col(ZoneInventory.zone_id) == allocation.zone_id, col(ZoneInventory.resource) == resource)
            .values(used=ZoneInventory.used - amount)
            .execution_options(synchronize_session=False)
        )
    session.execute(
        sa.update(Zone)
        .where(col(Zone.id) == allocation.zone_id)
        .values(generation=Zone.generation + 1)
        .execution_options(synchronize_session=False)
    )
    session.flush()


def top_account(session: Session, backend: Backend, organization_id: uuid.UUID) -> uuid.UUID | None:
    """Return the account at which the quota of an organization's server on a cloud ends; None: at the city.

    On a cloud that a district owns (or an organization below one), counting ends at the user's own district, unless the
    backend says that it counts at the city too.
    """
    if backend.counts_city_quota or backend.owner_organization_id is None:
        return None
    paths = organizations.paths(session, [organization_id, backend.owner_organization_id])
    root, *below = paths[organization_id].strip("/").split("/")
    if not below or paths[backend.owner_organization_id] == f"/{root}/":
        return None
    return session.exec(select(Organization.account_id).where(Organization.id == uuid.UUID(below[0]))).one()


def open_allocation(session: Session, server_id: uuid.UUID) -> Allocation | None:
    """Return the allocation a server holds now."""
    return session.exec(
        select(Allocation).where(Allocation.server_id == server_id, col(Allocation.released_at).is_(None))
    ).first()


def variant_of(session: Session, *, image_id: uuid.UUID, arch: str, backend_id: uuid.UUID) -> ImageVariant | None:
    """Return what an image is at a backend for an architecture."""
    return session.exec(
        select(ImageVariant).where(
            ImageVariant.image_id == image_id, ImageVariant.arch == arch, ImageVariant.backend_id == backend_id
        )
    ).first()


def network_of(session: Session, server: Server) -> Network | None:
    """Return the network a placed server is on, as far as it is known: the one noted, or the first that it can be."""
    if server.zone_id is None:
        return None
    found = networks_for(session, zone_id=server.zone_id, network_zone=server.network_zone)
    return next((network for network in found if network.ref == server.network_ref), next(iter(found), None))


def networks_for(session: Session, *, zone_id: uuid.UUID, network_zone: str) -> list[Network]:
    """Return the networks that servers of a network zone can go on in a zone, by name."""
    zone = session.get_one(Zone, zone_id)
    found = session.exec(
        select(Network)
        .where(
            Network.backend_id == zone.backend_id,
            Network.network_zone == network_zone,
            col(Network.is_enabled),
            ~col(Network.is_external),
        )
        .order_by(col(Network.name), col(Network.id))
    )
    return [network for network in found if not network.zone_refs or zone.ref in network.zone_refs]


def may_use_backend(session: Session, organization: Organization, backend: Backend) -> bool:
    """Whether an organization may have things on a backend that is open: nobody's, its own, or shared with it."""
    paths = session.exec(
        select(Organization.path)
        .join(BackendShare, col(BackendShare.organization_id) == col(Organization.id))
        .where(BackendShare.backend_id == backend.id)
    ).all()
    owner = session.get(Organization, backend.owner_organization_id) if backend.owner_organization_id else None
    is_open = backend.is_enabled and backend.is_configured
    return is_open and may_use(organization.path, owner.path if owner else None, paths)
