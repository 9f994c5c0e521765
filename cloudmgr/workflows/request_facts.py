"""What the fulfilment of a request writes at its beginning and its end."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestKind, RequestPhase, ServerPhase, require_request_move
from cloudmgr.models import Organization, ResourceRequest
from cloudmgr.services import audit, change_freezes, request_notices
from cloudmgr.store import requests, servers
from cloudmgr.workflows import openings, public_ips, quota_changes, server_changes, snapshot_facts, volume_facts
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.work import Tally, Work, item

_LOOKS = 10_000
"""Added to the number of a look, so that what it tells is never taken for what an attempt told."""
_TOLD = {
    RequestPhase.FULFILLED: N_("Done: everything asked for is there."),
    RequestPhase.PARTLY_FULFILLED: N_(
        "Partly done: {good} of {all} servers; the rest has failed and can be tried again."
    ),
    RequestPhase.FAILED: N_("Failed: none of the {all} servers could be finished; see why above, then try again."),
}


def begin(session: Session, request_id: str) -> dict[str, Any]:
    """Move the request to `fulfilling` and return what is to be done for it; nothing yet while a change freeze holds."""
    request = _load(session, request_id)
    if request.phase in (RequestPhase.APPROVED, RequestPhase.FULFILLING) and change_freezes.hold_if_frozen(
        session, request
    ):
        return {"kind": request.kind, "items": [], "held": request.phase}
    if request.phase == RequestPhase.APPROVED:
        _move(session, request, RequestPhase.FULFILLING)
        requests.tell(
            session, request.id, kind="phase", message=Message(N_("Work has begun.")), dedupe=f"begun:{request.attempt}"
        )
    return {"kind": request.kind, "items": _WORK[request.kind].items(session, request)}


def _to_build(session: Session, request: ResourceRequest) -> list[dict[str, Any]]:
    return [
        item("provision_server", f"{server.id}:{server.attempt}", str(server.id), server.attempt)
        for server in servers.plain_of_request(session, request)
        if server.phase == ServerPhase.REQUESTED
    ]


def _built(session: Session, request: ResourceRequest) -> Tally:
    asked = servers.plain_of_request(session, request)
    return Tally(
        good=sum(server.phase == ServerPhase.ACTIVE for server in asked),
        all=len(asked),
        is_begun=any(server.built_at and server.failed_step == "configure" for server in asked),
    )


def _to_retire(session: Session, request: ResourceRequest) -> list[dict[str, Any]]:
    return [
        item("retire_server", f"{server.id}:{request.attempt}", str(server.id), request.attempt)
        for server in servers.plain_of_request(session, request)
        if server.phase != ServerPhase.RETIRED
    ]


def _retired(session: Session, request: ResourceRequest) -> Tally:
    asked = servers.plain_of_request(session, request)
    phases = [server.phase for server in asked]
    return Tally(
        good=phases.count(ServerPhase.RETIRED), all=len(asked), waiting=phases.count(ServerPhase.RETIRING.value)
    )


_WORK: Mapping[str, Work] = {
    RequestKind.CREATE: Work(_to_build, _built),
    RequestKind.RETIRE: Work(_to_retire, _retired),
    RequestKind.RESIZE: Work(server_changes.items, server_changes.tally),
    RequestKind.RENEW: Work(server_changes.items, server_changes.tally),
    RequestKind.FREEZE: Work(server_changes.items, server_changes.tally),
    RequestKind.UNFREEZE: Work(server_changes.items, server_changes.tally),
    RequestKind.PORTS: Work(openings.items, openings.tally),
    RequestKind.PUBLIC_IP: Work(public_ips.items, public_ips.tally),
    RequestKind.VOLUME: Work(volume_facts.items, volume_facts.tally),
    RequestKind.SNAPSHOT: Work(snapshot_facts.items, snapshot_facts.tally),
    RequestKind.QUOTA_CHANGE: Work(lambda *_: [], quota_changes.tally),
}


def finish(session: Session, request_id: str, attempt: int) -> str:
    """Settle the request's phase by what became of what it asked for; one of which something waits stays under way."""
    request = _load(session, request_id)
    tally = _WORK[request.kind].tally(session, request)
    if tally.waiting:
        message = Message(
            N_("{good} of {all} are done; {waiting} wait, see why above, and go on by themselves."),
            {"good": tally.good, "all": tally.all, "waiting": tally.waiting},
        )
        requests.tell(session, request.id, kind="phase", message=message, dedupe=f"waiting:{attempt}")
        return request.phase
    if tally.good == tally.all:
        phase = RequestPhase.FULFILLED
    elif tally.good or tally.is_begun:
        phase = RequestPhase.PARTLY_FULFILLED
    else:
        phase = RequestPhase.FAILED
    if request.phase == RequestPhase.FULFILLING:
        _move(session, request, phase)
        request.finished_at = clock.now()
        message = Message(_TOLD[phase], {"good": tally.good, "all": tally.all})
        requests.tell(session, request.id, kind="phase", message=message, dedupe=f"finished:{attempt}")
        organization = session.get_one(Organization, request.organization_id)
        request_notices.finished(session, request, organization, good=tally.good, all_=tally.all, attempt=attempt)
        audit.record(
            session,
            SYSTEM,
            Event.REQUEST_FULFIL,
            object_type="request",
            object_id=request.id,
            object_name=request.number or "",
            organization_path=organization.path,
            outcome=Outcome.SUCCESS if phase is RequestPhase.FULFILLED else Outcome.FAILURE,
            reason="" if phase is RequestPhase.FULFILLED else phase.value,
            good=tally.good,
            all=tally.all,
        )
    return request.phase


def settle_retired(session: Session, server_id: str, check: int) -> None:
    """Settle the request of a server that waited and is gone now; others of it may still wait."""
    server = servers.get(session, uuid.UUID(server_id))
    if server is not None and server.retire_request_id is not None:
        request = _load(session, str(server.retire_request_id))
        if request.phase == RequestPhase.FULFILLING and not _WORK[request.kind].tally(session, request).waiting:
            finish(session, str(request.id), check + _LOOKS)


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
