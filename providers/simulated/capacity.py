"""Room on simulated hosts: exact, never more than there is.

Placement takes the host with the fewest servers of the same spread group, then the emptiest one. Spread is best effort:
where every host with room has one of the group already, the server is built beside it rather than refused.
"""

import sqlite3

from cloudmgr.domain.messages import N_
from providers.errors import NoCapacity
from providers.simulated.options import HostOptions, ZoneOptions


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
    if moving is None:
        refuse_full_store(db, zone, disk_gib)
    return best[1]


def refuse_full_store(db: sqlite3.Connection, zone: ZoneOptions, disk_gib: int) -> None:
    """See to it that the disks of a zone's servers and its volumes fit on its hosts together.

    Raises:
        NoCapacity: they would not.

    """
    (of_servers,) = db.execute(
        "SELECT total(system_disk_gib) + total(data_disk_gib) FROM servers WHERE zone = ? AND host IS NOT NULL",
        (zone.ref,),
    ).fetchone()
    (of_volumes,) = db.execute("SELECT total(size_gib) FROM volumes WHERE zone = ?", (zone.ref,)).fetchone()
    free_gib = sum(host.disk_gib * host.count for host in zone.hosts) - int(of_servers) - int(of_volumes)
    if disk_gib > free_gib:
        raise NoCapacity(
            N_("Zone {zone} has {free_gib} GiB of disk free; {asked_gib} GiB were asked for."),
            zone=zone.name,
            free_gib=max(0, free_gib),
            asked_gib=disk_gib,
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
