"""Reading and writing requests, their stages and their progress."""

import functools
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
    ApprovalSeat,
    ApprovalStage,
    NumberSequence,
    Organization,
    Project,
    RequestChange,
    RequestEvent,
    ResourceRequest,
    User,
)
from cloudmgr.store import inserts, paging, users
from cloudmgr.store.db import is_sqlite

WAITING = 200
"""The most requests a queue shows."""


def get(session: Session, request_id: uuid.UUID, *, lock: bool = False) -> ResourceRequest | None:
    """Return one request; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(ResourceRequest).where(ResourceRequest.id == request_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def add(session: Session, *rows: Any) -> None:
    """Write new rows at once, or with the others inside `inserts.together`."""
    inserts.add(session, *rows)


def owner_path(session: Session, request: ResourceRequest) -> str:
    """Return the path of the organization a request belongs to."""
    return session.exec(select(Organization.path).where(Organization.id == request.organization_id)).one()


@functools.cache
def _take_number(dialect: str, *, tells_owner: bool = False) -> Any:
    insert = sqlite.insert(NumberSequence) if dialect == "sqlite" else postgresql.insert(NumberSequence)
    count = sa.bindparam("count", type_=sa.Integer())
    owner = (
        sa.select(col(Project.organization_id))
        .where(col(Project.id) == sa.bindparam("project_id", type_=sa.Uuid()))
        .with_for_update(key_share=True, read=True)
        .scalar_subquery()
    )
    return (
        insert.values(prefix=sa.bindparam("prefix"), day=sa.bindparam("day"), last=count)
        .on_conflict_do_update(index_elements=["prefix", "day"], set_={"last": col(NumberSequence.last) + count})
        .returning(col(NumberSequence.last), *([owner] if tells_owner else []))
    )


def next_number(session: Session, prefix: str, day: str, *, count: int = 1) -> int:
    """Take the next `count` numbers of a series and return the last; two transactions never get the same."""
    values = {"prefix": prefix, "day": day, "count": count}
    taken = session.connection().execute(_take_number(session.get_bind().dialect.name), values)
    return int(taken.scalar_one())


def next_number_and_owner(session: Session, prefix: str, day: str, project_id: uuid.UUID) -> tuple[int, uuid.UUID]:
    """Take the next number as `next_number` does and, in the same statement, return whose the project is now.

    The project stays with that organization until the end of the transaction (PostgreSQL: its row is locked as its new
    request's foreign key would lock it a moment later).
    """
    values = {"prefix": prefix, "day": day, "count": 1, "project_id": project_id}
    taken = session.connection().execute(_take_number(session.get_bind().dialect.name, tells_owner=True), values)
    number, owner_id = taken.one()
    return int(number), owner_id


def still_owned(project_id: uuid.UUID, owner_id: uuid.UUID) -> tuple[str, Sequence[Any]]:
    """Return a statement, with its parameters, that fails unless the project is this organization's (PostgreSQL)."""
    return "SELECT 1 / (organization_id = %s)::int FROM projects WHERE id = %s", (owner_id, project_id)


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
    if inserts.is_collecting(session):
        inserts.add(
            session,
            RequestEvent(
                request_id=request_id,
                server_id=server_id,
                kind=kind,
                message=message.as_json(),
                data=data or {},
                dedupe=dedupe[:200],
            ),
        )
        return
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
    """Cancel the stages that nobody has decided on, and drop the change that nobody has answered."""
    session.execute(
        sa.update(RequestChange)
        .where(col(RequestChange.request_id) == request_id, col(RequestChange.state) == "proposed")
        .values(state="dropped", answered_at=clock.now())
        .execution_options(synchronize_session=False)
    )
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
    session: Session, *, grants: Sequence[tuple[str, str, uuid.UUID | None]], decider_id: uuid.UUID | None
) -> list[tuple[ResourceRequest, ApprovalStage, Project | None, Organization, User]]:
    """Return the requests of which a person with these grants (role, path, whose they are if not one's own) may decide now.

    Not their own, not those of whom they stand in for, not those that wait for the applicant, and none that they, or the
    person they stand in for, decided in an earlier stage.
    """
    if decider_id is None:
        return []
    place = sa.orm.aliased(Organization)
    busy = sa.select(col(Approval.decider_id)).where(
        col(Approval.request_id) == col(ResourceRequest.id),
        col(Approval.submission) == col(ResourceRequest.submission),
    )
    stood_for = busy.with_only_columns(col(Approval.on_behalf_of_id)).where(col(Approval.on_behalf_of_id).is_not(None))
    mine = [
        sa.and_(
            col(ApprovalSeat.role) == role,
            col(place.path).startswith(path, autoescape=True),
            *_lent(lender, busy, stood_for),
        )
        for role, path, lender in grants
    ]
    away = users.away(decider_id, clock.now())
    mine += [
        col(ApprovalSeat.person_id) == decider_id,
        sa.and_(
            col(ApprovalSeat.person_id).in_(away), col(ApprovalSeat.person_id) != col(ResourceRequest.requester_id)
        ),
    ]
    rows = session.execute(
        sa.select(ResourceRequest, ApprovalStage, Project, Organization, User)
        .join(ApprovalStage, col(ApprovalStage.request_id) == col(ResourceRequest.id))
        .join(ApprovalSeat, col(ApprovalSeat.stage_id) == col(ApprovalStage.id))
        .join(place, col(ApprovalSeat.organization_id) == col(place.id))
        .join(Project, col(ResourceRequest.project_id) == col(Project.id), isouter=True)
        .join(Organization, col(ResourceRequest.organization_id) == col(Organization.id))
        .join(User, col(ResourceRequest.requester_id) == col(User.id))
        .where(
            col(ApprovalStage.state) == "open",
            col(ResourceRequest.requester_id) != decider_id,
            sa.literal(decider_id).not_in(busy),
            ~sa.exists().where(col(Approval.seat_id) == col(ApprovalSeat.id)),
            ~sa.exists().where(
                col(RequestChange.request_id) == col(ResourceRequest.id), col(RequestChange.state) == "proposed"
            ),
            sa.or_(*mine),
        )
        .order_by(col(ResourceRequest.is_emergency).desc(), col(ApprovalStage.opened_at), col(ApprovalStage.id))
        .limit(WAITING)
    ).all()
    return list({row[1].id: (row[0], row[1], row[2], row[3], row[4]) for row in rows}.values())


def _lent(
    lender: uuid.UUID | None, deciders: sa.Select[uuid.UUID], stood_for: sa.Select[uuid.UUID | None]
) -> list[sa.ColumnElement[bool]]:
    """Return the further conditions of a grant that is somebody else's."""
    if lender is None:
        return []
    person = sa.literal(lender)
    return [col(ResourceRequest.requester_id) != lender, person.not_in(deciders), person.not_in(stood_for)]
