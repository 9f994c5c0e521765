"""How values look to people: times in Asia/Shanghai, sizes with their unit, and a word for what is not known."""

from datetime import date, datetime

from cloudmgr.domain import clock, units

_UNITS = {"memory_mib": "GiB", "disk_gib": "GiB", "backups_gib": "GiB"}
_PLACES = 1


def moment(value: datetime | None) -> str:
    """Return `2026-11-22 10:15` in Asia/Shanghai; empty for None."""
    return value.astimezone(clock.SHANGHAI).strftime("%Y-%m-%d %H:%M") if value else ""


def second(value: datetime | None) -> str:
    """Return `10:15:07` in Asia/Shanghai."""
    return value.astimezone(clock.SHANGHAI).strftime("%H:%M:%S") if value else ""


def full_moment(value: datetime | None) -> str:
    """Return `2026-11-22 10:15:07` in Asia/Shanghai."""
    return value.astimezone(clock.SHANGHAI).strftime("%Y-%m-%d %H:%M:%S") if value else ""


def day(value: date | datetime | None) -> str:
    """Return `2026-11-22`; a moment is taken in Asia/Shanghai."""
    if isinstance(value, datetime):
        value = value.astimezone(clock.SHANGHAI).date()
    return value.isoformat() if value else ""


def number(value: float | None) -> str:
    """Return a number with thousands separated; empty for None."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{_PLACES}f}".rstrip("0").rstrip(".")


def amount(value: int | None, key: str) -> str:
    """Return an amount of a quota key with its unit: memory is told in GiB."""
    if value is None:
        return ""
    resource = key.partition("{")[0]
    shown = number(units.mib_to_gib(value)) if resource == "memory_mib" else number(value)
    unit = _UNITS.get(resource)
    return f"{shown} {unit}" if unit else shown


def days_left(value: date) -> int:
    """Return the days from today (Asia/Shanghai) to a day; negative when it is past."""
    return (value - clock.today()).days
