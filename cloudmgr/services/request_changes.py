"""同意但调整: an approver says what they would approve instead; the applicant confirms it or declines it.

Confirmed, it counts as the approver's decision on their stage: what was held is given back and what is asked for now is held, in
one transaction. Declined, the stage is as open as it was.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import StringConstraints, ValidationError
from sqlmodel import Session

from cloudmgr.domain import approval, clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import NoticeEvent
from cloudmgr.domain.phases import Decision, RequestPhase
from cloudmgr.models import ApprovalSeat, ApprovalStage, Organization, RequestChange, ResourceRequest, User
from cloudmgr.services import approval_stages, approvals, audit, request_notices
from cloudmgr.services import requests as request_services
from cloudmgr.services.approval_stages import SeatTaken
from cloudmgr.services.approvals import Turn
from cloudmgr.services.inputs import Input, Loose, Text
from cloudmgr.services.notices import notify
from cloudmgr.services.request_inputs import Command, Comment, body_adapter
from cloudmgr.services.request_kinds import kind_of
from cloudmgr.store import changes, organizations, requests, users

MOST_LINES = 200
_ABSENT = object()


class ProposeChange(Input):
    """What is approved instead: the whole body as it shall be, and why."""

    body: dict[str, Loose]
    comment: Annotated[Text, StringConstraints(min_length=1, max_length=500)]


class AnswerChange(Input):
    """The applicant's answer."""

    accept: bool
    comment: Comment = ""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One value that differs: where it stands in the body, what it was and what it becomes; None: not there."""

    field: str
    before: Any
    after: Any


def propose(session: Session, actor: Actor, request_id: uuid.UUID, command: ProposeChange) -> RequestChange:
    """Propose another body to the applicant; it is tried out whole, quota included, and rolled back.

    Raises:
        See `approvals.decide`; the refusals of the body itself, as if the applicant had sent it.
        InvalidInput: nothing differs, kind or project differ, or it needs stages this request does not pass.
    """
    turn = approvals.take_turn(session, actor, request_id)
    request = turn.request
    if request.is_emergency:
        raise Conflict(N_("What an emergency order asks for is being done already: approve it or reject it."))
    wanted = _read(command.body)
    if wanted.kind != request.kind or getattr(wanted, "project", None) != request.project_id:
        raise InvalidInput(
            N_("Kind and project of a request stay as they are; make a new request instead."), field="body"
        )
    if getattr(wanted, "emergency", False):
        raise InvalidInput(
            N_("A request under review becomes no emergency order: return it, and a new one can be made."),
            field="body.emergency",
        )
    before, after = whole(request.body), whole(wanted.model_dump(mode="json", exclude_unset=True))
    if before == after:
        raise InvalidInput(N_("Nothing differs from what was asked for: approve it as it is."), field="body")
    _try(session, request, turn.organization, wanted)
    change = RequestChange(
        request_id=request.id,
        submission=request.submission,
        stage_id=turn.stage.id,
        seat_id=turn.seat.seat.id,
        proposer_id=turn.person_id,
        on_behalf_of_id=turn.seat.on_behalf_of_id,
        comment=command.comment,
        before=request.body,
        after=wanted.model_dump(mode="json", exclude_unset=True),
    )
    requests.add(session, change)
    message = Message(
        N_("{stage}: {person} would approve it with changes; confirm or decline them. {comment}"),
        {"stage": Message(turn.stage.name), "person": actor.display_name, "comment": command.comment},
    )
    requests.tell(session, request.id, kind="phase", message=message, dedupe=f"change:{change.id}")
    notify(
        session,
        NoticeEvent.REQUEST_CHANGED,
        message,
        to=[request.requester_id],
        about=request_notices.about(request),
        organization_path=turn.organization.path,
        dedupe=str(change.id),
    )
    _audit(session, actor, Event.REQUEST_CHANGE, request, turn.organization, change)
    return change


def answer(
    session: Session, actor: Actor, request_id: uuid.UUID, change_id: uuid.UUID, command: AnswerChange
) -> ResourceRequest:
    """Confirm or decline a proposed change of one's own request.

    Raises:
        Forbidden: somebody else made the request. NotFound: there is no such change of it.
        Conflict: it was answered already. QuotaExceeded and other refusals of the changed body: nothing is changed then.
    """
    request, organization = request_services.own(session, actor, request_id)
    change = _change(session, request, change_id)
    _require_open(request, change)
    change.state = "confirmed" if command.accept else "declined"
    change.answer, change.answered_at = command.comment, clock.now()
    requests.add(session, change)
    told = (
        N_("{person} confirms the change. {comment}")
        if command.accept
        else N_("{person} declines the change. {comment}")
    )
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(told, {"person": actor.display_name, "comment": command.comment}),
        dedupe=f"answer:{change.id}",
    )
    if not command.accept:
        _audit(session, actor, Event.REQUEST_DECLINE, request, organization, change)
        return request
    _revise(session, actor, request, _read(change.after))
    seat = SeatTaken(session.get_one(ApprovalSeat, change.seat_id), change.on_behalf_of_id)
    stage = session.get_one(ApprovalStage, change.stage_id)
    turn = Turn(request, organization, stage, seat, change.proposer_id)
    return approvals.settle(session, actor, turn, Decision.CHANGE, change.comment)


def withdraw(session: Session, actor: Actor, request_id: uuid.UUID, change_id: uuid.UUID) -> ResourceRequest:
    """Take back a change one has proposed and the applicant has not answered; the stage is as open as it was.

    Raises:
        NotFound: there is no such change of a request the actor may read. Forbidden: somebody else proposed it.
        Conflict: it was answered already.
    """
    request, organization = request_services.visible(session, actor, request_id, lock=True)
    change = _change(session, request, change_id)
    if change.proposer_id != actor.user_id:
        raise Forbidden(N_("Only who proposed a change can take it back."))
    _require_open(request, change)
    change.state, change.answered_at = "dropped", clock.now()
    requests.add(session, request, change)
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(N_("{person} takes the proposed change back."), {"person": actor.display_name}),
        dedupe=f"answer:{change.id}",
    )
    _audit(session, actor, Event.REQUEST_DECLINE, request, organization, change)
    return request


def list_changes(session: Session, actor: Actor, request_id: uuid.UUID) -> tuple[Organization, list[RequestChange]]:
    """Return the changes ever proposed to a request, oldest first, and whose request it is.

    Raises:
        NotFound: there is no such request for this actor.
    """
    request, organization = request_services.visible(session, actor, request_id)
    return organization, changes.of_request(session, request.id)


def _change(session: Session, request: ResourceRequest, change_id: uuid.UUID) -> RequestChange:
    change = session.get(RequestChange, change_id)
    if change is None or change.request_id != request.id:
        raise NotFound(N_("There is no such change."))
    return change


def _require_open(request: ResourceRequest, change: RequestChange) -> None:
    if change.state != "proposed" or request.phase != RequestPhase.IN_REVIEW:
        raise Conflict(N_("This change was answered already. Refresh the page."))


def proposed(session: Session, request: ResourceRequest) -> RequestChange | None:
    """Return the change that waits for the applicant."""
    return changes.proposed(session, request.id) if request.phase == RequestPhase.IN_REVIEW else None


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[DiffLine]:
    """Return what differs between two bodies, defaults filled in, in the order of the body."""
    first, second = whole(before), whole(after)
    old, new = dict(_leaves(first)), dict(_leaves(second))
    lines = []
    for field in [*old, *(each for each in new if each not in old)]:
        was, becomes = old.get(field, _ABSENT), new.get(field, _ABSENT)
        if was != becomes:
            lines.append(DiffLine(field, None if was is _ABSENT else was, None if becomes is _ABSENT else becomes))
    return lines[:MOST_LINES]


def whole(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with every default filled in, as JSON."""
    try:
        return dict(body_adapter.validate_python(body).model_dump(mode="json"))
    except ValidationError:  # written by an older release: told as it stands
        return dict(body)


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from _leaves(each, f"{at}[{index}]")
    else:
        yield at, value


def _read(body: Mapping[str, Any]) -> Command:
    try:
        return body_adapter.validate_python(body)
    except ValidationError as error:
        refusal = InvalidInput(N_("The changed request breaks rules; mend the fields named below."))
        refusal.invalid = [
            {**found, "loc": ("body", *found["loc"][1:])}
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise refusal from error


def _try(session: Session, request: ResourceRequest, organization: Organization, wanted: Command) -> None:
    """Do everything confirming would do, as the applicant, and roll it back: what it refuses, the approver hears now."""
    applicant = _applicant(session, request)
    with session.begin_nested() as trial:
        facts = _revise(session, applicant, request, wanted)
        needed = {stage.seats for stage in approval_stages.rules_for(session, organization, facts)}
        trial.rollback()
    passed = approval_stages.rules_for(session, organization, _facts(session, request, applicant))
    if not needed <= {stage.seats for stage in passed}:
        raise InvalidInput(
            N_("As changed it would have to pass stages that this request does not; return it instead."), field="body"
        )


def _facts(session: Session, request: ResourceRequest, applicant: Actor) -> approval.Facts:
    command = _read(request.body)
    with session.begin_nested() as trial:
        kind_of(request.kind).give_up(session, request)
        facts = kind_of(request.kind).facts(
            session, request, command, kind_of(request.kind).resolve(session, applicant, command)
        )
        trial.rollback()
    return facts


def _revise(session: Session, applicant: Actor, request: ResourceRequest, wanted: Command) -> approval.Facts:
    """Give back what the request holds, and hold and write what it asks for now."""
    kind = kind_of(request.kind)
    kind.give_up(session, request)
    request.revision += 1
    resolved = kind.resolve(session, applicant, wanted)
    request.purpose = wanted.purpose
    request.body = wanted.model_dump(mode="json", exclude_unset=True)
    request.updated_at = clock.now()
    kind.prepare(session, request, wanted, resolved)
    kind.hold(session, request, wanted, resolved)
    requests.add(session, request)
    kind.write(session, request, resolved)
    return kind.facts(session, request, wanted, resolved)


def _applicant(session: Session, request: ResourceRequest) -> Actor:
    person = session.get_one(User, request.requester_id)
    place = organizations.get(session, person.organization_id)
    return Actor(
        person.id,
        person.username,
        person.display_name,
        person.organization_id,
        place.path if place else "/",
        users.grants_now(session, person.id, clock.now()),
        language=person.language,
    )


def _audit(
    session: Session,
    actor: Actor,
    event: Event,
    request: ResourceRequest,
    organization: Organization,
    change: RequestChange,
) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="request",
        object_id=request.id,
        object_name=request.number or "",
        organization_path=organization.path,
        change=str(change.id),
        fields=[line.field for line in diff(change.before, change.after)][:20],
    )
