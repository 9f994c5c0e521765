"""People: the list, new accounts (system administrator), roles and unlocking (security administrator)."""

import uuid
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action, Role
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import organizations, roles, users
from cloudmgr.services.organizations import OrganizationFilter
from cloudmgr.services.roles import ChangeRole, GrantRole
from cloudmgr.services.users import CreateUser, UpdateUser, UserFilter, UserView
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form, text_of
from web.lists import PAGE, cursor_of, every, pages

router = page_router()

_NEW = ("username", "display_name", "organization", "phone")
_GRANT = ("role", "organization", "valid_until")


@router.get("/users", openapi_extra=rule(Action.USER_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the people the reader may see."""
    return _List(desk, request).page(Form(), 200)


@router.post(
    "/users", openapi_extra=rule(Action.USER_WRITE, event=Event.USER_CREATE, object_type="user", remembers=False)
)
def create(request: Request, desk: DeskDep, sent: FormDep) -> Response:
    """Make an account without rights; its one-time password is shown on this answer and nowhere else."""
    values = texts(sent)
    sheet = _List(desk, request)
    try:
        wanted = command(CreateUser, text_of(values, *_NEW))
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, _NEW)
    desk.on_refusal(sheet.page, values, _NEW)
    made = users.create_user(desk.session, desk.actor, wanted)
    return _List(desk, request).page(Form(), 201, one_time=(made.user.username, made.one_time_password or ""))


@router.get("/users/{user_id}", openapi_extra=rule(Action.USER_READ))
def show(desk: DeskDep, user_id: uuid.UUID) -> Response:
    """Show one person with their roles."""
    return _Person(desk, user_id).page(Form(), 200)


@router.post(
    "/users/{user_id}",
    openapi_extra=rule(Action.USER_WRITE, event=Event.USER_UPDATE, object_type="user", remembers=False),
)
def update(desk: DeskDep, user_id: uuid.UUID, sent: FormDep) -> Response:
    """Disable or enable an account."""
    desk.on_refusal(_Person(desk, user_id).page, {}, ())
    wanted = UpdateUser(disabled=texts(sent).get("disabled") == "1")
    users.update_user(desk.session, desk.actor, user_id, wanted)
    return go(f"/users/{user_id}", done="saved")


@router.post(
    "/users/{user_id}/unlock",
    openapi_extra=rule(Action.ROLE_WRITE, event=Event.USER_UNLOCK, object_type="user", remembers=False),
)
def unlock(desk: DeskDep, user_id: uuid.UUID) -> Response:
    """Let a locked account in again."""
    desk.on_refusal(_Person(desk, user_id).page, {}, ())
    users.lock_user(desk.session, desk.actor, user_id, is_locked=False)
    return go(f"/users/{user_id}", done="unlocked")


@router.post(
    "/users/{user_id}/roles",
    openapi_extra=rule(Action.ROLE_WRITE, event=Event.ROLE_GRANT, object_type="user", remembers=False),
)
def change_roles(desk: DeskDep, user_id: uuid.UUID, sent: FormDep) -> Response:
    """Grant or revoke a role."""
    values = texts(sent)
    sheet = _Person(desk, user_id)
    payload: dict[str, Any] = dict(text_of(values, *_GRANT))
    if "valid_until" in payload:
        payload["valid_until"] = f"{payload['valid_until']}T23:59:59+08:00"
    try:
        if values.get("revoke"):
            revoked = command(ChangeRole, {**payload, "revoked": True})
            desk.on_refusal(sheet.page, values, _GRANT)
            roles.change_role(desk.session, desk.actor, user_id, revoked)
            return go(f"/users/{user_id}", done="revoked")
        granted = command(GrantRole, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, _GRANT)
    desk.on_refusal(sheet.page, values, _GRANT)
    roles.grant_role(desk.session, desk.actor, user_id, granted)
    return go(f"/users/{user_id}", done="granted")


class _List:
    """The list with the form for a new account."""

    def __init__(self, desk: Desk, request: Request) -> None:
        rows, following = users.list_users(
            desk.session, desk.actor, UserFilter(), limit=PAGE, cursor=cursor_of(request)
        )
        self._desk = desk
        self._lines = [_line(desk, view) for view in rows]
        self._may_write = desk.may(Action.USER_WRITE)
        self._organizations = _organizations(desk) if self._may_write else []
        self._pages = pages(request, {}, following)

    def page(self, form: Form, status: int, *, one_time: tuple[str, str] | None = None) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/users.html",
            status,
            lines=self._lines,
            may_write=self._may_write,
            organizations=self._organizations,
            form=form,
            one_time=one_time,
            **self._pages,
        )


class _Person:
    """The page of one person."""

    def __init__(self, desk: Desk, user_id: uuid.UUID) -> None:
        view = users.get_user(desk.session, desk.actor, user_id)
        path = view.organization.path
        self._desk = desk
        self._may_grant = desk.may(Action.ROLE_WRITE, path) and user_id != desk.actor.user_id
        self._may_write = desk.may(Action.USER_WRITE, path) and user_id != desk.actor.user_id
        self._person = {
            **_line(desk, view),
            "phone": view.user.phone if view.shows_phone else "",
            "expires_at": view.user.expires_at,
            "disabled": view.user.disabled,
            "is_locked": view.is_locked,
            "grants": [
                {
                    "role": each.grant.role,
                    "organization": each.organization.name,
                    "organization_id": str(each.organization.id),
                    "valid_until": each.grant.valid_until,
                }
                for each in roles.list_roles(desk.session, desk.actor, user_id)
            ],
        }
        self._organizations = _organizations(desk) if self._may_grant else []

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/user.html",
            status,
            person=self._person,
            may_grant=self._may_grant,
            may_unlock=self._may_grant,
            may_write=self._may_write,
            roles=[(role, self._desk.words.label("role", role)) for role in Role],
            organizations=self._organizations,
            form=form,
        )


def _line(desk: Desk, view: UserView) -> dict[str, Any]:
    user = view.user
    state, tone = (N_("Usable"), "ok")
    if user.disabled:
        state, tone = N_("Disabled"), "neutral"
    elif view.is_locked:
        state, tone = N_("Locked"), "bad"
    return {
        "id": user.id,
        "username": user.username,
        "display_name": user.display_name,
        "organization": view.organization.name,
        "roles": list(view.roles),
        "last_login_at": user.last_login_at,
        "state": desk.words.translate(state),
        "tone": tone,
    }


def _organizations(desk: Desk) -> list[tuple[str, str]]:
    rows = every(
        lambda at: organizations.list_organizations(
            desk.session, desk.actor, OrganizationFilter(), limit=200, cursor=at
        )
    )
    shown = [(str(view.organization.id), f"{view.organization.code} {view.organization.name}") for view in rows]
    return sorted(shown, key=lambda pair: pair[1])
