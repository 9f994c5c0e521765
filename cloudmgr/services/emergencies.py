"""Emergency orders (应急): carried out at once inside a district's allowance, and approval must follow.

An order holds ordinary quota like every request; the allowance only bounds what may run before somebody has approved it. A
rejection takes nothing back by itself: it proposes the request that would, a draft that the requester submits.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.deadlines import EmergencyState
from cloudmgr.domain.errors import AllowanceExceeded, InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.labels import REQUEST_KINDS, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import EmergencyOrder, Organization, ResourceRequest
from cloudmgr.services import audit
from cloudmgr.services.notices import notify
from cloudmgr.services.policy import policy_of
from cloudmgr.services.working_calendar import calendar_of
from cloudmgr.store import approvals, emergencies, organizations, requests


def begin(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    organization: Organization,
    *,
    reason: str,
    parts: Sequence[quotas.Part],
) -> EmergencyOrder:
    """Have a request that was just submitted worked off before its approval. Its stages stay open beside.

    Raises:
        InvalidInput: no reason is given. AllowanceExceeded: the district's open orders leave no room.
    """
    if not reason.strip():
        raise InvalidInput(N_("Say why it cannot wait for its approval."), field="emergency_reason")
    owner = _owner(session, organization)
    amounts = amounts_of(session, parts)
    found = _missing(session, emergencies.lock_allowance(session, owner.id), amounts)
    if found:
        raise AllowanceExceeded(
            N_("The emergency allowance of {name} does not suffice: {lines} Have earlier orders approved first."),
            errors=found,
            name=owner.name,
            lines=[each["message"] for each in found],
        )
    order = EmergencyOrder(
        request_id=request.id,
        organization_id=owner.id,
        reason=reason.strip(),
        amounts=amounts,
        approve_by=calendar_of(session).after_days(clock.now(), policy_of(session).emergency_days),
    )
    request.phase = RequestPhase.APPROVED.value
    request.attempt += 1
    request.updated_at = clock.now()
    emergencies.add(session, order, request)
    queue.enqueue(
        session,
        "fulfil_request",
        queue.workflow_id("fulfil_request", request.id, request.attempt),
        str(request.id),
        request.attempt,
    )
    message = Message(
        N_(
            "Emergency order {number} of {organization} is carried out at once; it must be approved by {by}. Reason: {reason}"
        ),
        {
            "number": request.number or "",
            "organization": organization.name,
            "by": _shown(order),
            "reason": order.reason,
        },
    )
    requests.tell(session, request.id, kind="phase", message=message, dedupe=f"emergency:{request.submission}")
    _audit(session, actor, Event.EMERGENCY_BEGIN, request, organization, reason_given=order.reason, amounts=amounts)
    notify(
        session,
        NoticeEvent.EMERGENCY_PENDING,
        message,
        to=_seats(session, request),
        about=_about(request),
        dedupe=f"emergency:{order.id}",
        organization_path=organization.path,
        without=[request.requester_id],
    )
    return order


def refusals(session: Session, organization: Organization, parts: Sequence[quotas.Part]) -> list[dict[str, Any]]:
    """Say, as a plan tells it, what the allowance has against an order; hold nothing."""
    owner = _owner(session, organization)
    found = _missing(session, emergencies.open_of(session, owner.id), amounts_of(session, parts))
    return [{"code": AllowanceExceeded.code, **each} for each in found]


def amounts_of(session: Session, parts: Sequence[quotas.Part]) -> dict[str, int]:
    """Return what an order takes of each key of the allowance."""
    amounts = {}
    for text in policy_of(session).emergency_allowance:
        key = quotas.parse_key(text)
        amounts[text] = sum(part.amounts.get(key.resource, 0) for part in parts if key.matches(part.dims))
    return amounts


def approved(session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:
    """Note that the approval has followed; what the order took of the allowance is free again."""
    order = _close(session, request, EmergencyState.APPROVED)
    request.decided_at = clock.now()
    requests.add(session, request)
    message = Message(N_("The emergency order is approved afterwards."))
    requests.tell(session, request.id, kind="phase", message=message, dedupe=f"emergency-closed:{order.id}")
    _audit(session, actor, Event.EMERGENCY_APPROVE, request, organization)


def rejected(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    organization: Organization,
    comment: str,
    undoing: Mapping[str, Any] | None,
) -> None:
    """Note that approval was refused and propose the request of these fields, which takes the order back: a draft of the requester's."""
    order = _close(session, request, EmergencyState.REJECTED)
    request.decided_at = clock.now()
    requests.add(session, request)
    requests.close_stages(session, request.id)
    text = N_("Emergency order {number} is not approved: {comment}. Nothing of it is left to be taken back.")
    proposed = None
    if undoing is not None:
        purpose = f"应急申请 {request.number} 未获补批：{comment}"[:2000]
        proposal = ResourceRequest(
            kind=undoing["kind"],
            project_id=request.project_id,
            organization_id=request.organization_id,
            requester_id=request.requester_id,
            purpose=purpose,
            env=request.env,
            body={
                **undoing,
                "project": str(request.project_id),
                "purpose": purpose,
            },
        )
        requests.add(session, proposal)
        order.proposal_id = proposal.id
        emergencies.add(session, order)
        proposed = word(REQUEST_KINDS, proposal.kind)
        text = N_(
            "Emergency order {number} is not approved: {comment}. A draft is proposed that takes it back: {kind}."
        )
    said = comment.rstrip("。. ")  # the sentence around it ends by itself
    message = Message(text, {"number": request.number or "", "comment": said, "kind": proposed or ""})
    requests.tell(session, request.id, kind="warning", message=message, dedupe=f"emergency-closed:{order.id}")
    _audit(session, actor, Event.EMERGENCY_REJECT, request, organization, proposal=str(order.proposal_id or ""))
    notify(
        session,
        NoticeEvent.REQUEST_REJECTED,
        message,
        to=[request.requester_id, RoleAt(Role.DISTRICT_ADMIN, order.organization_id)],
        about=_about(request),
        dedupe=f"emergency-rejected:{order.id}",
        organization_path=organization.path,
    )


def flag(
    session: Session, actor: Actor, order: EmergencyOrder, request: ResourceRequest, organization: Organization
) -> None:
    """Mark an order that was not approved in time, and tell those who should have and the city."""
    order.flagged_at = clock.now()
    emergencies.add(session, order)
    message = Message(
        N_("Emergency order {number} of {organization} was to be approved by {by} and is not."),
        {"number": request.number or "", "organization": organization.name, "by": _shown(order)},
    )
    requests.tell(session, request.id, kind="warning", message=message, dedupe=f"emergency-late:{order.id}")
    _audit(session, actor, Event.EMERGENCY_OVERDUE, request, organization)
    root = organizations.root(session)
    city = [RoleAt(Role.CITY_APPROVER, root.id)] if root else []
    notify(
        session,
        NoticeEvent.EMERGENCY_OVERDUE,
        message,
        to=[request.requester_id, *_seats(session, request), *city],
        about=_about(request),
        dedupe=f"emergency-late:{order.id}",
        organization_path=organization.path,
    )


def _close(session: Session, request: ResourceRequest, state: EmergencyState) -> EmergencyOrder:
    order = emergencies.of_request(session, request.id, lock=True)
    if order is None:
        raise LookupError(f"request {request.id} is marked as an emergency and has no order")
    order.state, order.closed_at = state.value, clock.now()
    emergencies.add(session, order)
    return order


def _missing(session: Session, standing: Sequence[EmergencyOrder], amounts: dict[str, int]) -> list[dict[str, Any]]:
    found = []
    for key, limit in policy_of(session).emergency_allowance.items():
        used = sum(order.amounts.get(key, 0) for order in standing)
        if amounts[key] and used + amounts[key] > limit:
            params = quotas.parse_key(key).told(limit=limit, used=used, asked=amounts[key])
            found.append(
                {
                    "key": key,
                    "limit": limit,
                    "used": used,
                    "asked": amounts[key],
                    "message": Message(N_("{key}: {used} of {limit} are taken, {asked} are asked."), params),
                }
            )
    return found


def _owner(session: Session, organization: Organization) -> Organization:
    """Return whose allowance it is: the district's, or the city's."""
    root = uuid.UUID(organization.path.split("/")[1])
    return session.get_one(Organization, organization.district_id or root)


def _seats(session: Session, request: ResourceRequest) -> list[uuid.UUID | RoleAt]:
    stage = requests.open_stage(session, request.id)
    seats = approvals.seats(session, [stage.id]).get(stage.id, []) if stage else []
    return [seat.person_id or RoleAt(Role(seat.role or ""), seat.organization_id) for seat in seats]


def _about(request: ResourceRequest) -> About:
    return About("request", str(request.id), request.number or "", f"/requests/{request.id}")


def _shown(order: EmergencyOrder) -> str:
    return order.approve_by.astimezone(clock.SHANGHAI).strftime("%Y-%m-%d %H:%M")


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
