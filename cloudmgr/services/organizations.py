"""Use cases of organizations: the tree of who owns what. Each has its quota account; deleting is not among them."""

import uuid
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import DISTRICT_KINDS, OrganizationKind
from cloudmgr.models import Organization
from cloudmgr.services import audit
from cloudmgr.services.changes import set_changed
from cloudmgr.services.inputs import Closed, Id, Input, Name, Text, formed, unset
from cloudmgr.services.uscc import check_uscc
from cloudmgr.store import organizations
from cloudmgr.store.unique import add_unique

MAX_DEPTH = 14
"""Levels of the tree; its quota tree has one more for projects, and every charge walks to the root."""

OrganizationCode = Annotated[
    str,
    formed(
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        N_(
            "Begin with a letter or a digit and go on with letters, digits, dots, underscores and hyphens, 64 in all at most."
        ),
    ),
]
NameEn = Annotated[Text, StringConstraints(max_length=200)]


class CreateOrganization(Input):
    """A new organization below `parent`; only `init` and `apply` make one without."""

    code: OrganizationCode
    name: Name
    name_en: NameEn = ""
    kind: Annotated[OrganizationKind, Closed] = OrganizationKind.DEPARTMENT
    parent: Id | None = None
    uscc: Text | None = None
    administered_by: Id | None = None


class UpdateOrganization(Input):
    """What may change of an organization. Its code and its place in the tree stay: records name them."""

    name: Name = unset()
    name_en: NameEn = unset()
    uscc: Text | None = None
    administered_by: Id | None = None
    is_active: bool = unset()


class OrganizationFilter(Input):
    """Which organizations a list shows."""

    parent: Id | None = None
    code: OrganizationCode | None = None
    kind: Annotated[OrganizationKind, Closed] | None = None
    q: Text | None = Field(default=None, max_length=100)


@dataclass(frozen=True, slots=True)
class OrganizationView:
    """An organization with those it refers to."""

    organization: Organization
    parent: Organization | None
    administered_by: Organization | None


def list_organizations(
    session: Session, actor: Actor, filters: OrganizationFilter, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[OrganizationView], uuid.UUID | None]:
    """Return a page of the organizations the actor may see, and the cursor of the next one."""
    access.require(actor, Action.ORGANIZATION_READ)
    rows, following = organizations.listed(
        session,
        actor.scope(Action.ORGANIZATION_READ),
        parent_id=filters.parent,
        code=filters.code,
        kind=filters.kind,
        search=filters.q,
        limit=limit,
        after=cursor,
    )
    return [OrganizationView(*row) for row in rows], following


def get_organization(session: Session, actor: Actor, organization_id: uuid.UUID) -> OrganizationView:
    """Return one organization.

    Raises:
        NotFound: there is none, or it is outside the actor's subtrees.
    """
    row = organizations.get_row(session, organization_id)
    if row is None:
        raise _absent()
    access.require(actor, Action.ORGANIZATION_READ, row[0].path, see=Action.ORGANIZATION_READ)
    return OrganizationView(*row)


def create_organization(session: Session, actor: Actor, command: CreateOrganization) -> OrganizationView:
    """Add an organization and its quota account under its parent's.

    Raises:
        NotFound: the parent does not exist or may not be seen.
        InvalidInput: the USCC is wrong, or the tree would be too deep.
        Conflict: the code is taken, the parent is closed, or there is a root already.
    """
    parent = _parent_for(session, actor, command)
    if parent is not None:
        quotas.lock_tree(session, parent.account_id)  # it may be moving: the new path follows from where it is now
        session.refresh(parent)
    uscc = check_uscc(command.uscc)
    organization_id = new_id()
    path = f"{parent.path if parent else '/'}{organization_id}/"
    if path.count("/") - 1 > MAX_DEPTH:
        raise InvalidInput(N_("The tree may be at most {most} levels deep."), field="parent", most=MAX_DEPTH)
    account_id = new_id()
    if organizations.by_code(session, command.code) is not None:
        raise _code_taken(command.code)
    quotas.create_account(
        session,
        account_id=account_id,
        parent_id=parent.account_id if parent else None,
        code=command.code,
        name=command.name,
    )
    organization = Organization(
        id=organization_id,
        code=command.code,
        name=command.name,
        name_en=command.name_en,
        kind=command.kind.value,
        parent_id=command.parent,
        path=path,
        district_id=_district_of(organization_id, command.kind, parent),
        account_id=account_id,
        uscc=uscc,
        administered_by_id=_administrator(session, actor, command.administered_by, organization_id),
    )
    if not add_unique(session, organization):
        raise _code_taken(command.code)
    audit.record(
        session,
        actor,
        Event.ORGANIZATION_CREATE,
        object_type="organization",
        object_id=organization.id,
        object_name=organization.name,
        organization_path=path,
        code=organization.code,
        kind=organization.kind,
        parent=parent.code if parent else None,
    )
    return get_organization(session, actor, organization.id)


def update_organization(
    session: Session, actor: Actor, organization_id: uuid.UUID, command: UpdateOrganization
) -> OrganizationView:
    """Change what was given of an organization; nothing given changes nothing and is not recorded.

    Raises:
        NotFound, Forbidden: as for reading and by role.
        Conflict: it is to be closed while something below it still stands.
        InvalidInput: the USCC is wrong, or it would administer itself.
    """
    organization = get_organization(session, actor, organization_id).organization
    access.require(actor, Action.ORGANIZATION_WRITE, organization.path, see=Action.ORGANIZATION_READ)
    wanted = command.changes()
    if "uscc" in wanted:
        wanted["uscc"] = check_uscc(wanted["uscc"])
    if "administered_by" in wanted:
        wanted["administered_by_id"] = _administrator(session, actor, wanted.pop("administered_by"), organization.id)
    if wanted.get("is_active") is False and organization.is_active:
        _require_empty(session, organization)
    changed = set_changed(session, organization, wanted)
    if not changed:
        return get_organization(session, actor, organization_id)
    if "name" in changed.after:
        quotas.rename_account(session, organization.account_id, name=organization.name)
    audit.record(
        session,
        actor,
        Event.ORGANIZATION_UPDATE,
        object_type="organization",
        object_id=organization.id,
        object_name=organization.name,
        organization_path=organization.path,
        before=changed.before,
        after=changed.after,
    )
    return get_organization(session, actor, organization_id)


def recode_organization(
    session: Session, actor: Actor, organization: Organization, *, code: str, kind: OrganizationKind
) -> None:
    """Give the provisional root of an installation its real code and kind; for `apply` only."""
    changed = set_changed(session, organization, {"code": code, "kind": kind.value})
    quotas.rename_account(session, organization.account_id, code=code)
    audit.record(
        session,
        actor,
        Event.ORGANIZATION_UPDATE,
        object_type="organization",
        object_id=organization.id,
        object_name=organization.name,
        organization_path=organization.path,
        before=changed.before,
        after=changed.after,
    )


def _parent_for(session: Session, actor: Actor, command: CreateOrganization) -> Organization | None:
    if command.parent is None:
        if not actor.is_local:
            raise InvalidInput(N_("Name the organization above the new one."), field="parent")
        if organizations.root(session) is not None:
            raise Conflict(N_("There is a root organization already; name a parent."), field="parent")
        return None
    parent = organizations.get(session, command.parent)
    if parent is None or not actor.may(Action.ORGANIZATION_READ, parent.path):
        raise InvalidInput(N_("There is no such organization."), field="parent")
    access.require(actor, Action.ORGANIZATION_WRITE, parent.path, see=Action.ORGANIZATION_READ)
    if not parent.is_active:
        raise Conflict(N_("{organization} is closed; nothing can be added below it."), organization=parent.name)
    return parent


def _district_of(organization_id: uuid.UUID, kind: OrganizationKind, parent: Organization | None) -> uuid.UUID | None:
    if kind in DISTRICT_KINDS:
        return organization_id
    return parent.district_id if parent else None


def _administrator(
    session: Session, actor: Actor, administrator_id: uuid.UUID | None, organization_id: uuid.UUID
) -> uuid.UUID | None:
    if administrator_id is None:
        return None
    if administrator_id == organization_id:
        raise InvalidInput(N_("An organization cannot be administered by itself."), field="administered_by")
    administrator = organizations.get(session, administrator_id)
    if administrator is None or not actor.may(Action.ORGANIZATION_READ, administrator.path):
        raise InvalidInput(N_("There is no such organization."), field="administered_by")
    return administrator.id


def _require_empty(session: Session, organization: Organization) -> None:
    below, servers = organizations.standing_dependants(session, organization)
    if below or servers:
        raise Conflict(
            N_(
                "{organization} still has {below} active organizations below it and {servers} servers; "
                "close and retire those first."
            ),
            organization=organization.name,
            below=below,
            servers=servers,
        )


def _code_taken(code: str) -> Conflict:
    return Conflict(N_("The code {code} is taken by another organization."), field="code", code=code)


def _absent() -> NotFound:
    return NotFound(N_("There is no such organization."))
