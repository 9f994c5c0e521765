"""Beginning anew from an old request: a draft with its body, less what belongs to that one time only."""

import uuid
from typing import Any, get_args

from sqlmodel import Session

from cloudmgr.domain import clock, naming
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestKind
from cloudmgr.models import ResourceRequest
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import DraftRequest
from cloudmgr.store import servers

CLONABLE = frozenset(get_args(DraftRequest.model_fields["kind"].annotation))
"""Kinds that can be asked for anew: those that can be kept as a draft."""
_ONCE = frozenset({"emergency", "emergency_reason", "after"})
_ONCE_OF_A_LINE = frozenset({"ipv4", "ipv6", "addresses"})
_MOST_TRIES = 99
_MOST_LABEL = 63


def clone(session: Session, actor: Actor, request_id: uuid.UUID) -> ResourceRequest:
    """Make a draft of the actor's own from any request they may read; nothing is held.

    Left out are addresses, emergency, a lease that is past and, for who may not read them, the responsible person. A name
    that a live server has is followed by the next free number.

    Raises:
        NotFound: there is no such request for the actor. Forbidden: they may not ask for servers there.
        InvalidInput: its kind cannot be asked for, only recorded.
    """
    view = requests.get_request(session, actor, request_id)
    require(actor, Action.REQUEST_MAKE, view.organization.path, see=Action.REQUEST_READ)
    source = view.request
    if source.kind not in CLONABLE or source.project_id is None:
        raise InvalidInput(N_("A request of this kind cannot be cloned; make a new one."), field="kind")
    body = {key: value for key, value in source.body.items() if key in DraftRequest.model_fields and key not in _ONCE}
    if not actor.may(Action.PERSONAL_READ, view.organization.path):
        body.pop("owner", None)
    if str(body.get("lease_end") or "9999") <= clock.today().isoformat():
        body.pop("lease_end")
    if source.kind == RequestKind.CREATE:
        body["servers"] = [
            _line(session, source.project_id, line) for line in body.get("servers", []) if isinstance(line, dict)
        ]
    return requests.save_draft(session, actor, DraftRequest.model_validate(body))


def _line(session: Session, project_id: uuid.UUID, line: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in line.items() if key not in _ONCE_OF_A_LINE}
    name, count = kept.get("name"), kept.get("count", 1)
    if isinstance(name, str) and isinstance(count, int):
        kept["name"] = _free(session, project_id, name, count)
    return kept


def _free(session: Session, project_id: uuid.UUID, name: str, count: int) -> str:
    for number in range(1, _MOST_TRIES + 1):
        tried = name if number == 1 else f"{name[: _MOST_LABEL - 3]}-{number}"
        if not servers.taken_names(session, project_id, naming.numbered(tried, count)):
            return tried
    return name
