"""Names to rows: what requests refer to, looked up once for a whole request."""

import uuid
from functools import cached_property

from sqlmodel import Session, col, select

from cloudmgr.models import (
    Backend,
    Flavor,
    Image,
    ImageVariant,
    NetworkZone,
    Organization,
    Project,
    ProjectSshKey,
    Zone,
)


def project(session: Session, project_id: uuid.UUID) -> tuple[Project, Organization] | None:
    """Return a project and its organization."""
    row = session.exec(
        select(Project, Organization)
        .join(Organization, col(Project.organization_id) == col(Organization.id))
        .where(Project.id == project_id)
    ).first()
    return (row[0], row[1]) if row else None


def project_keys(session: Session, project_id: uuid.UUID) -> list[str]:
    """Return the public keys put on the project's new servers."""
    return list(
        session.exec(
            select(ProjectSshKey.public_key)
            .where(ProjectSshKey.project_id == project_id)
            .order_by(col(ProjectSshKey.id))
        )
    )


class Names:
    """The catalogue by name, read when first asked for and kept for one request."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def session(self) -> Session:
        """The transaction the names are read in."""
        return self._session

    @cached_property
    def _flavors(self) -> dict[str, Flavor]:
        return {row.name: row for row in self._session.exec(select(Flavor).where(col(Flavor.is_active)))}

    @cached_property
    def _images(self) -> dict[str, Image]:
        return {row.name: row for row in self._session.exec(select(Image).where(col(Image.is_active)))}

    @cached_property
    def _backends(self) -> dict[str, Backend]:
        return {row.name: row for row in self._session.exec(select(Backend).where(col(Backend.is_enabled)))}

    @cached_property
    def _network_zones(self) -> list[str]:
        return list(
            self._session.exec(
                select(NetworkZone.name).where(col(NetworkZone.is_active)).order_by(col(NetworkZone.code))
            )
        )

    @cached_property
    def _variants(self) -> dict[uuid.UUID, set[str]]:
        found: dict[uuid.UUID, set[str]] = {}
        for image_id, arch in self._session.exec(select(ImageVariant.image_id, ImageVariant.arch)):
            found.setdefault(image_id, set()).add(arch)
        return found

    @cached_property
    def _zone_archs(self) -> set[str]:
        return set(self._session.exec(select(Zone.arch).where(col(Zone.is_enabled)).distinct()))

    def flavor(self, name: str) -> Flavor | None:
        return self._flavors.get(name)

    def flavors(self) -> str:
        return ", ".join(self._flavors)

    def image(self, name: str) -> Image | None:
        return self._images.get(name)

    def images(self) -> str:
        return ", ".join(self._images)

    def backend(self, name: str) -> Backend | None:
        return self._backends.get(name)

    def backends(self) -> str:
        return ", ".join(self._backends)

    def has_network_zone(self, name: str) -> bool:
        return name in self._network_zones

    def network_zones(self) -> str:
        return ", ".join(self._network_zones)

    def image_archs(self, image: Image) -> set[str]:
        return self._variants.get(image.id, set())

    def zone_archs(self) -> set[str]:
        return self._zone_archs
