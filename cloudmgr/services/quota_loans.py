"""Use cases of loans: offer, sign, decline, cancel, give back early, and what the day brings. The books are `quotas`.

Each side is signed for by somebody who administers quota there (QUOTA_SPLIT or QUOTA_WRITE on that organization, its own
included: lending what is one's own is one's own affair), and the two are different people.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor, Role, require
from cloudmgr.domain.errors import Forbidden, Hidden, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.services import audit, notices
from cloudmgr.services.inputs import Day, Id, Input, Text
from cloudmgr.services.policy import policy_of
from cloudmgr.services.quota_keys import require_countable
from cloudmgr.services.quota_places import Place, is_visible, may_rearrange, places_of, visible_place
from cloudmgr.services.quota_shares import MAX_KEYS, BasisNo, QuotaKey, Reason, require_allotment, require_in_reach
from cloudmgr.store import notices as happenings
from cloudmgr.store import organizations
from quotas import Loan

Amounts = Annotated[dict[QuotaKey, Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=MAX_KEYS)]


LOAN_STATES = ("offered", "active", "overdue", "returned", "declined", "cancelled", "expired")
MOST_LISTED = 500
REMIND_DAYS = 7
"""So many days before its end both sides are reminded of a loan."""


class OfferLoan(Input):
    """Quota that one account is to lend another to the end of a day, by key."""

    lender: Id
    borrower: Id
    amounts: Amounts
    until: Day
    reason: Reason
    basis_no: BasisNo | None = None


class DecideLoan(Input):
    """An answer: the other side's `accept` or `decline`, one's own `cancel`, or the borrower's early `return`."""

    decision: Literal["accept", "decline", "cancel", "return"]
    amounts: Amounts | None = None
    """With `return`: how much of each key; all that is left where it is left out."""
    comment: Annotated[Text, StringConstraints(max_length=2000)] = ""


@dataclass(frozen=True, slots=True)
class LoanView:
    """A loan with what its reader may do, and how long it lasts."""

    loan: Loan
    days_left: int | None
    """Whole days until its end; None where it does not stand."""
    may_accept: bool
    may_cancel: bool
    may_return: bool


def offer(session: Session, actor: Actor, command: OfferLoan) -> LoanView:
    """Offer a loan, or ask for one: the actor signs for the side they administer (for the lender where it is both).

    Raises:
        NotFound: there is no such account, or the actor may know of neither. Forbidden: the actor administers neither.
        InvalidInput: the day has passed, one stands above the other, or has no limit on a key. Conflict: a closed account.
    """
    require(actor, Action.QUOTA_READ)
    require_in_reach(command.until, "until")
    places = places_of(session, [command.lender, command.borrower])
    own = [place for place in places.values() if may_rearrange(actor, place)]
    if not own:
        for account_id in (command.lender, command.borrower):
            visible_place(session, actor, account_id)
        raise Forbidden(N_("A loan is signed by somebody who administers quota of the lender or of the borrower."))
    for field, account_id in (("lender", command.lender), ("borrower", command.borrower)):
        if account_id not in places:
            raise NotFound(N_("There is no such quota account."), field=field)
    require_countable(session, command.amounts, within="amounts")
    side = "lender" if may_rearrange(actor, places[command.lender]) else "borrower"
    loan = quotas.offer_loan(
        session,
        lender=command.lender,
        borrower=command.borrower,
        amounts=command.amounts,
        until=clock.end_of_day(command.until),
        side=side,
        signer=actor.username,
        reason=command.reason,
        basis_no=command.basis_no,
    )
    _record(session, actor, loan, "offered")
    other = places[command.borrower if side == "lender" else command.lender]
    _tell(
        session,
        loan,
        NoticeEvent.LOAN_OFFERED,
        Message(
            N_("{lender} would lend {borrower} quota until {until}: {amounts}. It waits for the other side."),
            _words(loan),
        ),
        [other],
        without=actor,
    )
    return _view(session, actor, loan)


def decide(session: Session, actor: Actor, loan_id: uuid.UUID, command: DecideLoan) -> LoanView:
    """Sign for the other side, decline, take one's own offer back, or give the loan back early.

    Raises:
        NotFound: no such loan for this actor. Forbidden: it is the other side's to say.
        LimitInUse: less is free than is to move. OverAllotted: on either side, a level would allot more than policy allows.
        Conflict: it is past that, or the same person signed already.
    """
    view = get(session, actor, loan_id)
    loan = view.loan
    _require_side(view, command.decision)
    if command.decision == "accept":
        done = quotas.accept_loan(session, loan_id, signer=actor.username, note=command.comment)
        require_allotment(session, quotas.changes_of(session, done))
        event, words = NoticeEvent.LOAN_SIGNED, N_("{lender} lends {borrower} quota until {until}: {amounts}.")
    elif command.decision == "return":
        done = quotas.return_loan(session, loan_id, command.amounts)
        event, words = NoticeEvent.LOAN_RETURNED, N_("{borrower} gives {lender} quota back: {amounts}.")
    else:
        state = "declined" if command.decision == "decline" else "cancelled"
        done = quotas.end_offer(session, loan_id, state=state, note=command.comment)
        event, words = NoticeEvent.LOAN_DECLINED, N_("The loan from {lender} to {borrower} does not come about.")
    _record(session, actor, done, command.decision, given=dict(command.amounts or {}), comment=command.comment)
    places = places_of(session, [loan.lender_id, loan.borrower_id])
    _tell(session, done, event, Message(words, _words(done)), list(places.values()), without=actor)
    return _view(session, actor, done)


def get(session: Session, actor: Actor, loan_id: uuid.UUID) -> LoanView:
    """Return one loan of which the actor sees a side.

    Raises:
        NotFound: there is none, or neither side is below or above the actor.
    """
    require(actor, Action.QUOTA_READ)
    loan = quotas.get_loan(session, loan_id)
    if not _sees(session, actor, loan):
        raise Hidden(N_("There is no such loan."), detail=f"{actor.username} sees neither side")
    return _view(session, actor, loan)


def list_loans(
    session: Session, actor: Actor, *, account: uuid.UUID | None = None, states: Sequence[str] = ()
) -> list[LoanView]:
    """Return the newest loans of which the actor sees a side, as many as a table shows; those of one account, or of all."""
    return page(session, actor, account=account, states=states, limit=MOST_LISTED)[0]


def page(
    session: Session,
    actor: Actor,
    *,
    account: uuid.UUID | None = None,
    states: Sequence[str] = (),
    limit: int,
    cursor: uuid.UUID | None = None,
) -> tuple[list[LoanView], uuid.UUID | None]:
    """Return a page of the loans of which the actor sees a side, the newest first; None as cursor: the last page."""
    require(actor, Action.QUOTA_READ)
    if account is not None:
        visible_place(session, actor, account)
    views: list[LoanView] = []
    while found := quotas.all_loans(session, account=account, states=states, below=cursor, most=limit + 1):
        for loan in found:
            if not _sees(session, actor, loan):
                continue
            if len(views) == limit:
                return views, views[-1].loan.loan_id
            views.append(_view(session, actor, loan))
        cursor = found[-1].loan_id
    return views, None


def account_by_code(session: Session, code: str) -> uuid.UUID | None:
    """Return the account of the organization with this code; None: there is none. Codes and names are no secrets here."""
    organization = organizations.by_code(session, code)
    return None if organization is None else organization.account_id


def settle_due(session: Session, actor: Actor, most: int) -> int:
    """Do what the day demands of loans, as `[policy] loan_overdue` says; return how many changed."""
    policy = policy_of(session)
    changed = 0
    for loan_id in quotas.due_loans(session, most=most):
        before = quotas.get_loan(session, loan_id)
        may_extend = policy.loan_overdue == "extend" and before.extensions < policy.loan_max_extensions
        later = clock.end_of_day(clock.today() + timedelta(days=policy.loan_extend_days)) if may_extend else None
        after = quotas.settle_loan(session, loan_id, extend_to=later)
        if after is None:
            continue
        changed += 1
        stage = "extended" if after.extensions > before.extensions else after.state
        _record(session, actor, after, stage)
        event = NoticeEvent.LOAN_RETURNED if after.state == "returned" else NoticeEvent.LOAN_OVERDUE
        if after.state == "expired":
            event = NoticeEvent.LOAN_DECLINED
        places = places_of(session, [after.lender_id, after.borrower_id])
        _tell(session, after, event, Message(_SETTLED[stage], _words(after)), list(places.values()))
    return changed


def remind_due(session: Session, most: int) -> int:
    """Tell both sides of loans that end within `REMIND_DAYS`, once each; return how many."""
    loans = _to_remind(session, most)
    for loan in loans:
        places = places_of(session, [loan.lender_id, loan.borrower_id])
        _notify(
            session, loan, NoticeEvent.LOAN_ENDING, Message(_ENDING, _words(loan)), list(places.values()), _end(loan)
        )
    return len(loans)


def gauges(session: Session) -> dict[str, float]:
    """Return what monitoring should see of loans: how many of each state, what of them is out, and how many are overdue."""
    numbers = dict.fromkeys(LOAN_STATES, 0) | quotas.count_loans(session)
    told: dict[str, float] = {f'cloudmgr_quota_loans{{state="{state}"}}': count for state, count in numbers.items()}
    for (state, key), amount in quotas.lent(session).items():
        told[f'cloudmgr_quota_loan_amount{{state="{state}",key="{key}"}}'] = amount
    return {**told, "cloudmgr_quota_loans_overdue": numbers["overdue"]}


def is_any_to_remind(session: Session) -> bool:
    """Whether a loan ends soon of which nobody was told."""
    return bool(_to_remind(session, 1))


def _to_remind(session: Session, most: int) -> list[Loan]:
    now = clock.now()
    ending = {
        _end(loan): loan
        for loan in quotas.all_loans(session, states=["active"])
        if now < loan.until <= now + timedelta(days=REMIND_DAYS)
    }
    told = happenings.told(session, NoticeEvent.LOAN_ENDING.value, list(ending)) if ending else set()
    return [loan for end, loan in ending.items() if end not in told][:most]


def _end(loan: Loan) -> str:
    return f"loan:{loan.loan_id}:until:{loan.until.date()}"


_ENDING = N_("What {lender} lent {borrower} ends on {until}: {amounts}. What is free then goes back by itself.")
_SETTLED = {
    "expired": N_("The loan from {lender} to {borrower} was not signed in time."),
    "returned": N_("What {lender} lent {borrower} is back: {amounts}."),
    "overdue": N_(
        "The loan of {lender} to {borrower} has ended; {owed} is still in use there and follows as it frees. "
        "Until then {borrower} cannot grow."
    ),
    "extended": N_("The loan of {lender} to {borrower} is still in use and runs on until {until}, as policy allows."),
}


def _require_side(view: LoanView, decision: str) -> None:
    allowed = {
        "accept": view.may_accept,
        "decline": view.may_accept,
        "cancel": view.may_cancel,
        "return": view.may_return,
    }
    if allowed[decision]:
        return
    if view.loan.state == "offered" and decision == "cancel":
        raise Forbidden(N_("Only the side that made this offer takes it back; the other side declines it."))
    if view.loan.state == "offered" and decision in ("accept", "decline"):
        raise Forbidden(
            N_("It is for somebody who administers quota of the other side, and another person, to answer.")
        )
    if view.loan.state == "active" and decision == "return":
        raise Forbidden(N_("Only the borrower's administrator gives a loan back."))


def _view(session: Session, actor: Actor, loan: Loan) -> LoanView:
    places = places_of(session, [loan.lender_id, loan.borrower_id])
    sides = {"lender": loan.lender_id, "borrower": loan.borrower_id}
    mine = {
        side: account_id in places and may_rearrange(actor, places[account_id]) for side, account_id in sides.items()
    }
    other = "borrower" if loan.offered_side == "lender" else "lender"
    is_offered = loan.state == "offered"
    signed = actor.username in (loan.lender_signed_by, loan.borrower_signed_by)
    return LoanView(
        loan=loan,
        days_left=max(0, (loan.until - clock.now()).days) if loan.state == "active" else None,
        may_accept=is_offered and mine[other] and not signed,
        may_cancel=is_offered and mine[loan.offered_side],
        may_return=loan.state == "active" and mine["borrower"],
    )


def _sees(session: Session, actor: Actor, loan: Loan) -> bool:
    scope = actor.scope(Action.QUOTA_READ)
    return any(is_visible(scope, place) for place in places_of(session, [loan.lender_id, loan.borrower_id]).values())


def _words(loan: Loan) -> dict[str, object]:
    return {
        "lender": loan.lender,
        "borrower": loan.borrower,
        "until": loan.until.astimezone(clock.SHANGHAI).date().isoformat(),
        "amounts": [_amount(key, held.amount) for key, held in loan.amounts.items()],
        "owed": [_amount(key, held.owed) for key, held in loan.amounts.items() if held.owed] or 0,
    }


def _amount(key: str, amount: int) -> Message:
    return Message(N_("{amount} {key}"), quotas.parse_key(key).told(amount=amount))


def _tell(
    session: Session,
    loan: Loan,
    event: NoticeEvent,
    message: Message,
    places: Sequence[Place],
    *,
    without: Actor | None = None,
) -> None:
    """Tell who administers quota of these sides; a project's is administered at its organization."""
    ends = "".join(f"{key}:{held.outstanding}:{held.owed}," for key, held in loan.amounts.items())
    dedupe = f"loan:{loan.loan_id}:{loan.state}:{loan.extensions}:{ends}"
    _notify(session, loan, event, message, places, dedupe, without=without)


def _notify(
    session: Session,
    loan: Loan,
    event: NoticeEvent,
    message: Message,
    places: Sequence[Place],
    dedupe: str,
    *,
    without: Actor | None = None,
) -> None:
    notices.notify(
        session,
        event,
        message,
        to=[
            RoleAt(role, uuid.UUID(place.organization_path.rstrip("/").rpartition("/")[2]))
            for place in places
            for role in (Role.DISTRICT_ADMIN, Role.QUOTA_ADMIN)
        ],
        about=About("quota_loan", str(loan.loan_id), f"{loan.lender} → {loan.borrower}", "/quotas/loans"),
        dedupe=dedupe,
        organization_path=places[0].organization_path if places else "/",
        without=[without.user_id] if without is not None and without.user_id is not None else [],
    )


def _record(session: Session, actor: Actor, loan: Loan, stage: str, **detail: Any) -> None:
    for account_id, place in places_of(session, [loan.lender_id, loan.borrower_id]).items():
        audit.record(
            session,
            actor,
            Event.QUOTA_LOAN,
            object_type="quota_account",
            object_id=account_id,
            object_name=place.name,
            organization_path=place.organization_path,
            loan=str(loan.loan_id),
            stage=stage,
            lender=loan.lender,
            borrower=loan.borrower,
            amounts={key: held.amount for key, held in loan.amounts.items()},
            **detail,
        )
