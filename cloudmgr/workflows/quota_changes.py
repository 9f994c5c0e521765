"""What granting a quota change writes: the limits in one transaction, and the requests that waited for them."""

import uuid

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import Organization, QuotaChange, ResourceRequest
from cloudmgr.services import acting, audit, waiting_requests
from cloudmgr.services import requests as request_services
from cloudmgr.store import quota_changes, requests
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.work import Tally


def grant(session: Session, request_id: str) -> bool:
    """Set the limits a request asks for, with its number as the basis; False: the ledger refuses, and says why.

    What others changed meanwhile is not undone: a raise never lowers a limit that is higher already, and a lowering never
    raises one that is lower.
    """
    request = requests.get(session, uuid.UUID(request_id), lock=True)
    if request is None or request.phase != RequestPhase.FULFILLING:
        return False
    rows = [row for row in quota_changes.of_request(session, request.id) if row.granted_at is None]
    if not rows:
        return True
    account_id = rows[0].account_id
    now_limits = quotas.account_usage(session, account_id).limits
    wanted = {row.key: _settled(row, now_limits.get(row.key)) for row in rows}
    number = request.number or ""
    try:
        with session.begin_nested():
            changes = quotas.set_limits(
                session,
                account_id=account_id,
                limits=wanted,
                replace=False,
                reason=request.purpose,
                basis_no=str(request.body.get("basis_no") or number),
                actor=number,
            )
    except Refusal as refusal:
        request.refusal = {"code": refusal.code, "message": refusal.message.as_json()}
        requests.add(session, request)
        _tell(session, request, Message(N_("The limits could not be set: {reason}"), {"reason": refusal.message}))
        return False
    for row in rows:
        row.granted, row.granted_at = wanted[row.key], clock.now()
    requests.add(session, *rows)
    audit.record(
        session,
        SYSTEM,
        Event.QUOTA_SET,
        object_type="quota_account",
        object_id=account_id,
        object_name=quotas.get_account(session, account_id).name,
        organization_path=session.get_one(Organization, request.organization_id).path,
        before={str(change.key): change.before for change in changes},
        after={str(change.key): change.after for change in changes},
        reason_given=request.purpose,
        basis_no=number,
    )
    _tell(session, request, Message(N_("The limits are set: {limits}."), {"limits": _told(wanted)}))
    return True


def waiting(session: Session, request_id: str) -> list[str]:
    """Return the drafts that waited for a quota change that was just settled; not granted, they are told so."""
    change = requests.get(session, uuid.UUID(request_id), lock=True)
    if change is None:
        return []
    if change.phase != RequestPhase.FULFILLED:
        waiting_requests.told_of_end(session, change, RequestPhase(change.phase))
        return []
    return [str(id_) for id_ in quota_changes.waiting_for(session, change.id)]


def submit_waiting(session: Session, draft_id: str) -> str:
    """Submit one draft in its owner's name; a refusal is kept on it, and it stays a draft."""
    draft = requests.get(session, uuid.UUID(draft_id), lock=True)
    if draft is None or draft.phase != RequestPhase.DRAFT or draft.after_id is None:
        return "gone"
    after = draft.after_id
    try:
        with session.begin_nested():
            request_services.submit(session, acting.applicant(session, draft), draft.id)
    except Refusal as refusal:
        session.refresh(draft)
        waiting_requests.refused(session, draft, refusal)
        return "refused"
    change = requests.get(session, after)
    if change is not None:
        waiting_requests.submitted(session, draft, change)
    return "submitted"


def tally(session: Session, request: ResourceRequest) -> Tally:
    """Count the limits that were set."""
    rows = quota_changes.of_request(session, request.id)
    return Tally(good=sum(row.granted_at is not None for row in rows), all=len(rows))


def _settled(row: QuotaChange, now_limit: int | None) -> int:
    if now_limit is None:
        return row.wanted
    is_raise = row.before is not None and row.wanted >= row.before
    return max(now_limit, row.wanted) if is_raise else min(now_limit, row.wanted)


def _told(wanted: dict[str, int]) -> list[Message]:
    return [Message(N_("{key} {limit}"), quotas.parse_key(key).told(limit=limit)) for key, limit in wanted.items()]


def _tell(session: Session, request: ResourceRequest, message: Message) -> None:
    requests.tell(session, request.id, kind="step", message=message, dedupe=f"limits:{request.attempt}")
