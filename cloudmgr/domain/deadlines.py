"""How late a stage is, in words, and what the clock does about it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.working_days import WorkingCalendar

_SOON_HOURS = 7
"""A stage that is due within so many working hours (one working day) is shown as due soon."""


class MarkKind(StrEnum):
    """What the clock has done at a stage."""

    REMINDER = "reminder"
    OVERDUE = "overdue"
    ESCALATION = "escalation"
    TIMEOUT = "timeout"
    URGE = "urge"


class EmergencyState(StrEnum):
    """Whether the approval that follows an emergency order has been given."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"


class Punctuality(StrEnum):
    """How a stage stands to its time."""

    UNTIMED = "untimed"
    IN_TIME = "in_time"
    DUE_SOON = "due_soon"
    OVERDUE = "overdue"


PUNCTUALITY: Mapping[str, str] = {
    Punctuality.UNTIMED: N_("No time limit"),
    Punctuality.IN_TIME: N_("In time"),
    Punctuality.DUE_SOON: N_("Due soon"),
    Punctuality.OVERDUE: N_("Overdue"),
}


def punctuality(calendar: WorkingCalendar, due_at: datetime | None, now: datetime) -> Punctuality:
    """Return how a stage that is due at a moment stands now."""
    if due_at is None:
        return Punctuality.UNTIMED
    if now > due_at:
        return Punctuality.OVERDUE
    return Punctuality.DUE_SOON if calendar.hours_between(now, due_at) <= _SOON_HOURS else Punctuality.IN_TIME


def left(calendar: WorkingCalendar, due_at: datetime, now: datetime) -> Message:
    """Say how much working time is left, or by how much it is past. Days are counted as the due date is: today is not one."""
    if now <= due_at:
        hours = calendar.hours_between(now, due_at)
        today, last = (moment.astimezone(SHANGHAI).date() for moment in (now, due_at))
        if hours <= _SOON_HOURS or today == last:
            return Message(N_("due within {hours} working hours"), {"hours": round(hours, 1)})
        return Message(N_("{days} working days left"), {"days": calendar.days_between(today, last)})
    return Message(
        N_("overdue by {days} working days"),
        {"days": max(1, round(calendar.hours_between(due_at, now) / calendar.hours_a_day))},
    )
