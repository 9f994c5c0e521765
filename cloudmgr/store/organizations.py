"""SQL about organizations."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from cloudmgr.domain.phases import LIVE_SERVERS
from cloudmgr.models import Organization, Project, Server
from cloudmgr.store.paging import batched, below, oldest_first

Row = tuple[Organization, Organization | None, Organization | None]
"""An organization, its parent, and who administers it."""

_parent = aliased(Organization, name="parent")
_administrator = aliased(Organization, name="administrator")
_JOINED = (
    select(Organization, _parent, _administrator)
    .join(_parent, col(Organization.parent_id) == _parent.id, isouter=True)
    .join(_administrator, col(Organization.administered_by_id) == _administrator.id, isouter=True)
)


def get(session: Session, organization_id: uuid.UUID) -> Organization | None:
    """Return one organization."""
    return session.get(Organization, organization_id)


def get_row(session: Session, organization_id: uuid.UUID) -> Row | None:
    """Return one organization with those it refers to."""
    found = session.exec(_JOINED.where(Organization.id == organization_id)).first()
    return (found[0], found[1], found[2]) if found else None


def by_code(session: Session, code: str) -> Organization | None:
    """Return the organization with a code."""
    return session.exec(select(Organization).where(Organization.code == code)).first()


def by_name(session: Session, name: str, parent_id: uuid.UUID | None = None) -> list[Organization]:
    """Return the organizations of a name, everywhere or under one parent."""
    statement = select(Organization).where(Organization.name == name)
    if parent_id is not None:
        statement = statement.where(Organization.parent_id == parent_id)
    return list(session.exec(statement.order_by(col(Organization.id))))


def by_account(session: Session, account_id: uuid.UUID) -> Organization | None:
    """Return the organization of a quota account."""
    return session.exec(select(Organization).where(Organization.account_id == account_id)).first()


def by_accounts(session: Session, account_ids: Sequence[uuid.UUID]) -> list[Organization]:
    """Return the organizations of some quota accounts."""
    return [
        found
        for some in batched(account_ids)
        for found in session.exec(select(Organization).where(col(Organization.account_id).in_(some)))
    ]


def root(session: Session) -> Organization | None:
    """Return the root of the tree."""
    return session.exec(select(Organization).where(col(Organization.parent_id).is_(None))).first()


def paths(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the paths of some organizations."""
    return dict(session.exec(select(Organization.id, Organization.path).where(col(Organization.id).in_(ids))).all())


def codes_of(session: Session, ids: Sequence[uuid.UUID]) -> list[str]:
    """Return the codes of organizations."""
    return list(session.exec(select(Organization.code).where(col(Organization.id).in_(ids))))


def listed(
    session: Session,
    scope: Sequence[str],
    *,
    parent_id: uuid.UUID | None = None,
    code: str | None = None,
    kind: str | None = None,
    search: str | None = None,
    limit: int,
    after: uuid.UUID | None = None,
) -> tuple[list[Row], uuid.UUID | None]:
    """Return a page of the organizations in the given subtrees, oldest first."""
    statement = _JOINED.where(below(col(Organization.path), scope))
    if parent_id is not None:
        statement = statement.where(Organization.parent_id == parent_id)
    if code is not None:
        statement = statement.where(Organization.code == code)
    if kind is not None:
        statement = statement.where(Organization.kind == kind)
    if search:
        statement = statement.where(
            sa.or_(
                col(Organization.name).contains(search, autoescape=True),
                col(Organization.code).contains(search, autoescape=True),
            )
        )
    return oldest_first(session, statement, col(Organization.id), limit=limit, cursor=after)


def everything(session: Session) -> list[Organization]:
    """Return the whole tree, parents before children: for `apply`, which resolves names against it."""
    return list(session.exec(select(Organization).order_by(sa.func.length(Organization.path), col(Organization.code))))


def standing_dependants(session: Session, organization: Organization) -> tuple[int, int]:
    """Count active organizations below one and servers not yet retired in its subtree."""
    beneath = session.exec(
        select(sa.func.count())
        .select_from(Organization)
        .where(
            col(Organization.path).startswith(organization.path, autoescape=True),
            Organization.id != organization.id,
            col(Organization.is_active),
        )
    ).one()
    servers = session.exec(
        select(sa.func.count())
        .select_from(Server)
        .join(Project, col(Server.project_id) == col(Project.id))
        .join(Organization, col(Project.organization_id) == col(Organization.id))
        .where(
            col(Organization.path).startswith(organization.path, autoescape=True),
            col(Server.phase).in_([phase.value for phase in LIVE_SERVERS]),
        )
    ).one()
    return beneath, servers
