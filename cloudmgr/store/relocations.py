"""SQL about organizations and projects that come to stand elsewhere in the tree. Decides nothing; quota is not its matter."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.phases import DISTRICT_KINDS
from cloudmgr.models import (
    Backend,
    Organization,
    PortOpening,
    Project,
    ResourceRequest,
    Server,
    ServerVersion,
)
from cloudmgr.store import servers
from cloudmgr.store.imports import add_versions
from cloudmgr.store.paging import batched
from cloudmgr.store.standstill import OF_A_PROJECT


def hang_organization(session: Session, organization: Organization, parent: Organization) -> list[Organization]:
    """Put an organization with all below it under another parent; return those whose path changed, itself first.

    Paths and districts of the whole subtree follow. The caller has made sure that the parent is not below it.
    """
    old = organization.path
    subtree = session.exec(
        select(Organization)
        .where(col(Organization.path).startswith(old, autoescape=True))
        .order_by(sa.func.length(Organization.path), col(Organization.code))
    ).all()
    organization.parent_id = parent.id
    districts = {parent.id: parent.district_id}
    for each in subtree:
        each.path = f"{parent.path}{organization.id}/{each.path.removeprefix(old)}"
        above = districts[each.parent_id] if each.parent_id else None
        each.district_id = each.id if each.kind in DISTRICT_KINDS else above
        districts[each.id] = each.district_id
        session.add(each)
    session.flush()
    return list(subtree)


def hand_over_project(session: Session, project: Project, organization: Organization) -> None:
    """Give a project, with everything that belongs to it, to another organization."""
    project.organization_id = organization.id
    session.add(project)
    session.flush()
    for table in OF_A_PROJECT:
        session.execute(
            sa.update(table).where(col(table.project_id) == project.id).values(organization_id=organization.id)
        )
    openings = col(PortOpening.server_id).in_(sa.select(col(Server.id)).where(col(Server.project_id) == project.id))
    session.execute(sa.update(PortOpening).where(openings).values(organization_id=organization.id))


def projects_of(session: Session, organization_id: uuid.UUID) -> list[Project]:
    """Return the projects right at an organization, by name."""
    return list(
        session.exec(select(Project).where(Project.organization_id == organization_id).order_by(col(Project.name)))
    )


def children_of(session: Session, organization_id: uuid.UUID) -> list[Organization]:
    """Return the organizations right below one, by code."""
    return list(
        session.exec(
            select(Organization).where(Organization.parent_id == organization_id).order_by(col(Organization.code))
        )
    )


def hand_over_backends(session: Session, owner_id: uuid.UUID, to_id: uuid.UUID) -> None:
    """Make another organization the owner of all backends that one owns."""
    session.execute(
        sa.update(Backend).where(col(Backend.owner_organization_id) == owner_id).values(owner_organization_id=to_id)
    )


def remember(session: Session, project_ids: Sequence[uuid.UUID], *, actor: str, change: str) -> int:
    """Append a version of every standing server of these projects: whose it is, is part of what the inventory shows."""
    session.flush()
    session.expire_all()
    at, count = clock.now(), 0
    numbers: dict[uuid.UUID, str] = {}
    for some in batched(project_ids):
        rows = servers.standing(session, some)
        wanted = {row[0].request_id for row in rows} | {row[0].retire_request_id for row in rows}
        for ids in batched(sorted({each for each in wanted if each} - numbers.keys(), key=str)):
            pairs = session.exec(
                select(ResourceRequest.id, ResourceRequest.number).where(col(ResourceRequest.id).in_(ids))
            )
            numbers |= {request_id: number or "" for request_id, number in pairs}
        add_versions(
            session,
            [
                ServerVersion(
                    server_id=row[0].id,
                    at=at,
                    actor=actor,
                    change=change,
                    snapshot=servers.snapshot_of(
                        row,
                        session.get(Organization, row[2].district_id) if row[2].district_id else None,
                        request_no=numbers.get(row[0].request_id),
                        release_no=numbers.get(row[0].retire_request_id) if row[0].retire_request_id else None,
                    ),
                )
                for row in rows
            ],
        )
        count += len(rows)
    return count


def projects_below(session: Session, path: str) -> list[uuid.UUID]:
    """Return the ids of all projects in the subtree at a path."""
    return list(
        session.exec(
            select(Project.id)
            .join(Organization, col(Organization.id) == col(Project.organization_id))
            .where(col(Organization.path).startswith(path, autoescape=True))
        )
    )
