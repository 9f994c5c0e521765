"""Use cases beside plain limits: guarantees, targets, and limits that hold for a time. Who may: whoever sets the limits."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import audit
from cloudmgr.services.inputs import Input, Text
from cloudmgr.services.policy import policy_of
from cloudmgr.services.quota_keys import require_countable
from cloudmgr.services.quota_places import Place, places_of, require_may_set, visible_place
from quotas import Allotment, Changes, Consequence, Finding, OverAllotted, Target, Term, TermTurn, parse_key

MAX_KEYS = 200
_FIRST_YEAR, _LAST_YEAR = 2000, 2999
Reason = Annotated[Text, StringConstraints(min_length=1, max_length=2000)]
BasisNo = Annotated[Text, StringConstraints(min_length=1, max_length=128)]
QuotaKey = Annotated[str, StringConstraints(min_length=1, max_length=640)]


class SetGuarantees(Input):
    """What the account is guaranteed, by key; 0 takes a guarantee away."""

    guarantees: Annotated[dict[QuotaKey, Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MAX_KEYS)]
    reason: Reason
    basis_no: BasisNo | None = None


class SetTarget(Input):
    """A share of what is in use that the account is to reach; null takes it away."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    pct: Annotated[int, Field(ge=0, le=100)] | None
    base: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "vcpus"
    reason: Reason
    basis_no: BasisNo | None = None


def set_guarantees(session: Session, actor: Actor, account_id: uuid.UUID, command: SetGuarantees) -> None:
    """Guarantee an account amounts that those beside it keep free.

    Raises:
        NotFound, Forbidden: the account is not the actor's to see or to change.
        GuaranteeRefused: some level does not stand behind it. InvalidInput: a malformed key or amount.
    """
    place = _settable(session, actor, account_id)
    require_countable(session, [key for key, amount in command.guarantees.items() if amount], within="guarantees")
    changes = quotas.set_guarantees(
        session, account_id=account_id, guarantees=command.guarantees, reason=command.reason
    )
    if changes:
        _record(
            session,
            actor,
            Event.QUOTA_GUARANTEE,
            account_id,
            place,
            before={str(change.key): change.before for change in changes},
            after={str(change.key): change.after for change in changes},
            reason_given=command.reason,
            basis_no=command.basis_no,
        )


def set_target(session: Session, actor: Actor, account_id: uuid.UUID, command: SetTarget) -> list[Target]:
    """Set a target of an account, or take it away; return those it has, with what is reached.

    Raises:
        NotFound, Forbidden: the account is not the actor's to see or to change. InvalidInput: no such share.
    """
    place = _settable(session, actor, account_id)
    quotas.set_target(
        session,
        account_id=account_id,
        name=command.name,
        pct=command.pct,
        base=command.base,
        reason=command.reason,
        basis_no=command.basis_no,
        actor=actor.username,
    )
    _record(
        session,
        actor,
        Event.QUOTA_TARGET,
        account_id,
        place,
        target=command.name,
        base=command.base,
        pct=command.pct,
        reason_given=command.reason,
        basis_no=command.basis_no,
    )
    return quotas.targets_of(session, [account_id]).get(account_id, [])


def set_terms(
    session: Session,
    actor: Actor,
    account_id: uuid.UUID,
    place: Place,
    *,
    limits: Mapping[str, int | None],
    valid_from: date | None,
    valid_until: date | None,
    reason: str,
    basis_no: str | None,
) -> list[Term]:
    """Let limits hold from the beginning of a day to the end of another. The actor may set them: the caller has asked."""
    for name, day in (("valid_from", valid_from), ("valid_until", valid_until)):
        require_in_reach(day, name)
    terms = quotas.set_terms(
        session,
        account_id=account_id,
        limits=limits,
        valid_from=None if valid_from is None else beginning_of(valid_from),
        valid_until=None if valid_until is None else clock.end_of_day(valid_until),
        reason=reason,
        basis_no=basis_no,
        actor=actor.username,
    )
    begun = {parse_key(term.key): (term.before, term.amount) for term in terms if term.state != "waiting"}
    require_allotment(session, {account_id: begun})
    _record(
        session,
        actor,
        Event.QUOTA_TERM,
        account_id,
        place,
        stage="set",
        limits={term.key: term.amount for term in terms},
        valid_from=valid_from.isoformat() if valid_from else None,
        valid_until=valid_until.isoformat() if valid_until else None,
        reason_given=reason,
        basis_no=basis_no,
    )
    return terms


def cancel_term(session: Session, actor: Actor, account_id: uuid.UUID, term_id: uuid.UUID) -> None:
    """Take back a limit that was to hold for a time: before it begins, or from now on.

    Raises:
        NotFound, Forbidden: the account is not the actor's to see or to change, or has no such term.
        Conflict: it has ended.
    """
    place = _settable(session, actor, account_id)
    known = quotas.terms_of(session, [account_id], ids=[term_id])
    quotas.cancel_term(session, known[0].term_id if known else uuid.UUID(int=0))
    _record(session, actor, Event.QUOTA_TERM, account_id, place, stage="cancelled", term=str(term_id))


def record_turn(session: Session, actor: Actor, turn: TermTurn) -> None:
    """Audit that a term began or ended by itself."""
    place = places_of(session, [turn.term.account_id]).get(turn.term.account_id)
    audit.record(
        session,
        actor,
        Event.QUOTA_TERM,
        object_type="quota_account",
        object_id=turn.term.account_id,
        object_name=turn.account_name,
        organization_path=place.organization_path if place else "/",
        stage="began" if turn.began else "ended",
        term=str(turn.term.term_id),
        before={turn.term.key: turn.before},
        after={turn.term.key: turn.after},
    )


def require_allotment(session: Session, changes: Changes) -> None:
    """Refuse a movement that makes limits add up to more below an account than policy allows.

    Raises:
        OverAllotted: naming every account and key.
    """
    quotas.require_allotment(session, changes, policy_of(session).quota_overallocation_max_pct)


def require_no_more_allotted(session: Session, found: Iterable[Finding]) -> None:
    """Refuse limits that are only tried where they would allot more than policy allows.

    Raises:
        OverAllotted: naming every account and key.
    """
    most_pct = policy_of(session).quota_overallocation_max_pct
    allotted = (Consequence.CHILDREN_ABOVE, Consequence.PROMISED_ABOVE)
    over = [
        allotment
        for each in found
        if each.consequence in allotted and each.over > each.before
        if (allotment := Allotment(each.account_id, each.name, parse_key(each.key), each.limit, each.amount)).is_above(
            most_pct
        )
    ]
    if most_pct and over:
        raise OverAllotted(over, most_pct)


def require_in_reach(day: date | None, field: str) -> None:
    """Refuse a day of another age: at the very ends of the calendar there are no moments to reckon with.

    Raises:
        InvalidInput: naming the field.
    """
    if day is not None and not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise InvalidInput(N_("Give a day from {first} to {last}."), field=field, first=_FIRST_YEAR, last=_LAST_YEAR)


def beginning_of(day: date) -> datetime:
    """Return the first moment of a day in Asia/Shanghai, as UTC."""
    return clock.end_of_day(day - timedelta(days=1)) + timedelta(seconds=1)


def _settable(session: Session, actor: Actor, account_id: uuid.UUID) -> Place:
    place = visible_place(session, actor, account_id)
    require_may_set(actor, place)
    return place


def _record(session: Session, actor: Actor, event: Event, account_id: uuid.UUID, place: Place, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="quota_account",
        object_id=account_id,
        object_name=place.name,
        organization_path=place.organization_path,
        **detail,
    )
