"""People and their roles."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.masking import mask_phone
from cloudmgr.http.deps import ActorDep, AnyActorDep, PageDep, SessionDep, SettingsDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import roles, users
from cloudmgr.services.roles import ChangeRole, GrantRole, GrantView
from cloudmgr.services.users import ChangePassword, CreateUser, UpdateUser, UserFilter, UserView

router = api_router("/users", "users")


class UserShape(Shape):
    """A person. `phone` is masked for readers who do not administer people."""

    id: UUID
    username: str = Field(examples=["frq-req1"])
    display_name: str = Field(examples=["王芳"])
    organization: UUID
    organization_name: str = Field(examples=["芙蓉区民政局"])
    phone: str = Field(examples=["138****0000"])
    expires_at: datetime | None
    disabled: bool
    locked: bool
    must_change_password: bool
    last_login_at: datetime | None
    roles: list[str] = Field(examples=[["requester"]])
    created_at: At


class NewPasswordShape(UserShape):
    """A person with a password that is shown this once."""

    one_time_password: str | None = Field(default=None, description="Shown once, to be changed at the first login.")


class RoleShape(Shape):
    """A role on an organization's subtree."""

    id: UUID
    role: str = Field(examples=["requester"])
    organization: UUID
    organization_name: str = Field(examples=["芙蓉区"])
    valid_until: datetime | None
    granted_by: str
    created_at: At
    revoked_at: datetime | None


def _shape(view: UserView) -> NewPasswordShape:
    user = view.user
    return NewPasswordShape(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        organization=view.organization.id,
        organization_name=view.organization.name,
        phone=user.phone if view.shows_phone else mask_phone(user.phone),
        expires_at=user.expires_at,
        disabled=user.disabled,
        locked=view.is_locked,
        must_change_password=user.must_change_password,
        last_login_at=user.last_login_at,
        roles=list(view.roles),
        created_at=user.created_at,
        one_time_password=view.one_time_password,
    )


def _role_shape(view: GrantView) -> RoleShape:
    grant = view.grant
    return RoleShape(
        id=grant.id,
        role=grant.role,
        organization=view.organization.id,
        organization_name=view.organization.name,
        valid_until=grant.valid_until,
        granted_by=grant.granted_by,
        created_at=grant.created_at,
        revoked_at=grant.revoked_at,
    )


@router.get("", response_model=ItemPage[UserShape], openapi_extra=rule(Action.USER_READ, object_type="user"))
def list_users(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    organization: Annotated[UUID | None, Query(description="Only people of this organization's subtree.")] = None,
    q: Annotated[str | None, Query(max_length=100, description="Part of a login or display name.")] = None,
) -> ItemPage[UserShape]:
    """List the people of the subtrees you may see, newest first."""
    filters = UserFilter(organization=organization, q=q)
    views, following = users.list_users(session, actor, filters, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=NewPasswordShape,
    openapi_extra=rule(Action.USER_WRITE, event=Event.USER_CREATE, object_type="user"),
)
def create_user(command: CreateUser, actor: ActorDep, session: SessionDep) -> NewPasswordShape:
    """Make a person without rights; the answer shows a one-time password once. Roles are the security administrator's."""
    return _shape(users.create_user(session, actor, command))


@router.get("/me", response_model=UserShape, openapi_extra=rule("person"))
def read_me(actor: AnyActorDep, session: SessionDep) -> UserShape:
    """Tell about yourself."""
    return _shape(users.get_own(session, actor))


@router.put(
    "/me/password",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule("person", event=Event.PASSWORD_CHANGE, object_type="user", transaction="late"),
)
def change_password(
    command: ChangePassword, actor: AnyActorDep, session: SessionDep, settings: SettingsDep
) -> Response:
    """Change your own password; your other sessions and tokens end."""
    users.change_password(session, actor, command, settings)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get("/{user_id}", response_model=UserShape, openapi_extra=rule(Action.USER_READ, object_type="user"))
def read_user(user_id: UUID, actor: ActorDep, session: SessionDep) -> UserShape:
    """Tell about one person."""
    return _shape(users.get_user(session, actor, user_id))


@router.patch(
    "/{user_id}",
    response_model=NewPasswordShape,
    openapi_extra=rule(Action.USER_READ, event=Event.USER_UPDATE, object_type="user"),
)
def update_user(user_id: UUID, command: UpdateUser, actor: ActorDep, session: SessionDep) -> NewPasswordShape:
    """Change a person. `locked` is for the security administrator, everything else for the system administrator."""
    return _shape(users.update_user(session, actor, user_id, command))


@router.get(
    "/{user_id}/roles", response_model=ItemPage[RoleShape], openapi_extra=rule(Action.USER_READ, object_type="user")
)
def list_roles(user_id: UUID, actor: ActorDep, session: SessionDep) -> ItemPage[RoleShape]:
    """List a person's roles, those past their end included."""
    return ItemPage(items=[_role_shape(view) for view in roles.list_roles(session, actor, user_id)])


@router.post(
    "/{user_id}/roles",
    status_code=status.HTTP_201_CREATED,
    response_model=RoleShape,
    openapi_extra=rule(Action.ROLE_WRITE, event=Event.ROLE_GRANT, object_type="user"),
)
def grant_role(user_id: UUID, command: GrantRole, actor: ActorDep, session: SessionDep) -> RoleShape:
    """Grant a role on an organization's subtree. One person never holds two of the three administrators' roles."""
    return _role_shape(roles.grant_role(session, actor, user_id, command))


@router.patch(
    "/{user_id}/roles",
    response_model=RoleShape,
    openapi_extra=rule(Action.ROLE_WRITE, event=Event.ROLE_REVOKE, object_type="user"),
)
def change_role(user_id: UUID, command: ChangeRole, actor: ActorDep, session: SessionDep) -> RoleShape:
    """Give a role another end, or revoke it (`"revoked": true`)."""
    return _role_shape(roles.change_role(session, actor, user_id, command))
