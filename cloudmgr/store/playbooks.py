"""Reading and writing playbook runs."""

import uuid
from collections.abc import Sequence

from sqlmodel import Session, col, select

from cloudmgr.models import Organization, PlaybookEvent, PlaybookRun, PlaybookRunServer, Server
from cloudmgr.store import paging


def add(session: Session, run: PlaybookRun, server_ids: Sequence[uuid.UUID]) -> None:
    """Write a new run over some servers."""
    session.add(run)
    session.flush()
    session.add_all(PlaybookRunServer(run_id=run.id, server_id=server_id) for server_id in server_ids)
    session.flush()


def keep(session: Session, run: PlaybookRun) -> None:
    """Write a changed run."""
    session.add(run)
    session.flush()


def get(session: Session, run_id: uuid.UUID) -> PlaybookRun | None:
    """Return one run."""
    return session.get(PlaybookRun, run_id)


def members(session: Session, run_id: uuid.UUID) -> list[tuple[PlaybookRunServer, Server]]:
    """Return what a run did on each server, by name."""
    rows = session.exec(
        select(PlaybookRunServer, Server)
        .join(Server, col(PlaybookRunServer.server_id) == col(Server.id))
        .where(PlaybookRunServer.run_id == run_id)
        .order_by(col(Server.name))
    ).all()
    return [(member, server) for member, server in rows]


def events(session: Session, run_id: uuid.UUID, *, limit: int) -> list[PlaybookEvent]:
    """Return the newest task events of a run, oldest first."""
    rows = session.exec(
        select(PlaybookEvent).where(PlaybookEvent.run_id == run_id).order_by(col(PlaybookEvent.seq).desc()).limit(limit)
    )
    return list(rows)[::-1]


def page(
    session: Session,
    *,
    paths: Sequence[str],
    server_id: uuid.UUID | None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[Sequence[PlaybookRun], uuid.UUID | None]:
    """Return runs of the subtrees at `paths`, newest first."""
    query = (
        select(PlaybookRun)
        .join(Organization, col(PlaybookRun.organization_id) == col(Organization.id))
        .where(paging.below(Organization.path, paths))
    )
    if server_id is not None:
        query = query.join(PlaybookRunServer, col(PlaybookRunServer.run_id) == col(PlaybookRun.id)).where(
            PlaybookRunServer.server_id == server_id
        )
    return paging.newest_first(session, query, PlaybookRun.id, limit=limit, cursor=cursor)
