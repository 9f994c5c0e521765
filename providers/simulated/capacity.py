"""Room on simulated hosts and in simulated networks: exact, never more than there is.

Placement takes the host with the fewest servers of the same spread group, then the emptiest one. Spread is best effort:
where every host with room has one of the group already, the server is built beside it rather than refused.
"""

import sqlite3
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from cloudmgr.domain.messages import N_
from providers.errors import NoCapacity
from providers.simulated.options import HostOptions, NetworkOptions, ZoneOptions


def choose_host(
    db: sqlite3.Connection,
    zone: ZoneOptions,
    *,
    vcpus: int,
    memory_mib: int,
    disk_gib: int,
    spread_group: str | None = None,
    moving: str | None = None,
) -> str:
    """Return the name of a host with room; `moving` is the ref of a server whose own share does not count.

    A moving server stays where it is when it fits there.

    Raises:
        NoCapacity: no host of the zone has room, or the zone is closed.

    """
    if db.execute("SELECT 1 FROM closed_zones WHERE zone = ?", (zone.ref,)).fetchone():
        raise NoCapacity(N_("Zone {zone} takes no servers at present."), zone=zone.name)
    loads = _loads(db, zone.ref, spread_group, moving)
    current = _host_of(db, moving)
    best: tuple[tuple[bool, int, float, str], str] | None = None
    for kind in zone.hosts:
        sellable = _sellable_vcpus(kind, zone.cpu_overcommit)
        for name in kind.names():
            used_vcpus, used_memory_mib, used_disk_gib, of_group = loads.get(name, (0, 0, 0, 0))
            fits = (
                used_vcpus + vcpus <= sellable
                and used_memory_mib + memory_mib <= kind.memory_mib
                and used_disk_gib + disk_gib <= kind.disk_gib
            )
            fullness = max(used_vcpus / sellable, used_memory_mib / kind.memory_mib)
            rank = (name != current, of_group, fullness, name)
            if fits and (best is None or rank < best[0]):
                best = rank, name
    if best is None:
        raise NoCapacity(
            N_("No host of zone {zone} has {vcpus} vCPUs, {memory_mib} MiB of memory and {disk_gib} GiB of disk free."),
            zone=zone.name,
            vcpus=vcpus,
            memory_mib=memory_mib,
            disk_gib=disk_gib,
        )
    return best[1]


def hand_out_addresses(db: sqlite3.Connection, networks: Sequence[NetworkOptions], server: str) -> None:
    """Give a server the lowest free address of each range of each network; they are its own until it is deleted.

    Raises:
        NoCapacity: a range is used up.

    """
    for nic, network in enumerate(networks):
        for cidr in (network.cidr_v4, network.cidr_v6):
            if cidr is not None:
                _hand_out(db, network, cidr, server, nic)


def _hand_out(
    db: sqlite3.Connection, network: NetworkOptions, cidr: IPv4Network | IPv6Network, server: str, nic: int
) -> None:
    _reserve(db, network, cidr)
    position = db.execute(
        """
        SELECT taken.position + 1 FROM addresses AS taken
        WHERE network = ?1 AND cidr = ?2 AND NOT EXISTS (
            SELECT 1 FROM addresses AS next
            WHERE next.network = ?1 AND next.cidr = ?2 AND next.position = taken.position + 1)
        ORDER BY taken.position LIMIT 1
        """,
        (network.ref, str(cidr)),
    ).fetchone()[0]
    if position >= cidr.num_addresses:
        raise NoCapacity(N_("Network {network} has no free address left."), network=network.name)
    db.execute(
        "INSERT INTO addresses (network, cidr, position, family, address, server, nic) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (network.ref, str(cidr), position, cidr.version, str(cidr[position]), server, nic),
    )


def _reserve(db: sqlite3.Connection, network: NetworkOptions, cidr: IPv4Network | IPv6Network) -> None:
    """Keep out of servers' hands the network's own, broadcast and router addresses (RFC 4291 §2.6.1 for IPv6).

    So too what servers still hold from before the range was changed in the settings.
    """
    reserved = {0}
    if isinstance(cidr, IPv4Network):
        reserved.add(cidr.num_addresses - 1)
        if network.gateway_v4 is not None:
            reserved.add(int(network.gateway_v4) - int(cidr.network_address))
    else:
        reserved.add(1)
    others = db.execute(
        "SELECT address FROM addresses WHERE network = ? AND family = ? AND cidr != ? AND address IS NOT NULL",
        (network.ref, cidr.version, str(cidr)),
    )
    held = (ip_address(row["address"]) for row in others)
    reserved |= {int(address) - int(cidr.network_address) for address in held if address in cidr}
    db.executemany(
        "INSERT OR IGNORE INTO addresses (network, cidr, position, family) VALUES (?, ?, ?, ?)",
        [(network.ref, str(cidr), position, cidr.version) for position in sorted(reserved)],
    )


def _loads(
    db: sqlite3.Connection, zone: str, spread_group: str | None, moving: str | None
) -> dict[str, tuple[int, int, int, int]]:
    rows = db.execute(
        """
        SELECT host, total(vcpus), total(memory_mib), total(system_disk_gib) + total(data_disk_gib),
               total(spread_group IS NOT NULL AND spread_group = ?)
        FROM servers WHERE zone = ? AND host IS NOT NULL AND ref IS NOT ? GROUP BY host
        """,
        (spread_group, zone, moving),
    )
    return {host: (int(vcpus), int(memory), int(disk), int(group)) for host, vcpus, memory, disk, group in rows}


def _host_of(db: sqlite3.Connection, ref: str | None) -> str | None:
    row = db.execute("SELECT host FROM servers WHERE ref = ?", (ref,)).fetchone()
    return None if row is None else row["host"]


def _sellable_vcpus(host: HostOptions, overcommit: float) -> int:
    return int(host.vcpus * overcommit)
