"""Requests for resources: save, submit, withdraw, retry, read. `approvals` decides on them, `request_kinds` knows each kind."""

import uuid
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import Conflict, Forbidden, Hidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.labels import REQUEST_PHASES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import (
    EDITABLE_REQUESTS,
    HOLDING_REQUESTS,
    RequestKind,
    RequestPhase,
    require_request_move,
)
from cloudmgr.models import (
    ApprovalSeat,
    ApprovalStage,
    Organization,
    Project,
    RequestEvent,
    ResourceRequest,
    User,
)
from cloudmgr.services import approval_stages, audit, plans, request_notices, resolution, submissions, waiting_requests
from cloudmgr.services.request_inputs import Command, DraftRequest, body_adapter
from cloudmgr.services.request_kinds import kind_of
from cloudmgr.services.request_kinds.base import project_of
from cloudmgr.services.request_view import RequestView
from cloudmgr.services.resolution import Concerned
from cloudmgr.store import approvals, change_freezes, emergencies, projects, requests

plan = plans.plan

EVENTS_ON_PAGE = 200
_WORKED_OFF = (RequestPhase.APPROVED, RequestPhase.FULFILLING)

RequestRow = tuple[ResourceRequest, Project | None, Organization, User]


def save_draft(session: Session, actor: Actor, command: DraftRequest) -> ResourceRequest:
    """Keep an unfinished request: nothing is held and no number is taken."""
    projects.keep_place(session, command.project)
    project, organization = resolution.own_project(session, actor, command.project, Action.REQUEST_MAKE)
    request = ResourceRequest(
        kind=command.kind,
        project_id=project.id,
        organization_id=organization.id,
        requester_id=_person(actor),
        purpose=command.purpose,
        env=command.env.value,
        body=command.model_dump(mode="json", exclude_unset=True),
    )
    requests.add(session, request)
    _audit(session, actor, Event.REQUEST_SAVE, request, organization)
    return request


def save_waiting(session: Session, actor: Actor, command: Command, after: uuid.UUID) -> ResourceRequest:
    """Keep a whole request as a draft that is submitted by itself when the quota change `after` is granted.

    Every rule but quota is asked now, and again then. Where the change is granted already, the request is submitted now.

    Raises:
        InvalidInput: `after` is no quota change the actor may read. Conflict: it was not granted and will not be.
        The refusals of `resolution`.
    """
    if command.kind != "quota_change":
        projects.keep_place(session, command.project)
    resolved = kind_of(command.kind).resolve(session, actor, command)
    try:
        change, _ = visible(session, actor, after, lock=True)
    except NotFound:
        change = None
    if change is None or change.kind != RequestKind.QUOTA_CHANGE or command.kind == "quota_change":
        raise InvalidInput(N_("There is no such quota change to wait for."), field="after")
    if change.phase == RequestPhase.FULFILLED:
        return submit_new(session, actor, command)
    if RequestPhase(change.phase) not in waiting_requests.OPEN_PHASES:
        raise Conflict(
            N_("The quota change {number} is {phase}: it cannot be waited for."),
            field="after",
            number=change.number or "",
            phase=word(REQUEST_PHASES, change.phase),
        )
    request = ResourceRequest(
        kind=command.kind,
        project_id=resolved.project.id if resolved.project else None,
        organization_id=resolved.organization.id,
        requester_id=_person(actor),
        purpose=command.purpose,
        after_id=change.id,
        body=command.model_dump(mode="json", exclude_unset=True),
    )
    requests.add(session, request)
    _audit(session, actor, Event.REQUEST_SAVE, request, resolved.organization, after=str(change.id))
    waiting_requests.told_waiting(session, request, change)
    return request


def submit_new(session: Session, actor: Actor, command: Command) -> ResourceRequest:
    """Submit a request in one go: checked, numbered, its quota held, its first approval stage opened.

    Raises:
        QuotaExceeded: with every account and key that binds. Nothing is held then, and nothing stays.
        The refusals of `resolution`.
    """
    resolved = kind_of(command.kind).resolve(session, actor, command)
    request = _new(actor, command, resolved)
    submissions.submit(session, actor, request, command, resolved)
    return request


def _new(actor: Actor, command: Command, resolved: Concerned) -> ResourceRequest:
    return ResourceRequest(
        kind=command.kind,
        project_id=resolved.project.id if resolved.project else None,
        organization_id=resolved.organization.id,
        requester_id=_person(actor),
        purpose=command.purpose,
    )


def submit_and_read(session: Session, actor: Actor, command: Command, *, is_last: bool = False) -> RequestView:
    """Submit as `submit_new` does and return what `get_request` would: what was just written is not read again.

    `is_last`: the caller writes nothing more in this transaction, which may end with the submission's last statement.

    Raises:
        As `submit_new`.
    """
    kind = kind_of(command.kind)
    resolved = kind.resolve(session, actor, command)
    request = _new(actor, command, resolved)
    written = submissions.submit(session, actor, request, command, resolved, is_last=is_last)
    told = kind.new(session, request, resolved, written) if not request.is_emergency else None
    if told is None:
        return get_request(session, actor, request.id)
    return RequestView(
        request=request,
        project=resolved.project,
        organization=session.get_one(Organization, request.organization_id),
        requester=session.get_one(User, request.requester_id),
        stages=[row for row in written if isinstance(row, ApprovalStage)],
        seats=_named(session, [row for row in written if isinstance(row, ApprovalSeat)]),
        approvals=[],
        servers=told.servers,
        events=[row for row in written if isinstance(row, RequestEvent)],
        amounts=told.amounts,
        changes=told.changes,
    )


def _named(session: Session, seats: Sequence[ApprovalSeat]) -> list[tuple[ApprovalSeat, User | None]]:
    """Return seats with the persons whose they are."""
    return [(seat, session.get(User, seat.person_id) if seat.person_id else None) for seat in seats]


def update_request(
    session: Session, actor: Actor, request_id: uuid.UUID, command: Command | DraftRequest
) -> ResourceRequest:
    """Replace the body of one's own draft or returned request.

    Raises:
        Conflict: it is under review or further.
        InvalidInput: the kind or the project differs; make a new request for that.
    """
    request, organization = own(session, actor, request_id)
    if RequestPhase(request.phase) not in EDITABLE_REQUESTS:
        raise Conflict(
            N_("Only a draft or a returned request can be changed; this one is {phase}. Withdraw it first."),
            phase=word(REQUEST_PHASES, request.phase),
        )
    if command.kind != request.kind or command.project != request.project_id:
        raise InvalidInput(
            N_("Kind and project of a request stay as they are; make a new request instead."), field="project"
        )
    submissions.keep_ordinary(request, command)
    if not isinstance(command, DraftRequest):
        kind_of(command.kind).resolve(session, actor, command)
    request.body = command.model_dump(mode="json", exclude_unset=True)
    request.purpose = command.purpose
    request.updated_at = clock.now()
    requests.add(session, request)
    _audit(session, actor, Event.REQUEST_SAVE, request, organization)
    return request


def submit(session: Session, actor: Actor, request_id: uuid.UUID) -> ResourceRequest:
    """Submit one's own draft or returned request; all rules are asked again, and now quota is held.

    Raises:
        InvalidInput: the draft is not complete; `invalid` names every field.
    """
    request, _ = own(session, actor, request_id)
    require_request_move(RequestPhase(request.phase), RequestPhase.SUBMITTED)
    try:
        command = body_adapter.validate_python(request.body)
    except ValidationError as error:
        refusal = InvalidInput(N_("The request is not complete yet; mend the fields named below."))
        refusal.invalid = [
            {**found, "loc": found["loc"][1:]} for found in error.errors(include_url=False, include_input=False)
        ]
        raise refusal from error
    submissions.submit(session, actor, request, command, kind_of(command.kind).resolve(session, actor, command))
    return request


def withdraw(session: Session, actor: Actor, request_id: uuid.UUID) -> ResourceRequest:
    """Take back one's own request before it is approved; what it held is free again."""
    request, organization = own(session, actor, request_id)
    require_request_move(RequestPhase(request.phase), RequestPhase.WITHDRAWN)
    request_notices.withdrawn(session, actor, request, organization)
    give_up(session, request, RequestPhase.WITHDRAWN)
    _audit(session, actor, Event.REQUEST_WITHDRAW, request, organization)
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(N_("Withdrawn by {person}."), {"person": actor.display_name}),
        dedupe=f"withdrawn:{request.submission}",
    )
    return request


def retry(session: Session, actor: Actor, request_id: uuid.UUID) -> ResourceRequest:
    """Try again what failed, from the step that failed; servers that stand are left alone.

    A server whose share of the quota was given back must fit again.

    Raises:
        Conflict: nothing of the request has failed, or it is still being worked on.
        QuotaExceeded: the room is gone.
    """
    request, organization = visible(session, actor, request_id, lock=True)
    if not actor.may(Action.SERVER_POWER, organization.path):
        require(actor, Action.REQUEST_MAKE, organization.path, see=Action.REQUEST_READ)
    if RequestPhase(request.phase) not in (RequestPhase.FAILED, RequestPhase.PARTLY_FULFILLED):
        raise Conflict(
            N_("Only a failed or partly fulfilled request can be tried again; this one is {phase}."),
            phase=word(REQUEST_PHASES, request.phase),
        )
    request.attempt += 1
    if not kind_of(request.kind).rearm(session, actor, request):
        raise Conflict(N_("Nothing of this request is left to try again."))
    require_request_move(RequestPhase(request.phase), RequestPhase.FULFILLING)
    request.phase = RequestPhase.FULFILLING.value
    request.finished_at = None
    request.updated_at = clock.now()
    requests.add(session, request)
    queue.enqueue(
        session,
        "fulfil_request",
        queue.workflow_id("fulfil_request", request.id, request.attempt),
        str(request.id),
        request.attempt,
    )
    _audit(session, actor, Event.REQUEST_RETRY, request, organization)
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(N_("{person} tries again what failed."), {"person": actor.display_name}),
        dedupe=f"retry:{request.attempt}",
    )
    return request


def give_up(session: Session, request: ResourceRequest, phase: RequestPhase) -> None:
    """Move a request to an end before fulfilment: its quota is given back and servers that were never begun are removed."""
    if RequestPhase(request.phase) in HOLDING_REQUESTS:
        kind_of(request.kind).give_up(session, request)
        requests.close_stages(session, request.id)
    request.phase = phase.value
    request.updated_at = clock.now()
    if phase is not RequestPhase.RETURNED:
        request.finished_at = clock.now()
    requests.add(session, request)
    kind_of(request.kind).ended(session, request, phase)


def list_requests(
    session: Session,
    actor: Actor,
    *,
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    mine: bool = False,
    kind: str | None = None,
    number: str | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[RequestRow], uuid.UUID | None]:
    """Return the requests the actor may read, newest first; `mine` keeps those they made."""
    require(actor, Action.REQUEST_READ)
    return requests.page(
        session,
        paths=actor.scope(Action.REQUEST_READ),
        phases=phases,
        project_id=project_id,
        requester_id=actor.user_id if mine else None,
        kind=kind,
        number=number,
        limit=limit,
        cursor=cursor,
    )


def get_request(session: Session, actor: Actor, request_id: uuid.UUID) -> RequestView:
    """Return one request with its stages, decisions, servers and newest progress.

    Raises:
        NotFound: there is none, or it is not the actor's to see.
    """
    request, organization = visible(session, actor, request_id)
    project = project_of(session, request) if request.project_id else None
    requester = session.get_one(User, request.requester_id)
    stages = [stage for stage in requests.stages(session, request.id) if stage.submission == request.submission]
    return RequestView(
        request=request,
        project=project,
        organization=organization,
        requester=requester,
        stages=stages,
        seats=_named(
            session, [seat for each in approvals.seats(session, [s.id for s in stages]).values() for seat in each]
        ),
        approvals=requests.approvals(session, request.id),
        servers=kind_of(request.kind).servers(session, request),
        events=requests.latest_events(session, request.id, EVENTS_ON_PAGE),
        amounts=kind_of(request.kind).amounts(session, request),
        changes=kind_of(request.kind).changes(session, request),
        emergency=emergencies.of_request(session, request.id) if request.is_emergency else None,
        held_by=change_freezes.holding(session, request.id) if request.phase in _WORKED_OFF else None,
    )


def list_events(
    session: Session, actor: Actor, request_id: uuid.UUID, *, after: int = 0
) -> tuple[list[RequestEvent], bool]:
    """Return progress from behind event `after`, and whether the request has come to its end."""
    request, _ = visible(session, actor, request_id)
    return requests.events(session, request.id, after=after), request.finished_at is not None


def visible(
    session: Session, actor: Actor, request_id: uuid.UUID, *, lock: bool = False
) -> tuple[ResourceRequest, Organization]:
    """Return a request the actor may read, and whose it is; who may decide its open stage, or has decided one, may read it too.

    Raises:
        NotFound: there is none for this actor.
    """
    request = requests.get(session, request_id, lock=lock)
    if request is None:
        raise NotFound(N_("There is no such request."))
    organization = session.get_one(Organization, request.organization_id)
    if not actor.may(Action.REQUEST_READ, organization.path) and not _has_part(session, actor, request):
        raise Hidden(N_("There is no such request."), detail=f"{actor.username} may not read {request_id}")
    return request, organization


def _has_part(session: Session, actor: Actor, request: ResourceRequest) -> bool:
    stage = requests.open_stage(session, request.id)
    if stage is not None and approval_stages.seats_for(session, actor, request, stage):
        return True
    return any(decider.id == actor.user_id for _, decider in requests.approvals(session, request.id))


def own(session: Session, actor: Actor, request_id: uuid.UUID) -> tuple[ResourceRequest, Organization]:
    """Lock one's own request for a change, and return it and whose it is.

    Raises:
        NotFound: there is none for this actor. Forbidden: somebody else made it.
    """
    request, organization = visible(session, actor, request_id, lock=True)
    if request.requester_id != actor.user_id:
        raise Forbidden(N_("Only the person who made a request can change, submit or withdraw it."))
    require(actor, Action.REQUEST_MAKE, organization.path, see=Action.REQUEST_READ)
    return request, organization


def _person(actor: Actor) -> uuid.UUID:
    if actor.user_id is None:
        raise Forbidden(N_("A request is made by a person with an account."))
    return actor.user_id


def _audit(
    session: Session, actor: Actor, event: Event, request: ResourceRequest, organization: Organization, **detail: Any
) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="request",
        object_id=request.id,
        object_name=request.number or "",
        organization_path=organization.path,
        **detail,
    )
