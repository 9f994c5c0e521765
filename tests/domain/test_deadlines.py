"""How much time a stage has left, in words: never more than it was given."""

from datetime import datetime

import pytest

from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.domain.deadlines import left
from cloudmgr.domain.working_days import WorkingCalendar
from cloudmgr.services.working_calendar import calendar_for
from cloudmgr.settings import Policy


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


@pytest.fixture(scope="module")
def calendar() -> WorkingCalendar:
    return calendar_for(Policy())


@pytest.mark.parametrize(
    ("opened", "days"),
    [
        ("2026-11-24T07:00", 2),
        ("2026-11-24T10:00", 2),
        ("2026-11-24T18:30", 2),
        ("2026-11-28T12:00", 2),
        ("2026-11-24T10:00", 5),
    ],
    ids=["before business", "during it", "after it", "on a Saturday", "over a weekend"],
)
def test_a_stage_just_opened_has_the_days_it_was_given(calendar: WorkingCalendar, opened: str, days: int) -> None:
    told = left(calendar, calendar.after_days(_at(opened), days), _at(opened))
    assert told.params == {"days": days}


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2026-11-25T16:00", {"days": 1}),
        ("2026-11-26T08:00", {"hours": 7.0}),
        ("2026-11-26T16:30", {"hours": 1.0}),
        ("2026-11-27T16:30", {"days": 1}),
    ],
)
def test_days_turn_into_hours_and_then_into_being_late(
    calendar: WorkingCalendar, now: str, told: dict[str, float]
) -> None:
    due = calendar.after_days(_at("2026-11-24T10:00"), 2)
    assert left(calendar, due, _at(now)).params == told
