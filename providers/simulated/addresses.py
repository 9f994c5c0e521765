"""Addresses of simulated networks: told or handed out, never twice, never one that something foreign uses."""

import sqlite3
import uuid
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from providers.base import AddressObservation, FixedAddress, PublicAddressObservation
from providers.errors import AddressTaken, InvalidSpec, NoCapacity
from providers.simulated.options import NetworkOptions

_FAR = 1 << 62
"""Positions from here on do not fit into SQLite's integers; such addresses are kept at negative ones."""

Cidr = IPv4Network | IPv6Network


def told_by_cidr(network: NetworkOptions, told: Sequence[FixedAddress]) -> dict[Cidr, IPv4Address | IPv6Address]:
    """Return which address of which range was told.

    Raises:
        InvalidSpec: one is malformed, in no range of the network, the network's own, or the second of its range.

    """
    found: dict[Cidr, IPv4Address | IPv6Address] = {}
    for one in told:
        try:
            address = ip_address(one.address)
        except ValueError as error:
            raise InvalidSpec(N_("{address} is not an address."), address=one.address) from error
        cidr = next((cidr for cidr in network.ranges() if address in cidr), None)
        if cidr is None or _position(cidr, address) in _reserved(network, cidr) or cidr in found:
            raise InvalidSpec(
                N_("Network {network} has no address {address} for a server."),
                network=network.name,
                address=one.address,
            )
        found[cidr] = address
    return found


def hand_out(
    db: sqlite3.Connection, networks: Sequence[NetworkOptions], server: str, told: Sequence[FixedAddress] = ()
) -> None:
    """Give a server an address of each range of each network: of the first the told ones, else the lowest that is free.

    They are its own until it is deleted.

    Raises:
        AddressTaken: a told one is in use. NoCapacity: a range is used up.

    """
    for nic, network in enumerate(networks):
        wanted = told_by_cidr(network, told) if nic == 0 else {}
        for cidr in network.ranges():
            _keep_reserved(db, network, cidr)
            if cidr in wanted:
                position = _take_told(db, network, cidr, wanted[cidr])
                address = str(wanted[cidr])
            else:
                position = _lowest_free(db, network, cidr)
                address = str(cidr[position])
            db.execute(
                "INSERT INTO addresses (network, cidr, position, family, address, server, nic) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (network.ref, str(cidr), position, cidr.version, address, server, nic),
            )


def observe_all(db: sqlite3.Connection, network: str) -> list[AddressObservation]:
    """Return every address in use on a network."""
    rows = db.execute(
        """
        SELECT address, family, server, NULL AS mac, '' AS owner FROM addresses
        WHERE network = ?1 AND address IS NOT NULL
        UNION ALL SELECT address, family, server, mac, owner FROM foreign_addresses WHERE network = ?1
        """,
        (network,),
    )
    seen = [
        AddressObservation(row["address"], network, server=row["server"], mac=row["mac"], owner=row["owner"])
        for row in rows
    ]
    return sorted(seen, key=lambda one: (":" in one.address, int(ip_address(one.address))))


def add_foreign(
    db: sqlite3.Connection, network: str, address: str, *, server: str | None, owner: str, mac: str | None
) -> None:
    """Let something that is not ours use an address; that an address of ours has a second user is possible, as in life."""
    given = ip_address(address)
    db.execute(
        "INSERT OR REPLACE INTO foreign_addresses (network, address, family, server, owner, mac) VALUES (?, ?, ?, ?, ?, ?)",
        (network, str(given), given.version, server, owner, mac),
    )


# Public addresses


def find_public(db: sqlite3.Connection, token: uuid.UUID) -> PublicAddressObservation | None:
    """Return the public address taken with a token."""
    row = db.execute("SELECT * FROM public_addresses WHERE token = ?", (str(token),)).fetchone()
    if row is None:
        return None
    return PublicAddressObservation(row["ref"], row["address"], uuid.UUID(row["token"]), server=row["server"])


def take_public(db: sqlite3.Connection, networks: Sequence[NetworkOptions], server: str, token: uuid.UUID) -> None:
    """Lead the lowest free address of the external networks to a server.

    Raises:
        NoCapacity: all are taken.

    """
    taken = {row["address"] for row in db.execute("SELECT address FROM public_addresses")}
    taken |= {row["address"] for row in db.execute("SELECT address FROM foreign_addresses")}
    for network in networks:
        for cidr in network.ranges():
            reserved = _reserved(network, cidr)
            most = min(cidr.num_addresses, len(taken) + len(reserved) + 1)
            free = (str(cidr[at]) for at in range(most) if at not in reserved and str(cidr[at]) not in taken)
            address = next(free, None)
            if address is not None:
                db.execute(
                    "INSERT INTO public_addresses (ref, token, network, address, server, created_at) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (str(new_id()), str(token), network.ref, address, server, clock.now().timestamp()),
                )
                return
    raise NoCapacity(N_("The cloud has no public address left."))


# Below: positions in a range


def _take_told(db: sqlite3.Connection, network: NetworkOptions, cidr: Cidr, address: IPv4Address | IPv6Address) -> int:
    is_taken = db.execute(
        "SELECT 1 FROM addresses WHERE network = ?1 AND address = ?2 "
        "UNION ALL SELECT 1 FROM foreign_addresses WHERE network = ?1 AND address = ?2",
        (network.ref, str(address)),
    ).fetchone()
    if is_taken:
        raise AddressTaken(N_("The address {address} is in use at the cloud."), address=str(address))
    position = _position(cidr, address)
    if position < _FAR:
        return position
    (lowest,) = db.execute(
        "SELECT min(0, coalesce(min(position), 0)) FROM addresses WHERE network = ? AND cidr = ?",
        (network.ref, str(cidr)),
    ).fetchone()
    return int(lowest) - 1


def _lowest_free(db: sqlite3.Connection, network: NetworkOptions, cidr: Cidr) -> int:
    foreign = {
        _position(cidr, address)
        for row in db.execute("SELECT address FROM foreign_addresses WHERE network = ?", (network.ref,))
        if (address := ip_address(row["address"])) in cidr
    }
    position = _gap(db, network, cidr, 0)
    while position in foreign:
        position += 1
        if db.execute(
            "SELECT 1 FROM addresses WHERE network = ? AND cidr = ? AND position = ?",
            (network.ref, str(cidr), position),
        ).fetchone():
            position = _gap(db, network, cidr, position)
    if position >= cidr.num_addresses:
        raise NoCapacity(N_("Network {network} has no free address left."), network=network.name)
    return position


def _gap(db: sqlite3.Connection, network: NetworkOptions, cidr: Cidr, at_least: int) -> int:
    """Return the first position behind a taken one, that is not taken itself."""
    (position,) = db.execute(
        """
        SELECT taken.position + 1 FROM addresses AS taken
        WHERE network = ?1 AND cidr = ?2 AND taken.position >= ?3 AND NOT EXISTS (
            SELECT 1 FROM addresses AS next
            WHERE next.network = ?1 AND next.cidr = ?2 AND next.position = taken.position + 1)
        ORDER BY taken.position LIMIT 1
        """,
        (network.ref, str(cidr), at_least),
    ).fetchone()
    return int(position)


def _keep_reserved(db: sqlite3.Connection, network: NetworkOptions, cidr: Cidr) -> None:
    """Keep out of servers' hands what is reserved, and what servers still hold from before the range was changed."""
    others = db.execute(
        "SELECT address FROM addresses WHERE network = ? AND family = ? AND cidr != ? AND address IS NOT NULL",
        (network.ref, cidr.version, str(cidr)),
    )
    held = (ip_address(row["address"]) for row in others)
    kept = _reserved(network, cidr) | {_position(cidr, address) for address in held if address in cidr}
    db.executemany(
        "INSERT OR IGNORE INTO addresses (network, cidr, position, family) VALUES (?, ?, ?, ?)",
        [(network.ref, str(cidr), position, cidr.version) for position in sorted(kept) if position < _FAR],
    )


def _reserved(network: NetworkOptions, cidr: Cidr) -> set[int]:
    """Positions of the network's own, broadcast and router addresses (RFC 4291 §2.6.1 for IPv6)."""
    if isinstance(cidr, IPv6Network):
        return {0, 1}
    reserved = {0, cidr.num_addresses - 1}
    if network.gateway_v4 is not None:
        reserved.add(_position(cidr, network.gateway_v4))
    return reserved


def _position(cidr: Cidr, address: IPv4Address | IPv6Address) -> int:
    return int(address) - int(cidr.network_address)
