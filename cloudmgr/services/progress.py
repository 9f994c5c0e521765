"""Progress of requests for those who watch: what is new since they looked last."""

import uuid
from collections.abc import Mapping

from sqlmodel import Session

from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import RequestEvent
from cloudmgr.store import requests

OVERLAP = 100
"""Ids are given before the commit, so on PostgreSQL a lower one may become visible later: this many are read again."""

_RESTING = frozenset(
    {
        RequestPhase.FULFILLED,
        RequestPhase.PARTLY_FULFILLED,
        RequestPhase.FAILED,
        RequestPhase.REJECTED,
        RequestPhase.WITHDRAWN,
    }
)


def since(session: Session, wanted: Mapping[uuid.UUID, int]) -> dict[uuid.UUID, tuple[list[RequestEvent], bool]]:
    """Return, for each request, the events from a little before the given id on, and whether it has come to rest."""
    found = {}
    for request_id, last in wanted.items():
        request = requests.get(session, request_id)
        is_over = request is None or RequestPhase(request.phase) in _RESTING
        found[request_id] = (requests.events(session, request_id, after=max(last - OVERLAP, 0)), is_over)
    return found
