"""Where a quota account stands in the tree of organizations, who sees it, and who may change it. Changes nothing.

Who may change limits: QUOTA_WRITE anywhere in the granted subtree, the granted organization itself included; QUOTA_SPLIT
(a district administrator) only strictly below the granted organization, never one's own limit.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

import quotas
from cloudmgr.domain import access
from cloudmgr.domain.access import ROLE_ACTIONS, Action, Actor
from cloudmgr.domain.errors import Forbidden, Hidden, InvalidInput, NotFound
from cloudmgr.domain.messages import N_
from cloudmgr.store import organizations, projects


@dataclass(frozen=True, slots=True)
class Place:
    """Where an account stands; a project's path is its organization's with the project's id behind it."""

    kind: str
    owner_id: uuid.UUID
    name: str
    organization_path: str
    path: str


def visible_place(session: Session, actor: Actor, account_id: uuid.UUID) -> Place:
    """Return where an account stands.

    Raises:
        NotFound: there is none, or it is neither below nor above the actor.
    """
    access.require(actor, Action.QUOTA_READ)
    place = places_of(session, [account_id]).get(account_id)
    if place is None:
        raise _absent()
    if not is_visible(actor.scope(Action.QUOTA_READ), place):
        raise Hidden(N_("There is no such quota account."), detail=f"{actor.username} is neither above nor below it")
    return place


def is_visible(scope: Sequence[str], place: Place) -> bool:
    """Whether a place is in the subtrees at these paths, or on the way to one."""
    return any(place.path.startswith(path) or path.startswith(place.path) for path in scope)


def may_set(actor: Actor, place: Place) -> bool:
    """Whether the actor may set the limits there."""
    if actor.may(Action.QUOTA_WRITE, place.organization_path):
        return True
    return any(
        Action.QUOTA_SPLIT in ROLE_ACTIONS[grant.role]
        and place.path.startswith(grant.path)
        and place.path != grant.path
        for grant in actor.grants
    )


def may_rearrange(actor: Actor, place: Place) -> bool:
    """Whether the actor may change what stands right below a place: it lies in a subtree whose quota they administer."""
    return any(actor.may(action, place.path) for action in (Action.QUOTA_WRITE, Action.QUOTA_SPLIT))


def require_may_set(actor: Actor, place: Place) -> None:
    """Refuse unless the actor may set the limits there.

    Raises:
        Forbidden: with words whom to ask.
    """
    if may_set(actor, place):
        return
    if actor.may(Action.QUOTA_SPLIT, place.organization_path):
        raise Forbidden(
            N_("Nobody sets the limits of the organization they administer; ask the level above for {name}."),
            name=place.name,
        )
    raise Forbidden(
        N_(
            "Your roles do not allow setting the limits of {name}; ask its administrator or the city's quota administrator."
        ),
        name=place.name,
    )


def places_of(session: Session, account_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Place]:
    """Return the places of those accounts that belong to an organization or a project."""
    places: dict[uuid.UUID, Place] = {}
    for organization in organizations.by_accounts(session, account_ids):
        places[organization.account_id] = Place(
            "organization", organization.id, organization.name, organization.path, organization.path
        )
    for project, organization in projects.by_accounts(session, account_ids):
        path = f"{organization.path}{project.id}/"
        places[project.account_id] = Place("project", project.id, project.name, organization.path, path)
    return places


def account_of_code(session: Session, actor: Actor, code: str, *, field: str) -> uuid.UUID:
    """Return the account with a code that the actor may see.

    Raises:
        InvalidInput: there is none, or more than one; `field` says in which field.
    """
    if not code:
        raise InvalidInput(N_("Give the code of an account."), field=field)
    found = [account_id for account_id, _ in quotas.accounts_by_code(session, [code]).get(code, [])]
    scope = actor.scope(Action.QUOTA_READ)
    seen = [account_id for account_id, place in places_of(session, found).items() if is_visible(scope, place)]
    if not seen:
        raise InvalidInput(N_("There is no quota account {code}."), field=field, code=code)
    if len(seen) > 1:
        raise InvalidInput(N_("More than one account has the code {code}."), field=field, code=code)
    return seen[0]


def _absent() -> NotFound:
    return NotFound(N_("There is no such quota account."))
