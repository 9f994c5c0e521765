"""Public addresses (公网IP): what they cost, and reading them."""

import uuid
from collections.abc import Sequence

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
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


def settle(session: Session, address: PublicIp, phase: PublicIpPhase) -> None:
    """End an address that is not, or no longer, at its backend: its quota is given back; again it changes nothing."""
    if address.phase in (PublicIpPhase.RELEASED, PublicIpPhase.FAILED):
        return
    reservation = quotas.get_reservation(session, address.reservation_id)
    held = next((part.state for part in reservation.parts if part.part_id == address.id), None)
    if held is quotas.PartState.POSTED:
        quotas.release(session, reservation_id=address.reservation_id, part_id=address.id)
    elif held is quotas.PartState.PENDING:
        quotas.void(session, reservation_id=address.reservation_id, part_id=address.id)
    address.phase = phase.value
    address.released_at = clock.now()
    session.add(address)
    session.flush()


def end_with_server(session: Session, server_id: uuid.UUID) -> None:
    """Settle what a server had; the backend has given it back before."""
    for address in store.ips_of_server(session, server_id):
        settle(session, address, PublicIpPhase.RELEASED)


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
