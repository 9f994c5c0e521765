"""Reading the audit log: as far as one's roles reach, and always one's own actions."""

from typing import Annotated

from pydantic import Field
from sqlmodel import Session

from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.models import AuditEvent
from cloudmgr.services.inputs import Closed, Input, Text
from cloudmgr.services.users import AwareMoment
from cloudmgr.store import audit


class AuditFilter(Input):
    """Which records a list shows. `object` is an id, a name, or a type such as `server`."""

    actor: Text | None = Field(default=None, max_length=100)
    action: Annotated[Event, Closed] | None = None
    object: Text | None = Field(default=None, max_length=200)
    outcome: Annotated[Outcome, Closed] | None = None
    since: AwareMoment | None = None
    until: AwareMoment | None = None


def list_events(
    session: Session, actor: Actor, filters: AuditFilter, *, limit: int = 50, cursor: int | None = None
) -> tuple[list[AuditEvent], int | None]:
    """Return a page of records, newest first, and the sequence number the next page goes below.

    Records of the subtrees where the actor may read the log, and the actor's own wherever they are.

    Raises:
        Forbidden: the actor holds no role at all.
    """
    if not actor.may(Action.AUDIT_READ):
        access.require(actor, Action.AUDIT_READ_OWN)
    return audit.page(
        session,
        paths=actor.scope(Action.AUDIT_READ),
        own_id=actor.user_id,
        actor=filters.actor,
        event=filters.action.value if filters.action else None,
        named=filters.object,
        outcome=filters.outcome.value if filters.outcome else None,
        since=filters.since,
        until=filters.until,
        limit=limit,
        cursor=cursor,
    )
