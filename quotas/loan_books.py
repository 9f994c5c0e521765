"""Loans as they are written down: reading them, and moving the limits of the accounts they are about. Decides nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain.errors import NotFound
from cloudmgr.domain.messages import N_
from quotas.accounts import ACCOUNTS, lock_tree
from quotas.admission import EMPTY, Balance, Level
from quotas.books import BALANCES, read_levels
from quotas.keys import Key, stored_key
from quotas.limits import LimitChange, change_limits
from quotas.timed_tables import LoanAmountRow, LoanLevelRow, LoanRow

LOANS = LoanRow.__table__  # type: ignore[attr-defined]
LOAN_AMOUNTS = LoanAmountRow.__table__  # type: ignore[attr-defined]
LOAN_LEVELS = LoanLevelRow.__table__  # type: ignore[attr-defined]

LENDER, BORROWER = "lender", "borrower"


@dataclass(frozen=True, slots=True)
class LoanAmount:
    """How much of one key: lent, still in the borrower's limit, and owed (gone from the limit, but still in use)."""

    amount: int
    outstanding: int
    owed: int
    has_begun: bool = True

    @property
    def returned(self) -> int:
        """What is back with the lender; nothing of an offer that never began."""
        return self.amount - self.outstanding - self.owed if self.has_begun else 0


@dataclass(frozen=True, slots=True)
class Loan:
    """One loan as it stands."""

    loan_id: UUID
    lender_id: UUID
    borrower_id: UUID
    lender: str
    borrower: str
    state: str
    until: datetime
    extensions: int
    offered_side: str
    lender_signed_by: str | None
    borrower_signed_by: str | None
    reason: str
    basis_no: str | None
    note: str
    created_at: datetime
    began_at: datetime | None
    ended_at: datetime | None
    amounts: Mapping[str, LoanAmount]


def get_loan(session: Session, loan_id: UUID) -> Loan:
    """Return one loan.

    Raises:
        NotFound: there is none.
    """
    found = _read(session, LOANS.c.id == loan_id)
    if not found:
        raise _no_such_loan(loan_id)
    return found[0]


def all_loans(
    session: Session,
    *,
    account: UUID | None = None,
    states: Sequence[str] = (),
    below: UUID | None = None,
    most: int = 500,
) -> list[Loan]:
    """Return the loans of one account, or of all, in these states, or in any, the newest first, at most so many.

    With `below`, only those older than that loan.
    """
    newest = sa.select(LOANS.c.id).order_by(LOANS.c.id.desc()).limit(most)
    if account is not None:
        newest = newest.where(sa.or_(LOANS.c.lender_id == account, LOANS.c.borrower_id == account))
    if states:
        newest = newest.where(LOANS.c.state.in_(states))
    if below is not None:
        newest = newest.where(LOANS.c.id < below)
    return _read(session, LOANS.c.id.in_(newest))


def count_loans(session: Session) -> dict[str, int]:
    """Return how many loans there are of each state."""
    counted = sa.select(LOANS.c.state, sa.func.count()).group_by(LOANS.c.state)
    return {state: int(count) for state, count in session.connection().execute(counted)}


def lent(session: Session) -> dict[tuple[str, str], int]:
    """Return, by state and key, what is offered, and what of standing loans has not come back."""
    amount = sa.case(
        (LOANS.c.state == "offered", LOAN_AMOUNTS.c.amount), else_=LOAN_AMOUNTS.c.outstanding + LOAN_AMOUNTS.c.owed
    )
    rows = session.connection().execute(
        sa.select(LOANS.c.state, LOAN_AMOUNTS.c.key, sa.func.sum(amount))
        .join(LOAN_AMOUNTS, LOAN_AMOUNTS.c.loan_id == LOANS.c.id)
        .where(LOANS.c.state.in_(["offered", "active", "overdue"]))
        .group_by(LOANS.c.state, LOAN_AMOUNTS.c.key)
    )
    return {(state, key): int(total) for state, key, total in rows}


def loans_in(
    session: Session, balances: Iterable[tuple[UUID, Key]], *, before: datetime
) -> dict[tuple[UUID, Key], list[tuple[Loan, int]]]:
    """Return, by account and key, the loans that are in its limit and end before a moment, with how much of each."""
    wanted = set(balances)
    rows = (
        session.connection()
        .execute(
            sa.select(LOAN_LEVELS.c.account_id, LOAN_LEVELS.c.key, LOANS.c.id, LOAN_AMOUNTS.c.outstanding)
            .join(LOANS, LOANS.c.id == LOAN_LEVELS.c.loan_id)
            .join(
                LOAN_AMOUNTS,
                sa.and_(LOAN_AMOUNTS.c.loan_id == LOAN_LEVELS.c.loan_id, LOAN_AMOUNTS.c.key == LOAN_LEVELS.c.key),
            )
            .where(
                LOAN_LEVELS.c.side == BORROWER,
                LOAN_LEVELS.c.account_id.in_({account_id for account_id, _ in wanted}),
                LOANS.c.state == "active",
                LOANS.c.until < before,
                LOAN_AMOUNTS.c.outstanding > 0,
            )
            .order_by(LOANS.c.until, LOANS.c.id)
        )
        .all()
    )
    loans = {loan.loan_id: loan for loan in _read(session, LOANS.c.id.in_({row.id for row in rows}))} if rows else {}
    found: dict[tuple[UUID, Key], list[tuple[Loan, int]]] = {}
    for row in rows:
        at = (row.account_id, stored_key(row.key))
        if at in wanted:
            found.setdefault(at, []).append((loans[row.id], row.outstanding))
    return found


def mismatches(connection: sa.Connection) -> Iterator[tuple[UUID, str, str, int, int]]:
    """Yield (account, key, column, recorded, recounted) where what is borrowed is not borne out by the loans."""
    counted = (
        sa.select(
            LOAN_LEVELS.c.account_id,
            LOAN_LEVELS.c.key,
            sa.cast(sa.func.sum(LOAN_AMOUNTS.c.outstanding), sa.BigInteger).label("borrowed"),
        )
        .join(
            LOAN_AMOUNTS,
            sa.and_(LOAN_AMOUNTS.c.loan_id == LOAN_LEVELS.c.loan_id, LOAN_AMOUNTS.c.key == LOAN_LEVELS.c.key),
        )
        .where(LOAN_LEVELS.c.side == BORROWER)
        .group_by(LOAN_LEVELS.c.account_id, LOAN_LEVELS.c.key)
        .subquery("counted")
    )
    should = sa.func.coalesce(counted.c.borrowed, 0)
    rows = connection.execute(
        sa.select(BALANCES.c.account_id, BALANCES.c.key, BALANCES.c.borrowed, should)
        .select_from(
            BALANCES.outerjoin(
                counted, sa.and_(counted.c.account_id == BALANCES.c.account_id, counted.c.key == BALANCES.c.key)
            )
        )
        .where(BALANCES.c.borrowed != should)
        .order_by(BALANCES.c.account_id, BALANCES.c.key)
    )
    for account_id, key, recorded, recounted in rows:
        yield account_id, key, "borrowed", recorded, recounted


def free_of(session: Session, loan_id: UUID, out: Mapping[str, int]) -> dict[str, int]:
    """Return how much of each amount the borrower and those above it do not use."""
    free = dict(out)
    for _, key, held in levels_of(session, loan_id, BORROWER):
        if held.limit is not None and str(key) in free:
            left = max(0, held.limit - held.used - held.reserved)
            free[str(key)] = min(free[str(key)], left)
    return free


def still_used_of(session: Session, loan: Loan) -> dict[str, int]:
    """Return how much of each debt is still in use, newer debts of the same borrower being the last to be paid."""
    over: dict[str, int] = dict.fromkeys(loan.amounts, 0)
    for _, key, held in levels_of(session, loan.loan_id, BORROWER):
        over[str(key)] = max(over[str(key)], held.overhang)
    newer = session.connection().execute(
        sa.select(LOAN_AMOUNTS.c.key, LOAN_AMOUNTS.c.owed)
        .join(LOANS, LOANS.c.id == LOAN_AMOUNTS.c.loan_id)
        .where(
            LOANS.c.borrower_id == loan.borrower_id,
            LOANS.c.state == "overdue",
            sa.or_(LOANS.c.until > loan.until, sa.and_(LOANS.c.until == loan.until, LOANS.c.id > loan.loan_id)),
        )
    )
    for key, owed in newer:
        if key in over:
            over[key] = max(0, over[key] - owed)
    return {key: min(amount, loan.amounts[key].owed) for key, amount in over.items()}


def levels_of(session: Session, loan_id: UUID, side: str) -> list[tuple[Level, Key, Balance]]:
    """Return the accounts that the loan moved on one side, with the balance of each key."""
    rows = (
        session.connection()
        .execute(
            sa.select(LOAN_LEVELS.c.account_id, LOAN_LEVELS.c.key)
            .where(LOAN_LEVELS.c.loan_id == loan_id, LOAN_LEVELS.c.side == side)
            .order_by(LOAN_LEVELS.c.account_id, LOAN_LEVELS.c.key)
        )
        .all()
    )
    levels: dict[UUID, Level] = {}
    for row in rows:
        if row.account_id not in levels:
            levels[row.account_id] = read_levels(session, row.account_id)[-1]
    found = []
    for row in rows:
        level, key = levels[row.account_id], stored_key(row.key)
        found.append((level, key, level.balances.get(key, EMPTY)))
    return found


def changes_of(session: Session, loan: Loan) -> dict[UUID, dict[Key, tuple[int | None, int | None]]]:
    """Return what a loan's beginning, just written, changed: limits before and after, by account and key."""
    changes: dict[UUID, dict[Key, tuple[int | None, int | None]]] = {}
    for side, sign in ((LENDER, -1), (BORROWER, 1)):
        for level, key, held in levels_of(session, loan.loan_id, side):
            if held.limit is not None:
                before = held.limit - sign * loan.amounts[str(key)].amount
                changes.setdefault(level.account_id, {})[key] = (before, held.limit)
    return changes


def shift(
    session: Session,
    loan: Loan,
    side: str,
    amounts: Mapping[str, int],
    movement_id: UUID,
    *,
    borrowed: bool = False,
) -> None:
    """Change the limits of every account on one side; where somebody has taken a limit away since, there is none to change."""
    changes: dict[UUID, tuple[Level, list[LimitChange]]] = {}
    for level, key, held in levels_of(session, loan.loan_id, side):
        amount = amounts.get(str(key), 0)
        if not amount:
            continue
        if held.limit is not None:
            after = max(0, held.limit + amount)
            changes.setdefault(level.account_id, (level, []))[1].append(LimitChange(key, held.limit, after))
        if borrowed:
            session.connection().execute(
                sa.update(BALANCES)
                .where(BALANCES.c.account_id == level.account_id, BALANCES.c.key == str(key))
                .values(borrowed=BALANCES.c.borrowed + amount)
            )
    for level, some in changes.values():
        change_limits(
            session,
            level,
            some,
            movement_id,
            reason=loan.reason,
            basis_no=loan.basis_no,
            actor=" / ".join(filter(None, (loan.lender_signed_by, loan.borrower_signed_by))),
        )


def locked(session: Session, loan_id: UUID) -> Loan:
    """Return a loan as it stands under the lock of its tree.

    Raises:
        NotFound: there is none.
    """
    lender = session.connection().execute(sa.select(LOANS.c.lender_id).where(LOANS.c.id == loan_id)).scalar()
    if lender is None:
        raise _no_such_loan(loan_id)
    lock_tree(session, lender)
    return get_loan(session, loan_id)


def _read(session: Session, condition: sa.ColumnElement[bool]) -> list[Loan]:
    lender, borrower = ACCOUNTS.alias("lender"), ACCOUNTS.alias("borrower")
    rows = (
        session.connection()
        .execute(
            sa.select(LOANS, lender.c.name.label("lender"), borrower.c.name.label("borrower"))
            .join(lender, lender.c.id == LOANS.c.lender_id)
            .join(borrower, borrower.c.id == LOANS.c.borrower_id)
            .where(condition)
            .order_by(LOANS.c.id.desc())
        )
        .mappings()
        .all()
    )
    amounts: dict[UUID, dict[str, LoanAmount]] = {row["id"]: {} for row in rows}
    begun = {row["id"] for row in rows if row["began_at"] is not None}
    if rows:
        lines = session.connection().execute(
            sa.select(LOAN_AMOUNTS).where(LOAN_AMOUNTS.c.loan_id.in_(list(amounts))).order_by(LOAN_AMOUNTS.c.key)
        )
        for line in lines:
            amounts[line.loan_id][line.key] = LoanAmount(
                line.amount, line.outstanding, line.owed, line.loan_id in begun
            )
    return [
        Loan(loan_id=row["id"], amounts=amounts[row["id"]], **{key: value for key, value in row.items() if key != "id"})
        for row in rows
    ]


def set_loan(session: Session, loan_id: UUID, **values: Any) -> None:
    """Write columns of a loan."""
    session.connection().execute(sa.update(LOANS).where(LOANS.c.id == loan_id).values(**values))


def set_amount(session: Session, loan_id: UUID, key: str, **values: int) -> None:
    """Write how much of one key is outstanding or owed."""
    session.connection().execute(
        sa.update(LOAN_AMOUNTS).where(LOAN_AMOUNTS.c.loan_id == loan_id, LOAN_AMOUNTS.c.key == key).values(**values)
    )


def _no_such_loan(loan_id: UUID) -> NotFound:
    return NotFound(N_("The ledger has no such loan."), detail=f"loan {loan_id}")
