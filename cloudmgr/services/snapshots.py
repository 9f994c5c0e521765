"""Snapshots 快照: what they cost, what is left to do for a request, and reading them. Asking for them is a request."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

import quotas
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.volumes import SnapshotPhase
from cloudmgr.models import Backend, ResourceRequest, Server, Snapshot
from cloudmgr.services.volumes import Deed, settle
from cloudmgr.store import placement
from cloudmgr.store import volumes as store

SnapshotRow = store.SnapshotRow

AMOUNTS = {"snapshots": 1}
"""What a snapshot costs in quota: clouds do not tell beforehand how much disk it will take."""


def part_of(session: Session, server: Server, snapshot_id: uuid.UUID) -> quotas.Part:
    """Return a snapshot's share of the quota; it is counted where its server is."""
    dims = {"arch": server.arch, "network_zone": server.network_zone, "environment": server.env}
    top = None
    if server.backend_id is not None:
        backend = session.get_one(Backend, server.backend_id)
        dims |= {"backend": backend.name, "tier": backend.tier}
        top = placement.top_account(session, backend, server.organization_id)
    return quotas.Part(part_id=snapshot_id, amounts=AMOUNTS, dims=dims, top=top)


def end_with_server(session: Session, server_id: uuid.UUID, now: datetime) -> None:
    """Settle the snapshots of a server that is gone with all it had: they are gone with it."""
    for snapshot in store.snapshots_of_server(session, server_id):
        if snapshot.phase != SnapshotPhase.FAILED:
            settle(session, snapshot.reservation_id, snapshot.id)
            snapshot.phase, snapshot.deleted_at = SnapshotPhase.DELETED.value, now
            session.add(snapshot)
    session.flush()


def deeds(session: Session, request: ResourceRequest) -> tuple[list[Deed], int]:
    """Return what is left to do for a request, and how many things it asks for; what has failed for good is not left."""
    making = (SnapshotPhase.REQUESTED, SnapshotPhase.CREATING)
    made = store.snapshots_of_request(session, request.id)
    left: list[Deed] = [("take_snapshot", row.id, ()) for row in made if row.phase in making]
    body = request.body
    for line in body.get("revert", ()):
        found = store.get_snapshot(session, uuid.UUID(line["snapshot"]))
        if found is not None and not is_reverted(request, found):
            left.append(("revert_snapshot", found.id, (str(request.id),)))
    for text in body.get("delete", ()):
        found = store.get_snapshot(session, uuid.UUID(text))
        if found is not None and found.phase != SnapshotPhase.DELETED:
            left.append(("delete_snapshot", found.id, ()))
    return left, len(made) + sum(len(body.get(name, ())) for name in ("revert", "delete"))


def is_reverted(request: ResourceRequest, snapshot: Snapshot) -> bool:
    """Whether a server was brought back to a snapshot for this request."""
    since = request.decided_at
    return snapshot.reverted_at is not None and since is not None and snapshot.reverted_at >= since


def list_snapshots(
    session: Session,
    actor: Actor,
    *,
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    server_id: uuid.UUID | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[SnapshotRow], uuid.UUID | None]:
    """Return the snapshots the actor may read, newest first; without phases, those that are not deleted."""
    require(actor, Action.SERVER_READ)
    return store.page_snapshots(
        session,
        paths=actor.scope(Action.SERVER_READ),
        phases=phases,
        project_id=project_id,
        server_id=server_id,
        limit=limit,
        cursor=cursor,
    )
