"""Rules of limits and of the tree: raise and lower, the yearly plan, transfer, move, merge, close and open again."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cloudmgr.domain.errors import Conflict, InvalidInput
from quotas import (
    GuaranteeRefused,
    LimitInUse,
    QuotaExceeded,
    RootLimitRequired,
    close_account,
    merge_accounts,
    move_account,
    reopen_account,
    set_limits,
    transfer,
)
from tests.quotas.ledger_model import KEYS, PARSED, WORDS, Balance, LedgerModel, named

LIMITS = st.dictionaries(st.sampled_from(KEYS), st.none() | st.integers(0, 25), min_size=1, max_size=2)


class Moving(LedgerModel):
    @rule(data=st.data(), limits=LIMITS)
    def limit(self, data: Any, limits: dict[str, int | None]) -> None:
        self.limit_at(self.open(data), limits)

    def limit_at(self, account: uuid.UUID, limits: dict[str, int | None]) -> bool:
        """Set limits, or see them refused for the right reason."""
        call = {"account_id": account, "limits": limits, "replace": False, **WORDS}
        if self.parents[account] is None and any(n is None and PARSED[key].is_plain for key, n in limits.items()):
            with pytest.raises(RootLimitRequired):
                set_limits(self.session, **call)
            return False
        changed = {key: n for key, n in limits.items() if self.limits.get((account, key)) != n}
        low = {(account, key) for key, n in changed.items() if n is not None and n < self.floor(account, key)}
        if low:
            self.refused(GuaranteeRefused, low, lambda: set_limits(self.session, **call))
            return False
        set_limits(self.session, **call)
        for key, n in changed.items():
            self.limits[account, key] = n
            for term in self.terms.values():
                if (term.account, term.key, term.state) == (account, key, "in_force"):
                    term.state = "superseded"
        return True

    def set_limit(self, account: uuid.UUID, key: str, amount: int) -> None:
        assert self.limit_at(account, {key: amount})

    @rule(data=st.data(), lines=st.lists(st.tuples(st.integers(0, 99), LIMITS), min_size=1, max_size=4))
    def load_a_plan(self, data: Any, lines: list[tuple[int, dict[str, int | None]]]) -> None:
        """As the yearly plan does: nearer to the root first, all of it or nothing."""
        accounts = [account for account in self.parents if account not in self.closed]
        plan = {accounts[number % len(accounts)]: limits for number, limits in lines}
        is_tried = data.draw(st.booleans())
        state, savepoint = self.kept_state(), self.session.begin_nested()
        done = [self.limit_at(a, plan[a]) for a in sorted(plan, key=lambda a: len(self.path(a)))]
        if is_tried or not all(done):
            savepoint.rollback()
            self.restore(state)
        else:
            savepoint.commit()

    @precondition(lambda self: len(self.parents) - len(self.closed) > 1)
    @rule(data=st.data(), key=st.sampled_from(KEYS), amount=st.integers(1, 12))
    def transfer(self, data: Any, key: str, amount: int) -> None:
        giver, taker = self.open(data), self.open(data)
        sides = self.sides(giver, taker)
        call = {"giver": giver, "taker": taker, "amounts": {key: amount}, **WORDS}
        if sides is None or None in (self.limits.get((giver, key)), self.limits.get((taker, key))):
            with pytest.raises(InvalidInput):
                transfer(self.session, **call)
            return
        giving, taking = ([a for a in side if self.limits.get((a, key)) is not None] for side in sides)
        lacking = {(a, key) for a in giving if self.free(a, key) < amount}
        if lacking:
            self.refused(LimitInUse, lacking, lambda: transfer(self.session, **call))
            return
        transfer(self.session, **call)
        self.shift([(a, key) for a in giving], -amount)
        self.shift([(a, key) for a in taking], amount)

    def shift(self, balances: Iterable[Balance], amount: int) -> None:
        """Let limits fall or rise, where there are any."""
        for balance in balances:
            if (limit := self.limits.get(balance)) is not None:
                self.limits[balance] = max(0, limit + amount)

    # the tree

    def hang(self, account: uuid.UUID, parent: uuid.UUID, old: list[uuid.UUID], new: list[uuid.UUID]) -> None:
        """Change the tree, and where counting ends: at the same level as before."""
        members = self.below(account)
        for part in self.parts.values():
            if part.account in members and part.top in old:
                part.top = new[min(old.index(part.top), len(new) - 1)]
        self.parents[account] = parent

    def rearranged(
        self, chain: list[uuid.UUID], before: dict[Balance, tuple[int, int]], call: Callable[[], Any]
    ) -> bool:
        """Call the ledger; True when it did it, which it must unless something along `chain` grew past its limit."""
        expected = self.over(before, chain, all_asides=True)
        try:
            call()
        except QuotaExceeded as refused:
            found = named(refused)
        else:
            found = set()
        assert found == expected
        return not found

    @precondition(lambda self: len(self.parents) > 2)
    @rule(data=st.data())
    def move(self, data: Any) -> None:
        account, parent = data.draw(st.sampled_from(list(self.parents))), self.open(data)
        old, new = self.path(account), [*self.path(parent), account]
        if self.parents[account] is None or (parent in self.below(account)):
            with pytest.raises(InvalidInput):
                move_account(self.session, account_id=account, parent_id=parent)
            return
        if self.parents[account] == parent:
            assert not move_account(self.session, account_id=account, parent_id=parent)
            return
        if self.is_promised(account):
            with pytest.raises(Conflict):
                move_account(self.session, account_id=account, parent_id=parent)
            return
        before, state = self.taken(self.parents), self.kept_state()
        self.hang(account, parent, old, new)
        call = lambda: move_account(self.session, account_id=account, parent_id=parent)  # noqa: E731
        if not self.rearranged(self.path(parent), before, call):
            self.restore(state)

    @precondition(lambda self: len(self.parents) - len(self.closed) > 2)
    @rule(data=st.data())
    def merge(self, data: Any) -> None:
        source, target = self.open(data), self.open(data)
        old, new = self.path(source), self.path(target)
        call = lambda: merge_accounts(self.session, source=source, target=target, **WORDS)  # noqa: E731
        if self.parents[source] is None or source in new:
            with pytest.raises(InvalidInput):
                call()
            return
        if self.is_promised(source):
            with pytest.raises(Conflict):
                call()
            return
        before, state, above = self.taken(self.parents), self.kept_state(), self.parents[source]
        self.hang(source, target, old, new)
        for part in self.parts.values():
            part.account = target if part.account == source else part.account
        self.parents |= {a: target for a, parent in self.parents.items() if parent == source}
        self.parents[source] = above
        for key in KEYS:
            if lost := self.limits.get((source, key)):
                if target not in old:
                    self.shift([(target, key)], lost)
                self.limits[source, key] = 0
        if self.rearranged(self.path(target), before, call):
            self._shut(source)
        else:
            self.restore(state)

    @rule(data=st.data())
    def close(self, data: Any) -> None:
        account = data.draw(st.sampled_from(list(self.parents)))
        call = {"account_id": account, **WORDS}
        if self.parents[account] is None:
            with pytest.raises(InvalidInput):
                close_account(self.session, **call)
            return
        if account in self.closed:
            assert not close_account(self.session, **call).changes
            return
        members = self.below(account)
        is_open_below = any(self.parents[each] == account and each not in self.closed for each in self.parents)
        is_held = any(p.account in members and p.is_holding and any(p.amounts.values()) for p in self.parts.values())
        if is_held or is_open_below or self.is_promised(account):
            with pytest.raises(Conflict):
                close_account(self.session, **call)
            return
        close_account(self.session, **call)
        self._shut(account)
        for key in KEYS:
            if self.limits.get((account, key)):
                self.limits[account, key] = 0

    def _shut(self, account: Any) -> None:
        self.closed.add(account)
        after = {"waiting": "cancelled", "in_force": "superseded"}
        for term in self.terms.values():
            if term.account == account:
                term.state = after.get(term.state, term.state)

    @precondition(lambda self: self.closed)
    @rule(data=st.data())
    def reopen(self, data: Any) -> None:
        account = data.draw(st.sampled_from(sorted(self.closed)))
        if self.parents[account] in self.closed:
            with pytest.raises(Conflict):
                reopen_account(self.session, account_id=account)
            return
        assert reopen_account(self.session, account_id=account)
        self.closed.remove(account)
