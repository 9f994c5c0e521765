"""Setting limits: merged or replaced, lowered below use, counted from the moment they exist."""

import pytest
import sqlalchemy as sa

from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from quotas import (
    MAX_AMOUNT,
    LimitOmitted,
    QuotaExceeded,
    RootLimitRequired,
    account_usage,
    create_account,
    place,
    post,
    release,
    rename_account,
    reserve,
    set_limits,
    verify,
)
from quotas.accounts import MAX_DEPTH
from quotas.limits import LIMITS
from tests.quotas.conftest import server


def limits(city, account_id):
    return {key: limit for key, limit in account_usage(city.session, account_id).limits.items() if limit is not None}


def hold(city, *parts, account=None):
    reservation_id = new_id()
    reserve(city.session, reservation_id=reservation_id, account_id=account or city.community, parts=parts)
    city.session.commit()
    return reservation_id


def test_patch_merges_and_put_replaces(city):
    city.limit(city.furong, {"vcpus": 480, "servers": 50})
    city.limit(city.furong, {"vcpus": 500, "vcpus{arch=arm64}": 300})
    assert limits(city, city.furong) == {"vcpus": 500, "servers": 50, "vcpus{arch=aarch64}": 300}
    city.limit(city.furong, {"vcpus": 400, "servers": None, "vcpus{arch=aarch64}": None}, replace=True)
    assert limits(city, city.furong) == {"vcpus": 400}


def test_put_must_name_every_limit_there_is(city):
    city.limit(city.furong, {"vcpus": 480, "servers": 50, "disk_gib": 1})
    with pytest.raises(LimitOmitted) as refused:
        city.limit(city.furong, {"vcpus": 1}, replace=True)
    assert refused.value.code == "limit_omitted"
    assert {error["key"] for error in refused.value.errors} == {"servers", "disk_gib"}
    assert limits(city, city.furong) == {"vcpus": 480, "servers": 50, "disk_gib": 1}


def test_put_need_not_name_what_is_only_counted(city):
    hold(city, server())
    city.limit(city.furong, {"vcpus": 480}, replace=True)
    assert limits(city, city.furong) == {"vcpus": 480}


def test_the_root_keeps_its_plain_limits(city):
    city.limit(city.root, {"vcpus": 4000, "vcpus{arch=aarch64}": 3000})
    with pytest.raises(RootLimitRequired) as refused:
        city.limit(city.root, {"vcpus": None})
    assert refused.value.code == "root_limit_required"
    city.session.rollback()
    city.limit(city.root, {"vcpus{arch=aarch64}": None})
    assert limits(city, city.root) == {"vcpus": 4000}


@pytest.mark.parametrize(
    "wanted",
    [
        {"vcpus": -1},
        {"vcpus": MAX_AMOUNT + 1},
        {"vcpus": 1.0},
        {"vcpus": True},
        {"vcpus": "8"},
        {"vcpus{colour=red}": 1},
        {"vcpus{arch=arm64}": 1, "vcpus{arch=aarch64}": 2},
        {"": 1},
    ],
)
def test_impossible_limits_are_refused(city, wanted):
    with pytest.raises(InvalidInput):
        city.limit(city.furong, wanted)


def test_a_limit_needs_a_reason_and_an_account(city):
    with pytest.raises(InvalidInput):
        set_limits(city.session, account_id=city.root, limits={}, replace=False, reason=" ", actor="x")
    with pytest.raises(NotFound):
        set_limits(city.session, account_id=new_id(), limits={"vcpus": 1}, replace=False, reason="x", actor="x")


def test_a_limit_of_zero_refuses_everything(city):
    city.limit(city.furong, {"gpus": 0})
    with pytest.raises(QuotaExceeded):
        hold(city, server(gpus=1))
    city.session.rollback()
    hold(city, server(gpus=0))


def test_a_narrowed_key_is_counted_right_from_the_moment_it_is_limited(city):
    placed, pending, other = server(8), server(4), server(2, arch="x86_64")
    reservation_id = hold(city, placed, pending, other)
    place(city.session, reservation_id=reservation_id, part_id=placed.part_id, dims={"tier": "city"})
    post(city.session, reservation_id=reservation_id, part_id=placed.part_id)
    release(city.session, reservation_id=reservation_id, part_id=placed.part_id, amounts={"vcpus": 1})
    city.limit(city.furong, {"vcpus{arch=aarch64}": 100, "vcpus{arch=aarch64,tier=city}": 100, "vcpus{tier=edge}": 100})
    usage = account_usage(city.session, city.furong)
    assert (usage.used["vcpus{arch=aarch64}"], usage.reserved["vcpus{arch=aarch64}"]) == (7, 4)
    assert (usage.used["vcpus{arch=aarch64,tier=city}"], usage.reserved["vcpus{arch=aarch64,tier=city}"]) == (7, 0)
    assert (usage.used["vcpus{tier=edge}"], usage.reserved["vcpus{tier=edge}"]) == (0, 0)
    hold(city, server(16))
    assert account_usage(city.session, city.furong).reserved["vcpus{arch=aarch64}"] == 20
    assert verify(city.session).ok


def test_a_narrowed_key_stays_counted_when_its_limit_goes(city):
    city.limit(city.furong, {"vcpus{arch=aarch64}": 100})
    hold(city, server(8))
    city.limit(city.furong, {"vcpus{arch=aarch64}": None})
    hold(city, server(8))
    city.limit(city.furong, {"vcpus{arch=aarch64}": 16})
    with pytest.raises(QuotaExceeded):
        hold(city, server(1))
    city.session.rollback()
    assert verify(city.session).ok


def test_a_limit_may_sink_below_use_and_only_growth_is_refused(city):
    parts = [server(8), server(8), server(8)]
    reservation_id = hold(city, *parts)
    city.limit(city.furong, {"vcpus": 10})
    usage = account_usage(city.session, city.furong)
    assert (usage.available["vcpus"], usage.overhang["vcpus"], usage.room["vcpus"]) == (0, 14, 0)
    with pytest.raises(QuotaExceeded):
        hold(city, server(1))
    city.session.rollback()
    for part in parts:
        post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    release(city.session, reservation_id=reservation_id, part_id=parts[0].part_id)
    assert account_usage(city.session, city.furong).overhang["vcpus"] == 6
    with pytest.raises(QuotaExceeded):
        hold(city, server(1))
    city.session.rollback()


def test_use_that_sank_under_a_lowered_limit_may_grow_to_it_again(city):
    part = server(16)
    reservation_id = hold(city, part)
    city.limit(city.furong, {"vcpus": 10})
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    release(city.session, reservation_id=reservation_id, part_id=part.part_id, amounts={"vcpus": 7})
    city.session.commit()
    assert account_usage(city.session, city.furong).overhang["vcpus"] == 0
    hold(city, server(1))
    with pytest.raises(QuotaExceeded):
        hold(city, server(1))
    city.session.rollback()


def test_raising_a_lowered_limit_ends_the_overhang(city):
    hold(city, server(16))
    city.limit(city.furong, {"vcpus": 10})
    city.limit(city.furong, {"vcpus": 17})
    assert account_usage(city.session, city.furong).overhang["vcpus"] == 0
    city.limit(city.furong, {"vcpus": 10})
    city.limit(city.furong, {"vcpus": None})
    assert account_usage(city.session, city.furong).overhang["vcpus"] == 0


def test_every_change_is_kept_with_who_why_and_on_which_document(city):
    city.limit(city.furong, {"vcpus": 480})
    changes = city.limit(city.furong, {"vcpus": 500, "servers": None})
    assert [(str(change.key), change.before, change.after) for change in changes] == [("vcpus", 480, 500)]
    query = sa.select(LIMITS).where(LIMITS.c.account_id == city.furong).order_by(LIMITS.c.valid_from)
    rows = city.session.connection().execute(query).all()
    assert [(row.previous_amount, row.amount, row.valid_until) for row in rows] == [(None, 480, None), (480, 500, None)]
    assert {(row.actor, row.reason, row.basis_no) for row in rows} == {
        ("quota_admin", "年度计划", "长数发〔2026〕12号")
    }


def test_an_account_made_again_is_the_same_and_otherwise_a_conflict(city):
    again = {"account_id": city.furong, "parent_id": city.root, "code": "430102", "name": "芙蓉区"}
    create_account(city.session, **again)
    with pytest.raises(Conflict):
        create_account(city.session, **(again | {"parent_id": city.yuelu}))
    assert rename_account(city.session, city.furong, name="新芙蓉区").name == "新芙蓉区"
    with pytest.raises(NotFound):
        rename_account(city.session, new_id(), name="x")
    with pytest.raises(NotFound):
        create_account(city.session, account_id=new_id(), parent_id=new_id(), code="x", name="x")


def test_a_tree_has_a_greatest_depth(city):
    parent = city.community
    for level in range(3, MAX_DEPTH):
        child = new_id()
        create_account(city.session, account_id=child, parent_id=parent, code=str(level), name=str(level))
        parent = child
    with pytest.raises(InvalidInput):
        create_account(city.session, account_id=new_id(), parent_id=parent, code="x", name="x")
    hold(city, server(8), account=parent)
    assert account_usage(city.session, city.root).reserved["vcpus"] == 8
