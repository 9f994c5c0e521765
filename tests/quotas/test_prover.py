"""The prover finds what does not add up; the database refuses what must not be."""

import pytest
import sqlalchemy as sa

from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import new_session
from quotas import LedgerError, post, reserve, verify
from quotas.admission import Charge
from quotas.books import BALANCES, ENTRIES, read_levels, write_movement
from quotas.holdings import PART_AMOUNTS, PARTS
from quotas.keys import Key
from tests.quotas.conftest import build_city, server


@pytest.fixture
def own_city(own_engine):
    with new_session(own_engine) as session:
        city = build_city(session)
        city.limit(city.root, {"vcpus": 20, "vcpus{arch=aarch64}": 16})
        yield city


@pytest.fixture
def standing(own_city):
    """One posted and one pending server."""
    parts = [server(8), server(4)]
    reservation_id = new_id()
    reserve(own_city.session, reservation_id=reservation_id, account_id=own_city.community, parts=parts)
    post(own_city.session, reservation_id=reservation_id, part_id=parts[0].part_id)
    own_city.session.commit()
    return reservation_id, parts[0].part_id


def execute(city, statement):
    city.session.connection().execute(statement)
    city.session.commit()


def found(city):
    return {(m.name, m.key, m.column, m.recorded, m.recounted, m.source) for m in verify(city.session).mismatches}


def test_books_that_balance_are_said_to(own_city, standing):
    verification = verify(own_city.session)
    assert verification.ok
    assert verification.checked_accounts == 6
    assert verification.checked_entries == 2 + 2 * (3 * 5 + 1) + (3 * 5 + 1)
    assert verification.at.tzinfo is not None


def test_a_tampered_balance_is_found(own_city, standing):
    execute(
        own_city,
        sa.update(BALANCES).where(BALANCES.c.account_id == own_city.furong, BALANCES.c.key == "vcpus").values(used=7),
    )
    assert found(own_city) == {("芙蓉区", "vcpus", "used", 7, 8, "entries"), ("芙蓉区", "vcpus", "used", 7, 8, "parts")}


def test_a_tampered_limit_is_found(own_city, standing):
    execute(
        own_city,
        sa.update(BALANCES)
        .where(BALANCES.c.account_id == own_city.root, BALANCES.c.key == "vcpus")
        .values(limit_amount=99),
    )
    assert found(own_city) == {("长沙市", "vcpus", "limit", 99, 20, "entries")}


def test_a_tampered_part_is_found_at_every_level(own_city, standing):
    execute(
        own_city,
        sa.update(PART_AMOUNTS)
        .where(PART_AMOUNTS.c.part_id == standing[1], PART_AMOUNTS.c.resource == "vcpus")
        .values(remaining=5),
    )
    names = ("长沙市", "芙蓉区", "智慧社区综合服务平台")
    assert found(own_city) == {(name, "vcpus", "used", 8, 5, "parts") for name in names} | {
        ("长沙市", "vcpus{arch=aarch64}", "used", 8, 5, "parts")
    }


def test_a_part_dressed_up_as_another_architecture_is_found(own_city, standing):
    execute(own_city, sa.update(PARTS).where(PARTS.c.part_id == standing[1]).values(arch="x86_64"))
    assert found(own_city) == {("长沙市", "vcpus{arch=aarch64}", "used", 8, 0, "parts")}


def test_a_part_set_back_by_hand_is_found(own_city, standing):
    execute(own_city, sa.update(PARTS).where(PARTS.c.part_id == standing[1]).values(state="voided"))
    assert len(found(own_city)) == 3 * 5 + 1


def test_a_balance_removed_by_hand_is_found(own_city, standing):
    execute(own_city, sa.delete(BALANCES).where(BALANCES.c.account_id == own_city.furong, BALANCES.c.key == "servers"))
    assert ("芙蓉区", "servers", "used", 0, 1, "entries") in found(own_city)


def test_an_entry_added_by_hand_is_found(own_city, standing):
    execute(
        own_city,
        sa.insert(ENTRIES).values(
            account_id=own_city.yuelu,
            key="vcpus",
            movement="post",
            movement_id=new_id(),
            used_delta=3,
            reserved_delta=0,
            at=sa.func.now(),
        ),
    )
    assert found(own_city) == {("岳麓区", "vcpus", "used", 0, 3, "entries")}


@pytest.mark.parametrize("statement", [sa.update(ENTRIES).values(used_delta=0), sa.delete(ENTRIES)])
def test_entries_refuse_to_be_changed_or_removed(own_city, standing, statement):
    with pytest.raises(sa.exc.DBAPIError, match="append-only: quota_entries"):
        own_city.session.connection().execute(statement)
    own_city.session.rollback()
    assert verify(own_city.session).ok


@pytest.mark.parametrize(
    "change",
    [
        {"used": BALANCES.c.used + 9},
        {"reserved": BALANCES.c.reserved + 9},
        {"used": -1},
        {"reserved": -1},
        {"limit_amount": 11},
        {"limit_amount": -1},
        {"overhang": 5},
        {"overhang": 5, "used": BALANCES.c.used + 9},
        {"overhang": -1},
    ],
)
def test_the_database_itself_refuses_to_pass_a_limit(own_city, standing, change):
    statement = (
        sa.update(BALANCES).where(BALANCES.c.account_id == own_city.root, BALANCES.c.key == "vcpus").values(**change)
    )
    with pytest.raises(sa.exc.IntegrityError):
        own_city.session.connection().execute(statement)


def test_over_a_lowered_limit_the_database_refuses_growth_and_lets_use_shrink(own_city, standing):
    own_city.limit(own_city.root, {"vcpus": 10})
    where = sa.and_(BALANCES.c.account_id == own_city.root, BALANCES.c.key == "vcpus")
    with pytest.raises(sa.exc.IntegrityError):
        own_city.session.connection().execute(sa.update(BALANCES).where(where).values(used=BALANCES.c.used + 1))
    own_city.session.rollback()
    own_city.session.connection().execute(
        sa.update(BALANCES).where(where).values(used=BALANCES.c.used - 1, overhang=BALANCES.c.overhang - 1)
    )


def test_a_movement_decided_on_stale_balances_is_stopped_by_the_guard(own_city, standing):
    levels = read_levels(own_city.session, own_city.root)
    too_much = [Charge(own_city.root, Key("vcpus"), None, 0, 9)]
    with pytest.raises(LedgerError, match="0 of 1 balances"):
        write_movement(own_city.session, levels, too_much, movement="reserve", movement_id=new_id())
    own_city.session.rollback()
    assert verify(own_city.session).ok
