"""What the making of a server does with addresses: choosing them with its zone, giving them back, comparing.

Each function runs inside a `write` step. Locks are taken in the order ledger → zone → subnet.
"""

import uuid
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import addresses
from cloudmgr.domain.messages import N_, Message
from cloudmgr.models import Address, Backend, Network, Server, Subnet, Zone
from cloudmgr.services.addresses import told
from cloudmgr.store import addresses as store
from cloudmgr.store import placement as zones
from cloudmgr.store import zones as network_store

CAPABILITY = "fixed_addresses"
FAMILIES = {"ipv4": addresses.IPV4, "ipv6": addresses.IPV6}


def claim(session: Session, server: Server, zone_id: uuid.UUID) -> Message | None:
    """Choose the server's network in a zone and take its addresses there; a message: there are none to be had.

    Where we choose the addresses of a network, a server gets one of each family that it has. Where the backend chooses
    them (DHCP, or it cannot be told), nothing is taken. The caller's savepoint takes back what a refusal leaves.
    """
    backend = session.get_one(Backend, session.get_one(Zone, zone_id).backend_id)
    against: Message | None = None
    for network in zones.networks_for(session, zone_id=zone_id, network_zone=server.network_zone):
        savepoint = session.begin_nested()
        refused = _claim_on(session, server, backend, network)
        if refused is None:
            server.network_ref = network.ref
            savepoint.commit()
            return None
        savepoint.rollback()
        against = against or refused
    if against is None and server.wanted_addresses:
        return Message(
            N_("its backend has no network that carries {network_zone}"), {"network_zone": server.network_zone}
        )
    return against


def _claim_on(session: Session, server: Server, backend: Backend, network: Network) -> Message | None:
    subnets = store.managed_on(session, network.id) if CAPABILITY in backend.capabilities else []
    if not subnets:
        if server.wanted_addresses:
            return Message(N_("servers cannot be given a chosen address there"))
        return None
    for name, family in FAMILIES.items():
        of_family = [subnet for subnet in subnets if subnet.family == family]
        wanted = server.wanted_addresses.get(name)
        if wanted is not None:
            refused = _claim_exact(session, server, of_family, wanted)
        elif of_family:
            refused = claim_next(session, server, of_family)
        else:
            continue
        if refused is not None:
            return refused
    return None


def _claim_exact(session: Session, server: Server, subnets: list[Subnet], wanted: str) -> Message | None:
    for subnet in subnets:
        if addresses.contains(addresses.parse_subnet(subnet.cidr), wanted):
            taken = store.take_exact(
                session,
                subnet,
                wanted,
                state="allocated",
                server_id=server.id,
                organization_id=server.organization_id,
                by=server.name,
            )
            return None if isinstance(taken, Address) else told(taken, wanted)
    return Message(N_("{address} lies in none of its subnets"), {"address": wanted})


def claim_next(session: Session, server: Server, subnets: list[Subnet]) -> Message | None:
    """Take the next free address of the first of these subnets that has one; a message: none has."""
    for subnet in subnets:
        row = store.take_next(
            session, subnet, server_id=server.id, organization_id=server.organization_id, by=server.name
        )
        if row is not None:
            return None
    return Message(N_("no address is left in {subnets}"), {"subnets": ", ".join(subnet.cidr for subnet in subnets)})


def spec_of(session: Session, server_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return the addresses a server is to be built with, as its spec has them."""
    return [
        {
            "address": address.address,
            "prefix_len": addresses.parse_subnet(subnet.cidr).prefixlen,
            "gateway": subnet.gateway,
            "dns": list(subnet.dns),
        }
        for address, subnet in store.of_server(session, server_id)
        if subnet.is_managed
    ]


def release(session: Session, server: Server, *, keeps_wanted: bool = False) -> None:
    """Give a server's addresses back; with `keeps_wanted` those that were asked for stay reserved for another try."""
    store.give_back(session, server.id, keep=server.wanted_addresses.values() if keeps_wanted else ())


def compare(session: Session, server: Server) -> list[str]:
    """Return the addresses the server was to have and, as the backend tells it, has not; note those it chose itself."""
    seen = {text for text in (*server.ipv4, *server.ipv6) if _is_address(text)}
    held = {address.address for address, subnet in store.of_server(session, server.id) if subnet.is_managed}
    network = (
        network_store.network_by_ref(session, server.backend_id, server.network_ref)
        if server.backend_id and server.network_ref
        else None
    )
    for subnet in store.of_network(session, network.id) if network else ():
        cidr = addresses.parse_subnet(subnet.cidr)
        for text in sorted(seen - held):
            if not subnet.is_managed and addresses.contains(cidr, text):
                store.take_exact(
                    session,
                    subnet,
                    text,
                    state="allocated",
                    server_id=server.id,
                    organization_id=server.organization_id,
                    by=server.name,
                )
    return sorted(held - seen)


def _is_address(text: str) -> bool:
    try:
        addresses.family_of(text)
    except ValueError:
        return False
    return True
