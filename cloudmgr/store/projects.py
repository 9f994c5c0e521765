"""SQL about projects and the public keys put on their servers."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.phases import LIVE_SERVERS
from cloudmgr.models import Organization, Project, ProjectSshKey, Server
from cloudmgr.store.paging import batched, below, oldest_first

Row = tuple[Project, Organization]

_JOINED = select(Project, Organization).join(Organization, col(Project.organization_id) == col(Organization.id))


def get(session: Session, project_id: uuid.UUID) -> Project | None:
    """Return one project."""
    return session.get(Project, project_id)


def keep_place(session: Session, project_id: uuid.UUID) -> None:
    """Let no move give the project to another organization until the end of the transaction (PostgreSQL)."""
    session.exec(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True, read=True)).first()


def get_row(session: Session, project_id: uuid.UUID) -> Row | None:
    """Return one project with its organization."""
    found = session.exec(_JOINED.where(Project.id == project_id)).first()
    return (found[0], found[1]) if found else None


def by_name(session: Session, organization_id: uuid.UUID, name: str) -> Project | None:
    """Return an organization's project of a name."""
    return session.exec(select(Project).where(Project.organization_id == organization_id, Project.name == name)).first()


def by_account(session: Session, account_id: uuid.UUID) -> Row | None:
    """Return the project of a quota account with its organization."""
    found = session.exec(_JOINED.where(Project.account_id == account_id)).first()
    return (found[0], found[1]) if found else None


def by_accounts(session: Session, account_ids: Sequence[uuid.UUID]) -> list[Row]:
    """Return the projects of some quota accounts with their organizations."""
    return [
        (found[0], found[1])
        for some in batched(account_ids)
        for found in session.exec(_JOINED.where(col(Project.account_id).in_(some)))
    ]


def listed(
    session: Session,
    scope: Sequence[str],
    *,
    organization_id: uuid.UUID | None = None,
    search: str | None = None,
    limit: int,
    after: uuid.UUID | None = None,
) -> tuple[list[Row], uuid.UUID | None]:
    """Return a page of the projects in the given subtrees, oldest first."""
    statement = _JOINED.where(below(col(Organization.path), scope))
    if organization_id is not None:
        statement = statement.where(Project.organization_id == organization_id)
    if search:
        statement = statement.where(
            sa.or_(
                col(Project.name).contains(search, autoescape=True),
                col(Project.system_code).contains(search, autoescape=True),
            )
        )
    return oldest_first(session, statement, col(Project.id), limit=limit, cursor=after)


def live_servers(session: Session, project_id: uuid.UUID) -> int:
    """Count a project's servers that are not retired."""
    return session.exec(
        select(sa.func.count())
        .select_from(Server)
        .where(Server.project_id == project_id, col(Server.phase).in_([phase.value for phase in LIVE_SERVERS]))
    ).one()


def ssh_keys(session: Session, project_id: uuid.UUID) -> list[ProjectSshKey]:
    """Return a project's public keys, oldest first."""
    statement = select(ProjectSshKey).where(ProjectSshKey.project_id == project_id)
    return list(session.exec(statement.order_by(col(ProjectSshKey.id))))


def ssh_key(session: Session, project_id: uuid.UUID, key_id: uuid.UUID) -> ProjectSshKey | None:
    """Return one key of a project."""
    return session.exec(
        select(ProjectSshKey).where(ProjectSshKey.project_id == project_id, ProjectSshKey.id == key_id)
    ).first()


def remove_ssh_key(session: Session, key: ProjectSshKey) -> None:
    """Take a key away."""
    session.delete(key)
    session.flush()
