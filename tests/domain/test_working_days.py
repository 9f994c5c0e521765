"""Working days: what the State Council has published, and how periods of days and hours run over it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.domain.working_days import MalformedCalendar, read_years
from cloudmgr.services.working_calendar import calendar_for, hours_of
from cloudmgr.settings import Policy


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


CALENDAR = calendar_for(Policy())
MOMENTS = st.integers(0, 60 * 24 * 660).map(lambda minutes: at("2026-01-01 00:00") + timedelta(minutes=minutes))


def told(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("day", "works"),
    [
        ("2026-02-14", True),  # Saturday, worked for the Spring Festival
        ("2026-02-16", False),
        ("2026-02-24", True),
        ("2026-02-28", True),
        ("2026-09-20", True),
        ("2026-09-27", False),
        ("2026-10-07", False),
        ("2026-10-10", True),
        ("2026-11-21", False),
        ("2026-11-23", True),
        ("2027-02-05", False),  # New Year's Eve is statutory
        ("2027-02-09", True),
        ("2030-10-01", True),  # a year nobody has told of
    ],
)
def test_a_day_is_worked_or_not_as_published(day: str, works: bool) -> None:
    assert CALENDAR.is_working(date.fromisoformat(day)) is works


def test_2026_has_its_published_number_of_working_days() -> None:
    year = [date(2026, 1, 1) + timedelta(days=each) for each in range(365)]
    assert sum(map(CALENDAR.is_working, year)) == 248


def test_what_is_not_published_is_said_to_be_unconfirmed() -> None:
    assert [CALENDAR.is_confirmed(date(year, 6, 1)) for year in (2026, 2027, 2028)] == [True, False, False]


def test_days_are_counted_from_the_next_and_end_with_business() -> None:
    assert told(CALENDAR.after_days(at("2026-11-23 09:10"), 1)) == "2026-11-24 17:30"
    assert told(CALENDAR.after_days(at("2026-11-20 23:50"), 1)) == "2026-11-23 17:30"
    assert told(CALENDAR.after_days(at("2026-09-30 10:00"), 3)) == "2026-10-10 17:30"
    assert told(CALENDAR.after_days(at("2026-02-13 10:00"), 2)) == "2026-02-24 17:30"
    assert told(CALENDAR.after_days(at("2026-11-23 09:10"), 0)) == "2026-11-23 17:30"


def test_hours_run_from_the_moment_and_stand_still_outside_business() -> None:
    assert told(CALENDAR.after_hours(at("2026-11-20 16:30"), 4)) == "2026-11-23 12:00"
    assert told(CALENDAR.after_hours(at("2026-11-21 03:00"), 1)) == "2026-11-23 10:00"
    assert told(CALENDAR.after_hours(at("2026-11-23 12:30"), 1)) == "2026-11-23 14:30"


@given(MOMENTS, st.integers(1, 200))
def test_hours_that_were_added_are_the_hours_between(moment: datetime, quarters: int) -> None:
    hours = quarters / 4
    assert CALENDAR.hours_between(moment, CALENDAR.after_hours(moment, hours)) == pytest.approx(hours)


@given(MOMENTS, st.integers(1, 60))
def test_days_that_were_added_are_the_days_between(moment: datetime, days: int) -> None:
    due = CALENDAR.after_days(moment, days)
    assert due.tzinfo is UTC
    assert CALENDAR.days_between(moment.date(), due.astimezone(SHANGHAI).date()) == days
    assert CALENDAR.before_days(due, days) <= CALENDAR.next_opening(moment)


@given(MOMENTS, st.integers(0, 40), st.integers(0, 20))
def test_horizons_are_what_they_are_of(now: datetime, ahead: int, days: int) -> None:
    due = CALENDAR.after_days(now - timedelta(days=ahead), ahead)
    for each in (due, CALENDAR.after_days(due, 1), CALENDAR.before_days(due, 3) + timedelta(hours=8.5)):
        has_come = CALENDAR.before_days(each, days) <= now
        assert (each <= CALENDAR.reminder_horizon(now, days)) is has_come
        is_past = CALENDAR.after_days(each, days) <= now
        assert (each <= CALENDAR.timeout_horizon(now, days)) is is_past


def test_a_deployments_own_file_stands_instead_of_the_packaged_year(tmp_path: Path) -> None:
    own = tmp_path / "holidays.toml"
    own.write_text('[years.2027]\nconfirmed = true\noff = ["2027-02-05..2027-02-11"]\nwork = ["2027-02-13"]\n')
    calendar = calendar_for(Policy(holidays_file=own, working_hours=("08:30-12:00", "14:00-18:00")))
    assert calendar.is_confirmed(date(2027, 3, 1))
    assert [calendar.is_working(date(2027, 2, day)) for day in (10, 12, 13)] == [False, True, True]
    assert calendar.is_working(date(2027, 4, 5)), "a year is replaced whole"
    assert not calendar.is_working(date(2026, 10, 7)), "other years stay"
    assert told(calendar.after_days(at("2026-11-23 09:00"), 1)) == "2026-11-24 18:00"


@pytest.mark.parametrize(
    "text",
    [
        "years = 1",
        "[years.26]\noff = []",
        '[years.2027]\noff = ["2026-12-31"]',
        '[years.2027]\noff = ["2027-02-30"]',
        '[years.2027]\noff = ["2027-02-05"]\nwork = ["2027-02-05"]',
        '[years.2027]\nfree = ["2027-02-05"]',
        "not toml",
    ],
)
def test_a_malformed_file_is_refused(text: str) -> None:
    with pytest.raises(MalformedCalendar):
        read_years(text)


@pytest.mark.parametrize("spans", [(), ("9-12",), ("12:00-09:00",), ("09:00-12:00", "11:00-18:00")])
def test_malformed_hours_are_refused(spans: tuple[str, ...]) -> None:
    with pytest.raises(MalformedCalendar):
        hours_of(spans)
