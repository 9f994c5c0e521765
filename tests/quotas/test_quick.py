"""Admission in one round trip says the same as the exact way, and gives way to it whenever it cannot know."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import new_session
from quotas import (
    LoanEndsFirst,
    Part,
    QuotaExceeded,
    accept_loan,
    account_usage,
    drawn_from_above,
    get_reservation,
    offer_loan,
    reserve,
    set_guarantees,
    set_limits,
    verify,
)
from tests.quotas.conftest import City, server

ON_POSTGRESQL = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
"""SQLite waits for the disk itself, under its one lock."""


def ask(session: Session, account_id, *parts: Part, reservation_id=None, until=None):
    reservation_id = reservation_id or new_id()
    reserve(session, reservation_id=reservation_id, account_id=account_id, parts=parts or [server(1)], until=until)
    session.commit()
    return reservation_id


@contextmanager
def statements_of(engine: sa.Engine) -> Iterator[list[str]]:
    """Collect what goes through SQLAlchemy: the quick way does not."""
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest):
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


def held(city: City, account_id, key="vcpus"):
    city.session.rollback()
    return account_usage(city.session, account_id).reserved[key]


def proved(city: City):
    city.session.rollback()
    found = verify(city.session)
    return [each for each in found.mismatches if each.account_id in {city.root, city.furong, city.community}] == []


@pytest.fixture
def known(city: City) -> City:
    """A city whose root is limited, and whose chain to one project is known."""
    city.limit(city.root, {"servers": 10, "vcpus": 100, "vcpus{arch=aarch64}": 50})
    ask(city.session, city.community)
    ask(city.session, city.community, server(0))
    return city


def test_a_known_chain_is_charged_in_one_go_and_the_books_balance(engine, known):
    with statements_of(engine) as seen:
        reservation_id = ask(known.session, known.community, server(4), server(2, arch="x86_64"))
    assert seen == []
    assert held(known, known.root) == held(known, known.community) == 7
    assert held(known, known.root, "vcpus{arch=aarch64}") == 5
    found = get_reservation(known.session, reservation_id)
    assert [part.amounts["vcpus"] for part in sorted(found.parts, key=lambda part: -part.amounts["vcpus"])] == [4, 2]
    assert found.parts[0].dims["network_zone"] == "政务外网区"
    assert proved(known)


def test_what_is_known_of_the_levels_above_serves_the_next_project_too(engine, known):
    with statements_of(engine) as seen:
        ask(known.session, known.portal)
    assert len(seen) == 1, "its own level is all that is read"
    assert "quota_balances" in seen[0]
    with statements_of(engine) as seen:
        ask(known.session, known.portal)
    assert seen == []
    assert held(known, known.portal) == 2
    assert proved(known)


def test_a_first_charge_opens_its_rows_in_the_same_go_whoever_opened_some_of_them_meanwhile(engine, known):
    drawn_from_above(known.session, known.portal, ["vcpus"])  # now the project is known, without a row
    known.session.commit()
    other = sa.create_engine(engine.url)
    with new_session(other) as session:
        ask(session, known.portal)  # somebody who remembers for themselves
    other.dispose()
    with statements_of(engine) as seen:
        ask(known.session, known.portal, server(2, gpus=1))
    assert seen == []
    assert held(known, known.portal) == 3
    assert held(known, known.root, "gpus") == 1
    assert proved(known)


def test_rows_that_were_opened_and_rolled_back_are_opened_again(known):
    reserve(known.session, reservation_id=new_id(), account_id=known.portal, parts=[server(2)])
    known.session.rollback()
    for _ in range(2):
        ask(known.session, known.portal, server(2))
    assert held(known, known.portal) == 4
    assert proved(known)


def test_which_keys_draw_on_the_levels_above_is_told_as_it_is_now(engine, known):
    keys = ["servers", "vcpus", "disk_gib"]
    assert drawn_from_above(known.session, known.furong, keys) == {"servers", "vcpus"}
    with new_session(engine) as other:
        assert drawn_from_above(other, known.furong, keys) == {"servers", "vcpus"}
        other.commit()
        known.limit(known.furong, {"servers": 5})
        assert drawn_from_above(other, known.furong, keys) == {"vcpus"}
        other.commit()
        known.limit(known.furong, {"servers": None})
        known.limit(known.root, {"disk_gib": 500})
        assert drawn_from_above(other, known.furong, keys) == {"servers", "vcpus", "disk_gib"}
    assert drawn_from_above(known.session, known.root, keys) == set()
    assert drawn_from_above(known.session, new_id(), keys) == set(), "nobody limits what is not there"
    with statements_of(engine) as seen:
        drawn_from_above(known.session, known.furong, keys)
    assert not [each for each in seen if "quota_balances" in each], "rows that every charge changes are not read"


def test_a_limit_that_is_taken_back_is_not_remembered(engine, known):
    drawn_from_above(known.session, known.furong, ["vcpus"])
    set_limits(known.session, account_id=known.furong, limits={"vcpus": 7}, replace=False, reason="x", actor="x")
    assert drawn_from_above(known.session, known.furong, ["vcpus"]) == set(), "a transaction sees its own"
    known.session.rollback()
    assert drawn_from_above(known.session, known.furong, ["vcpus"]) == {"vcpus"}


def test_values_with_quotes_and_backslashes_are_kept_as_they_are(known):
    odd = r"it's\a;zone"
    known.limit(known.root, {f"vcpus{{network_zone={odd}}}": 5})
    for _ in range(2):
        ask(known.session, known.community, server(2, network_zone=odd))
    assert held(known, known.root, f"vcpus{{network_zone={odd}}}") == 4
    with pytest.raises(QuotaExceeded):
        ask(known.session, known.community, server(2, network_zone=odd))
    assert proved(known)


def test_a_refusal_still_names_every_key_and_level_and_writes_nothing(known):
    known.limit(known.furong, {"servers": 1, "vcpus": 3})
    ask_again = server(60)
    with pytest.raises(QuotaExceeded) as refused:
        ask(known.session, known.community, ask_again)
    named = {(error["name"], error["key"]) for error in refused.value.errors}
    assert named == {("长沙市", "vcpus{arch=aarch64}"), ("芙蓉区", "servers"), ("芙蓉区", "vcpus")}
    assert held(known, known.root) == 1
    assert proved(known)


def test_what_was_refused_is_granted_as_soon_as_there_is_room(engine, known):
    known.limit(known.root, {"servers": 1})
    for _ in range(2):
        with pytest.raises(QuotaExceeded):
            ask(known.session, known.community)
        known.session.rollback()
    known.limit(known.root, {"servers": 9})
    for _ in range(2):
        ask(known.session, known.community)
    with statements_of(engine) as seen:
        ask(known.session, known.community)
    assert seen == []
    assert held(known, known.root, "servers") == 5


def test_a_refused_charge_leaves_the_transaction_usable(known):
    known.limit(known.root, {"servers": 3})
    with pytest.raises(QuotaExceeded):
        reserve(known.session, reservation_id=new_id(), account_id=known.community, parts=[server(1), server(1)])
    ask(known.session, known.community)
    assert held(known, known.root, "servers") == 3
    assert proved(known)


def test_the_same_again_changes_nothing_and_something_else_is_a_conflict(known):
    part, reservation_id = server(3), new_id()
    for _ in range(3):
        ask(known.session, known.community, part, reservation_id=reservation_id)
    with pytest.raises(Conflict):
        ask(known.session, known.community, server(4), reservation_id=reservation_id)
    assert held(known, known.root) == 4


def test_a_limit_that_somebody_sets_meanwhile_binds_the_next(engine, known):
    with new_session(engine) as other:
        City(other, known.root, known.furong, known.yuelu, known.community, known.portal, known.grid).limit(
            known.furong, {"vcpus{environment=prd}": 2}
        )
    ask(known.session, known.community)
    with pytest.raises(QuotaExceeded):
        ask(known.session, known.community)
    assert held(known, known.furong, "vcpus{environment=prd}") == 2


def test_nobody_relies_on_a_structure_that_was_rolled_back(engine, known):
    with new_session(engine) as other:
        theirs = City(other, known.root, known.furong, known.yuelu, known.community, known.portal, known.grid)
        other.commit = other.flush  # type: ignore[method-assign] - not kept
        theirs.limit(known.furong, {"gpus{arch=aarch64}": 1})
        reserve(other, reservation_id=new_id(), account_id=known.community, parts=[server(1, gpus=1)])
        other.rollback()
    ask(known.session, known.community, server(1, gpus=5))
    assert held(known, known.root, "gpus") == 5
    assert proved(known)


def test_a_guarantee_is_kept_free_and_filled_exactly(known):
    known.limit(known.furong, {"vcpus": 60})
    known.limit(known.yuelu, {"vcpus": 60})
    wanted = {"vcpus": 40, "vcpus{arch=aarch64}": 40}
    known.limit(known.yuelu, wanted)
    set_guarantees(known.session, account_id=known.yuelu, guarantees=wanted, reason="试验")
    known.session.commit()
    ask(known.session, known.community, server(9))
    with pytest.raises(QuotaExceeded):
        ask(known.session, known.community, server(1))
    known.session.rollback()
    for _ in range(2):
        ask(known.session, known.grid, server(20))
    assert held(known, known.root, "vcpus{arch=aarch64}") == 50
    assert proved(known)


def test_a_lease_that_outlives_a_loan_is_refused_on_a_known_chain_too(known):
    for account_id in (known.furong, known.yuelu):
        known.limit(account_id, {"vcpus": 10})
    until = clock.now() + timedelta(days=30)
    loan = offer_loan(
        known.session,
        lender=known.yuelu,
        borrower=known.furong,
        amounts={"vcpus": 5},
        until=until,
        side="lender",
        signer="a",
        reason="试验",
    )
    accept_loan(known.session, loan.loan_id, signer="b")
    known.session.commit()
    ask(known.session, known.community, server(8), until=until - timedelta(days=1))
    ask(known.session, known.community, server(1), until=until - timedelta(days=1))
    with pytest.raises(LoanEndsFirst):
        ask(known.session, known.community, server(2), until=until + timedelta(days=1))


@ON_POSTGRESQL
def test_what_was_committed_is_on_the_disk_when_commit_returns(engine, known):
    insert = sa.text("SELECT pg_current_wal_insert_lsn()")
    with new_session(engine) as session, engine.begin() as other:
        reserve(session, reservation_id=new_id(), account_id=known.community, parts=[server(1)])
        written = other.execute(insert).scalar_one()
        assert session.connection().exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
        session.commit()
        flushed = other.exec_driver_sql(
            "SELECT pg_current_wal_flush_lsn() > %(written)s::pg_lsn", {"written": written}
        ).scalar_one()
        assert flushed
        assert session.info == {}
        assert session.connection().exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"


@ON_POSTGRESQL
def test_a_session_that_somebody_else_commits_waits_for_the_disk_itself(engine, known):
    with engine.begin() as connection, Session(connection) as session:
        reserve(session, reservation_id=new_id(), account_id=known.community, parts=[server(1)])
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    assert held(known, known.root) == 2


def test_a_rolled_back_admission_is_forgotten_by_its_session(engine, known):
    with new_session(engine) as session:
        reserve(session, reservation_id=new_id(), account_id=known.community, parts=[server(1)])
        session.rollback()
        with session.begin_nested():
            reserve(session, reservation_id=new_id(), account_id=known.community, parts=[server(1)])
        session.commit()
    assert held(known, known.root) == 2
    assert proved(known)
