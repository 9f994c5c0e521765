"""What stands around a decision: what waits for it, what it takes, and what would be approved instead."""

from typing import Any
from uuid import UUID

from fastapi import Request, status
from pydantic import Field

from cloudmgr.api.plans import entry_shape
from cloudmgr.api.request_shapes import RequestLine, RequestShape, request_line, request_shape
from cloudmgr.api.shapes import At, Shape
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.events import Event
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.models import Organization, RequestChange
from cloudmgr.services import approvals, request_changes, requests, weighing
from cloudmgr.services.request_changes import AnswerChange, ProposeChange
from cloudmgr.services.weighing import Weighing

router = api_router("", "requests")


class WaitingLine(RequestLine):
    """A request that waits for your decision, and at which stage."""

    stage: str = Field(examples=["区县初审"])
    opened_at: At | None


class Waiting(Shape):
    """Emergencies first, then the longest open; the first 200."""

    items: list[WaitingLine]


class LevelTaken(Shape):
    """One quota account beside what the request takes of it, which it holds since it was submitted."""

    account: UUID
    name: str
    limits: dict[str, int | None] = Field(examples=[{"vcpus": 400}])
    used: dict[str, int]
    reserved: dict[str, int]
    available: dict[str, int | None]


class LimitAsked(Shape):
    """One limit that a request for quota asks for. `allotted_then`: what the limits below the level above would add up to."""

    key: str = Field(examples=["vcpus"])
    before: int | None = Field(description="The limit when it was asked for.")
    now: int | None
    wanted: int
    taken: int
    above: int | None
    allotted_then: int


class WeighingShape(Shape):
    """What a request takes, level by level from the city down, and how the pools answer now."""

    taken: dict[str, int] = Field(examples=[{"servers": 2, "vcpus": 16}])
    quota: list[LevelTaken]
    limits: list[LimitAsked]
    over: list[dict[str, Any]] = Field(description="Who would be over if those limits were set.")
    pools: list[dict[str, Any]] = Field(description="For new servers, and who may read capacities.")


class DiffShape(Shape):
    """One value that differs between what was asked for and what is proposed."""

    field: str = Field(examples=["servers[0].count"])
    before: Any = Field(examples=[4])
    after: Any = Field(examples=[2])


class ChangeShape(Shape):
    """What an approver would approve instead. `state`: proposed, confirmed, declined or dropped."""

    id: UUID
    state: str = Field(examples=["proposed"])
    comment: str
    answer: str
    created_at: At
    answered_at: At | None
    diff: list[DiffShape]


class Changes(Shape):
    """Oldest first; one at a time waits for its answer."""

    items: list[ChangeShape]


@router.get("/approvals", response_model=Waiting, openapi_extra=rule(Action.REQUEST_READ, object_type="request"))
def list_waiting(actor: ActorDep, session: SessionDep, http: Request) -> dict[str, Any]:
    """List what waits for your decision: by your roles, as a person named, or for somebody who is away."""
    require(actor, Action.REQUEST_READ)
    translate = translator(language_of(http))
    return {
        "items": [
            {
                **request_line((request, project, organization, person), stage.due_at),
                "stage": translate(stage.name),
                "opened_at": stage.opened_at,
            }
            for request, stage, project, organization, person in approvals.list_decidable(session, actor)
        ]
    }


@router.get(
    "/requests/{request_id}/weighing",
    response_model=WeighingShape,
    openapi_extra=rule(Action.QUOTA_READ, object_type="request"),
)
def weigh(request_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> dict[str, Any]:
    """Tell what a request takes beside what is there now, of the quota and of the pools. Changes nothing."""
    found = weighing.weigh(session, actor, request_id)
    return {
        "taken": found.taken,
        "quota": [
            {
                "account": level.account_id,
                "name": level.name,
                "limits": level.limits,
                "used": level.used,
                "reserved": level.reserved,
                "available": level.available,
            }
            for level in found.usage
        ],
        "limits": _limits(found),
        "over": [
            {
                "account": str(each.account_id),
                "name": each.name,
                "key": each.key,
                "consequence": each.consequence,
                "limit": each.limit,
                "amount": each.amount,
                "over": each.over,
            }
            for each in found.over
        ],
        "pools": [entry_shape(entry, translator(language_of(http)), shows_capacity=True) for entry in found.pools],
    }


def _limits(found: Weighing) -> list[dict[str, Any]]:
    return [
        {
            "key": row.key,
            "before": row.before,
            "now": row.now,
            "wanted": row.wanted,
            "taken": row.taken,
            "above": row.above,
            "allotted_then": row.allotted_then,
        }
        for row in found.limits
    ]


@router.get(
    "/requests/{request_id}/changes",
    response_model=Changes,
    openapi_extra=rule(Action.REQUEST_READ, object_type="request"),
)
def list_changes(request_id: UUID, actor: ActorDep, session: SessionDep) -> Changes:
    """List the changes that approvers have proposed, with what differs."""
    organization, found = request_changes.list_changes(session, actor, request_id)
    return Changes(items=[_change(each, actor, organization) for each in found])


@router.post(
    "/requests/{request_id}/changes",
    status_code=status.HTTP_201_CREATED,
    response_model=ChangeShape,
    openapi_extra=rule(Action.REQUEST_DECIDE, event=Event.REQUEST_CHANGE, object_type="request"),
)
def propose_change(request_id: UUID, command: ProposeChange, actor: ActorDep, session: SessionDep) -> ChangeShape:
    """Approve on condition: the whole body as it shall be. It counts as your decision once the requester confirms it."""
    return _change(request_changes.propose(session, actor, request_id, command))


@router.post(
    "/requests/{request_id}/changes/{change_id}/answer",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_CONFIRM, object_type="request"),
)
def answer_change(
    request_id: UUID, change_id: UUID, command: AnswerChange, actor: ActorDep, session: SessionDep, http: Request
) -> dict[str, Any]:
    """Confirm or decline a change proposed to your own request. Confirmed, its quota is held anew in the same transaction."""
    request_changes.answer(session, actor, request_id, change_id, command)
    view = requests.get_request(session, actor, request_id)
    return request_shape(view, actor, translator(language_of(http)))


@router.delete(
    "/requests/{request_id}/changes/{change_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule(Action.REQUEST_DECIDE, event=Event.REQUEST_DECLINE, object_type="request"),
)
def withdraw_change(request_id: UUID, change_id: UUID, actor: ActorDep, session: SessionDep) -> None:
    """Take back a change that you proposed and that was not answered yet; the request waits for a decision again."""
    request_changes.withdraw(session, actor, request_id, change_id)


def _change(change: RequestChange, actor: Actor | None = None, organization: Organization | None = None) -> ChangeShape:
    """Tell a proposed change with what differs; persons to a reader who may read of them."""
    sees_people = actor is None or organization is None or actor.may(Action.PERSONAL_READ, organization.path)
    return ChangeShape(
        id=change.id,
        state=change.state,
        comment=change.comment,
        answer=change.answer,
        created_at=change.created_at,
        answered_at=change.answered_at,
        diff=[
            DiffShape.model_validate(line)
            for line in request_changes.diff(change.before, change.after)
            if sees_people or line.field.partition(".")[0] != "owner"
        ],
    )
