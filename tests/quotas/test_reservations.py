"""Reserve, post, void, release: what is held, at every level, on both databases."""

import pytest
import sqlalchemy as sa

import quotas
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from quotas import (
    MAX_AMOUNT,
    MAX_PARTS,
    Part,
    PartState,
    QuotaExceeded,
    account_usage,
    get_reservation,
    post,
    release,
    reserve,
    verify,
    void,
)
from quotas.books import BALANCES, ENTRIES
from quotas.holdings import PARTS
from tests.quotas.conftest import server


def held(city, account_id, key="vcpus"):
    usage = account_usage(city.session, account_id)
    return usage.used.get(key, 0), usage.reserved.get(key, 0)


def entries(city, reservation_id):
    query = sa.select(sa.func.count()).select_from(ENTRIES).where(ENTRIES.c.reservation_id == reservation_id)
    return city.session.connection().execute(query).scalar_one()


def reserved(city, *parts, account=None):
    reservation_id = new_id()
    reserve(city.session, reservation_id=reservation_id, account_id=account or city.community, parts=parts)
    city.session.commit()
    return reservation_id


def test_a_reservation_is_charged_to_the_account_and_all_above_and_nowhere_else(city):
    reserved(city, server(8), server(4))
    for account in (city.community, city.furong, city.root):
        assert held(city, account) == (0, 12)
        assert held(city, account, "servers") == (0, 2)
    for account in (city.portal, city.yuelu, city.grid):
        assert held(city, account) == (0, 0)


def test_zero_amounts_are_not_counted(city):
    reservation_id = reserved(city, server(gpus=0))
    assert "gpus" not in account_usage(city.session, city.root).used
    assert entries(city, reservation_id) == 5 * 3


def test_the_same_reservation_again_changes_nothing(city):
    parts = [server(), server()]
    reservation_id = reserved(city, *parts)
    before = entries(city, reservation_id)
    reserve(city.session, reservation_id=reservation_id, account_id=city.community, parts=parts[::-1])
    assert held(city, city.root) == (0, 16)
    assert entries(city, reservation_id) == before


def test_another_spelling_of_the_same_parts_is_the_same_reservation(city):
    part = server()
    reservation_id = reserved(city, part)
    respelt = Part(part.part_id, {**part.amounts, "volumes": 0}, {**part.dims, "arch": "arm64"})
    reserve(city.session, reservation_id=reservation_id, account_id=city.community, parts=[respelt])
    assert held(city, city.root) == (0, 8)


@pytest.mark.parametrize("other", ["parts", "amounts", "dims", "account"])
def test_the_same_id_for_something_else_is_a_conflict(city, other):
    part = server()
    reservation_id = reserved(city, part)
    changed, account = [part], city.community
    match other:
        case "parts":
            changed = [part, server()]
        case "amounts":
            changed = [server(4, part_id=part.part_id)]
        case "dims":
            changed = [server(8, part_id=part.part_id, arch="x86_64")]
        case "account":
            account = city.portal
    with pytest.raises(Conflict):
        reserve(city.session, reservation_id=reservation_id, account_id=account, parts=changed)
    assert held(city, city.root) == (0, 8)


def test_a_refusal_names_every_level_and_key_that_binds_root_first(city):
    city.limit(city.root, {"vcpus": 20, "servers": 100})
    city.limit(city.furong, {"vcpus": 10, "servers": 1, "vcpus{arch=aarch64}": 9})
    reservation_id = reserved(city, server(8))
    post(
        city.session,
        reservation_id=reservation_id,
        part_id=get_reservation(city.session, reservation_id).parts[0].part_id,
    )
    with pytest.raises(QuotaExceeded) as refused:
        reserve(city.session, reservation_id=new_id(), account_id=city.community, parts=[server(8), server(8)])
    rows = [(e["name"], e["key"], e["limit"], e["used"], e["reserved"], e["asked"]) for e in refused.value.errors]
    assert rows == [
        ("长沙市", "vcpus", 20, 8, 0, 16),
        ("芙蓉区", "servers", 1, 1, 0, 2),
        ("芙蓉区", "vcpus", 10, 8, 0, 16),
        ("芙蓉区", "vcpus{arch=aarch64}", 9, 8, 0, 16),
    ]
    assert refused.value.code == "quota_exceeded"
    told = str(refused.value)
    assert "长沙市 has 12 of 20 vCPUs left (8 used, 0 reserved) and 16 more are asked for" in told
    assert "1 more limits bind" in told
    assert "ask for a larger quota" in told


def test_a_refusal_leaves_no_row_and_a_usable_transaction(city):
    city.limit(city.root, {"servers": 1})
    refused_id, granted_id = new_id(), new_id()
    with pytest.raises(QuotaExceeded):
        reserve(city.session, reservation_id=refused_id, account_id=city.community, parts=[server(), server()])
    reserve(city.session, reservation_id=granted_id, account_id=city.community, parts=[server()])
    city.session.commit()
    assert held(city, city.root, "servers") == (0, 1)
    assert entries(city, refused_id) == 0
    with pytest.raises(NotFound):
        get_reservation(city.session, refused_id)


def test_the_last_unit_is_granted_and_the_next_is_not(city):
    city.limit(city.furong, {"vcpus": 16})
    reserved(city, server(8), server(8))
    with pytest.raises(QuotaExceeded):
        reserved(city, server(1), account=city.portal)
    city.session.rollback()
    reserved(city, server(64), account=city.grid)


def test_two_phases_move_from_reserved_to_used_to_nothing(city):
    part = server()
    reservation_id = reserved(city, part)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    assert held(city, city.root) == (8, 0)
    release(city.session, reservation_id=reservation_id, part_id=part.part_id)
    release(city.session, reservation_id=reservation_id, part_id=part.part_id)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    assert held(city, city.root) == (0, 0)
    assert get_reservation(city.session, reservation_id).state is PartState.RELEASED


def test_void_gives_back_what_is_pending_and_leaves_what_stands(city):
    standing, pending = server(8), server(4)
    reservation_id = reserved(city, standing, pending)
    post(city.session, reservation_id=reservation_id, part_id=standing.part_id)
    assert void(city.session, reservation_id=reservation_id) == (pending.part_id,)
    assert void(city.session, reservation_id=reservation_id) == ()
    assert void(city.session, reservation_id=reservation_id, part_id=standing.part_id) == ()
    assert held(city, city.root) == (8, 0)
    assert get_reservation(city.session, reservation_id).state is PartState.POSTED
    with pytest.raises(Conflict):
        post(city.session, reservation_id=reservation_id, part_id=pending.part_id)


def test_void_of_one_part_keeps_the_others_pending(city):
    parts = [server(8), server(4)]
    reservation_id = reserved(city, *parts)
    void(city.session, reservation_id=reservation_id, part_id=parts[0].part_id)
    assert held(city, city.root) == (0, 4)
    assert get_reservation(city.session, reservation_id).state is PartState.PENDING


def test_void_of_a_reservation_that_never_was_is_an_undo_with_nothing_to_do(city):
    assert void(city.session, reservation_id=new_id()) == ()


def test_posting_is_never_over_quota_even_when_the_limit_sank(city):
    part = server()
    reservation_id = reserved(city, part)
    city.limit(city.root, {"vcpus": 3})
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    assert held(city, city.root) == (8, 0)


def test_release_part_by_part_ends_released(city):
    part = server()
    reservation_id = reserved(city, part)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    release(
        city.session,
        reservation_id=reservation_id,
        part_id=part.part_id,
        amounts={"vcpus": 8, "memory_mib": 32768, "servers": 1},
    )
    assert held(city, city.root) == (0, 0)
    assert held(city, city.root, "disk_gib") == (540, 0)
    assert get_reservation(city.session, reservation_id).parts[0].amounts == {"disk_gib": 540, "ip_addresses": 1}
    release(
        city.session, reservation_id=reservation_id, part_id=part.part_id, amounts={"disk_gib": 540, "ip_addresses": 1}
    )
    assert get_reservation(city.session, reservation_id).state is PartState.RELEASED
    assert verify(city.session).ok


def test_a_partial_release_with_an_id_happens_once(city):
    part, release_id = server(), new_id()
    reservation_id = reserved(city, part)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    for _ in range(2):
        release(
            city.session,
            reservation_id=reservation_id,
            part_id=part.part_id,
            amounts={"vcpus": 3},
            release_id=release_id,
        )
    assert held(city, city.root) == (5, 0)


def test_more_than_is_held_cannot_be_released(city):
    part = server()
    reservation_id = reserved(city, part)
    with pytest.raises(Conflict):
        release(city.session, reservation_id=reservation_id, part_id=part.part_id)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    with pytest.raises(Conflict, match="Only 8 vCPUs"):
        release(city.session, reservation_id=reservation_id, part_id=part.part_id, amounts={"vcpus": 9})
    assert held(city, city.root) == (8, 0)


def test_one_server_may_hold_parts_of_several_reservations(city):
    first = server(8)
    grown = Part(first.part_id, {"vcpus": 8}, first.dims)
    reserved(city, first)
    reserved(city, grown)
    assert held(city, city.root) == (0, 16)


@pytest.mark.parametrize("move", [post, release])
def test_unknown_reservations_and_parts_are_not_found(city, move):
    with pytest.raises(NotFound):
        move(city.session, reservation_id=new_id(), part_id=new_id())
    reservation_id = reserved(city, server())
    with pytest.raises(NotFound):
        move(city.session, reservation_id=reservation_id, part_id=new_id())
    with pytest.raises(NotFound):
        void(city.session, reservation_id=reservation_id, part_id=new_id())


def test_an_unknown_account_is_not_found(city):
    with pytest.raises(NotFound):
        reserve(city.session, reservation_id=new_id(), account_id=new_id(), parts=[server()])


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [Part(new_id(), {"vcpus": -1})],
        [Part(new_id(), {"vcpus": MAX_AMOUNT + 1})],
        [Part(new_id(), {"vcpus": 1.5})],
        [Part(new_id(), {"vcpus": True})],
        [Part(new_id(), {"v-cpus": 1})],
        [Part(new_id(), {"vcpus": 1}, {"colour": "red"})],
        [Part(new_id(), {"vcpus": 1}, {"arch": "z80"})],
        [Part(new_id(), {"vcpus": 1})] * 2,
        [Part(new_id(), {"vcpus": 1})] * (MAX_PARTS + 1),
    ],
)
def test_impossible_parts_are_refused(city, parts):
    with pytest.raises(InvalidInput):
        reserve(city.session, reservation_id=new_id(), account_id=city.community, parts=parts)


def test_the_largest_request_is_one_movement(city):
    city.limit(city.root, {"servers": 2000})
    parts = [server(2) for _ in range(2000)]
    reservation_id = reserved(city, *parts)
    assert held(city, city.root, "servers") == (0, 2000)
    assert len(void(city.session, reservation_id=reservation_id)) == 2000
    assert held(city, city.root, "servers") == (0, 0)


def test_entries_are_numbered_in_the_order_they_took_effect(city):
    part = server()
    reservation_id = reserved(city, part)
    post(city.session, reservation_id=reservation_id, part_id=part.part_id)
    release(city.session, reservation_id=reservation_id, part_id=part.part_id)
    query = sa.select(ENTRIES.c.movement).where(ENTRIES.c.reservation_id == reservation_id).order_by(ENTRIES.c.seq)
    told = [row.movement for row in city.session.connection().execute(query)]
    assert told == ["reserve"] * 15 + ["post"] * 15 + ["release"] * 15


def test_another_tree_is_not_touched(city):
    from tests.quotas.conftest import build_city  # noqa: PLC0415 - only this test wants a second city

    other = build_city(city.session)
    reserved(city, server())
    assert held(other, other.root) == (0, 0)
    query = sa.select(BALANCES).where(BALANCES.c.account_id == other.root)
    assert city.session.connection().execute(query).all() == []
    assert city.session.connection().execute(sa.select(PARTS).where(PARTS.c.account_id == other.community)).all() == []


def test_what_stands_already_is_counted_in_one_movement_and_never_above_a_limit_unasked(city):
    city.limit(city.community, {"vcpus": 10})
    reservation, parts = new_id(), [server(4), server(8)]
    with pytest.raises(quotas.QuotaExceeded):
        quotas.adopt(city.session, reservation_id=reservation, account_id=city.community, parts=parts)
    assert quotas.account_usage(city.session, city.community).used.get("vcpus", 0) == 0
    passed = quotas.adopt(
        city.session, reservation_id=reservation, account_id=city.community, parts=parts, above_limits=True
    )
    assert [(str(each.key), each.limit) for each in passed] == [("vcpus", 10)]
    for account in (city.community, city.furong, city.root):
        assert quotas.account_usage(city.session, account).used["vcpus"] == 12
    assert quotas.adopt(city.session, reservation_id=reservation, account_id=city.community, parts=parts) == []
    assert quotas.account_usage(city.session, city.community).used["vcpus"] == 12
    assert quotas.verify(city.session).mismatches == []


def test_above_a_limit_only_growth_is_refused_until_use_is_below_it(city):
    city.limit(city.community, {"vcpus": 10})
    reservation, big, small = new_id(), server(8), server(4)
    quotas.adopt(
        city.session, reservation_id=reservation, account_id=city.community, parts=[big, small], above_limits=True
    )
    with pytest.raises(quotas.QuotaExceeded):
        quotas.reserve(city.session, reservation_id=new_id(), account_id=city.community, parts=[server(1)])
    quotas.release(city.session, reservation_id=reservation, part_id=small.part_id)
    with pytest.raises(quotas.QuotaExceeded):
        quotas.reserve(city.session, reservation_id=new_id(), account_id=city.community, parts=[server(3)])
    quotas.reserve(city.session, reservation_id=new_id(), account_id=city.community, parts=[server(2)])
    assert quotas.verify(city.session).mismatches == []


def test_a_part_may_hold_nothing_and_end_all_the_same(city):
    reservation, part = new_id(), quotas.Part(new_id(), {}, {"arch": "aarch64"})
    quotas.adopt(city.session, reservation_id=reservation, account_id=city.community, parts=[part])
    quotas.release(city.session, reservation_id=reservation, part_id=part.part_id)
    (held,) = quotas.get_reservation(city.session, reservation).parts
    assert held.state is quotas.PartState.RELEASED
    assert quotas.verify(city.session).mismatches == []
