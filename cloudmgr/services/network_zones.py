"""Use cases of network zones (网络区域): a dictionary of the deployment. An entry in use is closed, never removed."""

import uuid
from typing import Annotated, Any

from pydantic import StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.placement import GOVERNMENT_EXTRANET
from cloudmgr.models import NetworkZone
from cloudmgr.services import audit
from cloudmgr.services.changes import set_changed
from cloudmgr.services.inputs import Input, Text, formed, unset
from cloudmgr.store import catalogue
from cloudmgr.store.unique import add_unique

ZoneName = Annotated[
    Text,
    formed(
        r'^[^{}=,"\n\t]+$',
        N_("Leave out brackets, equals signs, commas, quotation marks and line breaks."),
        min_length=1,
        max_length=64,
    ),
]
"""A network zone's name is a value of quota keys, so it holds none of their signs."""
ZoneCode = Annotated[
    str,
    formed(
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$",
        N_(
            "Begin with a letter or a digit and go on with letters, digits, dots, underscores and hyphens, 32 in all at most."
        ),
    ),
]
NameEn = Annotated[Text, StringConstraints(max_length=64)]
Description = Annotated[Text, StringConstraints(max_length=500)]


class CreateNetworkZone(Input):
    """A new entry of the dictionary; `code` is its short ASCII name in resource numbers and file names."""

    name: ZoneName
    code: ZoneCode
    name_en: NameEn = ""
    description: Description = ""
    allows_public_cloud: bool = True


class UpdateNetworkZone(Input):
    """What may change of an entry; its name stays, because records and quota keys name it."""

    code: ZoneCode = unset()
    name_en: NameEn = unset()
    description: Description = unset()
    allows_public_cloud: bool = unset()
    is_active: bool = unset()


def list_network_zones(
    session: Session, actor: Actor, *, limit: int = 200, cursor: uuid.UUID | None = None
) -> tuple[list[NetworkZone], uuid.UUID | None]:
    """Return a page of the dictionary; closed entries only to those who keep the catalogue."""
    access.require(actor, Action.CATALOGUE_READ)
    active_only = not actor.may(Action.CATALOGUE_WRITE)
    return catalogue.listed(session, NetworkZone, active_only=active_only, limit=limit, after=cursor)


def create_network_zone(session: Session, actor: Actor, command: CreateNetworkZone) -> NetworkZone:
    """Add an entry.

    Raises:
        Conflict: the name or the code is taken.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    zone = NetworkZone(**command.model_dump())
    zone.allows_public_cloud = command.allows_public_cloud and command.name != GOVERNMENT_EXTRANET
    if not add_unique(session, zone):
        raise Conflict(
            N_("There is a network zone with the name {name} or the code {code} already."),
            field="name",
            name=command.name,
            code=command.code,
        )
    _record(session, actor, zone, after=command.model_dump())
    return zone


def update_network_zone(session: Session, actor: Actor, zone_id: uuid.UUID, command: UpdateNetworkZone) -> NetworkZone:
    """Change what was given of an entry.

    Raises:
        NotFound: there is no such entry.
        Conflict: the code is taken.
        InvalidInput: 政务外网区 is not for public clouds.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    zone = catalogue.get(session, NetworkZone, zone_id)
    if zone is None:
        raise NotFound(N_("There is no such network zone."))
    wanted = command.changes()
    if wanted.get("allows_public_cloud") and zone.name == GOVERNMENT_EXTRANET:
        raise InvalidInput(
            N_("A public cloud never carries {network_zone}."), field="allows_public_cloud", network_zone=zone.name
        )
    if any(each.code == wanted.get("code") and each.id != zone.id for each in catalogue.network_zones(session)):
        raise Conflict(
            N_("There is a network zone with the name {name} or the code {code} already."),
            field="code",
            name=zone.name,
            code=wanted["code"],
        )
    if changed := set_changed(session, zone, wanted):
        _record(session, actor, zone, before=changed.before, after=changed.after)
    return zone


def require_network_zone(session: Session, name: str | None, *, field: str = "network_zone") -> None:
    """Refuse a network zone that the dictionary does not hold or that is closed; None is nothing to refuse.

    Raises:
        InvalidInput: `field` names it, the message names those there are.
    """
    if name is None:
        return
    zone = catalogue.network_zone(session, name)
    if zone is None or not zone.is_active:
        known = [each.name for each in catalogue.network_zones(session) if each.is_active]
        raise InvalidInput(
            N_("There is no network zone {given}; known are {known}."),
            field=field,
            given=name,
            known=known or "-",
        )


def _record(session: Session, actor: Actor, zone: NetworkZone, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.NETWORK_WRITE,
        object_type="network_zone",
        object_id=zone.id,
        object_name=zone.name,
        **detail,
    )
