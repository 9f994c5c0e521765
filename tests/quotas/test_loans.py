"""Loans: double entry there and back, what is owed, and leases that would outlive one."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.ids import new_id
from quotas import (
    GuaranteeRefused,
    LimitInUse,
    LoanEndsFirst,
    Part,
    QuotaExceeded,
    accept_loan,
    account_usage,
    due_loans,
    end_offer,
    get_loan,
    offer_loan,
    post,
    release,
    reserve,
    return_loan,
    set_limits,
    settle_loan,
    verify,
)
from tests.quotas.conftest import City, build_city

WEEK = timedelta(days=7)


def cores(count: int) -> Part:
    return Part(new_id(), {"vcpus": count}, {"arch": "aarch64"})


def limits(city: City) -> dict[str, int | None]:
    return {
        name: account_usage(city.session, getattr(city, name)).limits["vcpus"]
        for name in ("root", "furong", "yuelu", "community", "grid")
    }


def lend(city: City, amount: int = 20, *, lender: str = "furong", borrower: str = "yuelu", days: int = 30):
    loan = offer_loan(
        city.session,
        lender=getattr(city, lender),
        borrower=getattr(city, borrower),
        amounts={"vcpus": amount},
        until=clock.now() + timedelta(days=days),
        side="lender",
        signer="lao.wang",
        reason="迎检期间借用",
    )
    return accept_loan(city.session, loan.loan_id, signer="xiao.li")


@pytest.fixture
def limited(city: City) -> City:
    for name, limit in {"root": 200, "furong": 100, "yuelu": 50, "community": 60, "grid": 50}.items():
        city.limit(getattr(city, name), {"vcpus": limit})
    return city


def test_a_loan_moves_both_chains_and_comes_back_on_its_day(limited):
    with clock.stepped(clock.now()) as step:
        loan = lend(limited, lender="community", borrower="grid")
        assert limits(limited) == {"root": 200, "furong": 80, "yuelu": 70, "community": 40, "grid": 70}
        assert (loan.state, loan.amounts["vcpus"].outstanding) == ("active", 20)
        assert loan.loan_id not in due_loans(limited.session, most=100)
        step(timedelta(days=31))
        assert loan.loan_id in due_loans(limited.session, most=100)
        back = settle_loan(limited.session, loan.loan_id)
    assert limits(limited) == {"root": 200, "furong": 100, "yuelu": 50, "community": 60, "grid": 50}
    assert (back.state, back.amounts["vcpus"].returned) == ("returned", 20)
    assert verify(limited.session).ok


def test_nothing_moves_before_two_people_have_signed(limited):
    loan = offer_loan(
        limited.session,
        lender=limited.furong,
        borrower=limited.yuelu,
        amounts={"vcpus": 5},
        until=clock.now() + WEEK,
        side="borrower",
        signer="one",
        reason="x",
    )
    with pytest.raises(Conflict, match="another person"):
        accept_loan(limited.session, loan.loan_id, signer="one")
    assert limits(limited)["furong"] == 100
    assert end_offer(limited.session, loan.loan_id, state="declined").state == "declined"
    with pytest.raises(Conflict, match="not on offer"):
        accept_loan(limited.session, loan.loan_id, signer="two")


def test_only_what_the_lender_does_not_use_can_be_lent(limited):
    reserve(limited.session, reservation_id=new_id(), account_id=limited.portal, parts=[cores(90)])
    with pytest.raises(LimitInUse) as refused:
        lend(limited, 11)
    assert [(each.name, each.asked, each.left) for each in refused.value.bindings] == [("芙蓉区", 11, 10)]


def test_what_is_in_use_on_the_day_is_owed_and_paid_as_it_frees(limited):
    with clock.stepped(clock.now()) as step:
        loan = lend(limited, 20)
        held, part = new_id(), cores(65)
        reserve(limited.session, reservation_id=held, account_id=limited.yuelu, parts=[part])
        post(limited.session, reservation_id=held, part_id=part.part_id)
        step(timedelta(days=31))
        due = settle_loan(limited.session, loan.loan_id)
        assert (due.state, due.amounts["vcpus"].owed, limits(limited)["furong"]) == ("overdue", 15, 85)
        assert account_usage(limited.session, limited.yuelu).overhang["vcpus"] == 15
        with pytest.raises(QuotaExceeded):
            reserve(limited.session, reservation_id=new_id(), account_id=limited.yuelu, parts=[cores(1)])
        assert settle_loan(limited.session, loan.loan_id) is None
        release(limited.session, reservation_id=held, part_id=part.part_id, amounts={"vcpus": 9}, release_id=new_id())
        assert settle_loan(limited.session, loan.loan_id).amounts["vcpus"].owed == 6
        assert limits(limited)["furong"] == 94
        release(limited.session, reservation_id=held, part_id=part.part_id, amounts={"vcpus": 9}, release_id=new_id())
        assert settle_loan(limited.session, loan.loan_id).state == "returned"
    assert (limits(limited)["furong"], limits(limited)["yuelu"]) == (100, 50)
    assert verify(limited.session).ok


def test_policy_may_let_a_loan_in_use_run_on(limited):
    with clock.stepped(clock.now()) as step:
        loan = lend(limited, 20)
        reserve(limited.session, reservation_id=new_id(), account_id=limited.yuelu, parts=[cores(65)])
        step(timedelta(days=31))
        later = settle_loan(limited.session, loan.loan_id, extend_to=clock.now() + WEEK)
    assert (later.state, later.extensions, limits(limited)["yuelu"]) == ("active", 1, 70)


def test_early_return_takes_only_what_is_free(limited):
    loan = lend(limited, 20)
    reserve(limited.session, reservation_id=new_id(), account_id=limited.yuelu, parts=[cores(60)])
    with pytest.raises(LimitInUse):
        return_loan(limited.session, loan.loan_id)
    assert return_loan(limited.session, loan.loan_id, {"vcpus": 10}).amounts["vcpus"].outstanding == 10
    assert (limits(limited)["furong"], limits(limited)["yuelu"]) == (90, 60)


def test_a_lease_may_not_outlive_the_loan_it_needs(limited):
    lend(limited, 20, days=30)
    reserve(
        limited.session,
        reservation_id=new_id(),
        account_id=limited.yuelu,
        parts=[cores(50)],
        until=clock.now() + timedelta(days=400),
    )
    with pytest.raises(LoanEndsFirst) as refused:
        reserve(
            limited.session,
            reservation_id=new_id(),
            account_id=limited.yuelu,
            parts=[cores(1)],
            until=clock.now() + timedelta(days=31),
        )
    assert [(each.binding.limit, each.loan.lender) for each in refused.value.found] == [(50, "芙蓉区")]
    reserve(
        limited.session,
        reservation_id=new_id(),
        account_id=limited.yuelu,
        parts=[cores(20)],
        until=clock.now() + timedelta(days=29),
    )


def test_a_limit_does_not_fall_below_what_is_borrowed_in_it(limited):
    lend(limited, 20)
    with pytest.raises(GuaranteeRefused):
        set_limits(
            limited.session, account_id=limited.yuelu, limits={"vcpus": 19}, replace=False, reason="x", actor="x"
        )


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["lend", "take", "free", "day", "return", "settle"]),
        st.integers(0, 3),
        st.integers(1, 40),
    ),
    max_size=25,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(moves=MOVES)
def test_whatever_happens_nothing_lent_is_lost(session, moves):
    city = build_city(session)
    start = {"root": 400, "furong": 100, "yuelu": 100, "community": 100, "grid": 100}
    for name, limit in start.items():
        city.limit(getattr(city, name), {"vcpus": limit})
    sides = [("furong", "yuelu"), ("yuelu", "furong"), ("community", "grid"), ("grid", "furong")]
    loans, held = [], []
    with clock.stepped(clock.now()) as step:
        for move, which, amount in moves:
            if move == "lend":
                try:
                    loans.append(
                        lend(city, amount, lender=sides[which][0], borrower=sides[which][1], days=amount).loan_id
                    )
                except LimitInUse:
                    session.expire_all()
            elif move == "take":
                part, reservation = cores(amount), new_id()
                account = [city.community, city.grid, city.furong, city.yuelu][which]
                try:
                    reserve(session, reservation_id=reservation, account_id=account, parts=[part])
                    post(session, reservation_id=reservation, part_id=part.part_id)
                    held.append((reservation, part))
                except QuotaExceeded:
                    pass
            elif move == "free" and held:
                reservation, part = held.pop(which % len(held))
                release(session, reservation_id=reservation, part_id=part.part_id)
            elif move == "day":
                step(timedelta(days=amount / 2))
            elif move == "return" and loans:
                with contextlib.suppress(LimitInUse, Conflict):
                    return_loan(session, loans[which % len(loans)])
            elif move == "settle":
                for loan_id in due_loans(session, most=100):
                    settle_loan(session, loan_id)
            _nothing_is_lost(city, start, loans)
        for reservation, part in held:
            release(session, reservation_id=reservation, part_id=part.part_id)
        step(timedelta(days=50))
        for _ in range(2):
            for loan_id in due_loans(session, most=100):
                settle_loan(session, loan_id)
    assert limits(city) == start
    assert verify(session).ok
    session.rollback()


def _nothing_is_lost(city, start, loans):
    now = limits(city)
    owed = sum(get_loan(city.session, loan).amounts["vcpus"].owed for loan in loans)
    assert now["furong"] + now["yuelu"] + owed == start["furong"] + start["yuelu"]
    assert now["root"] == start["root"]
    for name in ("furong", "yuelu", "community", "grid"):
        usage = account_usage(city.session, getattr(city, name))
        assert usage.used["vcpus"] <= usage.limits["vcpus"] + usage.overhang["vcpus"]
