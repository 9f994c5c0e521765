"""How long a server may be kept."""

from datetime import date, timedelta

import pytest

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.leases import check_lease

TODAY = date(2026, 11, 22)
THREE_YEARS = 3 * 366


def check(end: date | None, *, long_term: bool = False, reason: str = "", today: date = TODAY, days: int = THREE_YEARS):
    check_lease(lease_end=end, long_term=long_term, reason=reason, today=today, max_days=days)


@pytest.mark.parametrize("end", [date(2026, 11, 23), date(2027, 11, 22), date(2029, 11, 22)])
def test_a_lease_may_end_from_tomorrow_to_three_years_on(end: date) -> None:
    check(end)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (None, "Say until when"),
        (TODAY, "must end after today (2026-11-22); 2026-11-22 is not"),
        (date(2020, 1, 1), "must end after today"),
        (date(2029, 11, 23), "until 2029-11-22 at most; 2029-11-23 is later"),
        (date.max, "at most"),
    ],
)
def test_any_other_end_is_refused_by_field(end: date | None, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(end)
    assert refused.value.field == "lease_end"
    assert message in str(refused.value)


def test_three_years_from_a_leap_day_end_on_the_last_of_february() -> None:
    leap = date(2028, 2, 29)
    check(date(2031, 2, 28), today=leap)
    with pytest.raises(InvalidInput):
        check(date(2031, 3, 1), today=leap)


def test_a_stricter_policy_counts_days() -> None:
    check(TODAY + timedelta(days=30), days=30)
    with pytest.raises(InvalidInput):
        check(TODAY + timedelta(days=31), days=30)


def test_long_term_needs_a_reason_and_no_end() -> None:
    check(None, long_term=True, reason="基础平台")
    with pytest.raises(InvalidInput) as refused:
        check(None, long_term=True, reason="  ")
    assert refused.value.field == "lease_reason"
    with pytest.raises(InvalidInput) as refused:
        check(date(2027, 1, 1), long_term=True, reason="基础平台")
    assert refused.value.field == "lease_end"
