"""Use cases of flavors: named sizes. A size in use never changes under its servers: they keep the numbers they were built with."""

import uuid
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session

from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Flavor
from cloudmgr.services import audit
from cloudmgr.services.changes import set_changed
from cloudmgr.services.inputs import Input, formed, unset
from cloudmgr.store import catalogue
from cloudmgr.store.unique import add_unique

FlavorName = Annotated[
    str,
    formed(
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        N_(
            "Begin with a letter or a digit and go on with letters, digits, dots, underscores and hyphens, 64 in all at most."
        ),
    ),
]
Vcpus = Annotated[int, Field(ge=1, le=1024)]
MemoryMib = Annotated[int, Field(ge=128, le=32 * 1024 * 1024)]
SystemDiskGib = Annotated[int, Field(ge=1, le=65536)]


class CreateFlavor(Input):
    """A new size."""

    name: FlavorName
    vcpus: Vcpus
    memory_mib: MemoryMib
    system_disk_gib: SystemDiskGib = 40
    is_active: bool = True


class UpdateFlavor(Input):
    """What may change of a size; its name stays."""

    vcpus: Vcpus = unset()
    memory_mib: MemoryMib = unset()
    system_disk_gib: SystemDiskGib = unset()
    is_active: bool = unset()


def list_flavors(
    session: Session, actor: Actor, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[Flavor], uuid.UUID | None]:
    """Return a page of the flavors; withdrawn ones only to those who keep the catalogue."""
    access.require(actor, Action.CATALOGUE_READ)
    active_only = not actor.may(Action.CATALOGUE_WRITE)
    return catalogue.listed(session, Flavor, active_only=active_only, limit=limit, after=cursor)


def create_flavor(session: Session, actor: Actor, command: CreateFlavor) -> Flavor:
    """Add a size.

    Raises:
        Conflict: the name is taken.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    flavor = Flavor(**command.model_dump())
    if not add_unique(session, flavor):
        raise Conflict(N_("There is a flavor called {name} already."), field="name", name=command.name)
    _record(session, actor, flavor, after=command.model_dump())
    return flavor


def update_flavor(session: Session, actor: Actor, flavor_id: uuid.UUID, command: UpdateFlavor) -> Flavor:
    """Change what was given; requests and servers that exist keep their numbers.

    Raises:
        NotFound: there is no such flavor.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    flavor = catalogue.get(session, Flavor, flavor_id)
    if flavor is None:
        raise NotFound(N_("There is no such flavor."))
    if changed := set_changed(session, flavor, command.changes()):
        _record(session, actor, flavor, before=changed.before, after=changed.after)
    return flavor


def _record(session: Session, actor: Actor, flavor: Flavor, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.FLAVOR_WRITE,
        object_type="flavor",
        object_id=flavor.id,
        object_name=flavor.name,
        **detail,
    )
