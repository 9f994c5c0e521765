"""A simulated cloud's own quota: limits of the account we use, which may bind before ours."""

import sqlite3
from collections.abc import Mapping

from cloudmgr.domain.messages import N_
from providers.base import CloudQuotaObservation
from providers.errors import NoCapacity

RESOURCES = ("servers", "vcpus", "memory_mib", "disk_gib", "volumes", "public_ips")


def used(db: sqlite3.Connection) -> dict[str, int]:
    """Return what everybody uses of each resource, foreign servers too."""
    row = db.execute(
        """
        SELECT count(*) AS servers, total(vcpus) AS vcpus, total(memory_mib) AS memory_mib,
               total(system_disk_gib) + total(data_disk_gib) + (SELECT total(size_gib) FROM volumes) AS disk_gib,
               (SELECT count(*) FROM volumes) AS volumes, (SELECT count(*) FROM public_addresses) AS public_ips
        FROM servers
        """
    ).fetchone()
    return {resource: int(row[resource]) for resource in RESOURCES}


def observe(db: sqlite3.Connection, limits: Mapping[str, int]) -> list[CloudQuotaObservation]:
    """Return use and limit of every resource."""
    return [CloudQuotaObservation(resource, count, limits.get(resource)) for resource, count in used(db).items()]


def refuse_beyond(db: sqlite3.Connection, limits: Mapping[str, int] | None, **asked: int) -> None:
    """See to it that what is asked for stays within the limits.

    Raises:
        NoCapacity: it does not.

    """
    if not limits:
        return
    now = used(db)
    for resource, count in asked.items():
        limit = limits.get(resource)
        if limit is not None and now[resource] + count > limit:
            raise NoCapacity(
                N_("The cloud's own quota of {resource} is {limit}; {used} are used and {asked} were asked for."),
                resource=resource,
                limit=limit,
                used=now[resource],
                asked=count,
            )
