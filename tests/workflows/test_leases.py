"""Leases act: two years day by day under a stepped clock, and the work of one day killed at every step."""

import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.models import ChangeFreeze, Happening, LeaseReminder, RequestEvent, Server, ServerChange
from cloudmgr.workflows import leases
from tests.workflows.follow import ask, read, server, told
from tests.workflows.proofs import Case

_DEEDS = (leases.remind, leases.freeze, leases.retire, leases.review)


def at(day: date) -> datetime:
    """Two o'clock in the morning of a day in Changsha."""
    return datetime(day.year, day.month, day.day, 2, tzinfo=clock.SHANGHAI).astimezone(UTC)


def end_of(case: Case) -> date:
    end = read(case, server).lease_end
    assert end is not None
    return end


def on(case: Case, day: date, *, kill_at: str | None = None, occurrence: int = 1) -> dict[str, Any]:
    """Let a worker do what is due on a day, and everything that follows from it."""
    return case.zygote.run(
        data_dir=str(case.data_dir),
        settings=case.settings,
        request=None,
        leases_at=at(day).isoformat(),
        until_idle=True,
        kill_at=kill_at,
        occurrence=occurrence,
        timeout_s=180,
    )


def told_of_leases(session: Session) -> Counter[str]:
    return Counter(row.event for row in session.exec(select(Happening)) if row.event.startswith("lease."))


@pytest.fixture
def standing(case: Callable[..., Case]) -> Case:
    """A city with one server in service."""
    one = case()
    one.finish()
    return one


def test_two_years_day_by_day(standing: Case) -> None:
    end = end_of(standing)
    first = clock.today()
    engine = standing.engine
    reminded = []
    with Session(engine) as session, clock.stepped(at(first)) as advance:
        for number in range(740):
            today = first + timedelta(days=number)
            for deed in (leases.remind, leases.review):
                counts = [deed(session, today.isoformat(), None)["count"] for _ in range(2)]
                assert not counts[1], "twice is once"
                reminded += [(end - today).days] * counts[0]
            advance(timedelta(days=1))
        session.commit()
        rows = list(session.exec(select(LeaseReminder)))
    engine.dispose()
    steps = [step for step in (60, 30, 7) if step <= (end - first).days]
    assert reminded == (steps or [(end - first).days])
    assert sorted((row.days for row in rows), reverse=True) == reminded


def test_a_lease_without_an_end_is_asked_about_once_a_year(standing: Case) -> None:
    engine = standing.engine
    asked = []
    with Session(engine) as session:
        one = session.exec(select(Server)).one()
        one.lease_end, one.lease_long_term = None, True
        session.add(one)
        for number in range(740):
            today = clock.today() + timedelta(days=number)
            if sum(deed(session, today.isoformat(), None)["count"] for deed in _DEEDS):
                asked.append(today)
        session.commit()
    engine.dispose()
    assert len(asked) == 2


def test_a_reminder_that_was_missed_is_given_late_and_only_the_nearest(standing: Case) -> None:
    end = end_of(standing)
    engine = standing.engine
    with Session(engine) as session:
        for days in (20, 19, 5):
            leases.remind(session, (end - timedelta(days=days)).isoformat(), None)
        session.commit()
        assert [row.days for row in session.exec(select(LeaseReminder).order_by(LeaseReminder.id))] == [30, 7]
    engine.dispose()


@pytest.mark.parametrize(
    "kill_at",
    [
        None,
        "lease_reminders:inside",
        "lease_freezes:inside",
        "lease_freezes:after",
        "freeze_begin:inside",
        "freeze_stop:inside",
        "frozen:inside",
    ],
)
def test_the_day_after_the_last_a_server_is_frozen_once(standing: Case, kill_at: str | None) -> None:
    day = end_of(standing) + timedelta(days=1)
    assert on(standing, day - timedelta(days=1))["status"] == 0
    assert read(standing, server).phase == "active", "the last day belongs to the lease"
    if kill_at:
        assert on(standing, day, kill_at=kill_at)["died_by"] == signal.SIGKILL, standing.log()
    assert on(standing, day)["status"] == 0, standing.log()
    assert on(standing, day)["status"] == 0
    one = read(standing, server)
    assert (one.phase, one.frozen_by) == ("suspended", "lease"), (told(standing), standing.log())
    assert read(standing, told_of_leases) == {"lease.reminder": 1, "lease.frozen": 1}
    assert read(standing, lambda session: len(list(session.exec(select(ServerChange))))) == 1
    check(standing)


def test_a_renewal_brings_the_same_server_back(standing: Case) -> None:
    before = read(standing, server)
    end = end_of(standing)
    day = end + timedelta(days=3)
    assert on(standing, day)["status"] == 0
    assert read(standing, server).phase == "suspended"
    with clock.stepped(at(day)):
        later = (day + timedelta(days=90)).isoformat()
        ask(standing, {"kind": "renew", "servers": [str(before.id)], "lease_end": later})
    drive(standing, day)
    after = read(standing, server)
    assert (after.phase, after.lease_end, after.frozen_by) == ("active", day + timedelta(days=90), None), told(standing)
    assert (after.native_ref, after.ipv4) == (before.native_ref, before.ipv4)
    check(standing)


def test_a_server_whose_renewal_waits_is_not_frozen(standing: Case) -> None:
    end = end_of(standing)
    with clock.stepped(at(end)):
        later = (end + timedelta(days=30)).isoformat()
        ask(standing, {"kind": "renew", "servers": [str(read(standing, server).id)], "lease_end": later}, approve=False)
    assert on(standing, end + timedelta(days=1))["status"] == 0
    assert read(standing, server).phase == "active"


def test_a_change_freeze_holds_leases_back_until_it_is_over(standing: Case) -> None:
    day = end_of(standing) + timedelta(days=1)
    engine = standing.engine
    with Session(engine) as session, clock.stepped(at(day)):
        one = session.exec(select(Server)).one()
        session.add(
            ChangeFreeze(
                organization_id=one.organization_id,
                starts_at=at(day) - timedelta(hours=1),
                ends_at=at(day) + timedelta(days=1),
                reason="重保期",
                made_by="quota_admin",
            )
        )
        session.flush()
        assert leases.freeze(session, day.isoformat(), None)["count"] == 0
        session.commit()
    with Session(engine) as session, clock.stepped(at(day + timedelta(days=2))):
        assert leases.freeze(session, (day + timedelta(days=2)).isoformat(), None)["count"] == 1
    engine.dispose()


@pytest.mark.parametrize("kill_at", [None, "lease_retirements:inside", "lease_retirements:after", "delete:inside"])
def test_after_the_grace_a_frozen_server_is_retired_once(standing: Case, kill_at: str | None) -> None:
    frozen_on = end_of(standing) + timedelta(days=1)
    assert on(standing, frozen_on)["status"] == 0
    assert on(standing, frozen_on + timedelta(days=30))["status"] == 0
    assert read(standing, server).phase == "suspended", "the last day of the grace belongs to it"
    day = frozen_on + timedelta(days=31)
    if kill_at:
        assert on(standing, day, kill_at=kill_at)["died_by"] == signal.SIGKILL, standing.log()
    assert on(standing, day)["status"] == 0, standing.log()
    assert read(standing, server).phase == "retired", (told(standing), standing.log())
    assert read(standing, told_of_leases)["lease.retiring"] == 1
    read(standing, nothing_left)


def test_a_worker_that_slept_through_the_grace_does_not_retire_at_once(standing: Case) -> None:
    late = end_of(standing) + timedelta(days=200)
    assert on(standing, late)["status"] == 0
    assert on(standing, late + timedelta(days=1))["status"] == 0
    assert read(standing, server).phase == "suspended", "it was frozen only just now"


def check(case: Case) -> None:
    """Books and prover agree, and each thing was told once."""

    def look(session: Session) -> None:
        assert quotas.verify(session).mismatches == []
        keys = [(event.request_id, event.dedupe) for event in session.exec(select(RequestEvent))]
        assert len(keys) == len(set(keys))

    read(case, look)


def nothing_left(session: Session) -> None:
    assert quotas.verify(session).mismatches == []
    usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
    assert not any(usage.used.values())


def drive(case: Case, day: date) -> None:
    """Let a worker finish the case's request on a day."""
    done = case.run(leases_at=at(day).isoformat())
    assert done["status"] == 0, (done, case.log())
