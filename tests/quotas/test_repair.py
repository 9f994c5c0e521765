"""Repair from the entries: sets right what was tampered with, proves it, and refuses where the sources disagree."""

import pytest
import sqlalchemy as sa

from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import new_session
from quotas import SourcesDisagree, post, repair_from_entries, reserve, verify
from quotas.books import BALANCES
from quotas.holdings import PARTS
from tests.quotas.conftest import build_city, server


@pytest.fixture
def city(own_engine):
    with new_session(own_engine) as session:
        city = build_city(session)
        city.limit(city.root, {"vcpus": 20, "vcpus{arch=aarch64}": 16})
        parts = [server(8), server(4)]
        reservation_id = new_id()
        reserve(session, reservation_id=reservation_id, account_id=city.community, parts=parts)
        post(session, reservation_id=reservation_id, part_id=parts[0].part_id)
        session.commit()
        city.part_id = parts[0].part_id
        yield city


def tamper(city, statement):
    city.session.connection().execute(statement)
    city.session.commit()


def here(city, account_id, key):
    return sa.and_(BALANCES.c.account_id == account_id, BALANCES.c.key == key)


def test_right_books_are_left_alone(city):
    assert repair_from_entries(city.session) == []
    assert verify(city.session).ok


@pytest.mark.parametrize(
    "change",
    [{"used": 7}, {"reserved": 0}, {"used": 0, "reserved": 0}, {"limit_amount": 99}, {"limit_amount": None}],
)
def test_a_wrong_number_is_set_right_and_told(city, change):
    tamper(city, sa.update(BALANCES).where(here(city, city.root, "vcpus")).values(**change))
    wrong = repair_from_entries(city.session)
    assert {each.column for each in wrong} == {name.replace("limit_amount", "limit") for name in change}
    assert verify(city.session).ok
    row = city.session.connection().execute(sa.select(BALANCES).where(here(city, city.root, "vcpus"))).one()
    assert (row.used, row.reserved, row.limit_amount, row.overhang) == (8, 4, 20, 0)


def test_a_lost_balance_comes_back(city):
    tamper(city, sa.delete(BALANCES).where(here(city, city.furong, "servers")))
    repair_from_entries(city.session)
    assert verify(city.session).ok


def test_a_lost_limit_under_which_nothing_is_held_is_found_and_comes_back(city):
    city.limit(city.yuelu, {"vcpus": 9})
    tamper(city, sa.delete(BALANCES).where(here(city, city.yuelu, "vcpus")))
    assert [(each.column, each.recorded, each.recounted) for each in verify(city.session).mismatches] == [
        ("limit", None, 9)
    ]
    repair_from_entries(city.session)
    row = city.session.connection().execute(sa.select(BALANCES).where(here(city, city.yuelu, "vcpus"))).one()
    assert (row.used, row.reserved, row.limit_amount) == (0, 0, 9)


def test_use_above_a_lowered_limit_is_an_overhang_again(city):
    city.limit(city.furong, {"vcpus": 4})
    tamper(city, sa.update(BALANCES).where(here(city, city.furong, "vcpus")).values(used=2, reserved=0, overhang=0))
    repair_from_entries(city.session)
    row = city.session.connection().execute(sa.select(BALANCES).where(here(city, city.furong, "vcpus"))).one()
    assert (row.used, row.reserved, row.limit_amount, row.overhang) == (8, 4, 4, 8)


def test_sources_that_disagree_are_not_repaired(city):
    tamper(city, sa.update(PARTS).where(PARTS.c.part_id == city.part_id).values(state="voided"))
    tamper(city, sa.update(BALANCES).where(here(city, city.root, "vcpus")).values(used=7))
    with pytest.raises(SourcesDisagree) as refusal:
        repair_from_entries(city.session)
    city.session.rollback()
    assert ("长沙市", "vcpus", 8, 0) in {
        (name_of(city, each.account_id), each.key, each.recorded, each.recounted) for each in refusal.value.mismatches
    }
    row = city.session.connection().execute(sa.select(BALANCES).where(here(city, city.root, "vcpus"))).one()
    assert row.used == 7


def name_of(city, account_id):
    return {city.root: "长沙市"}.get(account_id, "")
