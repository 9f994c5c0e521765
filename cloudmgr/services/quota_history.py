"""Use case: reading what happened to a quota account. It tells of every request below, so only its own people read it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlmodel import Session

from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Forbidden
from cloudmgr.domain.messages import N_
from cloudmgr.services.quota_places import visible_place
from cloudmgr.store import quota_history as store
from quotas.history import DECISIONS, HistoryLine, history
from quotas.keys import parse_key

HistoryEntry = HistoryLine
"""One entry of the ledger, as a reader sees it."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Whose an entry is."""

    request_id: uuid.UUID
    number: str
    name: str


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Entries, the newest first; `following` is where the next page begins, None on the last."""

    lines: list[HistoryEntry]
    following: int | None
    causes: Mapping[uuid.UUID, Cause] = field(default_factory=dict)
    """By part: the request and the thing that an entry is about."""


def read_history(
    session: Session,
    actor: Actor,
    account_id: uuid.UUID,
    *,
    limit: int,
    before: int | None = None,
    key: str | None = None,
    decisions_only: bool = False,
) -> HistoryPage:
    """Return one page of an account's entries; `decisions_only` leaves those that requests made away.

    Raises:
        NotFound: the actor sees no such account. Forbidden: it only stands above the actor's own.
        InvalidInput: a malformed key.
    """
    place = visible_place(session, actor, account_id)
    if not actor.may(Action.QUOTA_READ, place.path):
        raise Forbidden(
            N_("The history of {name} tells of other organizations' requests; only its own administrators read it."),
            name=place.name,
        )
    lines = history(
        session,
        account_id,
        limit=limit + 1,
        before=before,
        key=str(parse_key(key)) if key else None,
        movements=DECISIONS if decisions_only else (),
    )
    parts = sorted({line.part_id for line in lines if line.part_id is not None})
    causes = {part: Cause(*found) for part, found in store.requests_of_parts(session, parts).items()}
    return HistoryPage(lines[:limit], lines[limit - 1].seq if len(lines) > limit else None, causes)
