"""Reading whose requests the parts of the ledger belong to."""

import uuid
from collections.abc import Mapping, Sequence

from sqlmodel import Session, col, select

from cloudmgr.models import ResourceRequest, Server, Snapshot, Volume


def requests_of_parts(
    session: Session, part_ids: Sequence[uuid.UUID]
) -> Mapping[uuid.UUID, tuple[uuid.UUID, str, str]]:
    """Return request id, number and the thing's name of those parts that are servers, volumes or snapshots."""
    found: dict[uuid.UUID, tuple[uuid.UUID, str, str]] = {}
    for thing in (Server, Volume, Snapshot):
        rows = session.exec(
            select(thing.id, ResourceRequest.id, ResourceRequest.number, thing.name)
            .join(ResourceRequest, col(ResourceRequest.id) == col(thing.request_id))
            .where(col(thing.id).in_(part_ids))
        )
        found |= {part: (request, number or "", name) for part, request, number, name in rows}
    return found
