"""Small phrases made of several facts: sizes, addresses, leases, people."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from cloudmgr.domain.masking import mask_phone
from cloudmgr.domain.messages import N_
from cloudmgr.models import ResourceRequest, Server
from cloudmgr.services.stage_seats import SeatView
from web import formats
from web.rendering import Words


def size(server: Server) -> str:
    """Return `8C32G`, as the field writes sizes."""
    memory = formats.number(server.memory_mib / 1024)
    return f"{server.vcpus}C{memory}G"


def addresses(server: Server) -> str:
    """Return every address, v4 first; empty when none was seen."""
    return " ".join([*server.ipv4, *server.ipv6])


def lease(words: Words, end: date | None, *, long_term: bool) -> str:
    """Return the last day of a lease, or that it has none."""
    if long_term:
        return words.translate(N_("Long term"))
    return formats.day(end) or words.translate(N_("Not given"))


def owner(item: Server | ResourceRequest, *, may_read: bool) -> str:
    """Return who answers for it, with the phone masked unless the reader may see personal data."""
    phone = item.owner_phone if may_read else mask_phone(item.owner_phone)
    return f"{item.owner_name} {phone}".strip()


def seat(words: Words, view: SeatView) -> str:
    """Return who has decided from a seat, and for whom, or who may."""
    if view.decider is None:
        return view.person.display_name if view.person else words.label("role", view.seat.role)
    if view.absent is None:
        return view.decider.display_name
    return words.translate(
        N_("{person} on behalf of {absent}"), person=view.decider.display_name, absent=view.absent.display_name
    )


def failure(words: Words, stored: Mapping[str, Any] | None) -> str:
    """Return why something failed, from how it was stored; empty when nothing did."""
    return words.told(stored.get("message") or "") if stored else ""
