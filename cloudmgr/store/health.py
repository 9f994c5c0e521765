"""Queries that tell whether the parts of the installation are alive."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import Worker


def worker_seen_at(session: Session) -> datetime | None:
    """Return when a worker that takes new work was last seen, None: never."""
    return session.exec(select(sa.func.max(Worker.last_seen_at)).where(col(Worker.is_draining).is_(False))).first()


def forget_workers(session: Session) -> None:
    """Forget every worker that was ever seen; those that live are seen again within seconds."""
    session.exec(sa.delete(Worker).execution_options(synchronize_session=False))
