"""SQL about the catalogue: network zones, flavors, images with their variants, backends."""

import uuid
from collections.abc import Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import Backend, BackendShare, Flavor, Image, ImageVariant, NetworkZone, Organization
from cloudmgr.models.base import Row
from cloudmgr.store.paging import oldest_first

Named = TypeVar("Named", NetworkZone, Flavor, Image, Backend)


def listed(
    session: Session, model: type[Named], *, active_only: bool = False, limit: int, after: uuid.UUID | None = None
) -> tuple[list[Named], uuid.UUID | None]:
    """Return a page of one kind of catalogue entry, oldest first."""
    statement = select(model)
    if active_only:
        statement = statement.where(sa.inspect(model).columns["is_enabled" if model is Backend else "is_active"])
    return oldest_first(session, statement, col(model.id), limit=limit, cursor=after)


def by_name(session: Session, model: type[Named], name: str) -> Named | None:
    """Return the entry of a name."""
    return session.exec(select(model).where(model.name == name)).first()


def get(session: Session, model: type[Named], entry_id: uuid.UUID) -> Named | None:
    """Return the entry with an id."""
    return session.get(model, entry_id)


def flavor_of_size(session: Session, vcpus: int, memory_mib: int, system_disk_gib: int) -> Flavor | None:
    """Return the active flavor of exactly this size, the first by name."""
    return session.exec(
        select(Flavor)
        .where(
            Flavor.vcpus == vcpus,
            Flavor.memory_mib == memory_mib,
            Flavor.system_disk_gib == system_disk_gib,
            col(Flavor.is_active),
        )
        .order_by(col(Flavor.name))
    ).first()


def network_zone(session: Session, name: str) -> NetworkZone | None:
    """Return an entry of the network zones' dictionary."""
    return by_name(session, NetworkZone, name)


def network_zones(session: Session) -> list[NetworkZone]:
    """Return the whole dictionary."""
    return list(session.exec(select(NetworkZone).order_by(col(NetworkZone.id))))


def variants(session: Session, image_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[tuple[ImageVariant, Backend]]]:
    """Return each image's variants with the backends they are at, by architecture."""
    found: dict[uuid.UUID, list[tuple[ImageVariant, Backend]]] = {image_id: [] for image_id in image_ids}
    statement = (
        select(ImageVariant, Backend)
        .join(Backend, col(ImageVariant.backend_id) == col(Backend.id))
        .where(col(ImageVariant.image_id).in_(image_ids))
        .order_by(col(ImageVariant.arch), col(Backend.name))
    )
    for variant, backend in session.exec(statement):
        found[variant.image_id].append((variant, backend))
    return found


def owners(session: Session, backends: Sequence[Backend]) -> dict[uuid.UUID, Organization]:
    """Return the organizations that own some backends, by the organization's id."""
    ids = {backend.owner_organization_id for backend in backends if backend.owner_organization_id}
    return {each.id: each for each in session.exec(select(Organization).where(col(Organization.id).in_(ids)))}


def shares(session: Session, backend_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Organization]]:
    """Return whom each backend is shared with."""
    found: dict[uuid.UUID, list[Organization]] = {backend_id: [] for backend_id in backend_ids}
    statement = (
        select(BackendShare.backend_id, Organization)
        .join(Organization, col(BackendShare.organization_id) == col(Organization.id))
        .where(col(BackendShare.backend_id).in_(backend_ids))
        .order_by(col(Organization.code))
    )
    for backend_id, organization in session.exec(statement):
        found[backend_id].append(organization)
    return found


def share_rows(session: Session, backend_id: uuid.UUID) -> list[BackendShare]:
    """Return the shares of one backend."""
    return list(session.exec(select(BackendShare).where(BackendShare.backend_id == backend_id)))


def remove(session: Session, row: Row) -> None:
    """Take away one row that only says how two others belong together."""
    session.delete(row)
    session.flush()
