"""Names to rows: what requests refer to, looked up once for a whole request."""

import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.phases import LIVE_SERVERS
from cloudmgr.models import (
    Backend,
    Flavor,
    Image,
    ImageVariant,
    NetworkZone,
    Organization,
    Project,
    ProjectSshKey,
    Server,
    Zone,
)
from cloudmgr.store.recent import copied, recent


@functools.cache
def _project() -> sa.Select[Project, Organization]:
    return (
        sa.select(Project, Organization)
        .join(Organization, col(Project.organization_id) == col(Organization.id))
        .where(col(Project.id) == sa.bindparam("project_id", type_=sa.Uuid()))
    )


def project(session: Session, project_id: uuid.UUID) -> tuple[Project, Organization] | None:
    """Return a project and its organization."""
    row = session.execute(_project(), {"project_id": project_id}).first()
    return (row[0], row[1]) if row else None


@functools.cache
def _keys_and_taken() -> sa.CompoundSelect[int, uuid.UUID, str]:
    of_project = sa.bindparam("project_id", type_=sa.Uuid())
    keys = sa.select(sa.literal(0).label("kind"), col(ProjectSshKey.id), col(ProjectSshKey.public_key)).where(
        col(ProjectSshKey.project_id) == of_project
    )
    taken = sa.select(sa.literal(1), col(Server.id), col(Server.name)).where(
        col(Server.project_id) == of_project,
        col(Server.name).in_(sa.bindparam("names", expanding=True)),
        col(Server.phase).in_([phase.value for phase in LIVE_SERVERS]),
    )
    return sa.union_all(keys, taken).order_by("kind", "id")


def keys_and_taken(session: Session, project_id: uuid.UUID, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the public keys put on the project's new servers, and which of `names` a live server of it already has."""
    rows = session.execute(_keys_and_taken(), {"project_id": project_id, "names": list(names)}).all()
    return [text for kind, _, text in rows if kind == 0], [text for kind, _, text in rows if kind == 1]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What requests may name, by name."""

    flavors: Mapping[str, Flavor]
    images: Mapping[str, Image]
    network_zones: Sequence[str]
    image_archs: Mapping[uuid.UUID, frozenset[str]]
    zone_archs: frozenset[str]


def read_catalogue(session: Session) -> Catalogue:
    """Read the catalogue as it is now."""
    flavors = session.exec(select(Flavor).where(col(Flavor.is_active)))
    images = session.exec(select(Image).where(col(Image.is_active)))
    zones = select(NetworkZone.name).where(col(NetworkZone.is_active)).order_by(col(NetworkZone.code))
    archs: dict[uuid.UUID, set[str]] = {}
    for image_id, arch in session.exec(select(ImageVariant.image_id, ImageVariant.arch)):
        archs.setdefault(image_id, set()).add(arch)
    return Catalogue(
        {row.name: copied(row) for row in flavors},
        {row.name: copied(row) for row in images},
        list(session.exec(zones)),
        {image: frozenset(found) for image, found in archs.items()},
        frozenset(session.exec(select(Zone.arch).where(col(Zone.is_enabled)).distinct())),
    )


class Names:
    """The catalogue by name, kept for one request: as it is now, or with `remembered` as it was up to a second ago."""

    def __init__(self, session: Session, *, remembered: bool = False) -> None:
        self._session = session
        self._remembered = remembered

    @property
    def session(self) -> Session:
        """The transaction the names are read in."""
        return self._session

    @cached_property
    def _catalogue(self) -> Catalogue:
        if self._remembered:
            return recent(self._session, "catalogue", lambda: read_catalogue(self._session))
        return read_catalogue(self._session)

    @cached_property
    def _backends(self) -> dict[str, Backend]:
        return {row.name: row for row in self._session.exec(select(Backend).where(col(Backend.is_enabled)))}

    def flavor(self, name: str) -> Flavor | None:
        return self._catalogue.flavors.get(name)

    def flavors(self) -> str:
        return ", ".join(self._catalogue.flavors)

    def image(self, name: str) -> Image | None:
        return self._catalogue.images.get(name)

    def images(self) -> str:
        return ", ".join(self._catalogue.images)

    def backend(self, name: str) -> Backend | None:
        return self._backends.get(name)

    def backends(self) -> str:
        return ", ".join(self._backends)

    def has_network_zone(self, name: str) -> bool:
        return name in self._catalogue.network_zones

    def network_zones(self) -> str:
        return ", ".join(self._catalogue.network_zones)

    def image_archs(self, image: Image) -> frozenset[str]:
        return self._catalogue.image_archs.get(image.id, frozenset())

    def zone_archs(self) -> frozenset[str]:
        return self._catalogue.zone_archs
