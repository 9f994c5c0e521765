"""Requests that wait for their quota: kept as drafts, and submitted by themselves when the quota change is granted."""

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.labels import REQUEST_PHASES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import NoticeEvent
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import Organization, ResourceRequest
from cloudmgr.services.notices import notify
from cloudmgr.services.request_notices import about
from cloudmgr.store import quota_changes, requests

OPEN_PHASES = frozenset(
    {
        RequestPhase.SUBMITTED,
        RequestPhase.IN_REVIEW,
        RequestPhase.RETURNED,
        RequestPhase.APPROVED,
        RequestPhase.FULFILLING,
    }
)
"""Phases of a quota change that may still be granted."""


def told_waiting(session: Session, request: ResourceRequest, change: ResourceRequest) -> None:
    """Tell on a draft what it waits for."""
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(
            N_("Waits for the quota change {number} and is submitted by itself when it is granted."),
            {"number": change.number or ""},
        ),
        dedupe=f"waits:{change.id}",
    )


def told_of_end(session: Session, change: ResourceRequest, phase: RequestPhase) -> None:
    """Tell the drafts that wait for a quota change that it was not granted; only a returned one is still waited for."""
    for draft_id in quota_changes.waiting_for(session, change.id):
        draft = requests.get(session, draft_id, lock=True)
        if draft is None or draft.after_id != change.id or draft.phase != RequestPhase.DRAFT:
            continue
        message = Message(
            N_("The quota change {number} that this request waits for is {phase}."),
            {"number": change.number or "", "phase": word(REQUEST_PHASES, phase.value)},
        )
        _tell(session, draft, message, f"waited:{change.id}:{change.submission}:{phase.value}", kind="warning")
        if phase not in OPEN_PHASES:
            stop_waiting(session, draft)


def refused(session: Session, draft: ResourceRequest, refusal: Refusal) -> None:
    """Keep why a draft could not be submitted by itself; it stays a draft, and its owner decides what becomes of it."""
    draft.refusal = {"code": refusal.code, "message": refusal.message.as_json()}
    message = Message(N_("It could not be submitted by itself: {reason}"), {"reason": refusal.message})
    _tell(session, draft, message, f"not_submitted:{draft.after_id}", kind="warning")
    stop_waiting(session, draft)


def submitted(session: Session, request: ResourceRequest, change: ResourceRequest) -> None:
    """Tell that a request that waited was submitted, for its quota is granted."""
    message = Message(
        N_("Submitted by itself, for the quota change {number} was granted."), {"number": change.number or ""}
    )
    _tell(session, request, message, f"self_submitted:{change.id}", kind="phase")


def stop_waiting(session: Session, draft: ResourceRequest) -> None:
    """Make a draft an ordinary one again."""
    draft.after_id = None
    draft.updated_at = clock.now()
    requests.add(session, draft)


def _tell(session: Session, request: ResourceRequest, message: Message, dedupe: str, *, kind: str) -> None:
    """Tell it on the request and to its owner, once."""
    requests.tell(session, request.id, kind=kind, message=message, dedupe=dedupe)
    notify(
        session,
        NoticeEvent.REQUEST_WAITING,
        message,
        to=[request.requester_id],
        about=about(request),
        dedupe=f"{request.id}:{dedupe}",
        organization_path=session.get_one(Organization, request.organization_id).path,
    )
