"""Accepting a difference: the ledger follows what the backend shows, with quota, capacity and history."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock, naming
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_
from cloudmgr.models import Finding, ObservedServer, Server
from cloudmgr.store import addresses, catalogue, discovery, placement, servers


def accept(session: Session, actor: Actor, row: Finding, server: Server) -> None:
    """Let the held value of one field become the observed one, and append the version that the inventory shows.

    Raises:
        QuotaExceeded: the size that is there does not fit the quota.
        Conflict: the ledger cannot hold it, for the reason told.
    """
    value = (row.observed or {}).get("value")
    _ACCEPT[row.field](session, row, server, value)
    servers.keep(session, server, actor=actor.username, change=f"accepted.{row.field}")


def _size(session: Session, row: Finding, server: Server, value: int) -> None:
    quotas.resize(session, reservation_id=server.reservation_id, part_id=server.id, amounts={row.field: value})
    placement.resize_allocation(session, server.id, {row.field: value})
    setattr(server, row.field, value)
    named = catalogue.flavor_of_size(session, server.vcpus, server.memory_mib, server.system_disk_gib)
    server.flavor_id = named.id if named else server.flavor_id


def _power(_session: Session, _row: Finding, server: Server, value: str) -> None:
    server.intended_power, server.intended_since = value, clock.now()
    server.state = value


def _name(session: Session, row: Finding, server: Server, value: str) -> None:
    """A server that had another name at the backend from the beginning keeps the ledger's."""
    seen = discovery.seen(session, row.backend_id, row.ref)
    first = ((seen.baseline if seen else None) or {}).get("name", server.name)
    if first == server.name:
        if not naming.is_label(value):
            raise Conflict(
                N_("{name} cannot be a name in the ledger: lower-case letters, digits and hyphens, at most 63."),
                name=value,
            )
        if servers.taken_names(session, server.project_id, [value]):
            raise Conflict(N_("The project has a server called {name} already."), name=value)
        server.name = value
    _rebase(session, seen, name=value)


def _image(session: Session, row: Finding, _server: Server, value: str) -> None:
    _rebase(session, discovery.seen(session, row.backend_id, row.ref), image=value)


def _networks(session: Session, row: Finding, server: Server, value: list[str]) -> None:
    if len(value) == 1:
        server.network_ref = value[0]
    _rebase(session, discovery.seen(session, row.backend_id, row.ref), networks=value)


def _addresses(session: Session, row: Finding, server: Server, value: list[str]) -> None:
    lost = [address.address for address, _ in addresses.of_server(session, server.id) if address.address not in value]
    if lost:
        raise Conflict(
            N_(
                "{addresses} was given to {name} by address management: put it back at the cloud, or free it there first."
            ),
            addresses=", ".join(lost),
            name=server.name,
        )
    server.ipv4 = [each for each in value if ":" not in each]
    server.ipv6 = [each for each in value if ":" in each]
    _rebase(session, discovery.seen(session, row.backend_id, row.ref), addresses=value)


_ACCEPT: Mapping[str, Callable[[Session, Finding, Server, Any], None]] = {
    "vcpus": _size,
    "memory_mib": _size,
    "power": _power,
    "name": _name,
    "image": _image,
    "networks": _networks,
    "addresses": _addresses,
}


def _rebase(session: Session, seen: ObservedServer | None, **values: Any) -> None:
    """Compare later looks with what is shown now."""
    if seen is not None:
        seen.baseline = {**(seen.baseline or {}), **values}
        session.add(seen)
        session.flush()
