"""What a server costs: its share of a reservation, from its row."""

from sqlmodel import Session

import quotas
from cloudmgr.models import Backend, Server
from cloudmgr.store import placement


def part_of(session: Session, server: Server) -> quotas.Part:
    """Return a built or planned server's share of the quota, with what its request fixed."""
    dims = {"arch": server.arch, "network_zone": server.network_zone, "environment": server.env}
    top = None
    if server.wanted_backend_id is not None:
        backend = session.get_one(Backend, server.wanted_backend_id)
        dims["backend"] = backend.name
        top = placement.top_account(session, backend, server.organization_id)
    return quotas.Part(part_id=server.id, amounts=amounts_of(server), dims=dims, top=top)


def amounts_of(server: Server) -> dict[str, int]:
    """Return what a server costs in quota."""
    return {
        "servers": 1,
        "vcpus": server.vcpus,
        "memory_mib": server.memory_mib,
        "disk_gib": server.system_disk_gib + server.data_disk_gib,
        "ip_addresses": 1,
        "volumes": 1 if server.data_disk_gib else 0,
    }
