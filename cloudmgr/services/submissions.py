"""Submitting a request: its quota, its number and its rows, with the ledger locked for as short a time as can be. Decides no rule."""

import uuid
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel

import quotas
from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import NUMBER_PREFIXES, RequestPhase
from cloudmgr.models import Organization, ResourceRequest
from cloudmgr.services import approval_stages, audit, emergencies
from cloudmgr.services.request_inputs import Command, DraftRequest
from cloudmgr.services.request_kinds import kind_of
from cloudmgr.services.resolution import Concerned
from cloudmgr.store import inserts, requests


def submit(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    command: Command,
    resolved: Concerned,
    *,
    is_last: bool = False,
) -> list[SQLModel]:
    """Submit a request that may be: quota held, numbered, its first stage opened. Returns the rows written, where the kind writes them together.

    What can be known before the ledger's lock is worked out first; behind it nothing but writing is left. `is_last`: the
    caller writes nothing more in this transaction, which may end with the last statement.
    """
    kind = kind_of(request.kind)
    keep_ordinary(request, command)
    request.purpose = command.purpose
    request.submission += 1
    request.revision = 0
    request.submitted_at = request.updated_at = clock.now()
    request.body = command.model_dump(mode="json", exclude_unset=True)
    request.refusal = None
    request.after_id = None
    request.is_emergency = getattr(command, "emergency", False)
    kind.prepare(session, request, command, resolved)
    drafted = _stages(session, request, command, resolved) if kind.writes_together else None
    if drafted is not None:
        known = _write_at_once(session, actor, request, command, resolved, drafted, is_last=is_last)
        if known is not None:
            return known
    try:
        with _writing(session, together=kind.writes_together) as written:
            rule = _write(session, actor, request, command, resolved, drafted)
    except IntegrityError as error:
        refusal = kind.refused(error, resolved)
        if refusal is None:
            raise
        raise refusal from error
    if rule is not None:
        _approve_by_rule(session, actor, request, resolved.organization, rule)
    if request.is_emergency:
        parts = kind.parts(command, resolved)
        emergencies.begin(
            session, actor, request, resolved.organization, reason=getattr(command, "emergency_reason", ""), parts=parts
        )
        kind.approved(session, actor, request, resolved.organization)
    return written


def keep_ordinary(request: ResourceRequest, command: Command | DraftRequest) -> None:
    """Refuse to make an emergency order of what has its number as an ordinary request.

    Raises:
        InvalidInput: it was submitted before.
    """
    if request.number is not None and getattr(command, "emergency", False):
        raise InvalidInput(
            N_(
                "{number} was submitted as an ordinary request and stays one: make a new request for an emergency order."
            ),
            field="emergency",
            number=request.number,
        )


def _writing(session: Session, *, together: bool) -> AbstractContextManager[list[SQLModel]]:
    return inserts.together(session) if together else nullcontext([])


def _stages(session: Session, request: ResourceRequest, command: Command, resolved: Concerned) -> approval_stages.Draft:
    facts = kind_of(request.kind).facts(session, request, command, resolved)
    return approval_stages.draft(session, request, resolved.organization, facts)


def _write_at_once(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    command: Command,
    resolved: Concerned,
    drafted: approval_stages.Draft,
    *,
    is_last: bool,
) -> list[SQLModel] | None:
    """Hold the quota, take the number and write everything in one round trip, for as long as the ledger's lock is held.

    None: nothing was written, as something stands against it or must be written after it; `_write` goes step by step.
    """
    kind = kind_of(request.kind)
    project = resolved.project
    if request in session or request.is_emergency or project is None or not kind.stands_alone(resolved):
        return None
    series = inserts.Series(NUMBER_PREFIXES[request.kind], clock.today().strftime("%Y%m%d"), f"@{uuid.uuid4().hex}@")
    request.number = series.token
    with inserts.collected(session) as rows:
        _add_rows(session, actor, request, command, resolved, drafted)
    along = quotas.Along(
        [requests.still_owned(project.id, request.organization_id), inserts.numbered(rows, series)], commits=is_last
    )
    if not kind.hold_along(session, request, command, resolved, along):
        request.number = None
        return None
    inserts.written(session, rows, series, along.row)
    return rows


def _write(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    command: Command,
    resolved: Concerned,
    drafted: approval_stages.Draft | None,
) -> Message | None:
    """Hold the quota, take the number, write everything; returns the rule that grants it without stages, if one does."""
    kind_of(request.kind).hold(session, request, command, resolved)
    if request.number is None:
        day = clock.today().strftime("%Y%m%d")
        prefix = NUMBER_PREFIXES["emergency" if request.is_emergency else request.kind]
        if request.project_id is None:
            number = requests.next_number(session, prefix, day)
        else:  # a move may have come between the reading and the ledger's lock: the request goes along
            number, owner_id = requests.next_number_and_owner(session, prefix, day, request.project_id)
            request.organization_id = owner_id
        request.number = f"{prefix}{day}-{number:04d}"
    return _add_rows(session, actor, request, command, resolved, drafted)


def _add_rows(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    command: Command,
    resolved: Concerned,
    drafted: approval_stages.Draft | None,
) -> Message | None:
    """Write the request and all that comes with it; returns as `_write` does."""
    kind = kind_of(request.kind)
    request.phase = RequestPhase.IN_REVIEW.value
    requests.add(session, request)
    count = kind.write(session, request, resolved)
    rule = kind.by_rule(session, request, resolved)
    if rule is None:
        approval_stages.lay_out(session, request, drafted or _stages(session, request, command, resolved))
    counted: dict[str, Any] = {kind.counted: count}
    audit.record(
        session,
        actor,
        Event.REQUEST_SUBMIT,
        object_type="request",
        object_id=request.id,
        object_name=request.number or "",
        organization_path=resolved.organization.path,
        **counted,
    )
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(kind.told, {"person": actor.display_name, "number": request.number or ""}),
        dedupe=f"submitted:{request.submission}",
    )
    return rule


def _approve_by_rule(
    session: Session, actor: Actor, request: ResourceRequest, organization: Organization, rule: Message
) -> None:
    """Approve what a rule of the policy grants without anybody's decision, and have it worked off."""
    request.phase = RequestPhase.APPROVED.value
    request.decided_at = clock.now()
    request.attempt += 1
    requests.add(session, request)
    requests.tell(session, request.id, kind="phase", message=rule, dedupe=f"by_rule:{request.submission}")
    kind_of(request.kind).approved(session, actor, request, organization)
    queue.enqueue(
        session,
        "fulfil_request",
        queue.workflow_id("fulfil_request", request.id, request.attempt),
        str(request.id),
        request.attempt,
    )
