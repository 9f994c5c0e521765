"""How long a server may be kept: the rules of a lease's end."""

from datetime import UTC, date, datetime, timedelta

from cloudmgr.domain import clock
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_

_THREE_YEARS_DAYS = 3 * 365


def check_lease(*, lease_end: date | None, long_term: bool, reason: str, today: date, max_days: int) -> None:
    """Refuse a lease that is open by accident, already over, or longer than the policy allows.

    `lease_end` is inclusive, to the end of that day in Asia/Shanghai. Long term needs a reason and no end.

    Raises:
        InvalidInput: names `lease_end` or `lease_reason`.
    """
    if long_term:
        if lease_end is not None:
            raise InvalidInput(N_("A long-term lease has no end date; leave one of the two out."), field="lease_end")
        if not reason.strip():
            raise InvalidInput(N_("A long-term lease needs a reason."), field="lease_reason")
        return
    if lease_end is None:
        raise InvalidInput(
            N_("Say until when the servers are needed, or ask for a long-term lease with a reason."), field="lease_end"
        )
    if lease_end <= today:
        raise InvalidInput(
            N_("The lease must end after today ({today}); {given} is not."),
            field="lease_end",
            today=today.isoformat(),
            given=lease_end.isoformat(),
        )
    last = last_day(today, max_days)
    if lease_end > last:
        raise InvalidInput(
            N_(
                "A lease may run until {last} at most; {given} is later. Ask for a long-term lease if it is needed for good."
            ),
            field="lease_end",
            last=last.isoformat(),
            given=lease_end.isoformat(),
        )


def last_day(today: date, max_days: int) -> date:
    """Return the last day a lease made today may run until; three years are three calendar years."""
    if max_days < _THREE_YEARS_DAYS:
        return today + timedelta(days=max_days)
    try:
        return today.replace(year=today.year + 3)
    except ValueError:  # 29 February
        return today + timedelta(days=_THREE_YEARS_DAYS)


def ends_at(lease_end: date | None) -> datetime:
    """Return the last moment of a lease; one without an end outlives everything that has one."""
    return _NEVER if lease_end is None else clock.end_of_day(lease_end)


_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
