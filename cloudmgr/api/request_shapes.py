"""How a request is told in JSON: in a list, whole, and as the delivery sheet."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from cloudmgr.api.server_shapes import ServerShape, server_shape
from cloudmgr.api.shapes import At, Shape
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.masking import mask_phone
from cloudmgr.domain.messages import Translator
from cloudmgr.http import streams
from cloudmgr.services.request_kinds.base import reservation_id
from cloudmgr.services.request_view import RequestView
from cloudmgr.services.requests import RequestRow


class StageSeatShape(Shape):
    """Who decides at a stage: whoever has a role at an organization, or one person. `decided_by` once they have."""

    role: str | None = Field(examples=["district_admin"])
    organization: UUID
    person: str | None = Field(examples=[None])
    decided_by: str | None = Field(examples=[None])


class StageShape(Shape):
    """One approval stage. `role` and `organization` are the first seat's; `seats` are all, those of an escalation included."""

    position: int
    name: str = Field(examples=["区县初审"])
    role: str | None = Field(examples=["district_admin"])
    organization: UUID
    state: str = Field(examples=["open"])
    mode: str = Field(examples=["any"])
    level: str = Field(examples=["district"])
    policy_version: str = Field(examples=["2026-11/3"])
    opened_at: datetime | None
    due_at: datetime | None
    escalated_at: datetime | None
    is_overdue: bool
    closed_at: datetime | None
    seats: list[StageSeatShape]


class DecisionShape(Shape):
    """One decision."""

    stage: str
    decision: str = Field(examples=["approve"])
    comment: str = Field(examples=["同意"])
    decided_by: str
    on_behalf_of: UUID | None
    policy_version: str
    decided_at: At


class ReservationShape(Shape):
    """The quota a request holds: its id in the ledger and the sums over all servers."""

    id: UUID
    amounts: dict[str, int] = Field(examples=[{"servers": 2, "vcpus": 16}])


class EventShape(Shape):
    """One line of progress; `data` of a playbook's task tells run, role, task and state."""

    id: int
    at: At
    kind: str = Field(examples=["step"])
    server: UUID | None
    text: str
    data: dict[str, Any]


class RequestLine(Shape):
    """A request in a list."""

    id: UUID
    kind: str
    number: str | None = Field(examples=["SQ20261122-0001"])
    phase: str = Field(examples=["in_review"])
    project: UUID | None = Field(description="null: about an organization's own quota.")
    project_name: str
    account: UUID | None = Field(description="The quota account whose limits are to change.")
    after: UUID | None = Field(description="The quota change this draft waits for.")
    organization: UUID
    organization_name: str
    requester: str
    purpose: str
    env: str
    lease_end: date | None
    created_at: At
    submitted_at: datetime | None
    finished_at: datetime | None
    is_emergency: bool
    due_at: datetime | None
    """When the stage that waits now is due; null where none waits, or it has no limit."""
    is_overdue: bool


class EmergencyShape(Shape):
    """The emergency order that a request is. `proposal`: the draft of a retirement that a rejection made."""

    state: str = Field(examples=["open"])
    reason: str
    amounts: dict[str, int]
    approve_by: At
    flagged_at: datetime | None
    closed_at: datetime | None
    proposal: UUID | None


class RequestShape(RequestLine):
    """A request with its stages, servers and newest progress."""

    network_zone: str | None
    lease_long_term: bool
    lease_reason: str
    owner: dict[str, str]
    ssh_keys: list[str]
    body: dict[str, Any]
    refusal: dict[str, Any] | None
    emergency: EmergencyShape | None
    held_until: datetime | None
    """Until when a change freeze holds it back."""
    reservation: ReservationShape | None
    stages: list[StageShape]
    decisions: list[DecisionShape]
    servers: list[ServerShape]
    events: list[EventShape]


class HandoverServer(Shape):
    """One delivered server and how to log in."""

    id: UUID
    resource_no: str | None
    name: str
    ipv4: list[str]
    ipv6: list[str]
    gateway: str | None
    system: str = Field(examples=["Kylin V10 V10 SP3"])
    arch: str
    size: str = Field(examples=["8C32G"])
    account: str = Field(examples=["ops"])
    lease_end: date | None
    rehearsed: bool


class HandoverShape(Shape):
    """交付单."""

    number: str | None
    project: UUID
    project_name: str
    organization_name: str
    contact: dict[str, str]
    servers: list[HandoverServer]
    pending: list[str]


def request_line(row: RequestRow, due_at: datetime | None = None) -> dict[str, Any]:
    """Return a request as a line of a list."""
    request, project, organization, requester = row
    return {
        "id": request.id,
        "kind": request.kind,
        "number": request.number,
        "phase": request.phase,
        "project": project.id if project else None,
        "project_name": project.name if project else "",
        "account": request.account_id,
        "after": request.after_id,
        "organization": organization.id,
        "organization_name": organization.name,
        "requester": requester.username,
        "purpose": request.purpose,
        "env": request.env,
        "lease_end": request.lease_end,
        "created_at": request.created_at,
        "submitted_at": request.submitted_at,
        "finished_at": request.finished_at,
        "is_emergency": request.is_emergency,
        "due_at": due_at,
        "is_overdue": _is_overdue(due_at),
    }


def _is_overdue(due_at: datetime | None) -> bool:
    return due_at is not None and due_at < clock.now()


def request_shape(view: RequestView, actor: Actor, translate: Translator) -> dict[str, Any]:
    """Return everything about a request, for this reader and in the reader's language."""
    request = view.request
    sees_people = actor.may(Action.PERSONAL_READ, view.organization.path)
    titles = {stage.id: stage.name for stage in view.stages}
    deciders = {decision.seat_id: decider.username for decision, decider in view.approvals}
    return {
        **request_line(
            (request, view.project, view.organization, view.requester),
            next((stage.due_at for stage in view.stages if stage.state == "open"), None),
        ),
        "network_zone": request.network_zone,
        "lease_long_term": request.lease_long_term,
        "lease_reason": request.lease_reason,
        "owner": {
            "name": request.owner_name,
            "phone": request.owner_phone if sees_people else mask_phone(request.owner_phone),
        },
        "ssh_keys": request.ssh_keys,
        "body": request.body if sees_people else {key: value for key, value in request.body.items() if key != "owner"},
        "refusal": request.refusal,
        "emergency": _emergency(view),
        "held_until": view.held_by.ends_at if view.held_by else None,
        "reservation": _reservation(view),
        "stages": [
            {
                "position": stage.position,
                "name": translate(stage.name),
                "role": stage.role,
                "organization": stage.organization_id,
                "state": stage.state,
                "mode": stage.mode,
                "level": stage.level,
                "policy_version": stage.policy_version,
                "opened_at": stage.opened_at,
                "due_at": stage.due_at,
                "escalated_at": stage.escalated_at,
                "is_overdue": _is_overdue(stage.due_at if stage.state == "open" else None),
                "closed_at": stage.closed_at,
                "seats": [
                    {
                        "role": seat.role,
                        "organization": seat.organization_id,
                        "person": person.username if person else None,
                        "decided_by": deciders.get(seat.id),
                    }
                    for seat, person in view.seats
                    if seat.stage_id == stage.id
                ],
            }
            for stage in view.stages
        ],
        "decisions": [
            {
                "stage": translate(titles.get(decision.stage_id, "")) if decision.stage_id in titles else "",
                "decision": decision.decision,
                "comment": decision.comment,
                "decided_by": decider.username,
                "on_behalf_of": decision.on_behalf_of_id,
                "policy_version": decision.policy_version,
                "decided_at": decision.created_at,
            }
            for decision, decider in view.approvals
        ],
        "servers": [server_shape(row, actor, translate) for row in view.servers],
        "events": [streams.shape(event, translate) for event in view.events],
    }


def _emergency(view: RequestView) -> dict[str, Any] | None:
    order = view.emergency
    if order is None:
        return None
    return {
        "state": order.state,
        "reason": order.reason,
        "amounts": order.amounts,
        "approve_by": order.approve_by,
        "flagged_at": order.flagged_at,
        "closed_at": order.closed_at,
        "proposal": order.proposal_id,
    }


def _reservation(view: RequestView) -> dict[str, Any] | None:
    if not view.amounts:
        return None
    return {"id": reservation_id(view.request), "amounts": view.amounts}
