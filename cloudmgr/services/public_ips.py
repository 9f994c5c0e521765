"""Public addresses (公网IP): what they cost, and reading them."""

import uuid
from collections.abc import Sequence

from sqlmodel import Session

import quotas
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.openings import PublicIpPhase
from cloudmgr.models import PublicIp, Server
from cloudmgr.store import openings as store


def part_of(server: Server, address: PublicIp) -> quotas.Part:
    """Return an address's share of the quota, narrowed by where its server is."""
    dims = {"network_zone": server.network_zone, "environment": server.env}
    return quotas.Part(part_id=address.id, amounts=amounts_of(address), dims=dims)


def amounts_of(address: PublicIp) -> dict[str, int]:
    """Return what a public address costs in quota."""
    return {"public_ips": 1, "bandwidth_mbps": address.bandwidth_mbps}


def list_public_ips(
    session: Session,
    actor: Actor,
    *,
    server_id: uuid.UUID | None = None,
    phases: Sequence[PublicIpPhase] = (),
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[store.PublicIpRow], uuid.UUID | None]:
    """Return the public addresses of the servers the actor may read, the newest first."""
    require(actor, Action.SERVER_READ)
    return store.ip_page(
        session, paths=actor.scope(Action.SERVER_READ), server_id=server_id, phases=phases, limit=limit, cursor=cursor
    )
