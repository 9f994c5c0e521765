"""`cloudmgr user`: people and roles, at the server's own command line: for the first day and for a lost password."""

from datetime import datetime
from typing import Annotated, Any

import typer
from sqlmodel import Session

from cloudmgr.cli_support import CommandFailed, place_of, show_json, show_table, transaction
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Organization
from cloudmgr.services import roles, users
from cloudmgr.services.roles import GrantRole, GrantView
from cloudmgr.services.usernames import username_key
from cloudmgr.services.users import CreateUser, UserFilter
from cloudmgr.store import organizations
from cloudmgr.store import users as store
from cloudmgr.store.users import UserRow

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

Username = Annotated[str, typer.Argument(help="Login name.")]
OrganizationCode = Annotated[str, typer.Option("--organization", "-o", help="Code of the organization, e.g. 430102.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Until = Annotated[datetime | None, typer.Option(help="Last day, in Asia/Shanghai.", formats=["%Y-%m-%d"])]
_PAGE = 200


@app.callback()
def user() -> None:
    """Add and lock people, grant and revoke roles. Works on the database, audited as local:<unix user>."""


@app.command(epilog="Example: cloudmgr user add wangfang --name 王芳 -o 430102 --role requester")
def add(
    ctx: typer.Context,
    username: Username,
    organization: OrganizationCode,
    name: Annotated[str, typer.Option(help="Name of the person.")],
    phone: Annotated[str, typer.Option(help="Phone number.")] = "",
    role: Annotated[list[Role] | None, typer.Option(help="A role on the organization; may be given again.")] = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Add a person; the one-time password is shown once. Roles end with the day given by --until."""
    place = place_of(ctx)
    with transaction(place, event=Event.USER_CREATE, object_name=username) as (session, actor):
        where = _organization(session, organization)
        command = CreateUser(
            username=username, display_name=name, organization=where.id, phone=phone, expires_at=_end(until)
        )
        made = users.create_user(session, actor, command)
        for each in role or []:
            _grant(session, actor, made.user.id, each, where, until)
    password = made.one_time_password or ""
    if as_json:
        show_json({"id": made.user.id, "username": username, "one_time_password": password})
        return
    place.say(
        N_("{username} was added. One-time password, shown once: {password}"), username=username, password=password
    )


@app.command(epilog="Example: cloudmgr user passwd sysadmin")
def passwd(ctx: typer.Context, username: Username, as_json: AsJson = False) -> None:
    """Give a person a new one-time password and end their sessions; unlocks the account as well."""
    place = place_of(ctx)
    with transaction(place, event=Event.PASSWORD_CHANGE, object_name=username) as (session, actor):
        row = _person(session, username)
        password = users.reset_password(session, actor, row.user, row.organization)
        users.lock_user(session, actor, row.user.id, is_locked=False)
    if as_json:
        show_json({"username": username, "one_time_password": password})
        return
    place.say(N_("One-time password of {username}, shown once: {password}"), username=username, password=password)


@app.command(epilog="Example: cloudmgr user lock wangfang   # and --off to unlock")
def lock(
    ctx: typer.Context,
    username: Username,
    off: Annotated[bool, typer.Option("--off", help="Unlock, and forget failed logins.")] = False,
) -> None:
    """Lock an account at once, its sessions and tokens included, until somebody unlocks it."""
    place = place_of(ctx)
    event = Event.USER_UNLOCK if off else Event.USER_LOCK
    with transaction(place, event=event, object_name=username) as (session, actor):
        users.lock_user(session, actor, _person(session, username).user.id, is_locked=not off)
    if off:
        place.say(N_("{username} is unlocked."), username=username)
    else:
        place.say(N_("{username} is locked."), username=username)


@app.command(epilog="Example: cloudmgr user grant wangfang district_admin -o 430102 --until 2027-06-30")
def grant(
    ctx: typer.Context, username: Username, role: Role, organization: OrganizationCode, until: Until = None
) -> None:
    """Grant a role on an organization and everything below it."""
    place = place_of(ctx)
    with transaction(place, event=Event.ROLE_GRANT, object_name=username) as (session, actor):
        row, where = _person(session, username), _organization(session, organization)
        _grant(session, actor, row.user.id, role, where, until)
    place.say(
        N_("{username} is {role} of {organization}."), username=username, role=role.value, organization=where.name
    )


@app.command(epilog="Example: cloudmgr user revoke wangfang district_admin -o 430102")
def revoke(ctx: typer.Context, username: Username, role: Role, organization: OrganizationCode) -> None:
    """Revoke a role; open sessions feel it at their next request."""
    place = place_of(ctx)
    with transaction(place, event=Event.ROLE_REVOKE, object_name=username) as (session, actor):
        row, where = _person(session, username), _organization(session, organization)
        roles.revoke_role(session, actor, row.user.id, role, where.id)
    place.say(
        N_("{username} is no longer {role} of {organization}."),
        username=username,
        role=role.value,
        organization=where.name,
    )


@app.command("list", epilog="Example: cloudmgr user list -o 430102 --json")
def list_people(
    ctx: typer.Context,
    organization: Annotated[str, typer.Option("--organization", "-o", help="Only this organization's subtree.")] = "",
    as_json: AsJson = False,
) -> None:
    """List people with their roles."""
    place = place_of(ctx)
    with transaction(place, commit=False) as (session, actor):
        where = _organization(session, organization).id if organization else None
        people = [_told(session, actor, view) for view in _everybody(session, actor, where)]
    if as_json:
        show_json(people)
        return
    rows = [
        (
            each["username"],
            each["display_name"],
            each["organization"]["code"],
            ", ".join(f"{found['role']}@{found['organization']}" for found in each["roles"]),
            place.translate(_state(each)),
            each["last_login_at"],
        )
        for each in people
    ]
    headings = (N_("user"), N_("name"), N_("organization"), N_("roles"), N_("state"), N_("last login"))
    show_table(rows, [place.translate(heading) for heading in headings])


def _everybody(session: Session, actor: Actor, where: Any) -> list[users.UserView]:
    found: list[users.UserView] = []
    cursor = None
    while True:
        page, cursor = users.list_users(session, actor, UserFilter(organization=where), limit=_PAGE, cursor=cursor)
        found += page
        if cursor is None:
            return found


def _told(session: Session, actor: Actor, view: users.UserView) -> dict[str, Any]:
    return {
        "id": view.user.id,
        "username": view.user.username,
        "display_name": view.user.display_name,
        "organization": {"code": view.organization.code, "name": view.organization.name},
        "roles": [_role(each) for each in roles.list_roles(session, actor, view.user.id)],
        "disabled": view.user.disabled,
        "locked": view.is_locked,
        "must_change_password": view.user.must_change_password,
        "expires_at": _told_moment(view.user.expires_at),
        "last_login_at": _told_moment(view.user.last_login_at),
    }


def _role(view: GrantView) -> dict[str, Any]:
    return {
        "role": view.grant.role,
        "organization": view.organization.code,
        "valid_until": _told_moment(view.grant.valid_until),
    }


def _told_moment(moment: datetime | None) -> str | None:
    return moment.astimezone(clock.SHANGHAI).isoformat(timespec="seconds") if moment else None


def _state(person: dict[str, Any]) -> str:
    if person["disabled"]:
        return N_("disabled")
    return N_("locked") if person["locked"] else N_("active")


def _grant(
    session: Session, actor: Actor, user_id: Any, role: Role, where: Organization, until: datetime | None
) -> None:
    roles.grant_role(session, actor, user_id, GrantRole(role=role, organization=where.id, valid_until=_end(until)))


def _end(until: datetime | None) -> datetime | None:
    return clock.end_of_day(until.date()) if until else None


def _person(session: Session, username: str) -> UserRow:
    user = store.by_key(session, username_key(username))
    row = store.get(session, user.id) if user else None
    if row is None:
        raise CommandFailed(N_("There is no user called {username}."), username=username)
    return row


def _organization(session: Session, code: str) -> Organization:
    found = organizations.by_code(session, code)
    if found is None:
        raise CommandFailed(N_("There is no organization with the code {code}."), code=code)
    return found
