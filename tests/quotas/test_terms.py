"""Limits that hold for a time."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput
from quotas import (
    account_usage,
    apply_term,
    cancel_term,
    close_account,
    due_terms,
    merge_accounts,
    set_limits,
    set_terms,
    terms_of,
    transfer,
    verify,
)
from quotas.terms import TERMS
from tests.quotas.conftest import City, build_city

DAY = timedelta(days=1)


def term(city: City, amount: int | None, begins: int | None, ends: int | None, account=None):
    at = clock.now()
    return set_terms(
        city.session,
        account_id=account or city.furong,
        limits={"vcpus": amount},
        valid_from=None if begins is None else at + begins * DAY,
        valid_until=None if ends is None else at + ends * DAY,
        reason="迎检",
        actor="quota_admin",
    )[0]


def limit(city: City, account=None) -> int | None:
    return account_usage(city.session, account or city.furong).limits.get("vcpus")


def turn(city: City) -> int:
    count = 0
    while due := due_terms(city.session, most=10):
        for term_id in due:
            count += apply_term(city.session, term_id) is not None
    return count


@pytest.fixture
def limited(city: City) -> City:
    city.limit(city.root, {"vcpus": 200})
    city.limit(city.furong, {"vcpus": 100})
    return city


def test_a_limit_begins_and_ends_on_its_days(limited):
    with clock.stepped(clock.now()) as step:
        coming = term(limited, 150, 2, 5)
        assert (coming.state, limit(limited), turn(limited)) == ("waiting", 100, 0)
        assert [each.amount for each in terms_of(limited.session, [limited.furong])] == [150]
        step(2 * DAY)
        assert (turn(limited), limit(limited)) == (1, 150)
        assert apply_term(limited.session, coming.term_id) is None
        step(3 * DAY)
        assert (turn(limited), limit(limited)) == (1, 100)
    assert verify(limited.session).ok


def test_a_term_that_begins_now_is_in_force_at_once(limited):
    assert (term(limited, 150, None, 5).state, limit(limited)) == ("in_force", 150)


def test_a_worker_that_was_away_over_a_whole_term_does_both(limited):
    with clock.stepped(clock.now()) as step:
        term(limited, 150, 1, 2)
        step(9 * DAY)
        assert (turn(limited), limit(limited)) == (2, 100)


def test_a_transfer_in_between_keeps_its_effect(limited):
    limited.limit(limited.yuelu, {"vcpus": 50})
    with clock.stepped(clock.now()) as step:
        term(limited, 150, None, 5)
        transfer(
            limited.session,
            giver=limited.furong,
            taker=limited.yuelu,
            amounts={"vcpus": 30},
            reason="调剂",
            actor="quota_admin",
        )
        step(5 * DAY)
        turn(limited)
    assert (limit(limited), limit(limited, limited.yuelu)) == (70, 80)


def test_a_later_decision_supersedes_what_is_in_force(limited):
    with clock.stepped(clock.now()) as step:
        term(limited, 150, None, 5)
        limited.limit(limited.furong, {"vcpus": 120})
        step(9 * DAY)
        assert (turn(limited), limit(limited)) == (0, 120)


@pytest.mark.parametrize("is_merged", [False, True])
def test_nothing_begins_or_ends_at_a_closed_account(limited, is_merged):
    words = {"reason": "撤并", "actor": "quota_admin"}
    account = limited.grid
    limited.limit(account, {"vcpus": 100, "servers": 20})
    with clock.stepped(clock.now()) as step:
        waiting = term(limited, 150, 7, 9, account)
        term(limited, 0, None, 5, account)
        if is_merged:
            merge_accounts(limited.session, source=account, target=limited.portal, **words)
        else:
            close_account(limited.session, account_id=account, **words)
        assert terms_of(limited.session, [account]) == []
        with pytest.raises(Conflict):
            cancel_term(limited.session, waiting.term_id)
        step(9 * DAY)
        assert (turn(limited), limit(limited, account)) == (0, 0)


def test_a_term_left_at_a_closed_account_does_nothing(limited):
    with clock.stepped(clock.now()) as step:
        left = term(limited, 150, 1, 2, limited.grid)
        close_account(limited.session, account_id=limited.grid, reason="撤并", actor="quota_admin")
        limited.session.connection().execute(sa.update(TERMS).where(TERMS.c.id == left.term_id).values(state="waiting"))
        step(9 * DAY)
        assert (turn(limited), limit(limited, limited.grid)) == (0, None)
        assert terms_of(limited.session, [limited.grid]) == []


def test_where_there_was_no_limit_there_is_none_afterwards(limited):
    with clock.stepped(clock.now()) as step:
        term(limited, 10, None, 1, limited.yuelu)
        step(DAY)
        turn(limited)
    assert limit(limited, limited.yuelu) is None


def test_two_terms_of_one_key_do_not_overlap(limited):
    term(limited, 150, 1, 5)
    with pytest.raises(Conflict):
        term(limited, 160, 4, 6)
    term(limited, 160, 5, 6)


@pytest.mark.parametrize(("begins", "ends"), [(3, 3), (5, 4), (None, -1)])
def test_an_end_comes_after_its_beginning(limited, begins, ends):
    with pytest.raises(InvalidInput):
        term(limited, 150, begins, ends)


def test_a_term_can_be_taken_back(limited):
    cancel_term(limited.session, term(limited, 150, 1, 5).term_id)
    assert terms_of(limited.session, [limited.furong]) == []
    cancel_term(limited.session, term(limited, 150, None, 5).term_id)
    assert limit(limited) == 100


@settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(
    spans=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.integers(0, 300)), max_size=6),
    jumps=st.lists(st.integers(1, 9), max_size=12),
)
def test_at_any_moment_the_limit_is_what_the_calendar_says(session, spans, jumps):
    city = build_city(session)
    set_limits(session, account_id=city.furong, limits={"vcpus": 100}, replace=False, reason="x", actor="x")
    with clock.stepped(clock.now()) as step:
        accepted = []
        for begins, length, amount in spans:
            try:
                term(city, amount, begins, begins + length)
                accepted.append((begins, begins + length, amount))
            except Conflict:
                assert any(begins < end and start < begins + length for start, end, _ in accepted)
        today = 0
        for jump in jumps:
            step(jump * DAY)
            today += jump
            turn(city)
            assert limit(city) == next((amount for start, end, amount in accepted if start <= today < end), 100)
    assert not [each for each in verify(session).mismatches if each.account_id == city.furong]
    session.rollback()
