"""Subnets, their ranges, and taking and giving back addresses: every writer takes the subnet's row first.

Raising `generation` is that lock, on PostgreSQL and on SQLite (where the whole transaction is immediate already). Locks
are taken after the ledger's and the zone's, and among subnets in the order of family and id. Giving back needs none: a
row that is still there while its deletion is not committed is simply not free yet.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain import addresses, clock
from cloudmgr.domain.addresses import Span
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.models import (
    Address,
    AddressRange,
    Backend,
    Network,
    NetworkZone,
    ObservedAddress,
    ObservedServer,
    Organization,
    Server,
    Subnet,
)
from cloudmgr.store.db import is_sqlite
from cloudmgr.store.paging import oldest_first

SubnetRow = tuple[Subnet, Network | None, Backend | None]
HolderRow = tuple[Address, Server | None, Organization | None]


@dataclass(frozen=True, slots=True)
class Taken:
    """Why an address cannot be had: whose it is, as far as it is known."""

    by: str
    """reserved, allocated, observed, gateway, excluded, outside"""
    who: str = ""
    server_id: uuid.UUID | None = None


def get(session: Session, subnet_id: uuid.UUID) -> SubnetRow | None:
    """Return one subnet with the network and the backend it is on."""
    row = session.execute(_wide().where(col(Subnet.id) == subnet_id)).first()
    return (row[0], row[1], row[2]) if row else None


def _wide() -> Any:
    return (
        sa.select(Subnet, Network, Backend)
        .join(Network, col(Subnet.network_id) == col(Network.id), isouter=True)
        .join(Backend, col(Network.backend_id) == col(Backend.id), isouter=True)
    )


def listed(
    session: Session,
    *,
    network_zone: str | None = None,
    network_id: uuid.UUID | None = None,
    family: int | None = None,
    limit: int,
    after: uuid.UUID | None,
) -> tuple[list[SubnetRow], uuid.UUID | None]:
    """Return a page of subnets, oldest first."""
    statement = _wide()
    if network_zone is not None:
        statement = statement.where(col(Subnet.network_zone) == network_zone)
    if network_id is not None:
        statement = statement.where(col(Subnet.network_id) == network_id)
    if family is not None:
        statement = statement.where(col(Subnet.family) == family)
    rows, following = oldest_first(session, statement, col(Subnet.id), limit=limit, cursor=after)
    return [tuple(row) for row in rows], following


def of_zone(session: Session, network_zone: str, *, to_add: bool = False) -> list[Subnet]:
    """Return every subnet of a network zone; `to_add`: whoever else would add one waits until this transaction ends."""
    if to_add:
        zone = select(NetworkZone.id).where(NetworkZone.name == network_zone)
        session.exec(zone.with_for_update(key_share=True)).first()
    return list(session.exec(select(Subnet).where(Subnet.network_zone == network_zone).order_by(col(Subnet.id))))


def by_cidr(session: Session, network_zone: str, cidr: str) -> Subnet | None:
    """Return a subnet of a network zone by its range."""
    return session.exec(select(Subnet).where(Subnet.network_zone == network_zone, Subnet.cidr == cidr)).first()


def of_network(session: Session, network_id: uuid.UUID) -> list[Subnet]:
    """Return every enabled subnet of a network, in the order in which their locks are taken."""
    return list(
        session.exec(
            select(Subnet)
            .where(Subnet.network_id == network_id, col(Subnet.is_enabled))
            .order_by(col(Subnet.family), col(Subnet.id))
        )
    )


def managed_on(session: Session, network_id: uuid.UUID) -> list[Subnet]:
    """Return those of them whose addresses we choose."""
    return [subnet for subnet in of_network(session, network_id) if subnet.is_managed]


def ranges(session: Session, subnet_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[AddressRange]]:
    """Return the ranges of some subnets, in order."""
    found: dict[uuid.UUID, list[AddressRange]] = {subnet_id: [] for subnet_id in subnet_ids}
    statement = select(AddressRange).where(col(AddressRange.subnet_id).in_(subnet_ids))
    for row in session.exec(statement.order_by(col(AddressRange.first_key))):
        found[row.subnet_id].append(row)
    return found


def allowed(session: Session, subnet: Subnet) -> list[Span]:
    """Return what of a subnet is handed out automatically."""
    rows = ranges(session, [subnet.id])[subnet.id]
    spans = {kind: [addresses.span_of(row.first, row.last) for row in rows if row.kind == kind] for kind in _KINDS}
    return addresses.allowed(
        addresses.parse_subnet(subnet.cidr), pools=spans["pool"], excluded=spans["excluded"], gateway=subnet.gateway
    )


_KINDS = ("pool", "excluded")


def count_free(session: Session, subnet: Subnet) -> int:
    """Return how many of a subnet's addresses can still be handed out automatically, as far as our own record goes."""
    spans = allowed(session, subnet)
    keys = [(addresses.key_of_number(span.first), addresses.key_of_number(span.last)) for span in spans]
    inside = sa.or_(sa.false(), *(col(Address.key).between(first, last) for first, last in keys))
    taken = session.exec(
        select(sa.func.count()).select_from(Address).where(Address.subnet_id == subnet.id, inside)
    ).one()
    return sum(span.last - span.first + 1 for span in spans) - int(taken)


def set_ranges(session: Session, subnet_id: uuid.UUID, rows: Sequence[AddressRange]) -> None:
    """Replace the ranges of a subnet."""
    session.execute(
        sa.delete(AddressRange)
        .where(col(AddressRange.subnet_id) == subnet_id)
        .execution_options(synchronize_session="fetch")
    )
    session.add_all(rows)
    session.flush()


def learn(
    session: Session, network: Network, *, cidr: str, gateway: str | None, dns: list[str], name: str
) -> Subnet | None:
    """Take a range that a backend reports into the address plan, not managed; None where it has no place there.

    What is in the plan already is left as it is, also where it belongs to another network. A person decides whether its
    addresses are ours to choose.
    """
    try:
        parsed = addresses.parse_subnet(cidr)
        router = addresses.parse_address(gateway, family=parsed.version) if gateway else None
    except InvalidInput:
        return None
    for to_add in (False, True):
        plan = of_zone(session, network.network_zone, to_add=to_add)
        if any(addresses.overlap(addresses.parse_subnet(other.cidr), parsed) for other in plan):
            return None
    subnet = Subnet(
        network_zone=network.network_zone,
        network_id=network.id,
        name=name[:100],
        family=parsed.version,
        cidr=str(parsed),
        gateway=router if router and addresses.contains(parsed, router) else None,
        dns=dns,
        is_managed=False,
    )
    session.add(subnet)
    session.flush()
    return subnet


def remove_subnet(session: Session, subnet: Subnet) -> None:
    """Remove an empty subnet with its ranges."""
    set_ranges(session, subnet.id, [])
    session.delete(subnet)
    session.flush()


def counts(session: Session, subnet_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, int]]:
    """Return how many addresses of some subnets are allocated and reserved."""
    found = {subnet_id: {"allocated": 0, "reserved": 0} for subnet_id in subnet_ids}
    for subnet_id, state, count in session.exec(
        select(Address.subnet_id, Address.state, sa.func.count())
        .where(col(Address.subnet_id).in_(subnet_ids))
        .group_by(col(Address.subnet_id), col(Address.state))
    ):
        found[subnet_id][state] = count
    return found


def in_use(
    session: Session, subnet_id: uuid.UUID, *, limit: int, after: uuid.UUID | None
) -> tuple[list[HolderRow], uuid.UUID | None]:
    """Return a page of the addresses that are taken, oldest first."""
    statement = (
        sa.select(Address, Server, Organization)
        .join(Server, col(Address.server_id) == col(Server.id), isouter=True)
        .join(Organization, col(Address.organization_id) == col(Organization.id), isouter=True)
        .where(col(Address.subnet_id) == subnet_id)
    )
    rows, following = oldest_first(session, statement, col(Address.id), limit=limit, cursor=after)
    return [tuple(row) for row in rows], following


def get_address(session: Session, address_id: uuid.UUID) -> Address | None:
    """Return one taken address."""
    return session.get(Address, address_id)


def of_server(session: Session, server_id: uuid.UUID) -> list[tuple[Address, Subnet]]:
    """Return the addresses a server holds, IPv4 first."""
    rows = session.exec(
        select(Address, Subnet)
        .join(Subnet, col(Address.subnet_id) == col(Subnet.id))
        .where(Address.server_id == server_id)
        .order_by(col(Subnet.family), col(Address.key))
    )
    return [(address, subnet) for address, subnet in rows]


def lock(session: Session, subnet_id: uuid.UUID) -> str | None:
    """Make every other taker of the subnet wait until this transaction ends; return the key handed out last."""
    hint: str | None = session.execute(
        sa.update(Subnet)
        .where(col(Subnet.id) == subnet_id)
        .values(generation=Subnet.generation + 1)
        .returning(col(Subnet.hint))
        .execution_options(synchronize_session=False)
    ).scalar_one()
    return hint


def take_next(
    session: Session,
    subnet: Subnet,
    *,
    server_id: uuid.UUID,
    organization_id: uuid.UUID,
    by: str,
    purpose: str = "",
) -> Address | None:
    """Allocate the first free address behind the one handed out last; None when there is none left."""
    hint = lock(session, subnet.id)
    behind = int(hint, 16) if hint else None
    for span in addresses.walk(allowed(session, subnet), behind):
        for window in addresses.windows(span):
            for number in addresses.free_in(window, _taken_keys(session, subnet, window)):
                text = addresses.text_of(number, subnet.family)
                if _reported_by_a_server(session, subnet, text, server_id) is None:
                    row = _add(session, subnet, text, "allocated", server_id, organization_id, by, purpose)
                    session.execute(
                        sa.update(Subnet)
                        .where(col(Subnet.id) == subnet.id)
                        .values(hint=row.key)
                        .execution_options(synchronize_session=False)
                    )
                    return row
    return None


def take_exact(
    session: Session,
    subnet: Subnet,
    address: str,
    *,
    state: str,
    server_id: uuid.UUID | None,
    organization_id: uuid.UUID | None,
    by: str,
    purpose: str = "",
) -> Taken | Address:
    """Take one address of a subnet, or say whose it is. One the server has already only changes its state.

    `address` must be in its written form. It may lie outside of the pools, which are for automatic choice.
    """
    lock(session, subnet.id)
    against = why_not(session, subnet, address, server_id=server_id)
    if against is not None:
        return against
    mine = _row(session, subnet.id, addresses.key_of(address))
    if mine is None:
        return _add(session, subnet, address, state, server_id, organization_id, by, purpose)
    mine.state = state
    session.add(mine)
    session.flush()
    return mine


def why_not(session: Session, subnet: Subnet, address: str, *, server_id: uuid.UUID | None) -> Taken | None:
    """Return what stands against giving an address to a server; None: nothing does. Takes no lock."""
    network, key = addresses.parse_subnet(subnet.cidr), addresses.key_of(address)
    span = addresses.usable(network)
    if not addresses.contains(network, address) or not span.first <= int(key, 16) <= span.last:
        return Taken("outside", subnet.cidr)
    if address == subnet.gateway:
        return Taken("gateway", subnet.cidr)
    for each in ranges(session, [subnet.id])[subnet.id]:
        if each.kind == "excluded" and each.first_key <= key <= each.last_key:
            return Taken("excluded", each.reason)
    row = _row(session, subnet.id, key)
    if row is not None:
        if server_id is not None and row.server_id == server_id:
            return None
        holder = session.get(Server, row.server_id) if row.server_id else None
        return Taken(row.state, holder.name if holder else row.purpose, row.server_id)
    seen = _observed(session, subnet, key, server_id)
    if seen is not None:
        return Taken("observed", seen.owner or seen.server_ref or seen.mac or "")
    other = _reported_by_a_server(session, subnet, address, server_id)
    return Taken("observed", other) if other is not None else None


def next_free(session: Session, subnet: Subnet) -> str | None:
    """Return the address that would be handed out next, for a hint to a person; takes nothing."""
    behind = int(subnet.hint, 16) if subnet.hint else None
    for span in addresses.walk(allowed(session, subnet), behind):
        for window in addresses.windows(span):
            for number in addresses.free_in(window, _taken_keys(session, subnet, window)):
                return addresses.text_of(number, subnet.family)
    return None


def give_back(session: Session, server_id: uuid.UUID, *, keep: Iterable[str] = ()) -> None:
    """Free what a server holds, except the addresses of `keep`, which are reserved for it again; twice is once.

    Called when the backend has nothing of the server any more: what it reported of it is forgotten with it.
    """
    kept = list(keep)
    for address, subnet in of_server(session, server_id):
        backend_id = _backend_id(session, subnet)
        session.execute(
            sa.delete(ObservedAddress)
            .where(col(ObservedAddress.backend_id) == backend_id, col(ObservedAddress.key) == address.key)
            .execution_options(synchronize_session=False)
        )
        if address.address in kept:
            address.state = "reserved"
            session.add(address)
        else:
            session.delete(address)
    session.flush()


def forget_unbegun(session: Session, server_ids: Sequence[uuid.UUID]) -> None:
    """Free what servers hold that were never begun."""
    session.execute(
        sa.delete(Address).where(col(Address.server_id).in_(server_ids)).execution_options(synchronize_session=False)
    )


def free_reservation(session: Session, address: Address) -> None:
    """Let go of an address that was kept for something."""
    session.delete(address)
    session.flush()


def mark_observed(session: Session, *, backend_id: uuid.UUID, network_ref: str, address: str) -> None:
    """Note that a backend says an address is in use by somebody who is not ours; twice is once."""
    insert = sqlite.insert(ObservedAddress) if is_sqlite(session) else postgresql.insert(ObservedAddress)
    now = clock.now()
    session.execute(
        insert.values(
            id=new_id(),
            created_at=now,
            backend_id=backend_id,
            network_ref=network_ref,
            address=address,
            key=addresses.key_of(address),
            owner="",
            last_seen_at=now,
        ).on_conflict_do_update(
            index_elements=["backend_id", "network_ref", "key"],
            set_={"server_ref": None, "last_seen_at": now},
        )
    )


def holders(session: Session, backend_id: uuid.UUID, keys: Sequence[str]) -> dict[str, uuid.UUID]:
    """Return which of our servers hold these addresses at a backend, by key."""
    rows = session.exec(
        select(Address.key, Address.server_id)
        .join(Subnet, col(Address.subnet_id) == col(Subnet.id))
        .join(Network, col(Subnet.network_id) == col(Network.id))
        .where(Network.backend_id == backend_id, col(Address.key).in_(keys), col(Address.server_id).is_not(None))
    )
    return {key: server_id for key, server_id in rows if server_id is not None}


def _taken_keys(session: Session, subnet: Subnet, window: Span) -> set[str]:
    first, last = addresses.key_of_number(window.first), addresses.key_of_number(window.last)
    taken = set(
        session.exec(select(Address.key).where(Address.subnet_id == subnet.id, col(Address.key).between(first, last)))
    )
    place = _place(session, subnet)
    if place is not None:
        backend_id, network_ref = place
        taken.update(
            session.exec(
                select(ObservedAddress.key).where(
                    ObservedAddress.backend_id == backend_id,
                    ObservedAddress.network_ref == network_ref,
                    col(ObservedAddress.key).between(first, last),
                )
            )
        )
    return taken


def _observed(session: Session, subnet: Subnet, key: str, server_id: uuid.UUID | None) -> ObservedAddress | None:
    place = _place(session, subnet)
    if place is None:
        return None
    own = session.get(Server, server_id) if server_id else None
    query = select(ObservedAddress).where(
        ObservedAddress.backend_id == place[0], ObservedAddress.network_ref == place[1], ObservedAddress.key == key
    )
    if own is not None and own.native_ref is not None:
        query = query.where(
            sa.or_(col(ObservedAddress.server_ref).is_(None), col(ObservedAddress.server_ref) != own.native_ref)
        )
    return session.exec(query).first()


def _reported_by_a_server(session: Session, subnet: Subnet, address: str, server_id: uuid.UUID | None) -> str | None:
    """Return the name of another server that the backend said has the address, for backends that list no addresses."""
    place = _place(session, subnet)
    if place is None:
        return None
    reported = col(ObservedServer.ipv4 if subnet.family == addresses.IPV4 else ObservedServer.ipv6)
    query = select(ObservedServer.name).where(
        ObservedServer.backend_id == place[0],
        col(ObservedServer.missing_since).is_(None),
        sa.cast(reported, sa.Text).contains(f'"{address}"', autoescape=True),
    )
    if server_id is not None:
        query = query.where(sa.or_(col(ObservedServer.server_id).is_(None), col(ObservedServer.server_id) != server_id))
    return session.exec(query).first()


def _place(session: Session, subnet: Subnet) -> tuple[uuid.UUID, str] | None:
    network = session.get(Network, subnet.network_id) if subnet.network_id else None
    return (network.backend_id, network.ref) if network else None


def _backend_id(session: Session, subnet: Subnet) -> uuid.UUID | None:
    place = _place(session, subnet)
    return place[0] if place else None


def _row(session: Session, subnet_id: uuid.UUID, key: str) -> Address | None:
    query = select(Address).where(Address.subnet_id == subnet_id, Address.key == key)
    return session.exec(query.execution_options(populate_existing=True)).first()


def _add(
    session: Session,
    subnet: Subnet,
    address: str,
    state: str,
    server_id: uuid.UUID | None,
    organization_id: uuid.UUID | None,
    by: str,
    purpose: str,
) -> Address:
    row = Address(
        subnet_id=subnet.id,
        address=address,
        key=addresses.key_of(address),
        state=state,
        server_id=server_id,
        organization_id=organization_id,
        purpose=purpose[:200],
        taken_by=by[:100],
        taken_at=clock.now(),
    )
    session.add(row)
    session.flush()
    return row
