"""The time of a stage: reminding, being overdue, escalating, timing out, and urging. Nothing here decides for anybody.

Each deed leaves a mark in the transaction that does it (`stage_marks`), so that nothing is done twice or lost.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor, Role
from cloudmgr.domain.approval import OnTimeout
from cloudmgr.domain.deadlines import MarkKind, left
from cloudmgr.domain.errors import Conflict, Forbidden, Hidden, NotFound, UrgedAlready
from cloudmgr.domain.events import Event
from cloudmgr.domain.labels import REQUEST_PHASES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import ApprovalSeat, ApprovalStage, Organization, ResourceRequest
from cloudmgr.services import approval_stages, audit, deputies
from cloudmgr.services import emergencies as emergency_services
from cloudmgr.services import requests as request_services
from cloudmgr.services.notices import notify
from cloudmgr.services.policy import policy_of
from cloudmgr.services.working_calendar import calendar_of
from cloudmgr.store import approvals, change_freezes, deadlines, emergencies, requests
from cloudmgr.store.deadlines import StageRow

SYSTEM = Actor(None, "system", "system", None, "/")
_PAST = datetime.min.replace(tzinfo=clock.SHANGHAI) + timedelta(days=1)


def urge(session: Session, actor: Actor, request_id: uuid.UUID) -> datetime:
    """Have those who may decide told that the requester waits (催办); once a working day. Returns when it can be again.

    Raises:
        NotFound: no such request for the actor. Forbidden: it is somebody else's.
        Conflict: nothing waits for a decision. UrgedAlready: with `next_at`.
    """
    request = requests.get(session, request_id, lock=True)
    organization = session.get_one(Organization, request.organization_id) if request else None
    if request is None or organization is None:
        raise NotFound(N_("There is no such request."))
    if not actor.may(Action.REQUEST_READ, organization.path):
        raise Hidden(N_("There is no such request."))
    if request.requester_id != actor.user_id:
        raise Forbidden(N_("Only the person who made a request can urge it."))
    access.require(actor, Action.REQUEST_MAKE, organization.path, see=Action.REQUEST_READ)
    stage = requests.open_stage(session, request.id)
    if stage is None:
        raise Conflict(
            N_("The request is {phase}: nobody has anything to decide on it now."),
            phase=word(REQUEST_PHASES, request.phase),
        )
    calendar = calendar_of(session)
    day = calendar.working_day_after(clock.today(), 0)
    again = calendar.next_opening(clock.end_of_day(day))
    if not deadlines.mark(session, stage.id, MarkKind.URGE, day.isoformat()):
        raise UrgedAlready(
            N_("It was urged already; it can be urged again from {next}."),
            extra={"next_at": again.isoformat()},
            next=_shown(again),
        )
    message = Message(N_("{person} urges a decision on {number} ({stage})."), _params(request, stage, actor))
    _tell(session, request, message, f"urged:{stage.id}:{day}")
    _notify(session, NoticeEvent.REQUEST_URGED, message, (stage, request, organization), f"{day}")
    _audit(session, actor, Event.REQUEST_URGE, request, organization, stage=stage.name)
    return again


def open_dues(session: Session, request_ids: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, datetime | None]:
    """Return when the open stage of each request is due; requests that wait for no decision are left out."""
    return deadlines.open_dues(session, request_ids)


def remind(session: Session, limit: int) -> int:
    """Remind those who decide of what falls due soon; return how many stages were looked at."""
    calendar, now, done = calendar_of(session), clock.now(), 0
    for days in policy_of(session).reminder_working_days:
        until = calendar.reminder_horizon(now, days)
        for row in deadlines.to_remind(session, str(days), after=now, until=until, limit=limit):
            stage, request, _ = row
            due = _due(stage)
            is_new = deadlines.mark(session, stage.id, MarkKind.REMINDER, str(days))
            if is_new and stage.opened_at is not None and stage.opened_at < calendar.before_days(due, days):
                message = Message(
                    N_("A decision on {number} ({stage}) is due at {due}: {left}."),
                    _params(request, stage) | {"due": _shown(due), "left": left(calendar, due, now)},
                )
                _notify(session, NoticeEvent.REQUEST_DUE, message, row, f"{days}")
            done += 1
    return done


def mark_overdue(session: Session, limit: int) -> int:
    """Mark what is overdue, and tell those who decide and the requester; return how many."""
    rows = deadlines.newly_overdue(session, clock.now(), limit=limit)
    for row in rows:
        stage, request, _ = row
        if deadlines.mark(session, stage.id, MarkKind.OVERDUE):
            message = Message(
                N_("The decision on {number} ({stage}) was due at {due} and is overdue."),
                _params(request, stage) | {"due": _shown(_due(stage))},
            )
            _tell(session, request, message, f"overdue:{stage.id}", kind="warning")
            _notify(session, NoticeEvent.REQUEST_OVERDUE, message, row, "", to_requester=True)
    return len(rows)


def escalate_due(session: Session, limit: int) -> int:
    """Have the level above decide as well where the policy's patience is over; return how many were escalated."""
    rows = _to_escalate(session, limit)
    for row in rows:
        escalate(session, row)
    return len(rows)


def _to_escalate(session: Session, limit: int) -> list[StageRow]:
    now, calendar = clock.now(), calendar_of(session)
    rows: list[StageRow] = []
    for days in deadlines.patiences(session, now):
        due_before = calendar.timeout_horizon(now, days) if days else now
        rows += deadlines.to_escalate(session, days, due_before, limit=limit)
    return rows


def escalate(session: Session, row: StageRow) -> list[ApprovalSeat]:
    """Let the level above decide a stage as well, and tell them; returns the seats added: none where nobody is above."""
    stage, request, organization = row
    if stage.escalated_at is not None:
        return []
    seats = approval_stages.escalate(session, stage)
    deadlines.mark(session, stage.id, MarkKind.ESCALATION)
    params = _params(request, stage)
    message = Message(
        N_("{number} ({stage}) was not decided in time: the level above may decide it now as well.")
        if seats
        else N_("{number} ({stage}) was not decided in time, and nobody is above who could decide it."),
        params,
    )
    _tell(session, request, message, f"escalated:{stage.id}", kind="warning")
    _notify(session, NoticeEvent.REQUEST_ESCALATED, message, row, "", to_requester=True)
    _audit(session, SYSTEM, Event.REQUEST_ESCALATE, request, organization, stage=stage.name, seats=len(seats))
    return seats


def time_out(session: Session, limit: int) -> int:
    """Do what the policy says of stages that nobody decided for long: the level above, or back to the requester."""
    now = clock.now()
    before = calendar_of(session).timeout_horizon(now, policy_of(session).timeout_working_days)
    rows = deadlines.to_time_out(session, before, limit=limit)
    for row in rows:
        stage, request, organization = row
        if not deadlines.mark(session, stage.id, MarkKind.TIMEOUT):
            continue
        if stage.on_timeout == OnTimeout.RETURN and request.phase == RequestPhase.IN_REVIEW:
            request_services.give_up(session, request, RequestPhase.RETURNED)
            request.decided_at = now
            requests.add(session, request)
            message = Message(
                N_(
                    "{number} was not decided in time ({stage}) and went back to you; submit it again if it is still needed."
                ),
                _params(request, stage),
            )
            _tell(session, request, message, f"timeout:{stage.id}")
            _notify(session, NoticeEvent.REQUEST_RETURNED, message, row, "timeout", to_requester=True)
            _audit(session, SYSTEM, Event.REQUEST_RETURN, request, organization, stage=stage.name, timeout=True)
        else:
            escalate(session, row)
    return len(rows)


def flag_emergencies(session: Session, limit: int) -> int:
    """Flag emergency orders that were not approved in time and have the level above decide as well; return how many."""
    rows = emergencies.overdue(session, clock.now(), limit=limit)
    for order, request, organization in rows:
        emergency_services.flag(session, SYSTEM, order, request, organization)
        stage = requests.open_stage(session, request.id)
        if stage is not None:
            escalate(session, (stage, request, organization))
    return len(rows)


def gauges(session: Session) -> dict[str, float]:
    """Return what a monitoring system should see: decisions that wait, those overdue, emergency orders, held requests."""
    waiting, overdue = deadlines.count_open(session, clock.now())
    pending, late = emergencies.count_open(session, clock.now())
    return {
        "cloudmgr_stages_open": waiting,
        "cloudmgr_stages_overdue": overdue,
        "cloudmgr_emergency_orders_open": pending,
        "cloudmgr_emergency_orders_overdue": late,
        "cloudmgr_requests_held_by_freeze": change_freezes.count_held(session),
    }


def is_anything_due(session: Session) -> bool:
    """Whether the clock has something to do now. Costs a few reads of indexes, for whoever asks often."""
    now, calendar, policy = clock.now(), calendar_of(session), policy_of(session)
    return bool(
        deadlines.newly_overdue(session, now, limit=1)
        or _to_escalate(session, 1)
        or deadlines.to_time_out(session, calendar.timeout_horizon(now, policy.timeout_working_days), limit=1)
        or emergencies.overdue(session, now, limit=1)
        or change_freezes.released(session, now, limit=1)
        or deputies.is_any_to_tell(session)
        or any(
            deadlines.to_remind(session, str(days), after=now, until=calendar.reminder_horizon(now, days), limit=1)
            for days in policy.reminder_working_days
        )
    )


def _due(stage: ApprovalStage) -> datetime:
    return stage.due_at or _PAST


def _params(request: ResourceRequest, stage: ApprovalStage, actor: Actor | None = None) -> dict[str, Any]:
    params: dict[str, Any] = {"number": request.number or "", "stage": Message(stage.name)}
    return params | ({"person": actor.display_name} if actor else {})


def _tell(session: Session, request: ResourceRequest, message: Message, dedupe: str, *, kind: str = "phase") -> None:
    requests.tell(session, request.id, kind=kind, message=message, dedupe=dedupe)


def _notify(
    session: Session, event: NoticeEvent, message: Message, row: StageRow, key: str, *, to_requester: bool = False
) -> None:
    """Tell those who sit at the stage (escalated seats too), and the requester where it concerns them."""
    stage, request, organization = row
    seats = approvals.seats(session, [stage.id]).get(stage.id, [])
    to: list[uuid.UUID | RoleAt] = [
        seat.person_id or RoleAt(Role(seat.role or ""), seat.organization_id) for seat in seats
    ]
    if to_requester:
        to.append(request.requester_id)
    notify(
        session,
        event,
        message,
        to=to,
        about=About("request", str(request.id), request.number or "", f"/requests/{request.id}"),
        dedupe=f"{stage.id}:{event.value}:{key}",
        organization_path=organization.path,
        without=() if to_requester else (request.requester_id,),
    )


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


def _shown(moment: datetime) -> str:
    return moment.astimezone(clock.SHANGHAI).strftime("%Y-%m-%d %H:%M")
