"""What offers are made of: projects somebody may ask for, leases that end, and smaller flavors. Reads only."""

from collections.abc import Iterator, Mapping, Sequence

from sqlmodel import Session, col, select

from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Backend, Flavor, Organization, Project, Server, Zone
from cloudmgr.store import paging

_COUNTED = (ServerPhase.ACTIVE, ServerPhase.SUSPENDED)
_PROJECTS = 50


def projects_of(session: Session, paths: Sequence[str]) -> list[tuple[Project, Organization]]:
    """Return active projects of the subtrees at `paths`, by name."""
    rows = session.exec(
        select(Project, Organization)
        .join(Organization, col(Project.organization_id) == col(Organization.id))
        .where(paging.below(Organization.path, paths), col(Project.is_active))
        .order_by(col(Project.name))
        .limit(_PROJECTS)
    )
    return [(project, organization) for project, organization in rows]


def ending(
    session: Session, paths: Sequence[str], *, limit: int
) -> Iterator[tuple[Server, str, Mapping[str, str], Mapping[str, int]]]:
    """Yield servers of the subtrees whose lease ends, soonest first, with their organization's path, dimensions, amounts."""
    rows = session.exec(
        select(Server, Organization.path, Backend, Zone)
        .join(Organization, col(Server.organization_id) == col(Organization.id))
        .outerjoin(Backend, col(Server.backend_id) == col(Backend.id))
        .outerjoin(Zone, col(Server.zone_id) == col(Zone.id))
        .where(
            paging.below(Organization.path, paths),
            col(Server.phase).in_(_COUNTED),
            col(Server.counts_quota),
            col(Server.lease_end).is_not(None),
            col(Server.lease_long_term).is_(False),
        )
        .order_by(col(Server.lease_end), col(Server.name))
        .limit(limit)
    )
    for server, path, backend, zone in rows:
        dims = {"arch": server.arch, "network_zone": server.network_zone, "environment": server.env}
        if backend is not None:
            dims |= {"backend": backend.name, "tier": backend.tier}
        if zone is not None:
            dims |= {"cpu_family": zone.cpu_family, "is_xinchuang": "true" if zone.is_xinchuang else "false"}
        amounts = {
            "servers": 1,
            "vcpus": server.vcpus,
            "memory_mib": server.memory_mib,
            "disk_gib": server.system_disk_gib + server.data_disk_gib,
            "ip_addresses": 1,
        }
        yield server, path, dims, amounts


def smaller_flavors(session: Session, than: Flavor) -> list[Flavor]:
    """Return active flavors with fewer processors and no more memory, the largest first."""
    return list(
        session.exec(
            select(Flavor)
            .where(Flavor.vcpus < than.vcpus, Flavor.memory_mib <= than.memory_mib, col(Flavor.is_active))
            .order_by(col(Flavor.vcpus).desc(), col(Flavor.memory_mib).desc())
            .limit(10)
        )
    )
