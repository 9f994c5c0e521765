"""Telling people and systems what happened: written with the deed, spread by a worker to inboxes and deliveries.

`notify` costs the caller's transaction one INSERT; who holds which role, who wants to hear of what, and e-mail and webhooks
are the worker's work, some seconds later. What the transaction rolls back was never told.
"""

import uuid
from collections.abc import Iterable

from sqlmodel import Session

from cloudmgr.domain.messages import Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.store import notices


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
