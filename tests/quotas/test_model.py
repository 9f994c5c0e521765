"""Random lives of a small tree, move by move beside a model so plain that it can be read.

A handful of lives in the suite; `CLOUDMGR_LEDGER_EXAMPLES=5000` asks for more.
"""

import os
import uuid
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import new_session
from quotas import (
    LimitInUse,
    Part,
    QuotaExceeded,
    account_usage,
    adopt,
    close_account,
    create_account,
    get_reservation,
    merge_accounts,
    move_account,
    parse_key,
    place,
    post,
    preview,
    release,
    reserve,
    resize,
    set_limits,
    transfer,
    unplace,
    verify,
    void,
)

RESOURCES = ("vcpus", "disk_gib")
KEYS = ("vcpus", "disk_gib", "vcpus{arch=aarch64}", "vcpus{backend=a}", "disk_gib{arch=x86_64,tier=city}")
WORDS = {"reason": "x", "actor": "x"}
MOST_ACCOUNTS, MOST_DEPTH = 10, 8
PLACES = ({"backend": "a", "tier": "city"}, {"backend": "b", "tier": "city"}, {"tier": "edge"})


@dataclass
class ModelPart:
    account: uuid.UUID
    amounts: dict
    dims: dict
    placed: dict = field(default_factory=dict)
    state: str = "pending"
    top: uuid.UUID | None = None

    def counted(self, key, is_above):
        if is_above and not {"backend", "tier"} & dict(key.dims).keys():
            return 0
        if self.state not in ("pending", "posted") or not key.matches(self.dims | self.placed):
            return 0
        return self.amounts.get(key.resource, 0)


class LedgerMachine(RuleBasedStateMachine):
    """The model keeps parts and limits only, and adds everything up anew for each question."""

    engine = None

    def __init__(self):
        super().__init__()
        self.session = new_session(self.engine)
        self.parents, self.parts, self.limits, self.closed = {}, {}, {}, set()

    def teardown(self):
        self.session.rollback()
        tampered = [m for m in verify(self.session).mismatches if m.account_id in self.parents]
        self.session.close()
        assert tampered == []

    # the model

    def chain(self, account):
        while account is not None:
            yield account
            account = self.parents[account]

    def holds(self, account, key, state):
        below = [p for p in self.parts.values() if p.state == state and account in self.chain(p.account)]
        return sum(part.counted(key, self.is_above(account, part.top)) for part in below)

    def is_above(self, account, top):
        """Whether counting ends below this account."""
        return top is not None and account != top and account in self.chain(top)

    def over(self, before, growing):
        """Every (account, key) whose limit is passed now and whose use grew since `before`."""
        return {
            (account, str(key))
            for account in self.chain(growing)
            for key in map(parse_key, KEYS)
            if (limit := self.limits.get((account, str(key)))) is not None
            and (now := self.total(account, key)) > limit
            and now > before[account, str(key)]
        }

    def total(self, account, key):
        return self.holds(account, key, "pending") + self.holds(account, key, "posted")

    def totals(self, account):
        return {(a, text): self.total(a, parse_key(text)) for a in self.chain(account) for text in KEYS}

    def attempt(self, account, change, undo, call):
        """Do the same to the model and to the ledger, and expect the same refusal or none."""
        before = self.totals(account)
        change()
        expected = self.over(before, account)
        try:
            call()
        except QuotaExceeded as refused:
            found = {(uuid.UUID(error["account"]), error["key"]) for error in refused.errors}
            undo()
            assert found == expected
        else:
            assert not expected

    # the moves

    @initialize(levels=st.integers(1, 6))
    def plant(self, levels):
        for _ in range(levels):
            self.add(next(reversed(self.parents), None))

    def add(self, parent):
        account = new_id()
        create_account(self.session, account_id=account, parent_id=parent, code="c", name="n")
        self.parents[account] = parent

    def open(self, data):
        return data.draw(st.sampled_from([account for account in self.parents if account not in self.closed]))

    def path(self, account):
        """From the root down to the account."""
        return list(self.chain(account))[::-1]

    @precondition(lambda self: len(self.parents) < MOST_ACCOUNTS)
    @rule(data=st.data())
    def create(self, data):
        parent = self.open(data)
        if len(self.path(parent)) < MOST_DEPTH:
            self.add(parent)

    @rule(
        data=st.data(),
        vcpus=st.lists(st.integers(0, 6), min_size=1, max_size=3),
        disk=st.integers(0, 9),
        arch=st.sampled_from(["aarch64", "x86_64"]),
    )
    def reserve(self, data, vcpus, disk, arch):
        account, reservation_id = self.open(data), new_id()
        parts = [Part(new_id(), {"vcpus": count, "disk_gib": disk}, {"arch": arch}) for count in vcpus]
        new = {(reservation_id, p.part_id): ModelPart(account, dict(p.amounts), dict(p.dims)) for p in parts}
        shown = preview(self.session, account_id=account, parts=parts)

        def call():
            for _ in range(2):
                reserve(self.session, reservation_id=reservation_id, account_id=account, parts=parts)

        def undo():
            assert not shown.ok
            for held in new:
                del self.parts[held]

        self.attempt(account, lambda: self.parts.update(new), undo, call)

    def pick(self, data):
        held = data.draw(st.sampled_from(list(self.parts)))
        return self.parts[held], {"reservation_id": held[0], "part_id": held[1]}

    @precondition(lambda self: self.parts)
    @rule(data=st.data(), dims=st.sampled_from(PLACES))
    def place(self, data, dims):
        part, held = self.pick(data)
        top = data.draw(st.sampled_from([None, *self.chain(part.account)]))
        if part.state in ("voided", "released"):
            with pytest.raises(Conflict):
                place(self.session, **held, dims=dims)
            return
        old, old_top = part.placed, part.top

        def be(placed, counted_to):
            part.placed, part.top = placed, counted_to

        self.attempt(
            part.account,
            lambda: be(dims, top),
            lambda: be(old, old_top),
            lambda: place(self.session, **held, dims=dims, top=top),
        )

    @precondition(lambda self: self.parts)
    @rule(data=st.data())
    def unplace(self, data):
        part, held = self.pick(data)
        unplace(self.session, **held)
        part.placed = {}

    @precondition(lambda self: self.parts)
    @rule(data=st.data())
    def post(self, data):
        part, held = self.pick(data)
        if part.state == "voided":
            with pytest.raises(Conflict):
                post(self.session, **held)
            return
        post(self.session, **held)
        part.state = "posted" if part.state == "pending" else part.state

    @precondition(lambda self: self.parts)
    @rule(data=st.data(), whole=st.booleans())
    def void(self, data, whole):
        _, held = self.pick(data)
        void(self.session, reservation_id=held["reservation_id"], part_id=None if whole else held["part_id"])
        for (reservation_id, part_id), part in self.parts.items():
            if (
                reservation_id == held["reservation_id"]
                and (whole or part_id == held["part_id"])
                and part.state == "pending"
            ):
                part.state = "voided"

    @precondition(lambda self: any(part.state == "posted" for part in self.parts.values()))
    @rule(data=st.data(), vcpus=st.none() | st.integers(0, 6))
    def release(self, data, vcpus):
        held = data.draw(st.sampled_from([held for held, part in self.parts.items() if part.state == "posted"]))
        part, held = self.parts[held], {"reservation_id": held[0], "part_id": held[1]}
        if vcpus is not None and vcpus > part.amounts.get("vcpus", 0):
            with pytest.raises(Conflict):
                release(self.session, **held, amounts={"vcpus": vcpus})
            return
        amounts, release_id = None if vcpus is None else {"vcpus": vcpus}, new_id()
        for _ in range(2):
            release(self.session, **held, amounts=amounts, release_id=release_id)
        part.amounts = {} if vcpus is None else part.amounts | {"vcpus": part.amounts.get("vcpus", 0) - vcpus}
        if not any(part.amounts.values()):
            part.state = "released"

    @rule(data=st.data(), key=st.sampled_from(KEYS), amount=st.none() | st.integers(0, 25))
    def limit(self, data, key, amount):
        account = self.open(data)
        if amount is None and self.parents[account] is None:
            amount = 20
        set_limits(self.session, account_id=account, limits={key: amount}, replace=False, reason="x", actor="x")
        self.limits[account, key] = amount

    @rule(data=st.data(), vcpus=st.integers(1, 12), arch=st.sampled_from(["aarch64", "x86_64"]))
    def adopt(self, data, vcpus, arch):
        account, reservation_id, part = self.open(data), new_id(), Part(new_id(), {"vcpus": vcpus}, {"arch": arch})
        held = {"reservation_id": reservation_id, "account_id": account, "parts": [part]}
        adopt(self.session, **held, above_limits=True)
        self.parts[reservation_id, part.part_id] = ModelPart(
            account, dict(part.amounts), dict(part.dims), state="posted"
        )

    @precondition(lambda self: any(p.state == "posted" and p.amounts.get("vcpus") for p in self.parts.values()))
    @rule(data=st.data(), vcpus=st.integers(1, 12))
    def resize(self, data, vcpus):
        found = [held for held, p in self.parts.items() if p.state == "posted" and p.amounts.get("vcpus")]
        held = data.draw(st.sampled_from(found))
        part, before = self.parts[held], self.parts[held].amounts
        named = {"reservation_id": held[0], "part_id": held[1]}

        def be(amounts):
            part.amounts = amounts

        self.attempt(
            part.account,
            lambda: be(before | {"vcpus": vcpus}),
            lambda: be(before),
            lambda: resize(self.session, **named, amounts={"vcpus": vcpus}),
        )

    # the moves of limits and accounts

    @precondition(lambda self: len(self.parents) - len(self.closed) > 1)
    @rule(data=st.data(), key=st.sampled_from(KEYS), amount=st.integers(1, 12))
    def transfer(self, data, key, amount):
        giver, taker = self.open(data), self.open(data)
        giving, taking = set(self.chain(giver)), set(self.chain(taker))
        shared = giving & taking
        sides = dict.fromkeys(giving - shared, -amount) | dict.fromkeys(taking - shared, amount)
        sides = {a: change for a, change in sides.items() if self.limits.get((a, key)) is not None}
        lacking = {
            (a, key)
            for a, change in sides.items()
            if change < 0 and self.limits[a, key] - self.total(a, parse_key(key)) < amount
        }
        call = {"giver": giver, "taker": taker, "amounts": {key: amount}, **WORDS}
        if {giver, taker} & shared or not {giver, taker} <= sides.keys():
            with pytest.raises(InvalidInput):
                transfer(self.session, **call)
        elif lacking:
            with pytest.raises(LimitInUse) as refused:
                transfer(self.session, **call)
            assert {(uuid.UUID(e["account"]), e["key"]) for e in refused.value.errors} == lacking
        else:
            transfer(self.session, **call)
            for account, change in sides.items():
                self.limits[account, key] += change

    def below(self, account):
        return [each for each in self.parents if account in self.chain(each)]

    def hang(self, account, parent, old, new):
        """Change the tree, and where counting ends: at the same level as before; return what was before."""
        members, before = self.below(account), (dict(self.parents), {h: p.top for h, p in self.parts.items()})
        for part in self.parts.values():
            if part.account in members and part.top in old:
                part.top = new[min(old.index(part.top), len(new) - 1)]
        self.parents[account] = parent
        return before

    def hang_back(self, before):
        self.parents = before[0]
        for held, top in before[1].items():
            self.parts[held].top = top

    def rearranged(self, chain, before, call):
        """Call the ledger; True when it did it, which it must unless something along `chain` grew past its limit."""
        expected = {
            (a, text)
            for a in chain
            for text in KEYS
            if (limit := self.limits.get((a, text))) is not None
            and (now := self.total(a, parse_key(text))) > limit
            and now > before[a, text]
        }
        try:
            call()
        except QuotaExceeded as refused:
            found = {(uuid.UUID(error["account"]), error["key"]) for error in refused.errors}
        else:
            found = set()
        assert found == expected
        return not found

    def everything(self):
        return {(a, text): self.total(a, parse_key(text)) for a in self.parents for text in KEYS}

    @precondition(lambda self: len(self.parents) > 2)
    @rule(data=st.data())
    def move(self, data):
        account, parent = data.draw(st.sampled_from(list(self.parents))), self.open(data)
        old, new = self.path(account), [*self.path(parent), account]
        if self.parents[account] is None or parent in self.below(account):
            with pytest.raises(InvalidInput):
                move_account(self.session, account_id=account, parent_id=parent)
            return
        if self.parents[account] == parent:
            assert not move_account(self.session, account_id=account, parent_id=parent)
            return
        before = self.everything()
        hung = self.hang(account, parent, old, new)
        call = lambda: move_account(self.session, account_id=account, parent_id=parent)  # noqa: E731
        if not self.rearranged(self.path(parent), before, call):
            self.hang_back(hung)

    @precondition(lambda self: len(self.parents) - len(self.closed) > 2)
    @rule(data=st.data())
    def merge(self, data):
        source, target = self.open(data), self.open(data)
        old, new = self.path(source), self.path(target)
        call = lambda: merge_accounts(self.session, source=source, target=target, **WORDS)  # noqa: E731
        if self.parents[source] is None or source in new:
            with pytest.raises(InvalidInput):
                call()
            return
        before, limits = self.everything(), dict(self.limits)
        hung = self.hang(source, target, old, new)
        owners = {held: part.account for held, part in self.parts.items()}
        for part in self.parts.values():
            part.account = target if part.account == source else part.account
        self.parents |= {a: target for a, above in self.parents.items() if above == source}
        self.parents[source] = hung[0][source]
        for key in KEYS:
            if lost := self.limits.get((source, key)):
                if target not in old and self.limits.get((target, key)) is not None:
                    self.limits[target, key] += lost
                self.limits[source, key] = 0
        if self.rearranged(self.path(target), before, call):
            self.closed.add(source)
            return
        self.hang_back(hung)
        self.limits = limits
        for held, account in owners.items():
            self.parts[held].account = account

    @rule(data=st.data())
    def close(self, data):
        account = data.draw(st.sampled_from(list(self.parents)))
        call = {"account_id": account, **WORDS}
        if self.parents[account] is None:
            with pytest.raises(InvalidInput):
                close_account(self.session, **call)
            return
        members = self.below(account)
        is_open_below = any(self.parents[each] == account and each not in self.closed for each in self.parents)
        is_held = any(
            p.account in members and p.state in ("pending", "posted") and any(p.amounts.values())
            for p in self.parts.values()
        )
        if is_held or is_open_below:
            with pytest.raises(Conflict):
                close_account(self.session, **call)
            return
        close_account(self.session, **call)
        self.closed.add(account)
        for key in KEYS:
            if self.limits.get((account, key)):
                self.limits[account, key] = 0

    @invariant()
    def the_books_say_what_the_model_says(self):
        for account in self.parents:
            usage = account_usage(self.session, account)
            assert {k: v for k, v in usage.limits.items() if v is not None} == {
                key: limit for (a, key), limit in self.limits.items() if a == account and limit is not None
            }
            for text in usage.limits:
                key = parse_key(text)
                assert usage.used[text] == self.holds(account, key, "posted")
                assert usage.reserved[text] == self.holds(account, key, "pending")
                limit = self.limits.get((account, text))
                total = self.total(account, key)
                assert usage.overhang[text] == (max(0, total - limit) if limit is not None else 0)
            for key in map(parse_key, KEYS):  # a key without a row must have nothing to count, or no limit ever
                if str(key) not in usage.limits and key.is_plain:
                    assert self.total(account, key) == 0

    @invariant()
    def a_reservation_shows_the_state_of_its_parts(self):
        for reservation_id in {held[0] for held in self.parts}:
            states = {part.state for held, part in self.parts.items() if held[0] == reservation_id}
            first = next(s for s in ("pending", "posted", "released", "voided") if s in states)
            assert get_reservation(self.session, reservation_id).state == first


def test_any_sequence_of_moves_keeps_the_books(engine):
    class Machine(LedgerMachine):
        pass

    Machine.engine = engine
    examples = int(os.environ.get("CLOUDMGR_LEDGER_EXAMPLES", "0")) or (40 if engine.dialect.name == "sqlite" else 8)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
