"""The working calendar in force: the packaged days off, the deployment's own file over them, and its hours of business."""

import functools
from datetime import time
from importlib import resources
from pathlib import Path

from sqlmodel import Session

from cloudmgr.domain.working_days import MalformedCalendar, WorkingCalendar, Year, read_years
from cloudmgr.services.policy import policy_of
from cloudmgr.settings import Policy


def calendar_of(session: Session) -> WorkingCalendar:
    """Return the calendar that `[policy]` of the session's settings describes."""
    return calendar_for(policy_of(session))


def calendar_for(policy: Policy) -> WorkingCalendar:
    """Return the calendar of some settings; the files are read once in the life of the process.

    Raises:
        MalformedCalendar: the file named by `holidays_file` cannot be read.
    """
    return WorkingCalendar(_years(policy.holidays_file), hours_of(policy.working_hours))


def hours_of(spans: tuple[str, ...]) -> tuple[tuple[time, time], ...]:
    """Return hours of business from texts such as `09:00-12:00`; they follow each other within one day.

    Raises:
        MalformedCalendar: a stretch is malformed, empty, or begins before the one before it ends.
    """
    read: list[tuple[time, time]] = []
    for span in spans:
        try:
            begin, end = (time.fromisoformat(part.strip()) for part in span.split("-"))
        except ValueError as error:
            raise MalformedCalendar(f"{span!r} is no stretch of hours (09:00-12:00)") from error
        if begin >= end or (read and begin < read[-1][1]):
            raise MalformedCalendar(f"{span!r} ends before it begins, or begins before the one before it ends")
        read.append((begin, end))
    if not read:
        raise MalformedCalendar("there are no hours of business")
    return tuple(read)


@functools.cache
def _years(own: Path | None) -> dict[int, Year]:
    packaged = read_years((resources.files("cloudmgr") / "data" / "holidays.toml").read_text(encoding="utf-8"))
    if own is None:
        return packaged
    try:
        return packaged | read_years(own.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedCalendar(f"{own}: {error}") from error
