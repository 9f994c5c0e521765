"""What time does to quota: limits begin and end, loans go back, holds end, crossings are told. For the worker's rounds.

Each function does at most so many things in the caller's transaction and returns how many; done again it does nothing.
"""

import uuid
from datetime import timedelta

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import Organization, ResourceRequest
from cloudmgr.services import audit, notices, quota_loans, quota_shares
from cloudmgr.services import requests as request_services
from cloudmgr.services.policy import policy_of
from cloudmgr.services.quota_places import places_of
from cloudmgr.services.request_kinds.base import reservation_id
from cloudmgr.store import quota_holds, requests

SYSTEM = Actor(
    user_id=None,
    username="system",
    display_name="cloudmgr",
    organization_id=None,
    organization_path="/",
    source="worker",
)
_LOOKED_AT = 1000
"""Undecided requests looked at for those that hold quota."""


def is_anything_due(session: Session) -> bool:
    """Whether time has something to do now. Costs a few reads, for whoever asks often."""
    return bool(
        quotas.due_terms(session, most=1)
        or quotas.due_loans(session, most=1)
        or quota_loans.is_any_to_remind(session)
        or _stalled(session, 1)
        or quotas.must_note(session, policy_of(session).quota_warning_pct)
    )


def turn_terms(session: Session, limit: int) -> int:
    """Begin and end limits that hold for a time."""
    done = 0
    for term_id in quotas.due_terms(session, most=limit):
        turn = quotas.apply_term(session, term_id)
        if turn is not None:
            quota_shares.record_turn(session, SYSTEM, turn)
            done += 1
    return done


def settle_loans(session: Session, limit: int) -> int:
    """Return loans whose day is past, collect what is owed, let offers expire; remind of loans that end soon."""
    return quota_loans.settle_due(session, SYSTEM, limit) + quota_loans.remind_due(session, limit)


def end_holds(session: Session, limit: int) -> int:
    """Return requests on which nobody decided for long, so that their quota is free again; their people are told."""
    rows = _stalled(session, limit)
    days = policy_of(session).quota_hold_days
    for request, organization in rows:
        message = Message(
            N_(
                "Nobody decided on {number} for {days} days: the quota it held is free again and it went back to you. "
                "Submit it again if it is still needed."
            ),
            {"number": request.number or "", "days": days},
        )
        held = reservation_id(request)
        request_services.give_up(session, request, RequestPhase.RETURNED)
        requests.tell(session, request.id, kind="phase", message=message, dedupe=f"hold_ended:{request.submission}")
        notices.notify(
            session,
            NoticeEvent.QUOTA_HOLD_ENDED,
            message,
            to=[request.requester_id],
            about=About("request", str(request.id), request.number or "", f"/requests/{request.id}"),
            dedupe=f"hold_ended:{held}",
            organization_path=organization.path,
        )
        audit.record(
            session,
            SYSTEM,
            Event.REQUEST_RETURN,
            object_type="request",
            object_id=request.id,
            object_name=request.number or "",
            organization_path=organization.path,
            hold_days=days,
        )
    return len(rows)


def note_crossings(session: Session, limit: int) -> int:
    """Write down every threshold that use has crossed, and tell whoever administers that quota; each crossing once."""
    crossed = quotas.note_crossings(session, policy_of(session).quota_warning_pct, most=limit)
    places = places_of(session, [each.account_id for each in crossed])
    highest = {(each.account_id, each.key): each for each in sorted(crossed, key=lambda warning: warning.threshold_pct)}
    for warning in highest.values():
        place = places.get(warning.account_id)
        if place is None:
            continue
        organization_id = uuid.UUID(place.organization_path.rstrip("/").rpartition("/")[2])
        notices.notify(
            session,
            NoticeEvent.QUOTA_WARNING,
            Message(
                N_("{account} has taken {taken} of {limit} {key}: {pct} % is reached."),
                {
                    "account": warning.account,
                    **quotas.parse_key(warning.key).told(taken=warning.taken, limit=warning.limit),
                    "pct": warning.threshold_pct,
                },
            ),
            to=[RoleAt(role, organization_id) for role in (Role.DISTRICT_ADMIN, Role.QUOTA_ADMIN)],
            about=About("quota_account", str(warning.account_id), place.name, f"/quotas/{warning.account_id}"),
            dedupe=f"quota_warning:{warning.warning_id}",
            organization_path=place.organization_path,
        )
    return len(crossed)


def _stalled(session: Session, limit: int) -> list[tuple[ResourceRequest, Organization]]:
    days = policy_of(session).quota_hold_days
    if not days:
        return []
    rows = quota_holds.undecided(session, clock.now() - timedelta(days=days), limit=_LOOKED_AT)
    held = quotas.pending_of(session, [reservation_id(request) for request, _ in rows])
    return [row for row in rows if reservation_id(row[0]) in held][:limit]
