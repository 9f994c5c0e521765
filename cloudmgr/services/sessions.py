"""Logging in, being recognised, logging out. Failures are counted per account and per address, in the database."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlmodel import Session

from cloudmgr.adapters import crypto
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import BadCredentials, Locked, NotAuthenticated, SessionEnded
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_
from cloudmgr.models import User, UserSession
from cloudmgr.services import audit
from cloudmgr.services.usernames import username_key
from cloudmgr.settings import Settings
from cloudmgr.store import sessions, users
from cloudmgr.store.db import begin_immediate

Kind = Literal["console", "token"]

_HOLDER = "cloudmgr.holder"
"""Kept with the transaction: who asks for the person's row again gets it without asking the database."""
_TOUCH_EVERY = timedelta(minutes=1)
_SOURCES_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LastLogin:
    """When and from where somebody logged in before (GB/T 31168-2023 8.12: tell it at each login)."""

    at: datetime
    source: str


def authenticate(
    session: Session,
    settings: Settings,
    username: str,
    password: str,
    source: str,
    kind: Kind,
    *,
    request_id: str = "",
) -> tuple[User, str, UserSession]:
    """Check a name and password; return the user, a fresh secret (kept nowhere) and the new session.

    The password is checked before SQLite's write lock is taken, so call it in a transaction that has not begun to write.
    The answer and the time it takes are the same for an unknown user. A refusal's writes (counters, locks, audit) must be
    committed: `Refusal.keeps_writes`.

    Raises:
        BadCredentials: unknown user, wrong password, disabled or expired account; never says which.
        Locked: too many failures of this account or address; the right password does not help.
    """
    attempt = _Attempt(session, settings, username_key(username), source, request_id, clock.now())
    seen = users.by_key(session, attempt.key)
    is_right = not attempt.is_locked(seen) and crypto.verify_password(seen.password_hash if seen else None, password)
    begin_immediate(session)
    user = users.by_key(session, attempt.key, lock=True)
    if attempt.is_locked(user):  # also one that was locked while we hashed: parallel guesses are counted one by one
        attempt.record(user, Outcome.DENIED, Locked.code)
        raise Locked(
            N_(
                "Too many failed logins. Try again in {minutes} minutes, or ask the security administrator to unlock the account."
            ),
            minutes=settings.security.lock_minutes,
        )
    if user is None or not is_right or seen is None or user.password_hash != seen.password_hash:
        attempt.count_failure(user)
        raise _bad_credentials()
    reason = _unusable(user, attempt.at)
    if reason:
        attempt.record(user, Outcome.DENIED, reason)
        raise _bad_credentials()
    return attempt.succeed(user, password, kind)


def _bad_credentials() -> BadCredentials:
    return BadCredentials(N_("The user name or the password is wrong."))


def _unusable(user: User, at: datetime) -> str:
    if user.disabled:
        return "disabled"
    if user.expires_at is not None and user.expires_at <= at:
        return "expired"
    return ""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One login being judged."""

    session: Session
    settings: Settings
    key: str
    source: str
    request_id: str
    at: datetime

    @property
    def _name_source(self) -> str:
        """Where failures of a name that is nobody's are counted, so that it locks like any other."""
        return f"name:{crypto.digest(self.key)[:40]}"

    def is_locked(self, user: User | None) -> bool:
        if user is not None and user.locked_until is not None and user.locked_until > self.at:
            return True
        if not self.settings.security.rate_limits:
            return False
        names = [self.source] if user is not None else [self.source, self._name_source]
        rows = [sessions.source(self.session, name) for name in names]
        return any(row is not None and row.locked_until is not None and row.locked_until > self.at for row in rows)

    def count_failure(self, user: User | None) -> None:
        """Count a wrong password for the account (or the unknown name) and for the address; lock what is over its limit."""
        rules = self.settings.security
        self.record(user, Outcome.FAILURE, BadCredentials.code)
        if not rules.rate_limits:
            return
        window = timedelta(minutes=rules.lock_minutes)
        until = self.at + window
        if user is not None:
            if count_wrong_password(self.session, user, rules.lock_after_failures, until, self.at):
                self.record(user, Outcome.SUCCESS, "too_many_failures", Event.USER_LOCK)
        elif self._count(self._name_source, window) >= rules.lock_after_failures:
            sessions.lock_source(self.session, self._name_source, until)
        if self._count(self.source, window) >= rules.source_lock_after_failures:
            sessions.lock_source(self.session, self.source, until)
            self.record(None, Outcome.SUCCESS, "too_many_failures_from_source", Event.USER_LOCK)
        sessions.forget_sources(self.session, self.at - _SOURCES_KEPT)

    def _count(self, name: str, window: timedelta) -> int:
        return sessions.count_failure(self.session, name, self.at, forget_before=self.at - window)

    def succeed(self, user: User, password: str, kind: Kind) -> tuple[User, str, UserSession]:
        user.failed_logins = 0
        user.locked_until = None
        user.last_login_at = self.at
        user.last_login_source = self.source
        if crypto.is_outdated(user.password_hash):
            user.password_hash = crypto.hash_password(password)
        secret, made = _open(self.session, self.settings, user, source=self.source, kind=kind, at=self.at)
        self.record(user, Outcome.SUCCESS, "", session_id=made.id)
        return user, secret, made

    def record(
        self,
        user: User | None,
        outcome: Outcome,
        reason: str,
        event: Event = Event.LOGIN,
        session_id: uuid.UUID | None = None,
    ) -> None:
        """Audit the attempt. What was typed as an unknown name is not kept: it may be somebody's password."""
        organization = users.organization(self.session, user.organization_id) if user else None
        who = Actor(
            user_id=user.id if user else None,
            username=user.username if user else "-",
            display_name="",
            organization_id=user.organization_id if user else None,
            organization_path=organization.path if organization else "/",
            source=self.source,
            request_id=self.request_id,
            session_id=session_id,
        )
        audit.record(
            self.session,
            who,
            event,
            object_type="user" if user else "source",
            object_id=user.id if user else self.source,
            object_name=user.username if user else "",
            outcome=outcome,
            reason=reason,
        )


def count_wrong_password(session: Session, user: User, limit: int, until: datetime, at: datetime) -> bool:
    """Count one wrong password on a user row that the transaction holds; return whether it locked the account."""
    if user.locked_until is not None and user.locked_until <= at:
        user.failed_logins, user.locked_until = 0, None
    user.failed_logins += 1
    locks = user.failed_logins >= limit
    if locks:
        user.locked_until = until
    session.add(user)
    session.flush()
    return locks


def _open(
    session: Session, settings: Settings, user: User, *, source: str, kind: Kind, at: datetime
) -> tuple[str, UserSession]:
    rules = settings.security
    hours = rules.session_absolute_hours if kind == "console" else rules.token_hours
    secret = crypto.new_token()
    made = UserSession(
        user_id=user.id,
        kind=kind,
        token_hash=crypto.digest(secret),
        csrf_token=crypto.new_token() if kind == "console" else "",
        expires_at=at + timedelta(hours=hours),
        last_seen_at=at,
        source=source,
    )
    session.add(made)
    session.flush()
    return secret, made


def actor_for_session(
    session: Session, settings: Settings, secret: str, source: str, request_id: str, *, notes_use: bool = True
) -> Actor:
    """Return who holds this cookie or token, with the grants that hold now.

    Notes its use at most once a minute, unless `notes_use` is False: then it writes nothing but a session's end.

    A console session ends after `session_idle_minutes` without use and `session_absolute_hours` in all; a token at its
    end. Disabling or expiry of the account is honoured at once. The note must be committed by the caller.

    Raises:
        SessionEnded: it was valid once (its end is written and audited: `keeps_writes`).
        NotAuthenticated: unknown, logged out, or of an account that may not be used.
    """
    holder = sessions.by_token_hash(session, crypto.digest(secret))
    if holder is None or holder.session.ended_at is not None:
        raise NotAuthenticated(N_("Please log in."))
    session.info[_HOLDER] = holder
    now = clock.now()
    actor = _actor(session, settings, holder, source=source, request_id=request_id, now=now)
    if _unusable(holder.user, now):
        raise NotAuthenticated(N_("Please log in."))
    idle_limit = timedelta(minutes=settings.security.session_idle_minutes)
    has_idled = holder.session.kind == "console" and now - holder.session.last_seen_at > idle_limit
    if has_idled or now >= holder.session.expires_at:
        _end(session, actor, holder.session, Event.SESSION_EXPIRED, at=now, reason="idle" if has_idled else "expired")
        raise SessionEnded(N_("Your session has ended. Please log in again."))
    if (
        notes_use and holder.session.last_seen_at < now - _TOUCH_EVERY
    ):  # asked first: an UPDATE takes SQLite's write lock
        sessions.touch(session, holder.session.id, now, older_than=now - _TOUCH_EVERY)
    return actor


def _actor(
    session: Session, settings: Settings, holder: sessions.Holder, *, source: str, request_id: str, now: datetime
) -> Actor:
    user = holder.user
    password_age = now - user.password_set_at
    return Actor(
        user_id=user.id,
        username=user.username,
        display_name=user.display_name,
        organization_id=user.organization_id,
        organization_path=holder.organization_path,
        grants=users.grants_now(session, user.id, now),
        source=source,
        request_id=request_id,
        session_id=holder.session.id,
        must_change_password=user.must_change_password
        or password_age > timedelta(days=settings.security.password_max_days),
        language=user.language,
    )


def csrf_token(session: Session, actor: Actor) -> str:
    """Return the token that every form of a console session carries; empty for API tokens, which need none."""
    found = session.get(UserSession, actor.session_id) if actor.session_id else None
    return found.csrf_token if found else ""


def end_session(session: Session, actor: Actor) -> None:
    """Log out: end the session or token the actor came with. Twice is once."""
    found = session.get(UserSession, actor.session_id) if actor.session_id else None
    if found is not None and found.ended_at is None:
        _end(session, actor, found, Event.LOGOUT, at=clock.now())


def _end(session: Session, actor: Actor, found: UserSession, event: Event, *, at: datetime, reason: str = "") -> None:
    found.ended_at = at
    session.add(found)
    audit.record(
        session, actor, event, object_type="session", object_id=found.id, object_name=actor.username, reason=reason
    )


def last_login(session: Session, actor_id: uuid.UUID, session_id: uuid.UUID) -> LastLogin | None:
    """Return the login before the given session, None at the first."""
    found = sessions.previous(session, actor_id, session_id)
    return LastLogin(found.created_at, found.source) if found else None
