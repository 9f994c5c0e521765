"""Moving limits and accounts: transfers, subtrees under other parents, merges, closures."""

import pytest

from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from quotas import (
    DIMENSIONS,
    LimitInUse,
    QuotaExceeded,
    account_usage,
    close_account,
    create_account,
    get_account,
    get_reservation,
    merge_accounts,
    move_account,
    place,
    post,
    preview,
    reopen_account,
    reserve,
    set_limits,
    transfer,
    tree,
    verify,
    void,
)
from quotas.keys import RESOURCES
from quotas.limits import LIMITS
from quotas.parts import Part
from tests.quotas.conftest import server

WORDS = {"reason": "年度调剂", "basis_no": "长数〔2026〕88号", "actor": "quota_admin"}


@pytest.fixture(autouse=True)
def books_balance(city):
    yield
    assert verify(city.session).ok


def hold(city, account_id, part, *, posted=True):
    reservation_id = new_id()
    reserve(city.session, reservation_id=reservation_id, account_id=account_id, parts=[part])
    if posted:
        post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    return {"reservation_id": reservation_id, "part_id": part.part_id}


def limits(city, account_id):
    return {key: limit for key, limit in account_usage(city.session, account_id).limits.items() if limit is not None}


def used(city, account_id, key="vcpus"):
    usage = account_usage(city.session, account_id)
    return usage.used.get(key, 0), usage.reserved.get(key, 0)


class TestTransfer:
    def test_siblings_change_limits_and_their_parent_does_not(self, city):
        city.limit(city.root, {"vcpus": 1000})
        city.limit(city.furong, {"vcpus": 100})
        city.limit(city.yuelu, {"vcpus": 50})
        done = transfer(city.session, giver=city.furong, taker=city.yuelu, amounts={"vcpus": 30}, **WORDS)
        assert [(limits(city, each), each) for each in (city.root, city.furong, city.yuelu)] == [
            ({"vcpus": 1000}, city.root),
            ({"vcpus": 70}, city.furong),
            ({"vcpus": 80}, city.yuelu),
        ]
        rows = city.session.connection().execute(LIMITS.select().where(LIMITS.c.movement_id == done.movement_id)).all()
        assert {(row.account_id, row.previous_amount, row.amount, row.basis_no) for row in rows} == {
            (city.furong, 100, 70, WORDS["basis_no"]),
            (city.yuelu, 50, 80, WORDS["basis_no"]),
        }

    def test_levels_between_follow_up_to_the_common_ancestor(self, city):
        for account in (city.furong, city.yuelu, city.community, city.grid):
            city.limit(account, {"vcpus": 100})
        transfer(city.session, giver=city.community, taker=city.grid, amounts={"vcpus": 40}, **WORDS)
        after = [limits(city, each)["vcpus"] for each in (city.furong, city.community, city.yuelu, city.grid)]
        assert after == [60, 60, 140, 140]

    def test_a_level_without_a_limit_stays_without(self, city):
        for account in (city.community, city.grid):
            city.limit(account, {"vcpus": 100})
        transfer(city.session, giver=city.community, taker=city.grid, amounts={"vcpus": 40}, **WORDS)
        assert limits(city, city.furong) == limits(city, city.yuelu) == {}

    def test_what_is_in_use_cannot_be_given_and_every_level_says_so(self, city):
        for account in (city.furong, city.yuelu, city.community, city.grid):
            city.limit(account, {"vcpus": 10, "servers": 10})
        hold(city, city.community, server(8))
        with pytest.raises(LimitInUse) as refused:
            transfer(city.session, giver=city.community, taker=city.grid, amounts={"vcpus": 3, "servers": 9}, **WORDS)
        found = refused.value.errors
        assert [(each["name"], each["key"], each["asked"]) for each in found] == [
            ("智慧社区综合服务平台", "vcpus", 3),
            ("芙蓉区", "vcpus", 3),
        ] or [(each["name"], each["key"]) for each in found] == [("芙蓉区", "vcpus"), ("智慧社区综合服务平台", "vcpus")]
        assert limits(city, city.grid)["vcpus"] == 10

    @pytest.mark.parametrize("amounts", [{}, {"vcpus": 0}, {"vcpus": -1}, {"vcpus": 1, " vcpus": 1}])
    def test_amounts_that_mean_nothing_are_refused(self, city, amounts):
        city.limit(city.furong, {"vcpus": 10})
        city.limit(city.yuelu, {"vcpus": 10})
        with pytest.raises(InvalidInput):
            transfer(city.session, giver=city.furong, taker=city.yuelu, amounts=amounts, **WORDS)

    def test_between_above_and_below_or_without_a_limit_it_is_refused(self, city):
        city.limit(city.furong, {"vcpus": 10})
        for giver, taker in (
            (city.furong, city.community),
            (city.community, city.furong),
            (city.furong, city.furong),
            (city.furong, city.yuelu),
            (city.yuelu, city.furong),
        ):
            with pytest.raises(InvalidInput):
                transfer(city.session, giver=giver, taker=taker, amounts={"vcpus": 1}, **WORDS)
        with pytest.raises(NotFound):
            transfer(city.session, giver=city.furong, taker=new_id(), amounts={"vcpus": 1}, **WORDS)


class TestMove:
    def test_use_leaves_the_old_chain_and_comes_to_the_new_one(self, city):
        city.limit(city.root, {"vcpus": 100})
        hold(city, city.community, server(8))
        hold(city, city.community, server(4), posted=False)
        assert move_account(city.session, account_id=city.community, parent_id=city.yuelu)
        after = [used(city, each) for each in (city.root, city.furong, city.yuelu, city.community)]
        assert after == [(8, 4), (0, 0), (8, 4), (8, 4)]
        assert get_account(city.session, city.community).parent_id == city.yuelu
        assert not move_account(city.session, account_id=city.community, parent_id=city.yuelu)

    def test_a_narrowed_key_above_counts_what_arrives(self, city):
        city.limit(city.yuelu, {"vcpus{arch=aarch64,environment=prd}": 20, "vcpus{arch=x86_64}": 1})
        held = hold(city, city.community, server(8))
        move_account(city.session, account_id=city.furong, parent_id=city.yuelu)
        assert used(city, city.yuelu, "vcpus{arch=aarch64,environment=prd}") == (8, 0)
        move_account(city.session, account_id=city.community, parent_id=city.root)
        assert used(city, city.yuelu, "vcpus{arch=aarch64,environment=prd}") == (0, 0)
        assert get_reservation(city.session, held["reservation_id"]).state == "posted"

    def test_every_key_and_level_that_lacks_room_is_named_and_nothing_moves(self, city):
        city.limit(city.yuelu, {"vcpus": 7, "servers": 0, "memory_mib": 10**9})
        city.limit(city.grid, {"vcpus{arch=aarch64}": 3})
        hold(city, city.community, server(8))
        with pytest.raises(QuotaExceeded) as refused:
            move_account(city.session, account_id=city.community, parent_id=city.grid)
        assert {(each["name"], each["key"]) for each in refused.value.errors} == {
            ("岳麓区", "vcpus"),
            ("岳麓区", "servers"),
            ("网格平台", "vcpus{arch=aarch64}"),
        }
        assert used(city, city.furong) == (8, 0)
        assert get_account(city.session, city.community).parent_id == city.furong

    def test_a_place_below_itself_is_refused_and_so_is_the_root(self, city):
        for account, parent in ((city.furong, city.community), (city.furong, city.furong), (city.root, city.yuelu)):
            with pytest.raises(InvalidInput):
                move_account(city.session, account_id=account, parent_id=parent)

    def test_counting_that_ended_at_the_district_ends_at_the_new_one(self, city):
        city.limit(city.root, {"vcpus": 100, "vcpus{backend=own}": 100})
        part = server(8)
        held = hold(city, city.community, part, posted=False)
        place(city.session, **held, dims={"backend": "own"}, top=city.furong)
        assert used(city, city.root) == (0, 0)
        move_account(city.session, account_id=city.community, parent_id=city.yuelu)
        after = [used(city, each) for each in (city.root, city.furong, city.yuelu)]
        assert after == [(0, 0), (0, 0), (0, 8)]
        assert used(city, city.root, "vcpus{backend=own}") == (0, 8)
        void(city.session, reservation_id=held["reservation_id"])
        assert used(city, city.yuelu) == (0, 0)


class TestMerge:
    def test_all_that_is_held_and_all_below_go_over_with_the_limits(self, city):
        city.limit(city.furong, {"vcpus": 100, "servers": 5})
        city.limit(city.yuelu, {"vcpus": 50})
        hold(city, city.community, server(8))
        hold(city, city.furong, server(2))
        merged = merge_accounts(city.session, source=city.furong, target=city.yuelu, **WORDS)
        assert set(merged.moved) == {city.community, city.portal}
        assert used(city, city.yuelu) == used(city, city.root) == (10, 0)
        assert used(city, city.furong) == (0, 0)
        assert limits(city, city.yuelu) == {"vcpus": 150}
        assert limits(city, city.furong) == {"vcpus": 0, "servers": 0}
        with pytest.raises(Conflict, match="closed"):
            hold(city, city.furong, server(1))

    def test_into_the_account_above_its_limits_stay(self, city):
        city.limit(city.furong, {"vcpus": 100})
        city.limit(city.community, {"vcpus": 60})
        hold(city, city.community, server(8))
        merge_accounts(city.session, source=city.community, target=city.furong, **WORDS)
        assert used(city, city.furong) == (8, 0)
        assert limits(city, city.furong) == {"vcpus": 100}

    def test_too_little_room_above_the_target_refuses_it(self, city):
        city.limit(city.yuelu, {"vcpus": 7})
        hold(city, city.community, server(8))
        with pytest.raises(QuotaExceeded):
            merge_accounts(city.session, source=city.community, target=city.grid, **WORDS)
        assert used(city, city.community) == (8, 0)
        for source, target in ((city.root, city.grid), (city.furong, city.community)):
            with pytest.raises(InvalidInput):
                merge_accounts(city.session, source=source, target=target, **WORDS)

    def test_what_was_merged_is_given_back_where_it_is_now(self, city):
        held = hold(city, city.community, server(8), posted=False)
        merge_accounts(city.session, source=city.community, target=city.grid, **WORDS)
        void(city.session, reservation_id=held["reservation_id"])
        assert used(city, city.root) == used(city, city.grid) == (0, 0)


class TestClose:
    def test_nothing_may_be_held_or_open_below(self, city):
        held = hold(city, city.community, server(8), posted=False)
        with pytest.raises(Conflict, match="still holds") as refused:
            close_account(city.session, account_id=city.community, **WORDS)
        assert {"key": "vcpus", "held": 8} in refused.value.errors
        with pytest.raises(Conflict, match="still open"):
            close_account(city.session, account_id=city.furong, **WORDS)
        void(city.session, reservation_id=held["reservation_id"])
        city.limit(city.community, {"vcpus": 9, "disk_gib": 0})
        assert [
            (str(each.key), each.before, each.after)
            for each in close_account(city.session, account_id=city.community, **WORDS).changes
        ] == [("vcpus", 9, 0)]
        assert close_account(city.session, account_id=city.community, **WORDS).changes == []

    def test_a_closed_account_refuses_everything_new_with_words(self, city):
        close_account(city.session, account_id=city.grid, **WORDS)
        words = {"reason": "x", "actor": "x"}
        part = server(1)
        for attempt in (
            lambda: reserve(city.session, reservation_id=new_id(), account_id=city.grid, parts=[part]),
            lambda: preview(city.session, account_id=city.grid, parts=[part]),
            lambda: set_limits(city.session, account_id=city.grid, limits={"vcpus": 1}, replace=False, **words),
            lambda: create_account(city.session, account_id=new_id(), parent_id=city.grid, code="x", name="x"),
            lambda: move_account(city.session, account_id=city.community, parent_id=city.grid),
            lambda: merge_accounts(city.session, source=city.community, target=city.grid, **words),
        ):
            with pytest.raises(Conflict, match="网格平台"):
                attempt()
        assert reopen_account(city.session, account_id=city.grid)
        hold(city, city.grid, server(1))

    def test_the_root_is_never_closed(self, city):
        with pytest.raises(InvalidInput):
            close_account(city.session, account_id=city.root, **WORDS)


def test_every_resource_narrowed_by_every_dimension_is_counted(city):
    values = {
        "arch": "aarch64",
        "backend": "kp",
        "cpu_family": "kunpeng",
        "environment": "prd",
        "is_xinchuang": "true",
        "network_zone": "政务外网区",
        "tier": "city",
    }
    assert values.keys() == set(DIMENSIONS)
    every = ",".join(f"{name}={value}" for name, value in values.items())
    narrowed = ["", *(f"{{{name}={value}}}" for name, value in values.items()), f"{{{every}}}"]
    keys = [f"{resource}{each}" for resource in sorted(RESOURCES) for each in narrowed]
    city.limit(city.furong, dict.fromkeys(keys, 5))
    hold(city, city.community, Part(new_id(), dict.fromkeys(RESOURCES, 5), values))
    usage = account_usage(city.session, city.furong)
    assert {key: usage.used[key] for key in keys} == dict.fromkeys(keys, 5)
    with pytest.raises(QuotaExceeded) as refused:
        hold(city, city.community, Part(new_id(), dict.fromkeys(RESOURCES, 1), values))
    assert {each["key"] for each in refused.value.errors} == set(keys)


def test_a_tree_of_eight_levels_refuses_at_every_level_and_gives_back(city):
    accounts = [city.root]
    for level in range(1, 8):
        accounts.append(new_id())
        create_account(
            city.session, account_id=accounts[-1], parent_id=accounts[-2], code=f"L{level}", name=f"第{level}级"
        )
    for number, account in enumerate(accounts):
        city.limit(account, {"vcpus": 100 - number, "vcpus{arch=aarch64}": 50})
    held = hold(city, accounts[-1], server(48), posted=False)
    assert [row.depth for row in tree(city.session, root_id=accounts[1])] == list(range(1, 8))
    with pytest.raises(QuotaExceeded) as refused:
        hold(city, accounts[-1], server(60))
    assert len({each["account"] for each in refused.value.errors}) == 8
    assert len(refused.value.errors) == 16
    void(city.session, reservation_id=held["reservation_id"])
    assert [used(city, account) for account in accounts] == [(0, 0)] * 8
