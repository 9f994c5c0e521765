"""What the fulfilment of a request writes at its beginning and its end."""

import uuid
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestPhase, ServerPhase, require_request_move
from cloudmgr.models import Organization, ResourceRequest
from cloudmgr.services import audit
from cloudmgr.store import requests, servers
from cloudmgr.workflows.facts import SYSTEM

_TOLD = {
    RequestPhase.FULFILLED: N_("Done: everything asked for is there."),
    RequestPhase.PARTLY_FULFILLED: N_(
        "Partly done: {good} of {all} servers; the rest has failed and can be tried again."
    ),
    RequestPhase.FAILED: N_("Failed: none of the {all} servers could be finished; see why above, then try again."),
}


def begin(session: Session, request_id: str) -> dict[str, Any]:
    """Move the request to `fulfilling` and return the servers to work on."""
    request = _load(session, request_id)
    if request.phase == RequestPhase.APPROVED:
        _move(session, request, RequestPhase.FULFILLING)
        requests.tell(
            session, request.id, kind="phase", message=Message(N_("Work has begun.")), dedupe=f"begun:{request.attempt}"
        )
    wanted = (ServerPhase.REQUESTED,) if request.kind == "create" else tuple(set(ServerPhase) - {ServerPhase.RETIRED})
    return {
        "kind": request.kind,
        "servers": [
            {"id": str(server.id), "attempt": server.attempt if request.kind == "create" else request.attempt}
            for server in servers.plain_of_request(session, request)
            if server.phase in wanted
        ],
    }


def finish(session: Session, request_id: str, attempt: int) -> str:
    """Settle the request's phase by what became of its servers."""
    request = _load(session, request_id)
    all_servers = servers.plain_of_request(session, request)
    good_phase = ServerPhase.ACTIVE if request.kind == "create" else ServerPhase.RETIRED
    good = sum(server.phase == good_phase for server in all_servers)
    if good == len(all_servers):
        phase = RequestPhase.FULFILLED
    elif good or (
        request.kind == "create"
        and any(server.built_at and server.failed_step == "configure" for server in all_servers)
    ):
        phase = RequestPhase.PARTLY_FULFILLED
    else:
        phase = RequestPhase.FAILED
    if request.phase == RequestPhase.FULFILLING:
        _move(session, request, phase)
        request.finished_at = clock.now()
        message = Message(_TOLD[phase], {"good": good, "all": len(all_servers)})
        requests.tell(session, request.id, kind="phase", message=message, dedupe=f"finished:{attempt}")
        audit.record(
            session,
            SYSTEM,
            Event.REQUEST_FULFIL,
            object_type="request",
            object_id=request.id,
            object_name=request.number or "",
            organization_path=session.get_one(Organization, request.organization_id).path,
            outcome=Outcome.SUCCESS if phase is RequestPhase.FULFILLED else Outcome.FAILURE,
            reason="" if phase is RequestPhase.FULFILLED else phase.value,
            good=good,
            all=len(all_servers),
        )
    return request.phase


def _load(session: Session, request_id: str) -> ResourceRequest:
    request = requests.get(session, uuid.UUID(request_id), lock=True)
    if request is None:
        raise LookupError(f"request {request_id} is gone from the database")
    return request


def _move(session: Session, request: ResourceRequest, phase: RequestPhase) -> None:
    require_request_move(RequestPhase(request.phase), phase)
    request.phase = phase.value
    request.updated_at = clock.now()
    requests.add(session, request)
