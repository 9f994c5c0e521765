"""Deciding on requests: one stage at a time, never on one's own."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, Forbidden, Hidden, InvalidInput, NotFound, OwnRequest, SecondStage
from cloudmgr.domain.events import Event
from cloudmgr.domain.labels import REQUEST_PHASES, ROLES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Decision, RequestPhase, require_request_move
from cloudmgr.models import Approval, ApprovalStage, Organization, Project, ResourceRequest, User
from cloudmgr.services import approval_stages, audit, emergencies, request_notices
from cloudmgr.services import requests as request_services
from cloudmgr.services.approval_stages import SeatTaken
from cloudmgr.services.request_inputs import Decide
from cloudmgr.services.request_kinds import kind_of
from cloudmgr.store import approvals as approval_store
from cloudmgr.store import changes, requests

_EVENTS = {
    Decision.APPROVE: Event.REQUEST_APPROVE,
    Decision.REJECT: Event.REQUEST_REJECT,
    Decision.RETURN: Event.REQUEST_RETURN,
    Decision.CHANGE: Event.REQUEST_CONFIRM,
}
_TOLD = {
    Decision.APPROVE: N_("{stage}: approved by {person}. {comment}"),
    Decision.REJECT: N_("{stage}: rejected by {person}. {comment}"),
    Decision.RETURN: N_("{stage}: returned by {person} for changes. {comment}"),
    Decision.CHANGE: N_("{stage}: approved by {person} as changed. {comment}"),
}

QueueRow = tuple[ResourceRequest, ApprovalStage, Project | None, Organization, User]


@dataclass(frozen=True, slots=True)
class Turn:
    """A request under review, its open stage, and the seat from which an actor may decide it now."""

    request: ResourceRequest
    organization: Organization
    stage: ApprovalStage
    seat: SeatTaken
    person_id: uuid.UUID


def decide(session: Session, actor: Actor, request_id: uuid.UUID, command: Decide) -> ResourceRequest:
    """Record one decision; the last approval starts fulfilment in the same transaction.

    Raises:
        OwnRequest: it is the actor's own request, whatever roles they hold.
        SecondStage: the actor, or the person they stand in for, decided another stage of it.
        Forbidden: the open stage is not the actor's to decide.
        Conflict: somebody has decided already, or the request is not under review.
        InvalidInput: a rejection or a return without a reason.
    """
    turn = take_turn(session, actor, request_id)
    if command.decision is not Decision.APPROVE and not command.comment.strip():
        raise InvalidInput(N_("Say why, so that the applicant knows what to change."), field="comment")
    if command.decision is Decision.CHANGE:
        raise InvalidInput(N_("Propose a change with its new body: POST /requests/{{id}}/changes."), field="decision")
    if turn.request.is_emergency and command.decision is Decision.RETURN:
        raise Conflict(N_("What an emergency order asks for is being done already: approve it or reject it."))
    return settle(session, actor, turn, command.decision, command.comment)


def take_turn(session: Session, actor: Actor, request_id: uuid.UUID) -> Turn:
    """Lock a request and find the seat from which the actor decides its open stage.

    Raises:
        See `decide`.
    """
    request = requests.get(session, request_id, lock=True)
    if request is None:
        raise NotFound(N_("There is no such request."))
    organization = session.get_one(Organization, request.organization_id)
    stage = requests.open_stage(session, request.id)
    seats = approval_stages.seats_for(session, actor, request, stage) if stage else []
    if not actor.may(Action.REQUEST_READ, organization.path) and not seats:
        raise Hidden(N_("There is no such request."), detail=f"{actor.username} may not read {request_id}")
    if request.requester_id == actor.user_id:
        raise OwnRequest(N_("You cannot decide on your own request; another person with the role must."))
    if not actor.may(Action.REQUEST_DECIDE, organization.path) and not seats:
        raise Forbidden(N_("Your roles do not allow you to decide on requests."))
    if stage is None:
        raise Conflict(
            N_("The request is {phase}: there is nothing to decide. Refresh the page."),
            phase=word(REQUEST_PHASES, request.phase),
        )
    if actor.user_id is None:
        raise Forbidden(N_("A decision is taken by a person with an account."))
    _require_first(session, actor, request)
    if not seats:
        raise _not_yours(session, stage)
    if changes.proposed(session, request.id) is not None:
        raise Conflict(N_("A change was proposed; the applicant has to confirm or decline it first."))
    return Turn(request, organization, stage, seats[0], actor.user_id)


def settle(session: Session, actor: Actor, turn: Turn, decision: Decision, comment: str) -> ResourceRequest:
    """Write a decision taken from a seat, and what follows: the next stage, fulfilment, or an end.

    `actor` is who acts now; `turn.person_id` is who decided (the proposer, where the applicant confirms a change).
    """
    request, stage = turn.request, turn.stage
    _record(session, turn, decision, comment.strip() or "同意")
    if decision in (Decision.APPROVE, Decision.CHANGE):
        if approval_stages.is_passed(session, stage):
            approval_stages.finish(session, stage, decision.value)
            following = approval_stages.next_stage(session, stage)
            if following is None and request.is_emergency:
                emergencies.approved(session, actor, request, turn.organization)
            elif following is None:
                require_request_move(RequestPhase(request.phase), RequestPhase.APPROVED)
                _approve(session, actor, request, turn.organization)
    elif request.is_emergency:
        approval_stages.finish(session, stage, decision.value)
        undoing = kind_of(request.kind).undoing(session, request)
        emergencies.rejected(session, actor, request, turn.organization, comment.strip(), undoing)
    else:
        phase = RequestPhase.REJECTED if decision is Decision.REJECT else RequestPhase.RETURNED
        require_request_move(RequestPhase(request.phase), phase)
        approval_stages.finish(session, stage, decision.value)
        request_services.give_up(session, request, phase)
        decider = session.get_one(User, turn.person_id).display_name
        request_notices.ended(session, request, turn.organization, phase, person=decider, comment=comment.strip())
        request.decided_at = clock.now()
        requests.add(session, request)
    detail: dict[str, Any] = {"on_behalf_of": str(turn.seat.on_behalf_of_id)} if turn.seat.on_behalf_of_id else {}
    audit.record(
        session,
        actor,
        _EVENTS[decision],
        object_type="request",
        object_id=request.id,
        object_name=request.number or "",
        organization_path=turn.organization.path,
        stage=stage.name,
        policy=stage.policy_version,
        **detail,
    )
    return request


def _require_first(session: Session, actor: Actor, request: ResourceRequest) -> None:
    if any(each.decider_id == actor.user_id for each in approval_stages.decisions_of(session, request)):
        raise SecondStage(N_("You have decided a stage of this request; another person must decide this one."))


def _not_yours(session: Session, stage: ApprovalStage) -> Forbidden:
    seats = approval_store.seats(session, [stage.id]).get(stage.id, [])
    who: list[Message | str] = []
    for seat in seats:
        if seat.person_id is not None:
            who.append(session.get_one(User, seat.person_id).display_name)
            continue
        place = session.get_one(Organization, seat.organization_id)
        who.append(
            Message(N_("{role} of {organization}"), {"role": word(ROLES, seat.role or ""), "organization": place.name})
        )
    return Forbidden(N_("This stage ({stage}) is decided by {who}."), stage=Message(stage.name), who=who)


def _record(session: Session, turn: Turn, decision: Decision, comment: str) -> None:
    request, stage = turn.request, turn.stage
    person: Message | str = session.get_one(User, turn.person_id).display_name
    if turn.seat.on_behalf_of_id is not None:
        absent = session.get_one(User, turn.seat.on_behalf_of_id)
        person = Message(N_("{person} on behalf of {absent}"), {"person": person, "absent": absent.display_name})
    made = Approval(
        request_id=request.id,
        submission=request.submission,
        requester_id=request.requester_id,
        stage_id=stage.id,
        seat_id=turn.seat.seat.id,
        decider_id=turn.person_id,
        on_behalf_of_id=turn.seat.on_behalf_of_id,
        decision=decision.value,
        comment=comment,
        policy_version=stage.policy_version,
    )
    requests.add(session, made)
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(_TOLD[decision], {"stage": Message(stage.name), "person": person, "comment": comment}),
        dedupe=f"decision:{made.id}",
    )


def _approve(session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:
    request.phase = RequestPhase.APPROVED.value
    request.decided_at = request.updated_at = clock.now()
    request.attempt += 1
    requests.add(session, request)
    kind_of(request.kind).approved(session, actor, request, organization)
    request_notices.approved(session, request, organization)
    queue.enqueue(
        session,
        "fulfil_request",
        queue.workflow_id("fulfil_request", request.id, request.attempt),
        str(request.id),
        request.attempt,
    )


def list_decidable(session: Session, actor: Actor) -> list[QueueRow]:
    """Return what waits for this actor's decision, oldest first; their own requests are not among it."""
    grants = [(grant.role.value, grant.path, grant.for_user_id) for grant in actor.grants]
    return requests.waiting_for(session, grants=grants, decider_id=actor.user_id)
