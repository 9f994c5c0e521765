"""The one place that tells the time: UTC inside, Asia/Shanghai for people."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
"""China Standard Time: UTC+8, no daylight saving since 1991, so a fixed offset is exact for our records."""

_source: Callable[[], datetime] | None = None
_guard = threading.Lock()


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return _source() if _source is not None else datetime.now(UTC)


def today() -> date:
    """Return the calendar day in Asia/Shanghai."""
    return now().astimezone(SHANGHAI).date()


def end_of_day(day: date) -> datetime:
    """Return the last second of a day in Asia/Shanghai, as UTC."""
    return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=SHANGHAI).astimezone(UTC)


@contextmanager
def stepped(at: datetime) -> Iterator[Callable[[timedelta], None]]:
    """Hold the clock of this process at `at`; the yielded function moves it on. For tests and drills."""
    global _source  # noqa: PLW0603 - one clock a process, by design
    current = at

    def advance(by: timedelta) -> None:
        nonlocal current
        current += by

    with _guard:
        previous, _source = _source, lambda: current
    try:
        yield advance
    finally:
        with _guard:
            _source = previous
