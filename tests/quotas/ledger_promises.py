"""Rules of what stands beside limits: guarantees, limits for a time, loans, the days that pass, and repair."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput
from quotas import (
    GuaranteeRefused,
    LimitInUse,
    RootLimitRequired,
    accept_loan,
    account_usage,
    apply_term,
    cancel_term,
    due_loans,
    due_terms,
    end_offer,
    get_loan,
    offer_loan,
    repair_from_entries,
    return_loan,
    set_guarantees,
    set_terms,
    settle_loan,
    terms_of,
)
from quotas.books import BALANCES
from tests.quotas.ledger_model import KEYS, PARSED, WORDS, Balance, ModelLoan, ModelTerm
from tests.quotas.ledger_moves import Moving

SOME = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 8), min_size=1, max_size=2)
MOST_DUE = 10_000


class Promising(Moving):
    # guarantees

    @rule(data=st.data(), wanted=st.dictionaries(st.sampled_from(KEYS), st.integers(0, 8), min_size=1, max_size=3))
    def guarantee(self, data: Any, wanted: dict[str, int]) -> None:
        account = data.draw(st.sampled_from(list(self.parents)))
        call = {"account_id": account, "guarantees": wanted, "reason": "x"}
        above = self.parents[account]
        if above is None:
            with pytest.raises(InvalidInput):
                set_guarantees(self.session, **call)
            return
        problems = {balance for key, n in wanted.items() for balance in self._unbacked(account, above, key, n, wanted)}
        if problems:
            self.refused(GuaranteeRefused, problems, lambda: set_guarantees(self.session, **call))
            return
        set_guarantees(self.session, **call)
        for key, n in wanted.items():
            self.guaranteed[account, key] = n

    def _unbacked(self, account: uuid.UUID, above: uuid.UUID, key: str, n: int, wanted: dict[str, int]) -> set[Balance]:
        before, limit = self.guaranteed.get((account, key), 0), self.limits.get((account, key))
        if n == before:
            return set()
        found = set()
        if (n and (limit is None or limit < n)) or self.promised_below(account, key) > n:
            found.add((account, key))
        if n < before:
            return found
        theirs, total = self.limits.get((above, key)), self.promised_below(above, key) - before + n
        backing = theirs or 0
        if self.parents[above] is not None:
            backing = min(backing, self.guaranteed.get((above, key), 0))
        held = self.total(account, key)
        taken = self.total(above, key) + self.aside(above, key) + max(0, n - held) - max(0, before - held)
        if theirs is None or total > backing or taken > theirs:
            found.add((above, key))
        for wider in KEYS:
            is_wider = wider != key and PARSED[wider].contains(PARSED[key])
            covered = wanted.get(wider, self.guaranteed.get((account, wider), 0))
            if is_wider and self.limits.get((above, wider)) is not None and covered < n:
                found.add((account, wider))
        return found

    # limits for a time

    @rule(
        data=st.data(),
        key=st.sampled_from(KEYS),
        amount=st.none() | st.integers(0, 25),
        start=st.integers(0, 20),
        days=st.none() | st.integers(1, 30),
    )
    def limit_for_a_time(self, data: Any, key: str, amount: int | None, start: int, days: int | None) -> None:
        account, now = self.open(data), clock.now()
        begins = now + timedelta(days=start)
        ends = None if days is None else begins + timedelta(days=days)
        call = {
            "account_id": account,
            "limits": {key: amount},
            "valid_from": begins if start else None,
            "valid_until": ends,
            **WORDS,
        }
        never, far = datetime.max.replace(tzinfo=now.tzinfo), ends or datetime.max.replace(tzinfo=now.tzinfo)
        is_taken = any(
            (t.account, t.key) == (account, key)
            and t.state in ("waiting", "in_force")
            and t.begins < far
            and begins < (t.ends or never)
            for t in self.terms.values()
        )
        if self.parents[account] is None and amount is None and PARSED[key].is_plain:
            with pytest.raises(RootLimitRequired):
                set_terms(self.session, **call)
        elif amount is not None and amount < self.floor(account, key):
            self.refused(GuaranteeRefused, {(account, key)}, lambda: set_terms(self.session, **call))
        elif is_taken:
            with pytest.raises(Conflict):
                set_terms(self.session, **call)
        else:
            (made,) = set_terms(self.session, **call)
            term = self.terms[made.term_id] = ModelTerm(account, key, amount, begins, ends)
            if not start:
                self._begin(term)
            assert made.state == term.state

    def _begin(self, term: ModelTerm) -> None:
        term.before = self.limits.get((term.account, term.key))
        self.limits[term.account, term.key] = term.amount
        term.state = "ended" if term.ends is None else "in_force"

    def _end(self, term: ModelTerm) -> None:
        at = (term.account, term.key)
        term.state, now = "ended", self.limits.get(at)
        if term.before is None or term.amount is None:
            self.limits[at] = term.before
        elif now is not None:
            self.limits[at] = max(0, now - term.amount + term.before)

    @precondition(lambda self: self.terms)
    @rule(data=st.data())
    def take_back_a_term(self, data: Any) -> None:
        term_id = data.draw(st.sampled_from(sorted(self.terms)))
        term = self.terms[term_id]
        if term.state not in ("waiting", "in_force"):
            with pytest.raises(Conflict):
                cancel_term(self.session, term_id)
            return
        cancel_term(self.session, term_id)
        if term.state == "waiting":
            term.state = "cancelled"
        else:
            self._end(term)

    # loans

    @precondition(lambda self: len(self.parents) - len(self.closed) > 1)
    @rule(data=st.data(), amounts=SOME, days=st.integers(1, 40))
    def offer(self, data: Any, amounts: dict[str, int], days: int) -> None:
        lender, borrower, until = self.open(data), self.open(data), clock.now() + timedelta(days=days)
        call = {"lender": lender, "borrower": borrower, "amounts": amounts, "until": until}
        call |= {"side": data.draw(st.sampled_from(["lender", "borrower"])), "signer": "one", "reason": "x"}
        if not self._can_lend(lender, borrower, amounts):
            with pytest.raises(InvalidInput):
                offer_loan(self.session, **call)
            return
        made = offer_loan(self.session, **call)
        self.loans[made.loan_id] = ModelLoan(lender, borrower, amounts, until)

    def _can_lend(self, lender: uuid.UUID, borrower: uuid.UUID, amounts: dict[str, int]) -> bool:
        is_limited = all(self.limits.get((end, key)) is not None for end in (lender, borrower) for key in amounts)
        return is_limited and self.sides(lender, borrower) is not None

    def _pick_loan(self, data: Any, *states: str) -> tuple[uuid.UUID, ModelLoan]:
        return data.draw(st.sampled_from([each for each in self.loans.items() if each[1].state in states]))

    @precondition(lambda self: any(loan.state == "offered" for loan in self.loans.values()))
    @rule(data=st.data(), other=st.sampled_from(["two", "two", "two", "one", None]))
    def sign_for_the_other_side(self, data: Any, other: str | None) -> None:
        loan_id, loan = self._pick_loan(data, "offered")
        if other is None:
            end_offer(self.session, loan_id, state="declined")
            loan.state = "declined"
            return
        sides = self.sides(loan.lender, loan.borrower)
        is_open = not {loan.lender, loan.borrower} & self.closed
        if other == "one" or (sides is not None and not is_open):
            with pytest.raises(Conflict):
                accept_loan(self.session, loan_id, signer=other)
            return
        if sides is None or not self._can_lend(loan.lender, loan.borrower, loan.lent):
            with pytest.raises(InvalidInput):
                accept_loan(self.session, loan_id, signer=other)
            return
        giving, taking = (
            [(a, key) for a in side for key in loan.lent if self.limits.get((a, key)) is not None] for side in sides
        )
        lacking = {(a, key) for a, key in giving if self.free(a, key) < loan.lent[key]}
        if lacking:
            self.refused(LimitInUse, lacking, lambda: accept_loan(self.session, loan_id, signer=other))
            return
        accept_loan(self.session, loan_id, signer=other)
        loan.state, loan.giving, loan.taking, loan.out = "active", giving, taking, dict(loan.lent)
        loan.owed = dict.fromkeys(loan.lent, 0)
        for key, n in loan.lent.items():
            self.shift([at for at in giving if at[1] == key], -n)
            self.shift([at for at in taking if at[1] == key], n)

    @precondition(lambda self: any(loan.state == "active" for loan in self.loans.values()))
    @rule(data=st.data(), n=st.none() | st.integers(1, 9))
    def give_back_early(self, data: Any, n: int | None) -> None:
        loan_id, loan = self._pick_loan(data, "active")
        key = data.draw(st.sampled_from(sorted(loan.lent)))
        given = {k: out for k, out in loan.out.items() if out} if n is None else {key: n}
        call = lambda: return_loan(self.session, loan_id, None if n is None else given)  # noqa: E731
        if any(amount > loan.out[k] for k, amount in given.items()):
            with pytest.raises(InvalidInput):
                call()
            return
        bound = {
            (a, k)
            for a, k in loan.taking
            if k in given and (limit := self.limits.get((a, k))) is not None and limit - self.total(a, k) < given[k]
        }
        if bound:
            self.refused(LimitInUse, bound, call)
            return
        call()
        self._go_back(loan, given, dict.fromkeys(given, 0))
        loan.state = "active" if any(loan.out.values()) else "returned"

    def _go_back(self, loan: ModelLoan, given: dict[str, int], owed: dict[str, int]) -> None:
        for key, n in given.items():
            self.shift([at for at in loan.taking if at[1] == key], -n)
            self.shift([at for at in loan.giving if at[1] == key], n - owed[key])
            loan.out[key] -= n
            loan.owed[key] += owed[key]

    # days that pass

    @rule(days=st.integers(1, 25), is_extended=st.booleans())
    def days_pass(self, days: int, is_extended: bool) -> None:
        """And a worker does what is due, until nothing is."""
        self.advance(timedelta(days=days))
        while due := [id_ for id_ in due_terms(self.session, most=MOST_DUE) if id_ in self.terms]:
            apply_term(self.session, due[0])
        self._do_terms()
        shown = {t.term_id: t.state for t in terms_of(self.session, self.parents, everything=True)}
        assert shown == {id_: term.state for id_, term in self.terms.items()}
        extend_to = clock.now() + timedelta(days=10) if is_extended else None
        for _ in range(10):
            due = [id_ for id_ in due_loans(self.session, most=MOST_DUE) if id_ in self.loans]
            assert set(due) == {id_ for id_, loan in self.loans.items() if self._is_due(loan)}
            if not due:
                return
            for loan_id in due:
                settle_loan(self.session, loan_id, extend_to=extend_to)
                self._settle(loan_id, extend_to)
                self._compare(loan_id)
        raise AssertionError(f"loans are due for ever: {due}")

    def _do_terms(self) -> None:
        """By day; of one day, what ends before what begins."""
        now = clock.now()
        while True:
            turns = [(t.begins, 1, id_) for id_, t in self.terms.items() if t.state == "waiting"]
            turns += [(t.ends, 0, id_) for id_, t in self.terms.items() if t.state == "in_force" and t.ends]
            if not (due := sorted(turn for turn in turns if turn[0] <= now)):
                return
            _, begins, id_ = due[0]
            (self._begin if begins else self._end)(self.terms[id_])

    def _is_due(self, loan: ModelLoan) -> bool:
        if loan.state in ("offered", "active"):
            return loan.until <= clock.now()
        return loan.state == "overdue" and any(self._payable(loan, key) for key in loan.owed)

    def _payable(self, loan: ModelLoan, key: str) -> int:
        """What of a debt is free by now: newer debts of the same borrower are the last to be paid."""
        stuck = max((self.overhang(a, k) for a, k in loan.taking if k == key), default=0)
        ids = {id(each): id_ for id_, each in self.loans.items()}
        newer = sum(
            each.owed.get(key, 0)
            for each in self.loans.values()
            if each.state == "overdue"
            and each.borrower == loan.borrower
            and (each.until, ids[id(each)]) > (loan.until, ids[id(loan)])
        )
        return loan.owed[key] - min(loan.owed[key], max(0, stuck - newer))

    def _settle(self, loan_id: uuid.UUID, extend_to: datetime | None) -> None:
        loan = self.loans[loan_id]
        if loan.state == "offered":
            loan.state = "expired"
            return
        if loan.state == "active":
            given = {key: n for key, n in loan.out.items() if n}
            owed = {key: n - min([n, *self._left(loan, key)]) for key, n in given.items()}
            if extend_to is not None and any(owed.values()):
                loan.until = extend_to
                return
            self._go_back(loan, given, owed)
        else:
            for key in loan.owed:
                paid = self._payable(loan, key)
                self.shift([at for at in loan.giving if at[1] == key], paid)
                loan.owed[key] -= paid
        loan.state = "overdue" if any(loan.owed.values()) else "returned"

    def _left(self, loan: ModelLoan, key: str) -> list[int]:
        """What every level of the borrower has free, where there is a limit."""
        return [
            max(0, limit - self.total(a, k))
            for a, k in loan.taking
            if k == key and (limit := self.limits.get((a, k))) is not None
        ]

    def _compare(self, loan_id: uuid.UUID) -> None:
        found, loan = get_loan(self.session, loan_id), self.loans[loan_id]
        assert (found.state, found.until) == (loan.state, loan.until)
        if loan.out:
            assert {key: (n.outstanding, n.owed) for key, n in found.amounts.items()} == {
                key: (loan.out[key], loan.owed[key]) for key in loan.lent
            }

    # repair

    @rule(data=st.data(), what=st.sampled_from(["used", "reserved", "limit_amount", "row"]), by=st.integers(1, 5))
    def repair(self, data: Any, what: str, by: int) -> None:
        account = data.draw(st.sampled_from(list(self.parents)))
        usage = account_usage(self.session, account)
        if not usage.limits:
            return
        key = data.draw(st.sampled_from(sorted(usage.limits)))
        at = (BALANCES.c.account_id == account) & (BALANCES.c.key == key)
        limit = usage.limits[key]
        if what == "row":
            if self.guaranteed.get((account, key)) or self.aside(account, key) or self.borrowed(account, key):
                return  # those are not in the entries of what is held
            self.session.connection().execute(sa.delete(BALANCES).where(at))
            numbers = {"used": usage.used[key], "reserved": usage.reserved[key], "limit": limit}
            expected = {column for column, n in numbers.items() if n or (column == "limit" and n is not None)}
        else:
            now = {"used": usage.used[key], "reserved": usage.reserved[key], "limit_amount": limit or 0}
            now[what] += by
            held = now["used"] + now["reserved"]
            bound = now["limit_amount"] if limit is not None or what == "limit_amount" else None
            over = 0 if bound is None else max(0, held - bound)
            self.session.connection().execute(sa.update(BALANCES).where(at).values({what: now[what], "overhang": over}))
            expected = {"limit" if what == "limit_amount" else what}
        found = repair_from_entries(self.session)
        assert {(m.account_id, m.key, m.column) for m in found} == {(account, key, column) for column in expected}
