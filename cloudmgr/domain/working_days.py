"""Chinese working days and hours: what is one, and which moment lies so many of them after another.

How periods run is the Civil Code's: the day something begins is not counted and the last day ends when business does (art. 201,
203); hours run from the moment itself (art. 201). Years that no calendar tells of have Saturdays and Sundays only.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from cloudmgr.domain.clock import SHANGHAI

_SATURDAY = 5
_MOST_DAYS = 3660
"""No period of an office is longer than ten years; a calendar that never works is a fault, not a loop."""


class MalformedCalendar(ValueError):  # noqa: N818 - says what it is
    """The file of days off cannot be read; says where."""


@dataclass(frozen=True, slots=True)
class Year:
    """One year's days off and exchanged working days."""

    off: frozenset[date]
    work: frozenset[date]
    confirmed: bool
    source: str = ""


DEFAULT_HOURS = ((time(9), time(12)), (time(13, 30), time(17, 30)))


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """The working days of years, and the hours of a working day in Asia/Shanghai."""

    years: Mapping[int, Year] = field(default_factory=dict)
    hours: tuple[tuple[time, time], ...] = DEFAULT_HOURS

    @property
    def hours_a_day(self) -> float:
        """How many hours a working day has."""
        opened = sum(60 * (end.hour - begin.hour) + end.minute - begin.minute for begin, end in self.hours)
        return opened / 60

    def is_working(self, day: date) -> bool:
        """Whether offices work on a day."""
        year = self.years.get(day.year)
        if year is not None:
            if day in year.work:
                return True
            if day in year.off:
                return False
        return day.weekday() < _SATURDAY

    def is_confirmed(self, day: date) -> bool:
        """Whether the arrangement of a day's year has been published."""
        year = self.years.get(day.year)
        return year is not None and year.confirmed

    def working_day_after(self, day: date, count: int) -> date:
        """Return the `count`th working day after a day; with 0 the day itself, or the next that is one."""
        if count == 0 and self.is_working(day):
            return day
        left = max(count, 1)
        for offset in range(1, _MOST_DAYS):
            candidate = day + timedelta(days=offset)
            left -= self.is_working(candidate)
            if not left:
                return candidate
        raise MalformedCalendar("the calendar has no working days")

    def working_day_before(self, day: date, count: int) -> date:
        """Return the `count`th working day before a day; with 0 the day itself, or the last before it that is one."""
        if count == 0 and self.is_working(day):
            return day
        left = max(count, 1)
        for offset in range(1, _MOST_DAYS):
            candidate = day - timedelta(days=offset)
            left -= self.is_working(candidate)
            if not left:
                return candidate
        raise MalformedCalendar("the calendar has no working days")

    def after_days(self, at: datetime, days: int) -> datetime:
        """Return when business ends on the `days`th working day after the day of `at`, in UTC."""
        day = self.working_day_after(at.astimezone(SHANGHAI).date(), days)
        return _moment(day, self.hours[-1][1])

    def before_days(self, at: datetime, days: int) -> datetime:
        """Return when business begins `days` working days before the day of `at`, in UTC."""
        day = self.working_day_before(at.astimezone(SHANGHAI).date(), days)
        return _moment(day, self.hours[0][0])

    def reminder_horizon(self, now: datetime, days: int) -> datetime:
        """Return the last moment something may be due of which `before_days(due, days)` has come by now."""
        today = now.astimezone(SHANGHAI).date()
        begun = today if now >= _moment(today, self.hours[0][0]) else today - timedelta(days=1)
        return _moment(self.working_day_after(begun, days) if days else begun, self.hours[-1][1])

    def timeout_horizon(self, now: datetime, days: int) -> datetime:
        """Return the last moment something may have been due of which `after_days(due, days)` has come by now."""
        today = now.astimezone(SHANGHAI).date()
        unfinished = today + timedelta(days=now >= _moment(today, self.hours[-1][1]))
        first = self.working_day_before(unfinished, days) if days else unfinished
        return _moment(first, time(0)) - timedelta(seconds=1)

    def after_hours(self, at: datetime, hours: float) -> datetime:
        """Return the moment at which `hours` working hours have passed since `at`, in UTC."""
        left = timedelta(hours=hours)
        for begin, end in self._spans(at):
            if end - begin >= left:
                return begin + left
            left -= end - begin
        raise MalformedCalendar("the calendar has no working hours")

    def hours_between(self, earlier: datetime, later: datetime) -> float:
        """Return how many working hours lie between two moments; 0 where the second is not later."""
        passed = timedelta()
        for begin, end in self._spans(earlier):
            if begin >= later:
                break
            passed += min(end, later) - begin
        return passed.total_seconds() / 3600

    def days_between(self, earlier: date, later: date) -> int:
        """Return how many working days come after `earlier`, up to and with `later`."""
        return sum(self.is_working(earlier + timedelta(days=offset)) for offset in range(1, (later - earlier).days + 1))

    def next_opening(self, at: datetime) -> datetime:
        """Return when business next begins on a later working day than that of `at`, in UTC."""
        return _moment(self.working_day_after(at.astimezone(SHANGHAI).date(), 1), self.hours[0][0])

    def _spans(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the stretches of business from `at` on."""
        first = at.astimezone(SHANGHAI).date()
        for offset in range(_MOST_DAYS):
            day = first + timedelta(days=offset)
            if self.is_working(day):
                for opens, closes in self.hours:
                    begin, end = max(_moment(day, opens), at.astimezone(UTC)), _moment(day, closes)
                    if begin < end:
                        yield begin, end


def _moment(day: date, at: time) -> datetime:
    return datetime.combine(day, at, SHANGHAI).astimezone(UTC)


def read_years(text: str) -> dict[int, Year]:
    """Read a file of days off.

    Raises:
        MalformedCalendar: it is not TOML, a day is not one, lies in another year, or a day is both off and working.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MalformedCalendar(f"not TOML: {error}") from error
    if set(found) != {"years"} or not isinstance(found["years"], dict):
        raise MalformedCalendar("the file must hold tables [years.YYYY] and nothing else")
    return {_year_number(name): _year(name, told) for name, told in found["years"].items()}


def _year_number(name: str) -> int:
    if not (name.isdigit() and len(name) == len("2026")):
        raise MalformedCalendar(f"[years.{name}]: a year has four digits")
    return int(name)


def _year(name: str, told: Any) -> Year:
    unknown = set(told) - {"confirmed", "source", "off", "work"} if isinstance(told, dict) else {"not a table"}
    if unknown:
        raise MalformedCalendar(f"[years.{name}]: unknown: {', '.join(sorted(unknown))}")
    off, work = (frozenset(_days(name, told.get(key, []))) for key in ("off", "work"))
    if off & work:
        raise MalformedCalendar(f"[years.{name}]: {min(off & work)} is both off and working")
    return Year(off, work, confirmed=told.get("confirmed") is True, source=str(told.get("source", "")))


def _days(name: str, entries: Iterable[Any]) -> Iterator[date]:
    """Yield the days of a list; an entry is one day or a stretch, `2026-02-15..2026-02-23`."""
    for entry in entries:
        first, _, last = str(entry).partition("..")
        try:
            begin, end = date.fromisoformat(first), date.fromisoformat(last or first)
        except ValueError as error:
            raise MalformedCalendar(f"[years.{name}]: {entry!r} is not a day (YYYY-MM-DD)") from error
        if begin > end or {begin.year, end.year} != {int(name)}:
            raise MalformedCalendar(f"[years.{name}]: {entry!r} does not lie in this year")
        yield from (begin + timedelta(days=offset) for offset in range((end - begin).days + 1))
