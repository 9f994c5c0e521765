"""Notices as the inbox, the preferences and the delivery log show them."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from cloudmgr.domain.notices import NOTICE_EVENTS, Channel, DeliveryState, NoticeEvent
from cloudmgr.services.deliveries import DeliveryRow
from cloudmgr.services.notices import NoticeRow, Preferences
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class NoticeLine:
    """One notice."""

    id: uuid.UUID
    at: datetime
    subject: str
    text: str
    link: str
    is_read: bool


@dataclass(frozen=True, slots=True)
class WantedLine:
    """One event with a box a channel: field name, words, whether it is ticked."""

    subject: str
    boxes: list[tuple[str, str, bool]]


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One delivery."""

    id: uuid.UUID
    at: datetime
    subject: str
    name: str
    channel: str
    target: str
    state: str
    attempts: int
    next_at: datetime | None
    message: str
    can_replay: bool


def line(words: Words, row: NoticeRow) -> NoticeLine:
    """Arrange one notice."""
    notice, happening = row
    return NoticeLine(
        id=notice.id,
        at=happening.created_at,
        subject=words.translate(NOTICE_EVENTS.get(happening.event, happening.event)),
        text=words.told(happening.message),
        link=happening.link if happening.link.startswith("/") else "",
        is_read=notice.read_at is not None,
    )


def wanted(words: Words, preferences: Preferences) -> list[WantedLine]:
    """Arrange what somebody wants to hear of."""
    return [
        WantedLine(
            words.label("notice_event", event),
            [(box(event, each), words.label("notice_channel", each), each in channels) for each in Channel],
        )
        for event, channels in preferences.wanted.items()
    ]


def box(event: NoticeEvent, channel: Channel) -> str:
    """Return the name of the box of an event and a channel."""
    return f"{event.value}/{channel.value}"


def delivery(words: Words, row: DeliveryRow) -> DeliveryLine:
    """Arrange one delivery."""
    sent, happening, user = row
    return DeliveryLine(
        id=sent.id,
        at=sent.created_at,
        subject=words.translate(NOTICE_EVENTS.get(happening.event, happening.event)),
        name=happening.object_name,
        channel=sent.channel,
        target=user.display_name if user else sent.target,
        state=sent.state,
        attempts=sent.attempts,
        next_at=sent.next_at if sent.state == DeliveryState.WAITING else None,
        message=words.told(sent.message),
        can_replay=sent.state != DeliveryState.WAITING,
    )
