"""What an endpoint may ask for: the session of its transaction, who acts, settings, a page of a list.

One request is one transaction. A read's is rolled back; a change's begins with SQLite's write lock, commits before the
answer is sent (`scope="function"`), and rolls back on any error but a refusal that must keep its counters.
"""

import base64
import binascii
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import InvalidInput, NotAuthenticated, PasswordExpired, Refusal
from cloudmgr.domain.messages import N_
from cloudmgr.http import csrf
from cloudmgr.http.context import context_of, engine_of, settings_of
from cloudmgr.http.sessions import bearer_of, secret_of
from cloudmgr.services import policy, sessions
from cloudmgr.settings import Settings
from cloudmgr.store.db import begin_immediate, new_session

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_LIMIT, DEFAULT_LIMIT = 200, 50


def get_settings(request: Request) -> Settings:
    """Return the settings the application was created with."""
    return settings_of(request)


def transaction_of(request: Request) -> str:
    """Return `read`, `write` or `late` (a change that takes the write lock itself, later): the route's rule, else by method."""
    extra = getattr(request.scope.get("route"), "openapi_extra", None) or {}
    return str(extra.get("x-transaction") or ("read" if request.method in SAFE_METHODS else "write"))


def get_session(request: Request) -> Iterator[Session]:
    """Yield the session of this request's one transaction."""
    kind = transaction_of(request)
    with policy.attach(new_session(engine_of(request)), settings_of(request)) as session:
        request.state.session = session
        try:
            if kind == "write":
                begin_immediate(session)
            if _asks_who(request.scope.get("route")):
                context_of(request).actor = _who(request, session, kind)
            yield session
        except Refusal as refusal:
            if refusal.keeps_writes:
                session.commit()
            else:
                session.rollback()
            raise
        except BaseException:
            session.rollback()
            raise
        if kind == "read":
            session.rollback()
        else:
            session.commit()
        context_of(request).is_committed = True


def open_session(request: Request) -> Session:
    """Return a session outside the request's transaction, for reads that must answer when everything else waits."""
    return policy.attach(new_session(engine_of(request)), settings_of(request))


SettingsDep = Annotated[Settings, Depends(get_settings)]
SessionDep = Annotated[Session, Depends(get_session, scope="function")]

_bearer = HTTPBearer(auto_error=False, description="The token that POST /api/v1/sessions returns.")


def _asks_who(route: Any) -> bool:
    """Whether an endpoint wants to know who acts: then the session's own step finds out, as each step costs a thread's time."""
    if not isinstance(route, APIRoute):
        return False
    found: bool | None = route.__dict__.get("asks_who")
    if found is None:
        found = route.__dict__["asks_who"] = _reaches(route.dependant)
    return found


def _reaches(dependant: Dependant) -> bool:
    return any(inner.call is get_any_actor or _reaches(inner) for inner in dependant.dependencies)


def _who(request: Request, session: Session, kind: str) -> Actor:
    secret = secret_of(request)
    if not secret:
        raise NotAuthenticated(N_("Please log in."))
    context = context_of(request)
    actor = sessions.actor_for_session(session, settings_of(request), secret, context.source, context.request_id)
    if kind != "write":
        session.commit()  # the note of last use stands, whatever becomes of the rest
    return actor


async def get_any_actor(
    request: Request,
    session: SessionDep,
    sent_csrf: Annotated[str, Depends(csrf.sent_token)],
    _shown_in_openapi: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None,
) -> Actor:
    """Return who acts, even one who must change the password first.

    Raises:
        NotAuthenticated: no token or cookie, or one that does not hold.
        CrossSite: a change by cookie without the session's CSRF token.
    """
    actor = context_of(request).actor
    if actor is None:
        raise NotAuthenticated(N_("Please log in."))
    if request.method not in SAFE_METHODS and bearer_of(request) is None:
        csrf.check_token(sessions.csrf_token(session, actor), sent_csrf)
    return actor


async def get_actor(actor: Annotated[Actor, Depends(get_any_actor)]) -> Actor:
    """Return who acts.

    Raises:
        PasswordExpired: a new password must be set before anything else.
    """
    if actor.must_change_password:
        raise PasswordExpired(
            N_("Set a new password first: the present one was given to you by somebody else, or is too old.")
        )
    return actor


AnyActorDep = Annotated[Actor, Depends(get_any_actor)]
ActorDep = Annotated[Actor, Depends(get_actor)]


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a list is asked for."""

    limit: int
    cursor: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class SeqPage:
    """Which page of a list that is ordered by a running number."""

    limit: int
    cursor: int | None


Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Entries a page.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")]


def get_page(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page:
    """Return the page asked for.

    Raises:
        InvalidInput: the cursor is not one of ours.
    """
    return Page(limit, decode_cursor(cursor))


def get_seq_page(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> SeqPage:
    """Return the page asked for of a list ordered by a running number.

    Raises:
        InvalidInput: the cursor is not one of ours.
    """
    return SeqPage(limit, int.from_bytes(_decoded(cursor, _SEQ_BYTES)) if cursor is not None else None)


PageDep = Annotated[Page, Depends(get_page)]
SeqPageDep = Annotated[SeqPage, Depends(get_seq_page)]
_ID_BYTES, _SEQ_BYTES = 16, 8


def encode_cursor(cursor: uuid.UUID | None) -> str | None:
    """Return a cursor as it travels: opaque and URL-safe."""
    return _encoded(cursor.bytes) if cursor is not None else None


def encode_seq(cursor: int | None) -> str | None:
    """Return the cursor of a running number as it travels."""
    return _encoded(cursor.to_bytes(_SEQ_BYTES)) if cursor is not None else None


def decode_cursor(text: str | None) -> uuid.UUID | None:
    """Return what `encode_cursor` was given.

    Raises:
        InvalidInput: it was something else.
    """
    return uuid.UUID(bytes=_decoded(text, _ID_BYTES)) if text is not None else None


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str, size: int) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != size or (size == _SEQ_BYTES and raw[0] & 0x80):
        raise InvalidInput(
            N_("This cursor is not one of ours. Leave it out to begin at the first page."), field="cursor"
        )
    return raw
