"""Rules of what is held: reserve, place, post, void, release, resize, adopt; and accounts to hold it."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.ids import new_id
from quotas import (
    LoanEndsFirst,
    Part,
    adopt,
    holds_below,
    place,
    post,
    preview,
    release,
    reserve,
    resize,
    unplace,
    void,
)
from tests.quotas.ledger_model import KEYS, MOST_ACCOUNTS, MOST_DEPTH, Balance, LedgerModel, ModelPart, named

PLACES = ({"backend": "a", "tier": "city"}, {"backend": "b", "tier": "city"}, {"tier": "edge"})
ARCHES = st.sampled_from(["aarch64", "x86_64"])


class Holding(LedgerModel):
    @precondition(lambda self: len(self.parents) < MOST_ACCOUNTS)
    @rule(data=st.data())
    def create(self, data: Any) -> None:
        parent = self.open(data)
        if len(self.path(parent)) < MOST_DEPTH:
            self.add(parent)

    @rule(
        data=st.data(),
        vcpus=st.lists(st.integers(0, 6), min_size=1, max_size=3),
        disk=st.integers(0, 9),
        arch=ARCHES,
        days=st.none() | st.integers(1, 60),
    )
    def reserve(self, data: Any, vcpus: list[int], disk: int, arch: str, days: int | None) -> None:
        account, reservation_id = self.open(data), new_id()
        parts = [Part(new_id(), {"vcpus": count, "disk_gib": disk}, {"arch": arch}) for count in vcpus]
        new = {
            (reservation_id, p.part_id): ModelPart(account, dict(p.amounts), dict(p.dims), clock.now()) for p in parts
        }
        until = None if days is None else clock.now() + timedelta(days=days)
        shown = preview(self.session, account_id=account, parts=parts)
        before = {balance: total for balance, (total, _) in self.taken(self.chain(account)).items()}

        def call() -> None:
            for _ in range(2):
                reserve(self.session, reservation_id=reservation_id, account_id=account, parts=parts, until=until)

        def undo() -> None:
            for held in new:
                del self.parts[held]

        try:
            granted = self.attempt(account, lambda: self.parts.update(new), undo, call)
        except LoanEndsFirst as refused:
            found, expected = named(refused), self._outlived(account, before, until) if until else set()
            undo()
        else:
            found, expected = set(), self._outlived(account, before, until) if granted and until else set()
            assert shown.ok == granted
        assert found == expected

    def _outlived(self, account: uuid.UUID, before: dict[Balance, int], until: Any) -> set[Balance]:
        """Where what grew fits only thanks to a loan that goes back before `until`."""
        found = set()
        for a in self.chain(account):
            for text in KEYS:
                limit, now = self.limits.get((a, text)), self.total(a, text)
                ending = sum(
                    loan.out.get(text, 0)
                    for loan in self.loans.values()
                    if loan.state == "active" and (a, text) in loan.taking and loan.until < until
                )
                if limit is not None and ending and now > before[a, text] and now > limit - ending:
                    found.add((a, text))
        return found

    def pick(self, data: Any) -> tuple[ModelPart, dict[str, uuid.UUID]]:
        held = data.draw(st.sampled_from(list(self.parts)))
        return self.parts[held], {"reservation_id": held[0], "part_id": held[1]}

    @precondition(lambda self: self.parts)
    @rule(data=st.data(), dims=st.sampled_from(PLACES))
    def place(self, data: Any, dims: dict[str, str]) -> None:
        part, held = self.pick(data)
        top = data.draw(st.sampled_from([None, *self.chain(part.account)]))
        is_asked_otherwise = any(part.dims.get(name, value) != value for name, value in dims.items())
        if not part.is_holding or is_asked_otherwise:
            with pytest.raises(Conflict):
                place(self.session, **held, dims=dims)
            return
        old, old_top = part.placed, part.top

        def be(placed: dict[str, str], counted_to: uuid.UUID | None) -> None:
            part.placed, part.top = placed, counted_to

        self.attempt(
            part.account,
            lambda: be(dims, top),
            lambda: be(old, old_top),
            lambda: place(self.session, **held, dims=dims, top=top),
        )

    @precondition(lambda self: self.parts)
    @rule(data=st.data())
    def unplace(self, data: Any) -> None:
        part, held = self.pick(data)
        unplace(self.session, **held)
        part.placed = {}

    @precondition(lambda self: self.parts)
    @rule(data=st.data())
    def post(self, data: Any) -> None:
        part, held = self.pick(data)
        if part.state == "voided":
            with pytest.raises(Conflict):
                post(self.session, **held)
            return
        post(self.session, **held)
        part.state = "posted" if part.state == "pending" else part.state

    @precondition(lambda self: self.parts)
    @rule(data=st.data(), whole=st.booleans())
    def void(self, data: Any, whole: bool) -> None:
        _, held = self.pick(data)
        void(self.session, reservation_id=held["reservation_id"], part_id=None if whole else held["part_id"])
        for (reservation_id, part_id), part in self.parts.items():
            if (
                reservation_id == held["reservation_id"]
                and (whole or part_id == held["part_id"])
                and part.state == "pending"
            ):
                part.state = "voided"

    @rule(days=st.integers(0, 40))
    def void_what_is_held_too_long(self, days: int) -> None:
        """As requests that nobody decides on are returned."""
        root = next(iter(self.parents))
        pending = {h[0]: p for h, p in self.parts.items() if p.state == "pending" and any(p.amounts.values())}
        found = holds_below(self.session, root, most=10_000)
        assert {each.reservation_id for each in found} == pending.keys()
        for each in found:
            assert each.days == (clock.now() - pending[each.reservation_id].since).days
            if each.days < days:
                continue
            void(self.session, reservation_id=each.reservation_id)
            for (reservation_id, _), part in self.parts.items():
                if reservation_id == each.reservation_id and part.state == "pending":
                    part.state = "voided"

    @precondition(lambda self: any(part.state == "posted" for part in self.parts.values()))
    @rule(data=st.data(), vcpus=st.none() | st.integers(0, 6))
    def release(self, data: Any, vcpus: int | None) -> None:
        held = data.draw(st.sampled_from([held for held, part in self.parts.items() if part.state == "posted"]))
        part, named_ = self.parts[held], {"reservation_id": held[0], "part_id": held[1]}
        if vcpus is not None and vcpus > part.amounts.get("vcpus", 0):
            with pytest.raises(Conflict):
                release(self.session, **named_, amounts={"vcpus": vcpus})
            return
        amounts, release_id = None if vcpus is None else {"vcpus": vcpus}, new_id()
        for _ in range(2):
            release(self.session, **named_, amounts=amounts, release_id=release_id)
        part.amounts = {} if vcpus is None else part.amounts | {"vcpus": part.amounts.get("vcpus", 0) - vcpus}
        if not any(part.amounts.values()):
            part.state = "released"

    @rule(data=st.data(), vcpus=st.integers(1, 12), arch=ARCHES)
    def adopt(self, data: Any, vcpus: int, arch: str) -> None:
        account, reservation_id, part = self.open(data), new_id(), Part(new_id(), {"vcpus": vcpus}, {"arch": arch})
        before = self.taken(self.path(account))
        self.parts[reservation_id, part.part_id] = ModelPart(
            account, dict(part.amounts), dict(part.dims), clock.now(), state="posted"
        )
        passed = adopt(self.session, reservation_id=reservation_id, account_id=account, parts=[part], above_limits=True)
        assert {(b.account_id, str(b.key)) for b in passed} == self.over(before, self.path(account))

    @precondition(lambda self: any(p.state == "posted" and p.amounts.get("vcpus") for p in self.parts.values()))
    @rule(data=st.data(), vcpus=st.integers(1, 12))
    def resize(self, data: Any, vcpus: int) -> None:
        held, part = self._pick_standing(data)
        before = part.amounts

        def be(amounts: dict[str, int]) -> None:
            part.amounts = amounts

        self.attempt(
            part.account,
            lambda: be(before | {"vcpus": vcpus}),
            lambda: be(before),
            lambda: resize(self.session, **held, amounts={"vcpus": vcpus}),
        )

    @precondition(lambda self: any(p.state == "posted" and p.amounts.get("vcpus") for p in self.parts.values()))
    @rule(data=st.data(), more=st.integers(1, 6), short=st.integers(0, 1), limit=st.none() | st.integers(0, 9))
    def grow_by_what_was_held_for_it(self, data: Any, more: int, short: int, limit: int | None) -> None:
        """A limit may fall between: what was held is not asked for again."""
        named_, part = self._pick_standing(data)
        if part.account in self.closed:
            return
        before, growth = part.amounts, more - short
        dims = part.dims | part.placed
        hold = ModelPart(part.account, {"vcpus": growth}, dims, clock.now(), top=part.top)
        id_, wanted = new_id(), {"vcpus": before["vcpus"] + more}
        asked = Part(named_["part_id"], {"vcpus": growth}, dims, top=part.top)
        held = (id_, asked.part_id)
        if not self.attempt(
            part.account,
            lambda: self.parts.update({held: hold}),
            lambda: self.parts.pop(held),
            lambda: reserve(self.session, reservation_id=id_, account_id=part.account, parts=[asked]),
        ):
            return
        if limit is not None and limit >= self.floor(part.account, "vcpus"):
            self.set_limit(part.account, "vcpus", limit)

        def call() -> None:
            with self.session.begin_nested():
                resize(self.session, **named_, amounts=wanted, held_by=id_)

        def be(amounts: dict[str, int]) -> None:
            part.amounts = amounts

        hold.state = "voided"
        if not short:
            be(before | wanted)
            call()
        elif not self.attempt(part.account, lambda: be(before | wanted), lambda: be(before), call):
            hold.state = "pending"

    def _pick_standing(self, data: Any) -> tuple[dict[str, uuid.UUID], ModelPart]:
        found = [held for held, p in self.parts.items() if p.state == "posted" and p.amounts.get("vcpus")]
        held = data.draw(st.sampled_from(found))
        return {"reservation_id": held[0], "part_id": held[1]}, self.parts[held]
