"""SQL about zones, their capacity inventories and the networks of backends."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import Backend, Network, Subnet, Zone, ZoneInventory, ZoneNetworkZone
from cloudmgr.store.paging import oldest_first

ZoneRow = tuple[Zone, Backend]
NetworkRow = tuple[Network, Backend]


def get(session: Session, zone_id: uuid.UUID) -> ZoneRow | None:
    """Return one zone with its backend."""
    statement = select(Zone, Backend).join(Backend, col(Zone.backend_id) == col(Backend.id))
    found = session.exec(statement.where(Zone.id == zone_id)).first()
    return (found[0], found[1]) if found else None


def by_ref(session: Session, backend_id: uuid.UUID, ref: str) -> Zone | None:
    """Return the zone of a backend by the backend's own reference."""
    return session.exec(select(Zone).where(Zone.backend_id == backend_id, Zone.ref == ref)).first()


def listed(
    session: Session,
    *,
    backend_id: uuid.UUID | None = None,
    arch: str | None = None,
    network_zone: str | None = None,
    limit: int,
    after: uuid.UUID | None = None,
) -> tuple[list[ZoneRow], uuid.UUID | None]:
    """Return a page of zones with their backends, oldest first."""
    statement = select(Zone, Backend).join(Backend, col(Zone.backend_id) == col(Backend.id))
    if backend_id is not None:
        statement = statement.where(Zone.backend_id == backend_id)
    if arch is not None:
        statement = statement.where(Zone.arch == arch)
    if network_zone is not None:
        serving = select(ZoneNetworkZone.zone_id).where(ZoneNetworkZone.network_zone == network_zone)
        statement = statement.where(col(Zone.id).in_(serving))
    return oldest_first(session, statement, col(Zone.id), limit=limit, cursor=after)


def inventories(session: Session, zone_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[ZoneInventory]]:
    """Return the capacity of some zones, by resource."""
    found: dict[uuid.UUID, list[ZoneInventory]] = {zone_id: [] for zone_id in zone_ids}
    statement = (
        select(ZoneInventory).where(col(ZoneInventory.zone_id).in_(zone_ids)).order_by(col(ZoneInventory.resource))
    )
    for inventory in session.exec(statement):
        found[inventory.zone_id].append(inventory)
    return found


def network_zone_rows(session: Session, zone_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[ZoneNetworkZone]]:
    """Return which network zones some zones serve."""
    found: dict[uuid.UUID, list[ZoneNetworkZone]] = {zone_id: [] for zone_id in zone_ids}
    statement = (
        select(ZoneNetworkZone).where(col(ZoneNetworkZone.zone_id).in_(zone_ids)).order_by(col(ZoneNetworkZone.id))
    )
    for row in session.exec(statement):
        found[row.zone_id].append(row)
    return found


def get_network(session: Session, network_id: uuid.UUID) -> NetworkRow | None:
    """Return one network with its backend."""
    statement = select(Network, Backend).join(Backend, col(Network.backend_id) == col(Backend.id))
    found = session.exec(statement.where(Network.id == network_id)).first()
    return (found[0], found[1]) if found else None


def network_by_ref(session: Session, backend_id: uuid.UUID, ref: str) -> Network | None:
    """Return a network by the backend's own reference."""
    return session.exec(select(Network).where(Network.backend_id == backend_id, Network.ref == ref)).first()


def listed_networks(
    session: Session,
    *,
    backend_id: uuid.UUID | None = None,
    network_zone: str | None = None,
    without_subnet: bool = False,
    limit: int,
    after: uuid.UUID | None = None,
) -> tuple[list[NetworkRow], uuid.UUID | None]:
    """Return a page of networks with their backends, oldest first."""
    statement = select(Network, Backend).join(Backend, col(Network.backend_id) == col(Backend.id))
    if backend_id is not None:
        statement = statement.where(Network.backend_id == backend_id)
    if network_zone is not None:
        statement = statement.where(Network.network_zone == network_zone)
    if without_subnet:
        statement = statement.where(~select(Subnet.id).where(col(Subnet.network_id) == col(Network.id)).exists())
    return oldest_first(session, statement, col(Network.id), limit=limit, cursor=after)


def raise_generation(session: Session, zone: Zone) -> None:
    """Make placements that read the zone before this decide again."""
    session.execute(
        sa.update(Zone)
        .where(col(Zone.id) == zone.id)
        .values(generation=Zone.generation + 1)
        .execution_options(synchronize_session=False)
    )
    session.refresh(zone)
