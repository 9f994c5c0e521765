"""How late things are, for pages: a word, its tone, and how much time is left. The word never stands as colour alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cloudmgr.domain import clock
from cloudmgr.domain.deadlines import Punctuality, left, punctuality
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.domain.working_days import WorkingCalendar
from cloudmgr.services.change_freezes import FreezeView
from cloudmgr.services.request_view import RequestView
from web.formats import moment
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class Due:
    """When something is due: `value` of the vocabulary `punctuality`, and the time left in words."""

    value: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FreezeLine:
    """One change freeze. `state` is of the vocabulary `freeze_state`."""

    id: str
    organization: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    made_by: str
    state: str
    lifted: str
    may_lift: bool


def due(words: Words, calendar: WorkingCalendar, due_at: datetime | None) -> Due | None:
    """Arrange a deadline; None where there is none."""
    if due_at is None:
        return None
    now = clock.now()
    return Due(punctuality(calendar, due_at, now).value, words.told(left(calendar, due_at, now)), due_at)


def shown_in_list(found: Due | None) -> Due | None:
    """Return a deadline where a list should mark it: what is in time needs no mark."""
    return found if found is not None and found.value in (Punctuality.DUE_SOON, Punctuality.OVERDUE) else None


def standing(words: Words, view: RequestView) -> list[tuple[str, str, str]]:
    """Return what is special about a request now: (sentence, tone, address of what follows), the gravest first."""
    said: list[tuple[str, str, str]] = []
    order = view.emergency
    if order is not None:
        by, reason = moment(order.approve_by), order.reason
        text, tone = _ORDERS["late" if order.state == "open" and order.flagged_at else order.state]
        address = f"/requests/{order.proposal_id}" if order.proposal_id else ""
        said.append((words.translate(text, by=by, reason=reason), tone, address))
    if view.request.after_id is not None and view.request.phase == RequestPhase.DRAFT:
        text = N_("Waits for a request for quota and is submitted by itself when that is granted.")
        said.append((words.translate(text), "info", f"/requests/{view.request.after_id}"))
    if view.held_by is not None:
        text = N_("Waits for the end of the change freeze at {end} ({reason}); it then begins by itself.")
        said.append(
            (
                words.translate(text, end=moment(view.held_by.ends_at), reason=view.held_by.reason),
                "warn",
                "/change-freezes",
            )
        )
    return said


_ORDERS: Mapping[str, tuple[str, str]] = {
    "open": (N_("Emergency order: carried out first, to be approved by {by}. Reason: {reason}"), "warn"),
    "late": (N_("Emergency order: it was to be approved by {by} and is not. Reason: {reason}"), "bad"),
    "approved": (N_("Emergency order: carried out first, approved afterwards. Reason: {reason}"), "ok"),
    "rejected": (
        N_(
            "Emergency order that was not approved afterwards; what takes it back is proposed as a draft. Reason: {reason}"
        ),
        "bad",
    ),
}


def freeze(words: Words, view: FreezeView) -> FreezeLine:
    """Arrange one change freeze."""
    found = view.freeze
    if found.lifted_at is not None:
        state = "lifted"
    elif view.is_in_force:
        state = "in_force"
    else:
        state = "ended" if found.ends_at <= clock.now() else "announced"
    lifted = N_("lifted by {person} at {at}")
    return FreezeLine(
        id=str(found.id),
        organization=view.organization.name,
        starts_at=found.starts_at,
        ends_at=found.ends_at,
        reason=found.reason,
        made_by=found.made_by,
        state=state,
        lifted=words.translate(lifted, person=found.lifted_by, at=moment(found.lifted_at)) if found.lifted_at else "",
        may_lift=view.may_lift,
    )


def banner(words: Words, views: list[FreezeView]) -> list[str]:
    """Say which freezes hold now for the reader's organizations."""
    text = N_(
        "Change freeze at {organization} until {end}: {reason}. Approved changes and retirements wait for its end."
    )
    return [
        words.translate(
            text, organization=view.organization.name, end=moment(view.freeze.ends_at), reason=view.freeze.reason
        )
        for view in views
    ]
