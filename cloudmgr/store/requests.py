"""Reading and writing requests, their stages and their progress."""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.messages import Message
from cloudmgr.models import (
    Approval,
    ApprovalStage,
    NumberSequence,
    Organization,
    Project,
    RequestEvent,
    ResourceRequest,
    User,
)
from cloudmgr.store import paging
from cloudmgr.store.db import is_sqlite


def get(session: Session, request_id: uuid.UUID, *, lock: bool = False) -> ResourceRequest | None:
    """Return one request; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(ResourceRequest).where(ResourceRequest.id == request_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def add(session: Session, *rows: Any) -> None:
    """Write new rows at once."""
    session.add_all(rows)
    session.flush()


def owner_path(session: Session, request: ResourceRequest) -> str:
    """Return the path of the organization a request belongs to."""
    return session.exec(select(Organization.path).where(Organization.id == request.organization_id)).one()


def next_number(session: Session, prefix: str, day: str, *, count: int = 1) -> int:
    """Take the next `count` numbers of a series and return the last; two transactions never get the same."""
    insert = sqlite.insert(NumberSequence) if is_sqlite(session) else postgresql.insert(NumberSequence)
    taken = session.execute(
        insert.values(prefix=prefix, day=day, last=count)
        .on_conflict_do_update(index_elements=["prefix", "day"], set_={"last": NumberSequence.last + count})
        .returning(col(NumberSequence.last))
        .execution_options(synchronize_session=False)
    )
    return int(taken.scalar_one())


def tell(
    session: Session,
    request_id: uuid.UUID,
    *,
    kind: str,
    message: Message,
    dedupe: str,
    server_id: uuid.UUID | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Append one line of progress; the same `dedupe` is told once."""
    insert = sqlite.insert(RequestEvent) if is_sqlite(session) else postgresql.insert(RequestEvent)
    session.execute(
        insert.values(
            request_id=request_id,
            server_id=server_id,
            at=clock.now(),
            kind=kind,
            message=message.as_json(),
            data=data or {},
            dedupe=dedupe[:200],
        ).on_conflict_do_nothing(index_elements=["request_id", "dedupe"])
    )


def events(session: Session, request_id: uuid.UUID, *, after: int = 0, limit: int = 1000) -> list[RequestEvent]:
    """Return progress in order, from behind event `after`."""
    return list(
        session.exec(
            select(RequestEvent)
            .where(RequestEvent.request_id == request_id, col(RequestEvent.id) > after)
            .order_by(col(RequestEvent.id))
            .limit(limit)
        )
    )


def latest_events(session: Session, request_id: uuid.UUID, limit: int) -> list[RequestEvent]:
    """Return the newest lines of progress, oldest first."""
    rows = session.exec(
        select(RequestEvent)
        .where(RequestEvent.request_id == request_id)
        .order_by(col(RequestEvent.id).desc())
        .limit(limit)
    )
    return list(rows)[::-1]


def stages(session: Session, request_id: uuid.UUID) -> list[ApprovalStage]:
    """Return the stages of every submission, oldest first."""
    return list(
        session.exec(
            select(ApprovalStage)
            .where(ApprovalStage.request_id == request_id)
            .order_by(col(ApprovalStage.submission), col(ApprovalStage.position))
        )
    )


def open_stage(session: Session, request_id: uuid.UUID) -> ApprovalStage | None:
    """Return the stage that is waiting for a decision."""
    return session.exec(
        select(ApprovalStage).where(ApprovalStage.request_id == request_id, ApprovalStage.state == "open")
    ).first()


def close_stages(session: Session, request_id: uuid.UUID) -> None:
    """Cancel the stages that nobody has decided on."""
    session.execute(
        sa.update(ApprovalStage)
        .where(col(ApprovalStage.request_id) == request_id, col(ApprovalStage.state).in_(["open", "waiting"]))
        .values(state="cancelled", closed_at=clock.now())
        .execution_options(synchronize_session=False)
    )


def approvals(session: Session, request_id: uuid.UUID) -> list[tuple[Approval, User]]:
    """Return the decisions and who took them, oldest first."""
    return list(
        session.exec(
            select(Approval, User)
            .join(User, col(Approval.decider_id) == col(User.id))
            .where(Approval.request_id == request_id)
            .order_by(col(Approval.created_at))
        ).all()
    )


def page(
    session: Session,
    *,
    paths: Sequence[str],
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    requester_id: uuid.UUID | None = None,
    kind: str | None = None,
    number: str | None = None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[tuple[ResourceRequest, Project | None, Organization, User]], uuid.UUID | None]:
    """Return requests of the subtrees at `paths`, newest first, and where the next page begins."""
    query = (
        select(ResourceRequest, Project, Organization, User)
        .outerjoin(Project, col(ResourceRequest.project_id) == col(Project.id))
        .join(Organization, col(ResourceRequest.organization_id) == col(Organization.id))
        .join(User, col(ResourceRequest.requester_id) == col(User.id))
        .where(paging.below(Organization.path, paths))
    )
    if phases:
        query = query.where(col(ResourceRequest.phase).in_(phases))
    if project_id:
        query = query.where(ResourceRequest.project_id == project_id)
    if requester_id:
        query = query.where(ResourceRequest.requester_id == requester_id)
    if kind:
        query = query.where(ResourceRequest.kind == kind)
    if number:
        query = query.where(ResourceRequest.number == number)
    rows, following = paging.newest_first(session, query, ResourceRequest.id, limit=limit, cursor=cursor)
    return [(request, project, organization, user) for request, project, organization, user in rows], following


def waiting_for(
    session: Session, *, roles_and_paths: Sequence[tuple[str, str]], decider_id: uuid.UUID | None
) -> list[tuple[ResourceRequest, ApprovalStage, Project | None, Organization, User]]:
    """Return the requests whose open stage a person holding these (role, path) grants may decide; not their own."""
    if not roles_and_paths:
        return []
    stage_organization = sa.orm.aliased(Organization)
    rows = session.execute(
        sa.select(ResourceRequest, ApprovalStage, Project, Organization, User)
        .join(ApprovalStage, col(ApprovalStage.request_id) == col(ResourceRequest.id))
        .join(stage_organization, col(ApprovalStage.organization_id) == col(stage_organization.id))
        .outerjoin(Project, col(ResourceRequest.project_id) == col(Project.id))
        .join(Organization, col(ResourceRequest.organization_id) == col(Organization.id))
        .join(User, col(ResourceRequest.requester_id) == col(User.id))
        .where(
            col(ApprovalStage.state) == "open",
            col(ResourceRequest.requester_id) != decider_id,
            sa.or_(
                *(
                    sa.and_(
                        col(ApprovalStage.role) == role, col(stage_organization.path).startswith(path, autoescape=True)
                    )
                    for role, path in roles_and_paths
                )
            ),
        )
        .order_by(col(ApprovalStage.opened_at))
        .limit(200)
    ).all()
    return [tuple(row) for row in rows]
