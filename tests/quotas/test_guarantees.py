"""Guarantees: what siblings keep free, what must stand behind it, and the same beside a plain model."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloudmgr.domain.ids import new_id
from quotas import (
    GuaranteeRefused,
    Part,
    QuotaExceeded,
    account_usage,
    create_account,
    move_account,
    place,
    post,
    preview,
    release,
    reserve,
    set_guarantees,
    set_limits,
    unplace,
    verify,
    void,
)
from quotas.books import BALANCES
from tests.quotas.conftest import City


def cores(count: int, **dims: str) -> Part:
    return Part(new_id(), {"vcpus": count}, {"arch": "aarch64"} | dims)


def take(city: City, account, count: int) -> tuple:
    reservation, part = new_id(), cores(count)
    reserve(city.session, reservation_id=reservation, account_id=account, parts=[part])
    return reservation, part.part_id


def guarantee(city: City, account, **amounts: int):
    return set_guarantees(city.session, account_id=account, guarantees=amounts, reason="保障重点业务")


@pytest.fixture
def limited(city: City) -> City:
    city.limit(city.root, {"vcpus": 100})
    city.limit(city.furong, {"vcpus": 90})
    city.limit(city.yuelu, {"vcpus": 90})
    return city


def test_siblings_keep_free_what_was_guaranteed(limited):
    guarantee(limited, limited.furong, vcpus=40)
    with pytest.raises(QuotaExceeded) as refused:
        take(limited, limited.yuelu, 61)
    (binding,) = refused.value.bindings
    assert (binding.name, binding.kept_free, binding.left) == ("长沙市", 40, 60)
    assert refused.value.errors[0]["kept_free"] == 40
    assert not preview(limited.session, account_id=limited.yuelu, parts=[cores(61)]).ok
    take(limited, limited.yuelu, 60)
    take(limited, limited.furong, 40)
    with pytest.raises(QuotaExceeded):
        take(limited, limited.furong, 1)
    assert verify(limited.session).ok


def test_growth_above_the_own_guarantee_takes_from_nobody_elses(limited):
    guarantee(limited, limited.furong, vcpus=40)
    guarantee(limited, limited.yuelu, vcpus=40)
    with pytest.raises(QuotaExceeded):
        take(limited, limited.furong, 61)
    take(limited, limited.furong, 60)
    assert account_usage(limited.session, limited.yuelu).room["vcpus"] == 40
    assert account_usage(limited.session, limited.furong).room["vcpus"] == 0
    take(limited, limited.yuelu, 40)


def test_what_is_given_back_is_kept_free_again(limited):
    guarantee(limited, limited.furong, vcpus=40)
    reservation, _ = take(limited, limited.furong, 40)
    void(limited.session, reservation_id=reservation)
    with pytest.raises(QuotaExceeded):
        take(limited, limited.yuelu, 61)
    assert verify(limited.session).ok


def test_what_fills_a_guarantee_does_not_move_away_where_nothing_could_be_kept_free_for_it(limited):
    guarantee(limited, limited.furong, vcpus=40)
    take(limited, limited.community, 40)
    take(limited, limited.grid, 50)
    with pytest.raises(QuotaExceeded) as refused:
        move_account(limited.session, account_id=limited.community, parent_id=limited.yuelu)
    (binding,) = refused.value.bindings
    assert (binding.name, binding.left, binding.asked) == ("长沙市", 10, 40)
    guarantee(limited, limited.furong, vcpus=10)
    assert move_account(limited.session, account_id=limited.community, parent_id=limited.yuelu)
    assert verify(limited.session).mismatches == []


@pytest.mark.parametrize(
    ("wanted", "held"),
    [({"vcpus": 91}, 0), ({"vcpus": 50}, 60), ({"disk_gib": 5}, 0), ({"vcpus{arch=aarch64}": 5}, 0)],
    ids=["above the own limit", "not free above", "no limit", "no limit on the narrowed key"],
)
def test_a_guarantee_that_nothing_backs_is_refused(limited, wanted, held):
    if held:
        take(limited, limited.yuelu, held)
    with pytest.raises(GuaranteeRefused) as refused:
        guarantee(limited, limited.furong, **wanted)
    assert refused.value.errors
    assert verify(limited.session).ok


def test_every_level_above_must_be_guaranteed_as_much(limited):
    limited.limit(limited.community, {"vcpus": 50})
    with pytest.raises(GuaranteeRefused, match="芙蓉区"):
        guarantee(limited, limited.community, vcpus=10)
    guarantee(limited, limited.furong, vcpus=10)
    guarantee(limited, limited.community, vcpus=10)
    with pytest.raises(GuaranteeRefused):
        guarantee(limited, limited.furong, vcpus=9)


def test_a_narrowed_guarantee_needs_the_wider_one(limited):
    for account in (limited.root, limited.furong):
        limited.limit(account, {"vcpus{arch=aarch64}": 60})
    with pytest.raises(GuaranteeRefused):
        guarantee(limited, limited.furong, **{"vcpus{arch=aarch64}": 10})
    guarantee(limited, limited.furong, **{"vcpus{arch=aarch64}": 10, "vcpus": 10})
    assert verify(limited.session).ok


def test_limits_do_not_fall_below_what_was_promised(limited):
    guarantee(limited, limited.furong, vcpus=40)
    for account in (limited.furong, limited.root):
        with pytest.raises(GuaranteeRefused):
            limited.limit(account, {"vcpus": 39})


def test_the_prover_finds_a_share_set_aside_that_nobody_was_promised(limited):
    guarantee(limited, limited.furong, vcpus=40)
    connection = limited.session.connection()
    connection.execute(BALANCES.update().where(BALANCES.c.account_id == limited.root).values(set_aside=7))
    found = verify(limited.session).mismatches
    mine = [(each.column, each.recorded, each.recounted) for each in found if each.account_id == limited.root]
    assert mine == [("set_aside", 7, 40)]
    limited.session.rollback()


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["take", "post", "give", "promise", "place", "unplace"]),
        st.integers(0, 5),
        st.integers(1, 30),
    ),
    max_size=30,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(moves=MOVES)
def test_any_sequence_keeps_every_promise(session, moves):  # noqa: PLR0915 - the model beside what it models
    """Three levels; the model knows only parts, limits and promises, and counts what must stay free from these."""
    ids = [new_id() for _ in range(6)]
    parents = [None, 0, 0, 1, 1, 2]
    caps = [100, 80, 80, 60, 60, 60]
    for account, parent, cap in zip(ids, parents, caps, strict=True):
        create_account(
            session,
            account_id=account,
            parent_id=None if parent is None else ids[parent],
            code=str(account)[-9:],
            name="x",
        )
        set_limits(session, account_id=account, limits={"vcpus": cap}, replace=False, reason="x", actor="x")
    promised = [0] * 6
    parts: list[list] = []

    def below(node: int) -> set[int]:
        return {node} | {deeper for child in range(6) if parents[child] == node for deeper in below(child)}

    def held(node: int) -> int:
        return sum(part[2] for part in parts if part[1] in below(node))

    def unfilled(node: int) -> int:
        return max(0, promised[node] - held(node))

    def fits(at: int, amount: int) -> bool:
        node = at
        own = 0
        while node is not None:
            children = [child for child in range(6) if parents[child] == node]
            beside = sum(unfilled(child) for child in children)
            way = next((child for child in children if at in below(child)), None)
            after = 0 if way is None else max(0, promised[way] - held(way) - amount) - unfilled(way)
            kept = beside + after if amount + after > 0 else 0
            if held(node) + amount + kept > caps[node]:
                own += 1
            node = parents[node]
        return not own

    for move, which, amount in moves:
        if move == "take":
            reservation, part = new_id(), cores(amount)
            expected = fits(which, amount)
            try:
                reserve(session, reservation_id=reservation, account_id=ids[which], parts=[part])
                granted = True
            except QuotaExceeded:
                granted = False
            assert granted == expected
            if granted:
                parts.append([(reservation, part.part_id), which, amount, "pending"])
        elif move == "promise" and which:
            try:
                set_guarantees(session, account_id=ids[which], guarantees={"vcpus": amount}, reason="x")
                promised[which] = amount
            except GuaranteeRefused:
                pass
        elif parts and move in ("post", "give", "place", "unplace"):
            held_part = parts[which % len(parts)]
            (reservation, part_id), state = held_part[0], held_part[3]
            if move == "post":
                post(session, reservation_id=reservation, part_id=part_id)
                held_part[3] = "posted"
            elif move == "place":
                place(session, reservation_id=reservation, part_id=part_id, dims={"tier": "city"})
            elif move == "unplace":
                unplace(session, reservation_id=reservation, part_id=part_id)
            else:
                if state == "posted":
                    release(session, reservation_id=reservation, part_id=part_id)
                else:
                    void(session, reservation_id=reservation)
                parts.remove(held_part)
        for node in range(6):
            children = [child for child in range(6) if parents[child] == node]
            if children and not parents[node]:
                kept = sum(unfilled(child) for child in children)
                assert held(node) + kept <= caps[node]  # whoever was promised something can still have it
    assert not [each for each in verify(session).mismatches if each.account_id in ids]
    session.rollback()
