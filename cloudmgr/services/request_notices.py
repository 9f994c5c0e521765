"""Who is told what of a request on its way: deciders of what waits, its maker of what became of it. One INSERT each."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlmodel import Session

from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import ApprovalSeat, ApprovalStage, Organization, ResourceRequest
from cloudmgr.services.notices import notify
from cloudmgr.store import approvals, requests

_MOST_PURPOSE = 200
_ENDS = {
    RequestPhase.RETURNED: (NoticeEvent.REQUEST_RETURNED, N_("{number} was returned by {person}: {comment}")),
    RequestPhase.REJECTED: (NoticeEvent.REQUEST_REJECTED, N_("{number} was rejected by {person}: {comment}")),
}


def about(request: ResourceRequest) -> About:
    """Return what a notice of a request is about."""
    return About("request", str(request.id), request.number or "", f"/requests/{request.id}")


def seats_of(seats: Iterable[ApprovalSeat]) -> list[Any]:
    """Return whom the seats of a stage mean, as `notify` takes them."""
    return [seat.person_id or RoleAt(Role(str(seat.role)), seat.organization_id) for seat in seats]


def stage_opened(
    session: Session, request: ResourceRequest, stage: ApprovalStage, seats: Iterable[ApprovalSeat] | None = None
) -> None:
    """Tell those who may decide an open stage that it waits for them; never the requester."""
    found = list(seats) if seats is not None else approvals.seats(session, [stage.id]).get(stage.id, [])
    organization = session.get_one(Organization, request.organization_id)
    message = Message(
        N_("{number} of {organization} waits at the stage {stage}: {purpose}"),
        {
            "number": request.number or "",
            "organization": organization.name,
            "stage": Message(stage.name),
            "purpose": request.purpose[:_MOST_PURPOSE],
        },
    )
    notify(
        session,
        NoticeEvent.REQUEST_TO_DECIDE,
        message,
        to=seats_of(found),
        about=replace(about(request), link=f"/approvals/{request.id}"),
        organization_path=organization.path,
        without=[request.requester_id],
        dedupe=str(stage.id),
    )


def approved(session: Session, request: ResourceRequest, organization: Organization) -> None:
    """Tell the requester that the last stage has approved."""
    _tell_maker(
        session,
        request,
        organization,
        NoticeEvent.REQUEST_APPROVED,
        Message(N_("{number} is approved; work on it begins."), {"number": request.number or ""}),
        dedupe=f"{request.id}:{request.submission}",
    )


def ended(
    session: Session,
    request: ResourceRequest,
    organization: Organization,
    phase: RequestPhase,
    *,
    person: str | Message,
    comment: str,
) -> None:
    """Tell the requester that the request was returned or rejected, by whom and why."""
    event, template = _ENDS[phase]
    message = Message(template, {"number": request.number or "", "person": person, "comment": comment})
    _tell_maker(session, request, organization, event, message, dedupe=f"{request.id}:{request.submission}")


def withdrawn(session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:
    """Tell those who were to decide that nothing is left to decide. Called while the stage is still open."""
    stage = requests.open_stage(session, request.id)
    if stage is None:
        return
    message = Message(
        N_("{number} was withdrawn by {person}; nothing is left to decide."),
        {"number": request.number or "", "person": actor.display_name},
    )
    notify(
        session,
        NoticeEvent.REQUEST_WITHDRAWN,
        message,
        to=seats_of(approvals.seats(session, [stage.id]).get(stage.id, [])),
        about=about(request),
        organization_path=organization.path,
        without=[request.requester_id],
        dedupe=f"{request.id}:{request.submission}",
    )


def finished(
    session: Session, request: ResourceRequest, organization: Organization, *, good: int, all_: int, attempt: int
) -> None:
    """Tell the requester how fulfilment ended."""
    if good == all_:
        event, message = (
            NoticeEvent.REQUEST_FULFILLED,
            Message(N_("{number} is done."), {"number": request.number or ""}),
        )
    else:
        event = NoticeEvent.REQUEST_FAILED
        message = Message(
            N_("{number}: {good} of {all} are done. See why on its page, and try again."),
            {"number": request.number or "", "good": good, "all": all_},
        )
    _tell_maker(session, request, organization, event, message, dedupe=f"{request.id}:{attempt}")


def _tell_maker(
    session: Session,
    request: ResourceRequest,
    organization: Organization,
    event: NoticeEvent,
    message: Message,
    *,
    dedupe: str,
) -> None:
    notify(
        session,
        event,
        message,
        to=[request.requester_id],
        about=about(request),
        organization_path=organization.path,
        dedupe=dedupe,
    )
