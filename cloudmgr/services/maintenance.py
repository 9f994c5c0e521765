"""Work that is paused: from a restore until an administrator has compared what is recorded with what really exists.

Only somebody at the machine's own command line comes here; every step is audited.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict, Forbidden
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import audit
from cloudmgr.store import facts, health, sessions


def paused_since(session: Session) -> datetime | None:
    """Return when the restore paused the work; None: it is not paused."""
    fact = facts.read(session, facts.PAUSED) or {}
    return datetime.fromisoformat(fact["at"]) if fact.get("paused") else None


def record_backup(session: Session, actor: Actor, **about: Any) -> None:
    """Audit a finished backup; `about` tells its digest, size and members."""
    _require_local(actor)
    audit.record(session, actor, Event.SYSTEM_BACKUP, object_type="system", **about)


def pause_after_restore(session: Session, actor: Actor, **about: Any) -> int:
    """Pause all work, end every session and token of the backup's time, forget its workers; return how many sessions.

    Twice is once: nothing is paused anew while it is paused.
    """
    _require_local(actor)
    now = clock.now()
    facts.write(session, facts.PAUSED, {"paused": True, "at": now.isoformat()})
    ended = sessions.end_everybodys(session, now)
    health.forget_workers(session)
    audit.record(
        session, actor, Event.SYSTEM_RESTORE, object_type="system", stage="restored", sessions_ended=ended, **about
    )
    return ended


def resume(session: Session, actor: Actor, report: Mapping[str, int]) -> datetime:
    """Let work go on; `report` is what the comparison counted. Returns since when it was paused.

    Raises:
        Conflict: work is not paused.
    """
    _require_local(actor)
    since = paused_since(session)
    if since is None:
        raise Conflict(N_("Work is not paused."))
    facts.write(
        session, facts.PAUSED, {"paused": False, "at": since.isoformat(), "resumed_at": clock.now().isoformat()}
    )
    audit.record(
        session,
        actor,
        Event.SYSTEM_RESTORE,
        object_type="system",
        stage="resumed",
        paused_since=since.isoformat(),
        report=dict(report),
    )
    return since


def _require_local(actor: Actor) -> None:
    if not actor.is_local:
        raise Forbidden(N_("Only somebody at the machine's own command line may do this."))
