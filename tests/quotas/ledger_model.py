"""A model of the ledger so plain that it can be read: parts, limits and promises, added up anew for each question.

Rules over it are in `ledger_holding`, `ledger_moves`, `ledger_loans` and `ledger_time`; `test_model` puts them together.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import new_session
from quotas import QuotaExceeded, create_account, parse_key, tree, verify
from quotas.accounts import RESERVATIONS

RESOURCES = ("vcpus", "disk_gib")
KEYS = ("vcpus", "disk_gib", "vcpus{arch=aarch64}", "vcpus{backend=a}", "disk_gib{arch=x86_64,tier=city}")
PARSED = {text: parse_key(text) for text in KEYS}
WORDS = {"reason": "x", "actor": "x"}
MOST_ACCOUNTS, MOST_DEPTH = 10, 8
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

Balance = tuple[uuid.UUID, str]


@dataclass
class ModelPart:
    account: uuid.UUID
    amounts: dict[str, int]
    dims: dict[str, str]
    since: datetime
    placed: dict[str, str] = field(default_factory=dict)
    state: str = "pending"
    top: uuid.UUID | None = None

    @property
    def is_holding(self) -> bool:
        return self.state in ("pending", "posted")

    def counted(self, key: Any, *, is_above: bool) -> int:
        if is_above and not {"backend", "tier"} & dict(key.dims).keys():
            return 0
        if not self.is_holding or not key.matches(self.dims | self.placed):
            return 0
        return self.amounts.get(key.resource, 0)


@dataclass
class ModelTerm:
    """A limit that holds for a time."""

    account: uuid.UUID
    key: str
    amount: int | None
    begins: datetime
    ends: datetime | None
    state: str = "waiting"
    before: int | None = None


@dataclass
class ModelLoan:
    """Of each key, what is lent, what is out in the borrower's limits, and what has left them and is owed."""

    lender: uuid.UUID
    borrower: uuid.UUID
    lent: dict[str, int]
    until: datetime
    state: str = "offered"
    out: dict[str, int] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)
    giving: list[Balance] = field(default_factory=list)
    taking: list[Balance] = field(default_factory=list)


class LedgerModel(RuleBasedStateMachine):
    """What the ledger should hold, and the questions that rules ask of it."""

    engine: sa.Engine

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.advance = self.stack.enter_context(clock.stepped(BEGINNING))
        self.session = new_session(self.engine)
        self.parents: dict[uuid.UUID, uuid.UUID | None] = {}
        self.closed: set[uuid.UUID] = set()
        self.limits: dict[Balance, int | None] = {}
        self.guaranteed: dict[Balance, int] = {}
        self.parts: dict[tuple[uuid.UUID, uuid.UUID], ModelPart] = {}
        self.terms: dict[uuid.UUID, ModelTerm] = {}
        self.loans: dict[uuid.UUID, ModelLoan] = {}

    def teardown(self) -> None:
        self.stack.close()
        try:
            tampered = [m for m in verify(self.session).mismatches if m.account_id in self.parents]
        finally:
            self.session.rollback()
            self.session.close()
        assert tampered == []

    @initialize(levels=st.integers(1, 6))
    def plant(self, levels: int) -> None:
        for _ in range(levels):
            self.add(next(reversed(self.parents), None))

    def add(self, parent: uuid.UUID | None) -> None:
        account = new_id()
        create_account(self.session, account_id=account, parent_id=parent, code="c", name="n")
        self.parents[account] = parent

    # the tree

    def open(self, data: Any) -> uuid.UUID:
        return data.draw(st.sampled_from([account for account in self.parents if account not in self.closed]))

    def chain(self, account: uuid.UUID | None) -> Iterator[uuid.UUID]:
        while account is not None:
            yield account
            account = self.parents[account]

    def path(self, account: uuid.UUID) -> list[uuid.UUID]:
        """From the root down to the account."""
        return list(self.chain(account))[::-1]

    def below(self, account: uuid.UUID) -> list[uuid.UUID]:
        return [each for each in self.parents if account in self.chain(each)]

    def sides(self, first: uuid.UUID, second: uuid.UUID) -> tuple[list[uuid.UUID], list[uuid.UUID]] | None:
        """What is above each and not above the other; None where one stands above the other."""
        one, other = self.path(first), self.path(second)
        if first in other or second in one:
            return None
        return [a for a in one if a not in other], [a for a in other if a not in one]

    # what is held, limited and promised

    def holds(self, account: uuid.UUID, text: str, state: str) -> int:
        below = [p for p in self.parts.values() if p.state == state and account in self.chain(p.account)]
        return sum(part.counted(PARSED[text], is_above=self.is_above(account, part.top)) for part in below)

    def is_above(self, account: uuid.UUID, top: uuid.UUID | None) -> bool:
        """Whether counting ends below this account."""
        return top is not None and account != top and account in self.chain(top)

    def total(self, account: uuid.UUID, text: str) -> int:
        return self.holds(account, text, "pending") + self.holds(account, text, "posted")

    def aside(self, account: uuid.UUID, text: str) -> int:
        """What accounts right below are guaranteed and have not taken."""
        return sum(
            max(0, promised - self.total(child, key))
            for (child, key), promised in self.guaranteed.items()
            if key == text and self.parents[child] == account
        )

    def promised_below(self, account: uuid.UUID, text: str) -> int:
        return sum(n for (a, key), n in self.guaranteed.items() if key == text and self.parents[a] == account)

    def borrowed(self, account: uuid.UUID, text: str) -> int:
        return sum(loan.out.get(text, 0) for loan in self.loans.values() if (account, text) in loan.taking)

    def floor(self, account: uuid.UUID, text: str) -> int:
        """Below which nobody may set a limit."""
        below = self.promised_below(account, text)
        return max(self.guaranteed.get((account, text), 0), self.borrowed(account, text), below)

    def free(self, account: uuid.UUID, text: str) -> int:
        """How much of a limit may go to others: neither taken, nor promised, nor borrowed."""
        taken = self.total(account, text) + self.aside(account, text)
        kept = max(taken, self.guaranteed.get((account, text), 0), self.borrowed(account, text))
        return (self.limits[account, text] or 0) - kept

    def overhang(self, account: uuid.UUID, text: str) -> int:
        limit = self.limits.get((account, text))
        return 0 if limit is None else max(0, self.total(account, text) - limit)

    def is_promised(self, account: uuid.UUID) -> bool:
        """Whether it has a guarantee or a loan, so that it may not go."""
        return any(self.guaranteed.get((account, text)) or self.borrowed(account, text) for text in KEYS)

    # admission

    def taken(self, accounts: Iterable[uuid.UUID]) -> dict[Balance, tuple[int, int]]:
        return {(a, text): (self.total(a, text), self.aside(a, text)) for a in accounts for text in KEYS}

    def over(
        self, before: dict[Balance, tuple[int, int]], chain: Iterable[uuid.UUID], *, all_asides: bool = False
    ) -> set[Balance]:
        """Every balance that grew past its limit, by what is held alone or together with what is set aside.

        With `all_asides` also those where only what is set aside grew.
        """
        found = set()
        for account in chain:
            for text in KEYS:
                limit = self.limits.get((account, text))
                was, aside_was = before[account, text]
                now, aside = self.total(account, text), self.aside(account, text)
                if limit is None or not (now > was or all_asides):
                    continue
                if (now > was and now > limit) or (now + aside > was + aside_was and now + aside > limit):
                    found.add((account, text))
        return found

    def attempt(
        self, account: uuid.UUID, change: Callable[[], Any], undo: Callable[[], Any], call: Callable[[], Any]
    ) -> bool:
        """Do the same to the model and to the ledger, and expect the same refusal or none."""
        chain = self.path(account)
        before = self.taken(chain)
        change()
        expected = self.over(before, chain)
        try:
            call()
        except QuotaExceeded as refused:
            found = named(refused)
            undo()
            assert found == expected
            return False
        assert not expected
        return True

    def refused(self, kind: type[Exception], expected: set[Balance], call: Callable[[], Any]) -> None:
        """Expect a refusal that names these balances."""
        with pytest.raises(kind) as refusal:
            call()
        assert named(refusal.value) == expected

    def kept_state(self) -> Any:
        """What `restore` brings back."""
        state = (self.parents, self.closed, self.limits, self.guaranteed, self.parts, self.terms, self.loans)
        return deepcopy(state)

    def restore(self, state: Any) -> None:
        self.parents, self.closed, self.limits, self.guaranteed, self.parts, self.terms, self.loans = state

    # after every move

    @invariant()
    def the_books_say_what_the_model_says(self) -> None:
        root = next(iter(self.parents))
        usages = tree(self.session, root_id=root)
        assert {usage.account_id: usage.parent_id for usage in usages} == self.parents
        for usage in usages:
            account = usage.account_id
            assert usage.is_closed == (account in self.closed)
            assert {k: v for k, v in usage.limits.items() if v is not None} == {
                key: limit for (a, key), limit in self.limits.items() if a == account and limit is not None
            }
            for text in usage.limits:
                assert usage.used[text] == self.holds(account, text, "posted")
                assert usage.reserved[text] == self.holds(account, text, "pending")
                assert usage.overhang[text] == self.overhang(account, text)
            for name, expected in (
                ("guaranteed", self._promise),
                ("set_aside", self.aside),
                ("borrowed", self.borrowed),
            ):
                assert getattr(usage, name) == {text: n for text in KEYS if (n := expected(account, text))}, name
            for text in KEYS:  # a key without a row must have nothing to count, or no limit ever
                if text not in usage.limits and PARSED[text].is_plain:
                    assert self.total(account, text) == 0

    def _promise(self, account: uuid.UUID, text: str) -> int:
        return self.guaranteed.get((account, text), 0)

    @invariant()
    def a_reservation_shows_the_state_of_its_parts(self) -> None:
        states: dict[uuid.UUID, set[str]] = {}
        for (reservation_id, _), part in self.parts.items():
            states.setdefault(reservation_id, set()).add(part.state)
        found = self.session.connection().execute(
            sa.select(RESERVATIONS.c.id, RESERVATIONS.c.state).where(RESERVATIONS.c.id.in_(list(states)))
        )
        order = ("pending", "posted", "released", "voided")
        assert dict(found.tuples().all()) == {id_: min(those, key=order.index) for id_, those in states.items()}


def named(refusal: Any) -> set[Balance]:
    """Every balance that a refusal names."""
    return {(uuid.UUID(error["account"]), error["key"]) for error in refusal.errors}
