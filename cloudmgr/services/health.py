"""Whether this installation can serve: its database, its schema, a living worker, and in the demo the sample city."""

from datetime import timedelta

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.adapters import migrate
from cloudmgr.domain import clock
from cloudmgr.services import maintenance
from cloudmgr.settings import Settings
from cloudmgr.store import facts, health

WORKER_SILENCE = timedelta(seconds=30)


def readiness(session: Session, settings: Settings, *, is_schema_known: bool = False) -> dict[str, bool]:
    """Return what is ready and what is not; all true means ready. `is_schema_known` skips a check that passed before.

    `not_paused` stands there, false, from a restore until `cloudmgr db reconcile --resume`; no worker takes work meanwhile.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.
    """
    seen = health.worker_seen_at(session)
    checks = {
        "database": True,
        "schema": is_schema_known or is_schema_current(session),
        "worker": seen is not None and clock.now() - seen <= WORKER_SILENCE,
    }
    if maintenance.paused_since(session) is not None:
        checks["not_paused"] = False
    if settings.demo:
        checks["seed"] = bool((facts.read(session, facts.SEED) or {}).get("done"))
    return checks


def is_schema_current(session: Session) -> bool:
    """Whether the database is at this release's schema."""
    bind = session.get_bind()
    return migrate.read_state(bind if isinstance(bind, sa.Engine) else bind.engine).is_current
