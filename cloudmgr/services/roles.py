"""Use cases of roles: who may do what on which organization's subtree. Only the security administrator grants."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from cloudmgr.domain import access, clock
from cloudmgr.domain.access import EXCLUSIVE_ROLES, Action, Actor, Role
from cloudmgr.domain.errors import Conflict, ExclusiveRole, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Organization, RoleGrant, User
from cloudmgr.services import audit
from cloudmgr.services.inputs import Closed, Id, Input
from cloudmgr.services.users import AwareMoment
from cloudmgr.store import users


class GrantRole(Input):
    """A role on an organization and everything below it, until an end if one is given."""

    role: Annotated[Role, Closed]
    organization: Id
    valid_until: AwareMoment | None = None


class ChangeRole(Input):
    """A standing grant, and what becomes of it: another end, or `revoked`."""

    role: Annotated[Role, Closed]
    organization: Id
    valid_until: AwareMoment | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant with the organization it is on."""

    grant: RoleGrant
    organization: Organization


def list_roles(session: Session, actor: Actor, user_id: uuid.UUID) -> list[GrantView]:
    """Return a person's unrevoked grants, expired ones included; everybody may see their own.

    Raises:
        NotFound: no such person in the actor's subtrees.
    """
    row = users.get(session, user_id)
    if row is None:
        raise NotFound(N_("There is no such user."))
    if user_id != actor.user_id:
        access.require(actor, Action.USER_READ, row.organization.path, see=Action.USER_READ)
    return [GrantView(found.grant, found.organization) for found in users.grants(session, user_id)]


def grant_role(session: Session, actor: Actor, user_id: uuid.UUID, command: GrantRole) -> GrantView:
    """Grant a role. The database itself refuses a second of the three administrators' roles.

    Raises:
        NotFound: no such person or organization in the actor's subtrees.
        Forbidden: the actor may not grant there, or the person is the actor.
        ExclusiveRole: the person holds another of the three.
        Conflict: the grant stands already.
        InvalidInput: the end is past.
    """
    user, place = _seen(session, actor, user_id, command.organization)
    _check_end(command.valid_until)
    if users.standing_grant(session, user.id, command.role, place.id) is not None:
        raise Conflict(N_("{name} has this role there already."), name=user.display_name, field="role")
    held = users.exclusive_role(session, user.id) if command.role in EXCLUSIVE_ROLES else None
    if held is not None:
        raise _exclusive()
    grant = RoleGrant(
        user_id=user.id,
        role=command.role.value,
        organization_id=place.id,
        valid_until=command.valid_until,
        granted_by=actor.username,
    )
    session.add(grant)
    try:
        session.flush()
    except IntegrityError as error:  # two grants at the same time: the index knows
        raise (
            _exclusive()
            if command.role in EXCLUSIVE_ROLES
            else Conflict(N_("{name} has this role there already."), name=user.display_name, field="role")
        ) from error
    view = GrantView(grant, place)
    _record(session, actor, Event.ROLE_GRANT, view, user)
    return view


def change_role(session: Session, actor: Actor, user_id: uuid.UUID, command: ChangeRole) -> GrantView:
    """Give a standing grant another end, or revoke it; the holder's sessions feel it at their next request.

    Raises:
        NotFound: no such person, organization or grant.
        Forbidden: the actor may not grant there, or the person is the actor.
        InvalidInput: neither or both were asked for, or the end is past.
    """
    user, place = _seen(session, actor, user_id, command.organization)
    grant = users.standing_grant(session, user.id, command.role, place.id)
    if grant is None:
        raise NotFound(N_("{name} does not have this role there."), name=user.display_name, field="role")
    given = command.changes()
    if command.revoked == ("valid_until" in given):
        raise InvalidInput(N_("Ask for either another end (valid_until) or revoked: true."), field="revoked")
    if command.revoked:
        grant.revoked_at, grant.revoked_by = clock.now(), actor.username
    else:
        _check_end(command.valid_until)
        grant.valid_until = command.valid_until
    session.add(grant)
    session.flush()
    view = GrantView(grant, place)
    _record(session, actor, Event.ROLE_REVOKE if command.revoked else Event.ROLE_GRANT, view, user)
    return view


def revoke_role(
    session: Session, actor: Actor, user_id: uuid.UUID, role: Role, organization_id: uuid.UUID
) -> GrantView:
    """Revoke a standing grant. Raises like `change_role`."""
    return change_role(session, actor, user_id, ChangeRole(role=role, organization=organization_id, revoked=True))


def _seen(session: Session, actor: Actor, user_id: uuid.UUID, organization_id: uuid.UUID) -> tuple[User, Organization]:
    row = users.get(session, user_id)
    if row is None:
        raise NotFound(N_("There is no such user."))
    access.require(actor, Action.ROLE_WRITE, row.organization.path, see=Action.USER_READ)
    place = users.organization(session, organization_id)
    if place is None:
        raise NotFound(N_("There is no such organization."), field="organization")
    access.require(actor, Action.ROLE_WRITE, place.path, see=Action.ORGANIZATION_READ)
    if user_id == actor.user_id:
        raise Forbidden(N_("Nobody changes their own roles."))
    return row.user, place


def _check_end(valid_until: datetime | None) -> None:
    if valid_until is not None and valid_until <= clock.now():
        raise InvalidInput(N_("The end date is in the past."), field="valid_until")


def _exclusive() -> ExclusiveRole:
    return ExclusiveRole(
        N_(
            "One person holds at most one of system administrator, security administrator and audit administrator. "
            "Revoke the other role first, or choose another person."
        ),
        field="role",
    )


def _record(session: Session, actor: Actor, event: Event, view: GrantView, user: User) -> None:
    grant, place = view.grant, view.organization
    audit.record(
        session,
        actor,
        event,
        object_type="user",
        object_id=user.id,
        object_name=user.username,
        organization_path=place.path,
        role=grant.role,
        organization=place.name,
        valid_until=grant.valid_until.isoformat() if grant.valid_until else None,
    )
