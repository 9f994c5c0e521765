"""Use cases of people: making them, changing them, locking them, and the change of one's own password.

The system administrator makes users without rights, the security administrator grants roles and unlocks
(services/roles.py), and neither touches the other: three administrators keep each other in check (三权分立).
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints
from sqlmodel import Session

from cloudmgr.adapters import crypto
from cloudmgr.domain import access, clock
from cloudmgr.domain.access import EXCLUSIVE_ROLES, LOCAL, Action, Actor, Role
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, WrongPassword
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_
from cloudmgr.models import Organization, User
from cloudmgr.services import audit, passwords
from cloudmgr.services.inputs import Id, Input, Moment, Phone, Text, formed, unset
from cloudmgr.services.sessions import (
    actor_for_session,
    authenticate,
    count_wrong_password,
    csrf_token,
    end_session,
    last_login,
)
from cloudmgr.services.usernames import username_key
from cloudmgr.settings import Settings
from cloudmgr.store import sessions, users
from cloudmgr.store.db import begin_immediate

__all__ = [
    "ChangePassword",
    "CreateUser",
    "UpdateUser",
    "UserFilter",
    "UserView",
    "actor_for_session",
    "authenticate",
    "change_password",
    "create_user",
    "csrf_token",
    "end_session",
    "get_own",
    "get_user",
    "last_login",
    "list_users",
    "lock_user",
    "place_of",
    "reset_password",
    "update_user",
]

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""`locked_until` of an account that a person locked: only a person unlocks it."""

_ADMIN_ROLES = frozenset({*EXCLUSIVE_ROLES, Role.DISTRICT_ADMIN, Role.QUOTA_ADMIN})


def _aware(moment: datetime) -> datetime:
    """Take a moment without a time zone as Asia/Shanghai, as people there mean it."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=clock.SHANGHAI)


AwareMoment = Annotated[Moment, AfterValidator(_aware)]
Username = Annotated[
    str,
    formed(
        r"^[A-Za-z][A-Za-z0-9._-]{1,63}$",
        N_("Begin with a letter and go on with letters, digits, dots, underscores and hyphens, 2 to 64 in all."),
    ),
]
DisplayName = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=passwords.MAX_LENGTH)]


class CreateUser(Input):
    """A new person without any right."""

    username: Username
    display_name: DisplayName
    organization: Id
    phone: Phone = ""
    expires_at: AwareMoment | None = None


class UpdateUser(Input):
    """What may change of a person. `locked` is the security administrator's, the rest the system administrator's."""

    display_name: DisplayName = unset()
    organization: Id = unset()
    phone: Phone = unset()
    expires_at: AwareMoment | None = None
    disabled: bool = unset()
    reset_password: bool = unset()
    locked: bool = unset()


class ChangePassword(Input):
    """A change of one's own password."""

    old_password: Secret
    new_password: Secret


class UserFilter(Input):
    """Which people a list shows."""

    organization: Id | None = None
    q: Text | None = Field(default=None, max_length=100)


@dataclass(frozen=True, slots=True)
class UserView:
    """A person as the actor may see them. `one_time_password` is set once, by the call that made it."""

    user: User
    organization: Organization
    roles: tuple[str, ...]
    shows_phone: bool
    one_time_password: str | None = None

    @property
    def is_locked(self) -> bool:
        """Whether nobody can log in to the account now."""
        return self.user.locked_until is not None and self.user.locked_until > clock.now()


def list_users(
    session: Session, actor: Actor, filters: UserFilter, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[UserView], uuid.UUID | None]:
    """Return a page of the people of the subtrees the actor may see, newest first.

    Raises:
        Forbidden: the actor may not list people anywhere.
        NotFound: the organization filtered by does not exist or may not be seen.
    """
    access.require(actor, Action.USER_READ)
    within = None
    if filters.organization is not None:
        found = _organization(session, actor, filters.organization, Action.USER_READ)
        within = found.path
    rows, following = users.page(
        session,
        paths=actor.scope(Action.USER_READ),
        organization_path=within,
        search=filters.q,
        limit=limit,
        cursor=cursor,
    )
    return [_view(actor, row) for row in rows], following


def get_user(session: Session, actor: Actor, user_id: uuid.UUID) -> UserView:
    """Return one person; everybody may see themselves.

    Raises:
        NotFound: there is none, or not in the actor's subtrees.
    """
    row = users.get(session, user_id)
    if row is None:
        raise _absent()
    if row.user.id != actor.user_id:
        access.require(actor, Action.USER_READ, row.organization.path, see=Action.USER_READ)
    return _view(actor, row)


def get_own(session: Session, actor: Actor) -> UserView:
    """Return the actor's own person.

    Raises:
        NotFound: the actor is at the command line and no person here.
    """
    row = users.get(session, actor.user_id) if actor.user_id else None
    if row is None:
        raise _absent()
    return _view(actor, row)


def place_of(session: Session, actor: Actor) -> Organization:
    """Return the organization the actor belongs to.

    Raises:
        NotFound: the actor is at the command line and belongs to none.
    """
    found = users.organization(session, actor.organization_id) if actor.organization_id else None
    if found is None:
        raise NotFound(N_("There is no such organization."))
    return found


def create_user(session: Session, actor: Actor, command: CreateUser) -> UserView:
    """Add a person with a random one-time password, which the answer shows once, and no rights at all.

    Raises:
        NotFound: the organization does not exist or may not be seen.
        Forbidden: the actor may not make users there.
        Conflict: the name was given before; names are never used again.
        InvalidInput: the expiry is past.
    """
    place = _organization(session, actor, command.organization, Action.USER_WRITE)
    _check_expiry(command.expires_at)
    key = username_key(command.username)
    if users.by_key(session, key) is not None:
        raise Conflict(
            N_("The user name {username} was given before; choose another."),
            field="username",
            username=command.username,
        )
    password = passwords.one_time_password()
    user = User(
        username=command.username,
        username_key=key,
        display_name=command.display_name,
        organization_id=place.id,
        phone=command.phone,
        password_hash=crypto.hash_password(password),
        password_set_at=clock.now(),
        must_change_password=True,
        expires_at=command.expires_at,
    )
    session.add(user)
    session.flush()
    _record(session, actor, Event.USER_CREATE, user, place)
    return UserView(user, place, (), shows_phone=True, one_time_password=password)


def update_user(session: Session, actor: Actor, user_id: uuid.UUID, command: UpdateUser) -> UserView:
    """Change a person. Disabling, expiry and a new password end the person's sessions and tokens at once.

    Raises:
        NotFound: no such person in the actor's subtrees.
        Forbidden: a field is not the actor's to change, or the person is another administrator or the actor.
        Conflict: nothing was asked for.
    """
    changes = command.changes()
    row = _seen(session, actor, user_id, lock=True)
    if not changes:
        raise InvalidInput(N_("Name at least one field to change."))
    own = {"locked": changes.pop("locked")} if "locked" in changes else {}
    if own:
        _unlock_or_lock(session, actor, row, is_locked=own["locked"])
    if not changes:
        return _view(actor, users.get(session, user_id) or row)
    access.require(actor, Action.USER_WRITE, row.organization.path, see=Action.USER_READ)
    if changes.keys() & {"disabled", "expires_at", "reset_password"}:
        _check_not_administrator(session, actor, row.user)
    password = (
        reset_password(session, actor, row.user, row.organization) if changes.pop("reset_password", False) else None
    )
    place = _apply(session, actor, row, changes)
    view = _view(actor, users.get(session, user_id) or row)
    return UserView(view.user, place, view.roles, view.shows_phone, password)


def _apply(session: Session, actor: Actor, row: users.UserRow, changes: dict[str, Any]) -> Organization:
    user, place = row.user, row.organization
    if "organization" in changes:
        place = _organization(session, actor, changes.pop("organization"), Action.USER_WRITE)
        user.organization_id = place.id
    if "expires_at" in changes:
        _check_expiry(changes["expires_at"])
    for field, value in changes.items():
        setattr(user, field, value)
    session.add(user)
    session.flush()
    if user.disabled:
        sessions.end_all(session, user.id, clock.now())
    told = {name: value for name, value in changes.items() if name in {"disabled", "display_name"}}
    _record(session, actor, Event.USER_UPDATE, user, place, changed=sorted(changes), **told)
    return place


def reset_password(session: Session, actor: Actor, user: User, place: Organization) -> str:
    """Give a person a random one-time password and end their sessions. The caller has authorised it."""
    password = passwords.one_time_password()
    user.password_hash = crypto.hash_password(password)
    user.password_set_at = clock.now()
    user.must_change_password = True
    session.add(user)
    session.flush()
    sessions.end_all(session, user.id, clock.now())
    _record(session, actor, Event.PASSWORD_CHANGE, user, place, reset=True)
    return password


def lock_user(session: Session, actor: Actor, user_id: uuid.UUID, *, is_locked: bool) -> UserView:
    """Lock an account until somebody unlocks it, or unlock it and forget its failed logins.

    Raises:
        NotFound: no such person in the actor's subtrees.
        Forbidden: only the security administrator may.
    """
    row = _seen(session, actor, user_id, lock=True)
    _unlock_or_lock(session, actor, row, is_locked=is_locked)
    return _view(actor, users.get(session, user_id) or row)


def _unlock_or_lock(session: Session, actor: Actor, row: users.UserRow, *, is_locked: bool) -> None:
    access.require(actor, Action.ROLE_WRITE, row.organization.path, see=Action.USER_READ)
    user = row.user
    if is_locked and user.id == actor.user_id:
        raise Forbidden(N_("Nobody locks their own account."))
    user.locked_until = FOREVER if is_locked else None
    user.failed_logins = 0
    session.add(user)
    session.flush()
    if is_locked:
        sessions.end_all(session, user.id, clock.now())
    _record(session, actor, Event.USER_LOCK if is_locked else Event.USER_UNLOCK, user, row.organization)


def change_password(session: Session, actor: Actor, command: ChangePassword, settings: Settings) -> None:
    """Set one's own password; the other sessions and tokens of the account end, this one goes on.

    Call it in a transaction that has not begun to write: the old password is checked before the write lock is taken. A
    refusal's count of wrong old passwords must be committed (`keeps_writes`).

    Raises:
        WrongPassword: the old one is wrong; it counts like a failed login.
        InvalidInput: the new one is weak, or is the old one.
    """
    row = users.get(session, actor.user_id) if actor.user_id else None
    if row is None:
        raise Forbidden(N_("Only a person who logged in has a password to change."))
    is_right = crypto.verify_password(row.user.password_hash, command.old_password)
    checked = row.user.password_hash
    begin_immediate(session)
    row = users.get(session, row.user.id, lock=True)
    if row is None or not is_right or row.user.password_hash != checked:
        raise _wrong_password(session, actor, row, settings)
    user = row.user
    if command.new_password == command.old_password:
        raise InvalidInput(N_("The new password is the old one. Choose another."), field="new_password")
    passwords.check_strength(
        command.new_password,
        username=user.username,
        is_admin=any(role in _ADMIN_ROLES for role in row.roles),
        rules=settings.security,
    )
    user.password_hash = crypto.hash_password(command.new_password)
    user.password_set_at = clock.now()
    user.must_change_password = False
    user.failed_logins = 0
    session.add(user)
    session.flush()
    sessions.end_all(session, user.id, clock.now(), but=actor.session_id)
    _record(session, actor, Event.PASSWORD_CHANGE, user, row.organization)


def _wrong_password(session: Session, actor: Actor, row: users.UserRow | None, settings: Settings) -> WrongPassword:
    if row is not None:
        now, rules = clock.now(), settings.security
        until = now + timedelta(minutes=rules.lock_minutes)
        if rules.rate_limits and count_wrong_password(session, row.user, rules.lock_after_failures, until, now):
            sessions.end_all(session, row.user.id, now)  # whoever guesses here came by a session
            _record(session, actor, Event.USER_LOCK, row.user, row.organization, reason="too_many_failures")
        _record(
            session,
            actor,
            Event.PASSWORD_CHANGE,
            row.user,
            row.organization,
            outcome=Outcome.FAILURE,
            reason=WrongPassword.code,
        )
    return WrongPassword(N_("The old password is wrong."), field="old_password")


def _seen(session: Session, actor: Actor, user_id: uuid.UUID, *, lock: bool) -> users.UserRow:
    row = users.get(session, user_id, lock=lock)
    if row is None:
        raise _absent()
    access.require(actor, Action.USER_READ, row.organization.path, see=Action.USER_READ)
    return row


def _organization(session: Session, actor: Actor, organization_id: uuid.UUID, action: Action) -> Organization:
    found = users.organization(session, organization_id)
    if found is None:
        raise NotFound(N_("There is no such organization."), field="organization")
    access.require(actor, action, found.path, see=Action.ORGANIZATION_READ)
    return found


def _check_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= clock.now():
        raise InvalidInput(N_("The end date is in the past."), field="expires_at")


def _check_not_administrator(session: Session, actor: Actor, user: User) -> None:
    """Refuse where one administrator would take over or shut out another, or oneself."""
    if actor.username.startswith(LOCAL):
        return
    if user.id == actor.user_id:
        raise Forbidden(N_("Nobody disables or resets their own account; another administrator does it."))
    if users.exclusive_role(session, user.id) is not None:
        raise Forbidden(
            N_(
                "The three administrators do not shut each other out. It is done at the server's own command line: `cloudmgr user`."
            )
        )


def _view(actor: Actor, row: users.UserRow) -> UserView:
    shows = row.user.id == actor.user_id or actor.may(Action.USER_WRITE, row.organization.path)
    return UserView(row.user, row.organization, row.roles, shows_phone=shows)


def _absent() -> NotFound:
    return NotFound(N_("There is no such user."))


def _record(session: Session, actor: Actor, event: Event, user: User, place: Organization, **more: Any) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="user",
        object_id=user.id,
        object_name=user.username,
        organization_path=place.path,
        **more,
    )
