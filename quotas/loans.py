"""Loans of quota: one account lends another an amount by key until a moment. Both sides sign, different people do.

Double entry: the lender's limits fall and the borrower's rise, along both chains to the account that stands above both, in
one movement; the same accounts get back what they gave. What is still in use on the day leaves the borrower's limits all the
same (its growth is refused from then on) and is owed to the lender until it is free. At any moment, for each key,
lent = outstanding at the borrower + owed + back with the lender.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from quotas.accounts import require_open
from quotas.admission import EMPTY
from quotas.books import BALANCES
from quotas.keys import stored_key
from quotas.loan_books import (
    BORROWER,
    LENDER,
    LOAN_AMOUNTS,
    LOAN_LEVELS,
    LOANS,
    Loan,
    free_of,
    get_loan,
    levels_of,
    locked,
    set_amount,
    set_loan,
    shift,
    still_used_of,
)
from quotas.movable import checked, kept, require_limited
from quotas.refusals import Binding, LimitInUse
from quotas.transfers import sides


def offer_loan(
    session: Session,
    *,
    lender: UUID,
    borrower: UUID,
    amounts: Mapping[str, int],
    until: datetime,
    side: str,
    signer: str,
    reason: str,
    basis_no: str | None = None,
) -> Loan:
    """Write down what one side (`lender` or `borrower`) has signed; nothing moves before the other does.

    Raises:
        InvalidInput: one stands above the other, either has no limit on a key, the end is past, no reason.
        Conflict: an account is closed. NotFound: no such account.
    """
    wanted = checked(amounts)
    if until <= clock.now():
        raise InvalidInput(N_("A loan ends on a day to come."), field="until")
    if not reason.strip():
        raise InvalidInput(N_("Say why it is lent."), field="reason")
    giving, taking = sides(session, lender, borrower, field=BORROWER)
    require_open(giving[-1], taking[-1])
    for end in (giving[-1], taking[-1]):
        require_limited(end, wanted)
    loan_id = new_id()
    connection = session.connection()
    connection.execute(
        sa.insert(LOANS).values(
            id=loan_id,
            lender_id=lender,
            borrower_id=borrower,
            state="offered",
            until=until,
            extensions=0,
            offered_side=side,
            lender_signed_by=signer if side == LENDER else None,
            borrower_signed_by=signer if side == BORROWER else None,
            reason=reason.strip(),
            basis_no=basis_no,
            note="",
            created_at=clock.now(),
        )
    )
    connection.execute(
        sa.insert(LOAN_AMOUNTS),
        [
            {"loan_id": loan_id, "key": str(key), "amount": amount, "outstanding": 0, "owed": 0}
            for key, amount in wanted.items()
        ],
    )
    return get_loan(session, loan_id)


def accept_loan(session: Session, loan_id: UUID, *, signer: str, note: str = "") -> Loan:
    """Sign for the other side and move the limits, in one movement.

    Raises:
        LimitInUse: less is free than is lent, at the lender or above it; `errors` lists every account and key.
        Conflict: it is not on offer, its day has passed, or the same person signed for the other side.
        NotFound: no such loan.
    """
    loan = locked(session, loan_id)
    _require_offered(loan)
    if signer in (loan.lender_signed_by, loan.borrower_signed_by):
        raise Conflict(N_("The other side must be signed for by another person."))
    if loan.until <= clock.now():
        raise Conflict(N_("The last day of this loan has passed."))
    wanted = {stored_key(key): held.amount for key, held in loan.amounts.items()}
    giving, taking = sides(session, loan.lender_id, loan.borrower_id, field=BORROWER)
    require_open(giving[-1], taking[-1])
    for end in (giving[-1], taking[-1]):
        require_limited(end, wanted)
    in_use = [
        Binding(level.account_id, level.name, key, held.limit, held.used, held.reserved, amount, kept(held))
        for level in giving
        for key, amount in wanted.items()
        if (held := level.balances.get(key, EMPTY)).limit is not None
        and held.limit - held.used - held.reserved - kept(held) < amount
    ]
    if in_use:
        raise LimitInUse(in_use)
    levels = [
        {"loan_id": loan_id, "account_id": level.account_id, "key": str(key), "side": side}
        for side, chain in ((LENDER, giving), (BORROWER, taking))
        for level in chain
        for key in wanted
        if level.balances.get(key, EMPTY).limit is not None
    ]
    session.connection().execute(sa.insert(LOAN_LEVELS), levels)
    moved = {str(key): amount for key, amount in wanted.items()}
    movement_id = new_id()
    signed = {"borrower_signed_by" if loan.offered_side == LENDER else "lender_signed_by": signer}
    set_loan(session, loan_id, state="active", began_at=clock.now(), note=note.strip(), **signed)
    loan = get_loan(session, loan_id)
    shift(session, loan, LENDER, {key: -amount for key, amount in moved.items()}, movement_id)
    shift(session, loan, BORROWER, moved, movement_id, borrowed=True)
    for key, amount in moved.items():
        set_amount(session, loan_id, key, outstanding=amount)
    return get_loan(session, loan_id)


def end_offer(session: Session, loan_id: UUID, *, state: str, note: str = "") -> Loan:
    """Close an offer that was never signed by both: `declined`, `cancelled` or `expired`.

    Raises:
        Conflict: it is not on offer any more. NotFound: no such loan.
    """
    loan = locked(session, loan_id)
    _require_offered(loan)
    set_loan(session, loan_id, state=state, note=note.strip(), ended_at=clock.now())
    return get_loan(session, loan_id)


def return_loan(session: Session, loan_id: UUID, amounts: Mapping[str, int] | None = None) -> Loan:
    """Give back before the day: all that is left, or so much by key. Only what the borrower does not use can be given.

    Raises:
        LimitInUse: less is free than is to go back; `errors` lists every account and key.
        InvalidInput: more than is outstanding. Conflict: it does not stand. NotFound: no such loan.
    """
    loan = locked(session, loan_id)
    if loan.state != "active":
        raise Conflict(N_("Only a loan that stands can be given back early."))
    given = {str(key): amount for key, amount in checked(amounts).items()} if amounts is not None else None
    if given is None:
        given = {key: held.outstanding for key, held in loan.amounts.items() if held.outstanding}
    for key, amount in given.items():
        left = loan.amounts[key].outstanding if key in loan.amounts else 0
        if amount > left:
            raise InvalidInput(
                N_("Only {left} {key} of this loan are still out."),
                field=f"amounts.{key}",
                **stored_key(key).told(left=left),
            )
    bound = [
        Binding(level.account_id, level.name, key, held.limit, held.used, held.reserved, amount)
        for level, key, held in levels_of(session, loan_id, BORROWER)
        if held.limit is not None
        and (amount := given.get(str(key), 0))
        and held.limit - held.used - held.reserved < amount
    ]
    if bound:
        raise LimitInUse(bound)
    _give_back(session, loan, given, owed={})
    return _close_if_empty(session, loan_id)


def due_loans(session: Session, *, most: int) -> list[UUID]:
    """Return the loans and offers whose day is past, and those owed something that is free by now, the earliest first."""
    day_is_past = sa.and_(LOANS.c.state.in_(("offered", "active")), LOANS.c.until <= clock.now())
    rows = session.connection().execute(
        sa.select(LOANS.c.id)
        .where(sa.or_(day_is_past, sa.and_(LOANS.c.state == "overdue", _has_freed())))
        .order_by(LOANS.c.until, LOANS.c.id)
        .limit(most)
    )
    return list(rows.scalars())


def _has_freed() -> sa.ColumnElement[bool]:
    """Whether the borrower uses less above its limits than it owes of some key, to all its lenders together."""
    others, theirs = LOANS.alias("others"), LOAN_AMOUNTS.alias("theirs")
    owed = (
        sa.select(sa.func.sum(theirs.c.owed))
        .join(others, others.c.id == theirs.c.loan_id)
        .where(
            others.c.borrower_id == LOANS.c.borrower_id,
            others.c.state == "overdue",
            theirs.c.key == LOAN_AMOUNTS.c.key,
        )
        .correlate(LOANS, LOAN_AMOUNTS)
        .scalar_subquery()
    )
    in_use = (
        sa.select(sa.literal(1))
        .select_from(LOAN_LEVELS)
        .join(
            BALANCES,
            sa.and_(BALANCES.c.account_id == LOAN_LEVELS.c.account_id, BALANCES.c.key == LOAN_LEVELS.c.key),
        )
        .where(
            LOAN_LEVELS.c.loan_id == LOANS.c.id,
            LOAN_LEVELS.c.side == BORROWER,
            LOAN_LEVELS.c.key == LOAN_AMOUNTS.c.key,
            BALANCES.c.overhang >= owed,
        )
        .correlate(LOANS, LOAN_AMOUNTS)
    )
    return (
        sa.select(sa.literal(1))
        .select_from(LOAN_AMOUNTS)
        .where(LOAN_AMOUNTS.c.loan_id == LOANS.c.id, LOAN_AMOUNTS.c.owed > 0, ~in_use.exists())
        .correlate(LOANS)
        .exists()
    )


def settle_loan(session: Session, loan_id: UUID, *, extend_to: datetime | None = None) -> Loan | None:
    """Do what the day demands: an offer expires, a loan goes back, what is owed and free by now follows it.

    With `extend_to`, a loan of which anything is still in use runs on until then instead. None: nothing changed.
    """
    loan = locked(session, loan_id)
    if loan.state == "offered" and loan.until <= clock.now():
        return end_offer(session, loan_id, state="expired")
    if loan.state == "active" and loan.until <= clock.now():
        return _end(session, loan, extend_to)
    if loan.state == "overdue":
        return _collect(session, loan)
    return None


def _end(session: Session, loan: Loan, extend_to: datetime | None) -> Loan:
    """Take everything out of the borrower's limits; the lender gets what is free, the rest is owed."""
    out = {key: held.outstanding for key, held in loan.amounts.items() if held.outstanding}
    free = free_of(session, loan.loan_id, out)
    if extend_to is not None and any(free[key] < amount for key, amount in out.items()):
        set_loan(session, loan.loan_id, until=extend_to, extensions=loan.extensions + 1)
        return get_loan(session, loan.loan_id)
    _give_back(session, loan, out, owed={key: amount - free[key] for key, amount in out.items()})
    return _close_if_empty(session, loan.loan_id, otherwise="overdue")


def _collect(session: Session, loan: Loan) -> Loan | None:
    """Give the lender what the borrower has freed of what it owes; the oldest debt is paid first."""
    still_used = still_used_of(session, loan)
    paid = {key: held.owed - still_used[key] for key, held in loan.amounts.items() if held.owed > still_used[key]}
    if not paid:
        return None
    movement_id = new_id()
    shift(session, loan, LENDER, paid, movement_id)
    for key, amount in paid.items():
        set_amount(session, loan.loan_id, key, owed=loan.amounts[key].owed - amount)
    return _close_if_empty(session, loan.loan_id, otherwise="overdue")


def _give_back(session: Session, loan: Loan, given: Mapping[str, int], owed: Mapping[str, int]) -> None:
    movement_id = new_id()
    lowered = {key: -amount for key, amount in given.items()}
    shift(session, loan, BORROWER, lowered, movement_id, borrowed=True)
    raised = {key: amount - owed.get(key, 0) for key, amount in given.items()}
    shift(session, loan, LENDER, raised, movement_id)
    for key, amount in given.items():
        held = loan.amounts[key]
        set_amount(
            session,
            loan.loan_id,
            key,
            outstanding=held.outstanding - amount,
            owed=held.owed + owed.get(key, 0),
        )


def _close_if_empty(session: Session, loan_id: UUID, *, otherwise: str = "active") -> Loan:
    loan = get_loan(session, loan_id)
    is_over = all(held.returned == held.amount for held in loan.amounts.values())
    state = "returned" if is_over else otherwise
    if state != loan.state:
        set_loan(session, loan_id, state=state, **({"ended_at": clock.now()} if is_over else {}))
        return get_loan(session, loan_id)
    return loan


def _require_offered(loan: Loan) -> None:
    if loan.state != "offered":
        raise Conflict(N_("This loan is not on offer any more; look at it again."))
