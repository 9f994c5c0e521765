"""Recording who did what: in the transaction of the deed itself, so that neither exists without the other."""

import uuid
from typing import Any, Protocol

from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.models import AuditEvent
from cloudmgr.store import audit


class Named(Protocol):
    """Anything with an id."""

    id: uuid.UUID


def record(
    session: Session,
    actor: Actor,
    event: Event,
    *,
    object_type: str,
    object_id: uuid.UUID | str = "",
    object_name: str = "",
    organization_path: str | None = None,
    outcome: Outcome = Outcome.SUCCESS,
    reason: str = "",
    **detail: Any,
) -> None:
    """Append one audit event. `organization_path` says where the object belongs (default: the actor's own place);
    `detail` must be JSON-able and hold no secret and no phone number.
    """
    audit.add(
        session,
        AuditEvent(
            actor_id=actor.user_id,
            actor=actor.username,
            roles=actor.roles,
            organization_path=organization_path or actor.organization_path or "/",
            source=actor.source,
            session_id=actor.session_id,
            request_id=actor.request_id,
            event=event.value,
            object_type=object_type,
            object_id=str(object_id),
            object_name=object_name,
            outcome=outcome.value,
            reason=reason,
            detail=detail,
        ),
    )
