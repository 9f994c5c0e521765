"""What is told of leases, once each: that they end soon, that a server is frozen or retired for it, that one without an end goes on.

Whoever asked for the server and the requesters of its organization are told, and it stands in the request it came by.
"""

from datetime import date

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.access import Role
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.models import Organization, ResourceRequest, Server
from cloudmgr.services.notices import notify
from cloudmgr.services.policy import policy_of
from cloudmgr.store import requests
from cloudmgr.store import server_changes as store

OVER = 0
"""Stands in the place of the days left for what is told when a lease is over, or of a lease without an end, once a year."""


def remind(session: Session, server: Server, day: date) -> bool:
    """Tell that a server's lease ends, when it has reached a reminder that was not given yet; return whether it was told."""
    steps = policy_of(session).lease_reminder_days
    if server.lease_end is None:
        return False
    left = (server.lease_end - day).days
    reached = [step for step in steps if left <= step]
    if left < 0 or not reached or not store.remind(session, server.id, server.lease_end, min(reached)):
        return False
    message = Message(
        N_("The lease of {name} ends on {day}, in {days} days. Renew it, or retire the server."),
        {"name": server.name, "day": server.lease_end.isoformat(), "days": left},
    )
    _tell(session, server, NoticeEvent.LEASE_REMINDER, message, f"{server.lease_end}:{min(reached)}")
    return True


def tell_over(session: Session, server: Server) -> bool:
    """Tell that a lease is over of a server that cannot be frozen; return whether it was not told before."""
    if server.lease_end is None or not store.remind(session, server.id, server.lease_end, OVER):
        return False
    message = Message(
        N_(
            "The lease of {name} ended on {day}, and it cannot be switched off from here: renew it, or see to it yourselves."
        ),
        {"name": server.name, "day": server.lease_end.isoformat()},
    )
    _tell(session, server, NoticeEvent.LEASE_REMINDER, message, f"{server.lease_end}:{OVER}")
    return True


def tell_frozen(session: Session, server: Server) -> Message:
    """Tell that a server is frozen because its lease is over; return the words."""
    grace = policy_of(session).lease_grace_days
    params = {"name": server.name, "day": server.lease_end.isoformat() if server.lease_end else "-", "days": grace}
    if grace:
        message = Message(
            N_(
                "The lease of {name} ended on {day}: it is switched off and kept, and retired after {days} days unless renewed."
            ),
            params,
        )
    else:
        message = Message(
            N_("The lease of {name} ended on {day}: it is switched off and kept until it is renewed or retired."),
            params,
        )
    _notify(session, server, NoticeEvent.LEASE_FROZEN, message, str(server.lease_end))
    return message


def tell_retiring(session: Session, server: Server) -> None:
    """Tell that a server is retired because its lease is over and nobody renewed it."""
    message = Message(
        N_("The lease of {name} ended on {day} and was not renewed: the server is retired."),
        {"name": server.name, "day": server.lease_end.isoformat() if server.lease_end else "-"},
    )
    _tell(session, server, NoticeEvent.LEASE_RETIRING, message, str(server.lease_end))


def review(session: Session, server: Server, day: date) -> bool:
    """Ask once a year whether a server on a lease without an end is still needed; return whether it was asked now."""
    since = (server.activated_at or server.created_at).astimezone(clock.SHANGHAI).date()
    last = _anniversary(since, day)
    if last <= since or not store.remind(session, server.id, last, OVER):
        return False
    message = Message(
        N_("{name} has had a lease without an end since {since}: is it still needed? Retire it if not."),
        {"name": server.name, "since": since.isoformat()},
    )
    _tell(session, server, NoticeEvent.LEASE_REMINDER, message, f"review:{last}")
    return True


def _anniversary(since: date, day: date) -> date:
    """Return the last anniversary of `since` up to a day; the 29th of February has its own on the 1st of March."""
    for year in (day.year, day.year - 1):
        try:
            found = since.replace(year=year)
        except ValueError:
            found = date(year, 3, 1)
        if found <= day:
            return found
    return since


def _tell(session: Session, server: Server, event: NoticeEvent, message: Message, once: str) -> None:
    requests.tell(
        session,
        server.request_id,
        kind="warning",
        message=message,
        server_id=server.id,
        dedupe=f"{event.value}:{server.id}:{once}",
    )
    _notify(session, server, event, message, once)


def _notify(session: Session, server: Server, event: NoticeEvent, message: Message, once: str) -> None:
    request = session.get_one(ResourceRequest, server.request_id)
    notify(
        session,
        event,
        message,
        to=[request.requester_id, RoleAt(Role.REQUESTER, server.organization_id)],
        about=About("server", str(server.id), server.name, f"/servers/{server.id}"),
        dedupe=f"{event.value}:{server.id}:{once}",
        organization_path=session.get_one(Organization, server.organization_id).path,
    )
