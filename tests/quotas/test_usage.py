"""What is left, where: usage, tree, preview."""

import pytest
import sqlalchemy as sa

from cloudmgr.domain.errors import NotFound
from cloudmgr.domain.ids import new_id
from quotas import QuotaExceeded, account_usage, ancestors_of, post, preview, reserve, tree
from quotas.books import BALANCES
from tests.quotas.conftest import server


def hold(city, *parts, account=None):
    reservation_id = new_id()
    reserve(city.session, reservation_id=reservation_id, account_id=account or city.community, parts=parts)
    city.session.commit()
    return reservation_id


def test_available_is_ones_own_and_room_is_bound_from_above(city):
    city.limit(city.root, {"vcpus": 20})
    city.limit(city.furong, {"vcpus": 480})
    part = server(8)
    reservation_id = hold(city, part)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    hold(city, server(4), account=city.grid)
    usage = account_usage(city.session, city.furong)
    assert (usage.limits["vcpus"], usage.used["vcpus"], usage.reserved["vcpus"]) == (480, 8, 0)
    assert (usage.available["vcpus"], usage.room["vcpus"]) == (472, 8)
    assert [name for _, name in account_usage(city.session, city.community).ancestors] == ["长沙市", "芙蓉区"]
    assert [account.name for account in ancestors_of(city.session, city.community)] == ["长沙市", "芙蓉区"]


def test_room_shows_keys_limited_only_further_up_and_wider_keys_bind(city):
    city.limit(city.root, {"vcpus": 100, "vcpus{arch=aarch64}": 300})
    usage = account_usage(city.session, city.community)
    assert usage.limits == {}
    assert usage.room == {"vcpus": 100, "vcpus{arch=aarch64}": 100}


def test_without_any_limit_there_is_no_bound(city):
    hold(city, server(8))
    usage = account_usage(city.session, city.community)
    assert usage.available["vcpus"] is None
    assert usage.room["vcpus"] is None


def test_the_tree_is_a_table_from_the_root_down(city):
    rows = tree(city.session, root_id=city.root)
    assert [(row.depth, row.code) for row in rows] == [
        (0, "CS"),
        (1, "430102"),
        (2, "MHWZ"),
        (2, "ZHSQ"),
        (1, "430104"),
        (2, "WGPT"),
    ]
    assert [row.code for row in tree(city.session, root_id=city.root, depth=1)] == ["CS", "430102", "430104"]
    assert [row.code for row in tree(city.session, root_id=city.root, depth=0)] == ["CS"]
    below = tree(city.session, root_id=city.furong)
    assert [(row.depth, row.parent_id == city.root) for row in below] == [(1, True), (2, False), (2, False)]
    assert city.root in {row.account_id for row in tree(city.session)}


def test_the_tree_says_what_account_usage_says(city):
    city.limit(city.root, {"vcpus": 20})
    hold(city, server(8))
    for row in tree(city.session, root_id=city.root):
        alone = account_usage(city.session, row.account_id)
        assert (row.limits, row.used, row.reserved, row.room) == (alone.limits, alone.used, alone.reserved, alone.room)
        assert row.ancestors == alone.ancestors


def test_over_allocation_of_children_is_visible_even_at_the_edge_of_the_table(city):
    city.limit(city.root, {"vcpus": 600})
    city.limit(city.furong, {"vcpus": 480})
    city.limit(city.yuelu, {"vcpus": 640})
    for depth in (0, None):
        root = tree(city.session, root_id=city.root, depth=depth)[0]
        assert (root.limits["vcpus"], root.children_limit_sum["vcpus"]) == (600, 1120)


def test_what_does_not_exist_is_not_found(city):
    for read in (account_usage, ancestors_of):
        with pytest.raises(NotFound):
            read(city.session, new_id())
    with pytest.raises(NotFound):
        tree(city.session, root_id=new_id())
    with pytest.raises(NotFound):
        preview(city.session, account_id=new_id(), parts=[server()])


def test_a_preview_costs_every_level_and_writes_nothing(city):
    city.limit(city.root, {"vcpus": 20})
    city.limit(city.furong, {"vcpus{arch=aarch64}": 10})
    shown = preview(city.session, account_id=city.community, parts=[server(8), server(1)])
    assert shown.ok
    assert [level.name for level in shown.levels] == ["长沙市", "芙蓉区", "智慧社区综合服务平台"]
    root = {key.key: key for key in shown.levels[0].keys}
    assert (root["vcpus"].limit, root["vcpus"].available, root["vcpus"].asked, root["vcpus"].ok) == (20, 20, 9, True)
    assert root["servers"].limit is None
    assert {key.key for key in shown.levels[1].keys} >= {"vcpus", "vcpus{arch=aarch64}"}
    query = sa.select(sa.func.sum(BALANCES.c.used + BALANCES.c.reserved)).where(BALANCES.c.account_id == city.root)
    assert city.session.connection().execute(query).scalar() == 0


def test_a_preview_binds_as_the_refusal_would(city):
    city.limit(city.root, {"vcpus": 20})
    city.limit(city.furong, {"servers": 1, "vcpus{arch=aarch64}": 10})
    parts = [server(8), server(16)]
    shown = preview(city.session, account_id=city.community, parts=parts)
    with pytest.raises(QuotaExceeded) as refused:
        hold(city, *parts)
    assert shown.refusal().errors == refused.value.errors
    assert [(level.name, key.key) for level in shown.levels for key in level.keys if not key.ok] == [
        (error["name"], error["key"]) for error in refused.value.errors
    ]
