"""Deciding on requests: one stage at a time, never on one's own."""

import uuid
from dataclasses import dataclass

from sqlmodel import Session

import quotas
from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, Forbidden, Hidden, InvalidInput, NotFound, OwnRequest
from cloudmgr.domain.events import Event
from cloudmgr.domain.labels import REQUEST_PHASES, ROLES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Decision, RequestPhase, require_request_move
from cloudmgr.models import Approval, ApprovalStage, Organization, Project, ResourceRequest, User
from cloudmgr.services import audit
from cloudmgr.services import requests as request_services
from cloudmgr.services.request_inputs import Decide
from cloudmgr.services.request_kinds import kind_of
from cloudmgr.store import requests

_EVENTS = {
    Decision.APPROVE: Event.REQUEST_APPROVE,
    Decision.REJECT: Event.REQUEST_REJECT,
    Decision.RETURN: Event.REQUEST_RETURN,
}
_TOLD = {
    Decision.APPROVE: N_("{stage}: approved by {person}. {comment}"),
    Decision.REJECT: N_("{stage}: rejected by {person}. {comment}"),
    Decision.RETURN: N_("{stage}: returned by {person} for changes. {comment}"),
}

QueueRow = tuple[ResourceRequest, ApprovalStage, Project | None, Organization, User]


@dataclass(frozen=True, slots=True)
class Weighing:
    """What an approver looks at: what the request takes beside what is there, level by level."""

    usage: list[quotas.AccountUsage]
    taken: dict[str, int]


def decide(session: Session, actor: Actor, request_id: uuid.UUID, command: Decide) -> ResourceRequest:
    """Record one decision; the last approval starts fulfilment in the same transaction.

    Raises:
        OwnRequest: it is the actor's own request, whatever roles they hold.
        Forbidden: the open stage is not the actor's to decide.
        Conflict: somebody has decided already, or the request is not under review.
        InvalidInput: a rejection or a return without a reason.
    """
    request = requests.get(session, request_id, lock=True)
    if request is None:
        raise NotFound(N_("There is no such request."))
    organization = session.get_one(Organization, request.organization_id)
    if not actor.may(Action.REQUEST_READ, organization.path):
        raise Hidden(N_("There is no such request."), detail=f"{actor.username} may not read {request_id}")
    if request.requester_id == actor.user_id:
        raise OwnRequest(N_("You cannot decide on your own request; another person with the role must."))
    if not actor.may(Action.REQUEST_DECIDE, organization.path):
        raise Forbidden(N_("Your roles do not allow you to decide on requests."))
    stage = requests.open_stage(session, request.id)
    if stage is None:
        raise Conflict(
            N_("The request is {phase}: there is nothing to decide. Refresh the page."),
            phase=word(REQUEST_PHASES, request.phase),
        )
    _require_turn(session, actor, stage)
    if command.decision is not Decision.APPROVE and not command.comment.strip():
        raise InvalidInput(N_("Say why, so that the applicant knows what to change."), field="comment")
    _record(session, actor, request, stage, command)
    require_request_move(RequestPhase(request.phase), _next_phase(command.decision))
    if command.decision is Decision.APPROVE:
        _approve(session, actor, request, organization)
    else:
        request_services.give_up(session, request, _next_phase(command.decision))
        request.decided_at = clock.now()
        requests.add(session, request)
    audit.record(
        session,
        actor,
        _EVENTS[command.decision],
        object_type="request",
        object_id=request.id,
        object_name=request.number or "",
        organization_path=organization.path,
        stage=stage.name,
        policy=stage.policy_version,
    )
    return request


def _next_phase(decision: Decision) -> RequestPhase:
    return {
        Decision.APPROVE: RequestPhase.APPROVED,
        Decision.REJECT: RequestPhase.REJECTED,
        Decision.RETURN: RequestPhase.RETURNED,
    }[decision]


def _require_turn(session: Session, actor: Actor, stage: ApprovalStage) -> None:
    path = session.get_one(Organization, stage.organization_id).path
    if not any(grant.role == stage.role and path.startswith(grant.path) for grant in actor.grants):
        raise Forbidden(
            N_("This stage ({stage}) is decided by {role} of {organization}."),
            stage=Message(stage.name),
            role=word(ROLES, stage.role),
            organization=session.get_one(Organization, stage.organization_id).name,
        )


def _record(session: Session, actor: Actor, request: ResourceRequest, stage: ApprovalStage, command: Decide) -> None:
    stage.state = command.decision.value
    stage.closed_at = clock.now()
    if actor.user_id is None:
        raise Forbidden(N_("A decision is taken by a person with an account."))
    comment = command.comment.strip() or "同意"
    requests.add(
        session,
        stage,
        Approval(
            request_id=request.id,
            requester_id=request.requester_id,
            stage_id=stage.id,
            decider_id=actor.user_id,
            decision=command.decision.value,
            comment=comment,
        ),
    )
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(
            _TOLD[command.decision], {"stage": Message(stage.name), "person": actor.display_name, "comment": comment}
        ),
        dedupe=f"decision:{stage.id}",
    )


def _approve(session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:
    request.phase = RequestPhase.APPROVED.value
    request.decided_at = request.updated_at = clock.now()
    request.attempt += 1
    requests.add(session, request)
    kind_of(request.kind).approved(session, actor, request, organization)
    queue.enqueue(
        session,
        "fulfil_request",
        queue.workflow_id("fulfil_request", request.id, request.attempt),
        str(request.id),
        request.attempt,
    )


def list_decidable(session: Session, actor: Actor) -> list[QueueRow]:
    """Return what waits for this actor's decision, oldest first; their own requests are not among it."""
    pairs = [(grant.role.value, grant.path) for grant in actor.grants if actor.may(Action.REQUEST_DECIDE, grant.path)]
    return requests.waiting_for(session, roles_and_paths=pairs, decider_id=actor.user_id)


def weigh(session: Session, actor: Actor, request_id: uuid.UUID) -> Weighing:
    """Return the quota of every level beside what the request takes of it (already held since submission)."""
    view = request_services.get_request(session, actor, request_id)
    own = quotas.account_usage(session, request_services.account_of(view))
    chain = [quotas.account_usage(session, account_id) for account_id, _ in own.ancestors]
    return Weighing(usage=[*chain, own], taken=view.amounts)
