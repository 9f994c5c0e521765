"""Volumes 云硬盘: what they cost, what is left to do for a request, and reading them. Asking for them is a request."""

import uuid
from collections.abc import Sequence

from sqlmodel import Session

import quotas
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import Hidden, NotFound
from cloudmgr.domain.messages import N_
from cloudmgr.domain.volumes import VolumePhase
from cloudmgr.models import Backend, ResourceRequest, Server, Volume, Zone
from cloudmgr.store import placement
from cloudmgr.store import volumes as store

VolumeRow = store.VolumeRow
Deed = tuple[str, uuid.UUID, tuple[str, ...]]
"""A workflow's name, the volume or snapshot it is about, and what else it is told."""

_MAKING = (VolumePhase.REQUESTED, VolumePhase.CREATING)


def amounts_of(volume: Volume) -> dict[str, int]:
    """Return what a volume costs in quota."""
    return {"volumes": 1, "disk_gib": volume.size_gib}


def part_of(session: Session, volume: Volume) -> quotas.Part:
    """Return a volume's share of the quota; where it lies is known when it is asked for."""
    server = session.get(Server, volume.server_id) if volume.server_id else None
    backend = session.get_one(Backend, volume.backend_id)
    dims = {"backend": backend.name, "tier": backend.tier}
    zone = session.get(Zone, volume.zone_id) if volume.zone_id else None
    if zone is not None:
        dims |= {"arch": zone.arch, "cpu_family": zone.cpu_family}
        dims["is_xinchuang"] = "true" if zone.is_xinchuang else "false"
    if server is not None:
        dims |= {"network_zone": server.network_zone, "environment": server.env}
    top = placement.top_account(session, backend, volume.organization_id)
    return quotas.Part(part_id=volume.id, amounts=amounts_of(volume), dims=dims, top=top)


def settle(session: Session, reservation_id: uuid.UUID, part_id: uuid.UUID) -> None:
    """Give back what a volume or snapshot holds, be it reserved or used; again it changes nothing."""
    reservation = quotas.get_reservation(session, reservation_id)
    held = next((part.state for part in reservation.parts if part.part_id == part_id), None)
    if held is quotas.PartState.POSTED:
        quotas.release(session, reservation_id=reservation_id, part_id=part_id)
    elif held is quotas.PartState.PENDING:
        quotas.void(session, reservation_id=reservation_id, part_id=part_id)


def deeds(session: Session, request: ResourceRequest) -> tuple[list[Deed], int]:
    """Return what is left to do for a request, and how many things it asks for; what has failed for good is not left."""
    left: list[Deed] = []
    made = store.of_request(session, request.id)
    for volume in made:
        if volume.phase in _MAKING:
            left.append(("make_volume", volume.id, ()))
        elif volume.server_id is not None and volume.phase in (VolumePhase.AVAILABLE, VolumePhase.ATTACHING):
            left.append(("attach_volume", volume.id, (str(volume.server_id),)))
    body = request.body
    for line in body.get("attach", ()):
        found = store.get(session, uuid.UUID(line["volume"]))
        if found is None or found.phase != VolumePhase.ATTACHED or str(found.server_id) != line["server"]:
            left.append(("attach_volume", uuid.UUID(line["volume"]), (line["server"],)))
    for text in body.get("detach", ()):
        found = store.get(session, uuid.UUID(text))
        if found is not None and found.phase in (VolumePhase.ATTACHED, VolumePhase.DETACHING):
            left.append(("detach_volume", found.id, ()))
    for text in body.get("delete", ()):
        found = store.get(session, uuid.UUID(text))
        if found is not None and found.phase != VolumePhase.DELETED:
            left.append(("delete_volume", found.id, ()))
    return left, len(made) + sum(len(body.get(name, ())) for name in ("attach", "detach", "delete"))


def list_volumes(
    session: Session,
    actor: Actor,
    *,
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    server_id: uuid.UUID | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[VolumeRow], uuid.UUID | None]:
    """Return the volumes the actor may read, newest first; without phases, those that are not deleted."""
    require(actor, Action.SERVER_READ)
    return store.page(
        session,
        paths=actor.scope(Action.SERVER_READ),
        phases=phases,
        project_id=project_id,
        server_id=server_id,
        limit=limit,
        cursor=cursor,
    )


def get_volume(session: Session, actor: Actor, volume_id: uuid.UUID) -> VolumeRow:
    """Return one volume with what its page names.

    Raises:
        NotFound: there is none, or it is not the actor's to see.
    """
    row = store.wide(session, volume_id)
    if row is None:
        raise NotFound(N_("There is no such object."))
    if not actor.may(Action.SERVER_READ, row[2].path):
        raise Hidden(N_("There is no such object."), detail=f"{actor.username} may not read {volume_id}")
    return row
