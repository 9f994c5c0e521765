"""Use cases of networks: which network of a backend carries which network zone."""

import ipaddress
import uuid
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend, Network
from cloudmgr.services import audit
from cloudmgr.services.backends import require_backend
from cloudmgr.services.changes import set_changed
from cloudmgr.services.inputs import Code, Input, Text, unset
from cloudmgr.services.network_zones import require_network_zone
from cloudmgr.store import zones
from cloudmgr.store.unique import add_unique

Ref = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Title = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
Address = Annotated[Text, StringConstraints(min_length=1, max_length=64)]


class CreateNetwork(Input):
    """A network of a backend, by the backend's own reference."""

    backend: Code
    ref: Ref
    name: Title
    network_zone: Code
    cidr_v4: Address | None = None
    cidr_v6: Address | None = None
    gateway_v4: Address | None = None
    is_enabled: bool = True


class UpdateNetwork(Input):
    """What may change of a network; its backend and reference stay."""

    name: Title = unset()
    network_zone: Code = unset()
    cidr_v4: Address | None = None
    cidr_v6: Address | None = None
    gateway_v4: Address | None = None
    is_enabled: bool = unset()


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network with its backend."""

    network: Network
    backend: Backend


def list_networks(
    session: Session,
    actor: Actor,
    *,
    backend: str | None = None,
    network_zone: str | None = None,
    without_subnet: bool = False,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[NetworkView], uuid.UUID | None]:
    """Return a page of the networks: of a backend, of a network zone, or those the address plan has no subnet for."""
    access.require(actor, Action.CATALOGUE_READ)
    backend_id = require_backend(session, backend).id if backend else None
    rows, following = zones.listed_networks(
        session,
        backend_id=backend_id,
        network_zone=network_zone,
        without_subnet=without_subnet,
        limit=limit,
        after=cursor,
    )
    return [NetworkView(*row) for row in rows], following


def create_network(session: Session, actor: Actor, command: CreateNetwork) -> NetworkView:
    """Add a network.

    Raises:
        InvalidInput: the backend or the network zone is unknown, or an address is malformed.
        Conflict: the backend has a network of that reference.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    backend = require_backend(session, command.backend)
    require_network_zone(session, command.network_zone)
    addresses = _checked_addresses(command.cidr_v4, command.cidr_v6, command.gateway_v4)
    fields = command.model_dump(exclude={"backend"}) | addresses
    network = Network(backend_id=backend.id, **fields)
    if not add_unique(session, network):
        raise Conflict(
            N_("{backend} has a network with the reference {ref} already."),
            field="ref",
            backend=backend.name,
            ref=command.ref,
        )
    _record(session, actor, network, after=command.model_dump())
    return NetworkView(network, backend)


def update_network(session: Session, actor: Actor, network_id: uuid.UUID, command: UpdateNetwork) -> NetworkView:
    """Change what was given of a network.

    Raises:
        NotFound: there is no such network.
        InvalidInput: the network zone is unknown, or an address is malformed.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    row = zones.get_network(session, network_id)
    if row is None:
        raise NotFound(N_("There is no such network."))
    network, backend = row
    wanted: dict[str, Any] = command.changes()
    require_network_zone(session, wanted.get("network_zone"))
    merged = {name: wanted.get(name, getattr(network, name)) for name in ("cidr_v4", "cidr_v6", "gateway_v4")}
    wanted |= _checked_addresses(**merged)
    if changed := set_changed(session, network, wanted):
        _record(session, actor, network, before=changed.before, after=changed.after)
    return NetworkView(network, backend)


def _checked_addresses(cidr_v4: str | None, cidr_v6: str | None, gateway_v4: str | None) -> dict[str, str | None]:
    v4 = _network(cidr_v4, "cidr_v4", 4)
    v6 = _network(cidr_v6, "cidr_v6", 6)
    if gateway_v4 is not None:
        try:
            gateway = ipaddress.IPv4Address(gateway_v4)
        except ValueError as error:
            raise InvalidInput(
                N_("{given} is not an IPv{version} address."), field="gateway_v4", given=gateway_v4, version=4
            ) from error
        if v4 is None or gateway not in ipaddress.IPv4Network(v4):
            raise InvalidInput(N_("The gateway must lie inside cidr_v4."), field="gateway_v4")
    return {"cidr_v4": v4, "cidr_v6": v6, "gateway_v4": gateway_v4}


def _network(text: str | None, field: str, version: int) -> str | None:
    if text is None:
        return None
    example = "10.8.0.0/24" if version == 4 else "fd00:8::/64"  # noqa: PLR2004 - the IP versions
    refusal = InvalidInput(
        N_("{given} is not an IPv{version} network like {example}."),
        field=field,
        given=text,
        version=version,
        example=example,
    )
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise refusal from error
    if network.version != version:
        raise refusal
    return str(network)


def _record(session: Session, actor: Actor, network: Network, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.NETWORK_WRITE,
        object_type="network",
        object_id=network.id,
        object_name=network.name,
        **detail,
    )
