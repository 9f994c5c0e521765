"""Telling people and systems what happened: written with the deed, spread by a worker to inboxes and deliveries.

`notify` costs the caller's transaction one INSERT; who holds which role, who wants to hear of what, and e-mail and webhooks
are the worker's work, some seconds later. What the transaction rolls back was never told.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints
from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Forbidden
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, Channel, NoticeEvent, RoleAt
from cloudmgr.models import User
from cloudmgr.services import audit
from cloudmgr.services.inputs import Closed, Input, Text, unset
from cloudmgr.store import notices

MOST_COUNTED = 100
"""More unread notices than this are told as this many."""
EMAIL = r"^$|^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}$"
NoticeRow = notices.NoticeRow


def notify(
    session: Session,
    event: NoticeEvent,
    message: Message,
    *,
    to: Iterable[uuid.UUID | RoleAt],
    about: About,
    dedupe: str,
    organization_path: str = "/",
    without: Iterable[uuid.UUID] = (),
) -> bool:
    """Have `message` told to people and to holders of roles, in the caller's transaction; exactly once for a `dedupe`.

    `to` mixes ids of users and `RoleAt`; it may be empty: webhooks that listen for the event are told all the same.
    `without` are left out even where they hold a role (who did it, or who may not decide on their own). `message` must hold
    no secret and no phone number: it leaves this system by e-mail and webhook. Returns False where it was told before.
    """
    recipients = list(to)
    return notices.add_happening(
        session,
        event=event.value,
        object_type=about.type,
        object_id=about.id,
        object_name=about.name[:200],
        link=about.link,
        organization_path=organization_path,
        message=message.as_json(),
        recipients={
            "people": [str(each) for each in recipients if isinstance(each, uuid.UUID)],
            "roles": [[each.role.value, str(each.organization_id)] for each in recipients if isinstance(each, RoleAt)],
            "without": [str(each) for each in without],
        },
        dedupe=dedupe,
    )


class SetPreferences(Input):
    """What a person wants to hear of, how, and in which language. Events that `wanted` leaves out stay as they are."""

    email: Annotated[Text, StringConstraints(max_length=254, pattern=EMAIL)] = unset()
    """Empty: no e-mail."""
    language: Literal["zh_CN", "en"] = unset()
    """Of the account: of e-mail, and of answers where nothing else asks for one."""
    wanted: dict[Annotated[NoticeEvent, Closed], list[Annotated[Channel, Closed]]] = unset()


@dataclass(frozen=True, slots=True)
class Preferences:
    """Where a person gets e-mail, in which language, and by which channels they hear of each event."""

    email: str
    language: str
    wanted: dict[NoticeEvent, list[Channel]]


def list_notices(
    session: Session,
    actor: Actor,
    *,
    unread: bool = False,
    event: NoticeEvent | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[notices.NoticeRow], uuid.UUID | None]:
    """Return the actor's own inbox, newest first."""
    return notices.inbox(session, _person(actor), unread=unread, event=event, limit=limit, cursor=cursor)


def count_unread(session: Session, actor: Actor) -> int:
    """Return how many of the actor's notices are unread, up to `MOST_COUNTED`; 0 for nobody in particular."""
    return notices.count_unread(session, actor.user_id, most=MOST_COUNTED) if actor.user_id else 0


def mark_read(session: Session, actor: Actor, ids: Sequence[uuid.UUID] | None) -> int:
    """Mark notices of the actor's own as read, all of them for None; return how many were not. Others' are left alone."""
    return notices.mark_read(session, _person(actor), ids)


def get_preferences(session: Session, actor: Actor) -> Preferences:
    """Return what the actor wants to hear of; what was never decided is told by every channel."""
    user_id = _person(actor)
    decided = notices.preferences(session, user_id)
    return Preferences(
        email=notices.email_of(session, user_id) or "",
        language=session.get_one(User, user_id).language,
        wanted={
            event: [channel for channel in Channel if decided.get((event.value, channel.value), True)]
            for event in NoticeEvent
        },
    )


def set_preferences(session: Session, actor: Actor, command: SetPreferences) -> Preferences:
    """Change what the actor wants to hear of, where and in which language; that the address changed is audited, not the address."""
    user_id = _person(actor)
    given = command.changes()
    if "email" in given:
        notices.set_email(session, user_id, given["email"])
    if "language" in given:
        session.get_one(User, user_id).language = given["language"]
    for event, channels in given.get("wanted", {}).items():
        notices.set_preferences(session, user_id, {(event.value, each): each in channels for each in Channel})
    audit.record(
        session,
        actor,
        Event.NOTICE_CHANGE,
        object_type="user",
        object_id=user_id,
        object_name=actor.username,
        email="email" in given,
        **({"language": given["language"]} if "language" in given else {}),
        events=sorted(event.value for event in given.get("wanted", {})),
    )
    return get_preferences(session, actor)


def _person(actor: Actor) -> uuid.UUID:
    if actor.user_id is None:
        raise Forbidden(N_("Notices are a person's own; sign in as one."))
    return actor.user_id
