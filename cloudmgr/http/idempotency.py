"""Idempotency-Key on POST: the same key and body again gets the first answer, whichever process it comes to.

A claim is committed before the deed, its answer in the deed's own transaction: no crash leaves a deed without its answer.
A claim whose process died blocks for `TAKEOVER_AFTER`, then the next caller takes it over; if the first was only slow, its
answer finds no claim and its whole transaction rolls back, so that the deed is done once.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from cloudmgr.domain import clock
from cloudmgr.domain.errors import IdempotencyMismatch, InProgress, InvalidInput, NotAuthenticated
from cloudmgr.domain.messages import N_
from cloudmgr.http.context import context_of, engine_of, settings_of
from cloudmgr.http.sessions import secret_of
from cloudmgr.models import IdempotencyKey
from cloudmgr.services.sessions import actor_for_session
from cloudmgr.settings import Settings
from cloudmgr.store import idempotency
from cloudmgr.store.db import begin_immediate, new_session

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 200
TAKEOVER_AFTER = timedelta(seconds=60)
REPLAYED = "Idempotent-Replayed"
_NOT_REPEATED = ("one_time_password", "token")
"""Shown once: a remembered answer holds no secret."""


@dataclass(frozen=True, slots=True)
class Call:
    """A POST that carries a key."""

    key: str
    route: str
    digest: str


def call_of(request: Request, body: bytes) -> Call | None:
    """Return the call an Idempotency-Key names, None without one.

    Raises:
        InvalidInput: the key is empty, too long or not plain ASCII.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidInput(
            N_("An idempotency key has 1 to {most} printable ASCII characters."), field=HEADER, most=MAX_KEY_LENGTH
        )
    route = f"{request.method} {request.url.path}"
    digest = hashlib.sha256(b"\n".join((route.encode(), request.url.query.encode(), body))).hexdigest()
    return Call(key, route[:300], digest)


def claim(request: Request, call: Call) -> Response | None:
    """Claim a key for this request, or return the remembered answer. Who is not logged in claims nothing.

    Raises:
        IdempotencyMismatch: the key was used with another body or address.
        InProgress: the first call still runs.
    """
    secret = secret_of(request)
    if secret is None:
        return None
    context, settings = context_of(request), settings_of(request)
    with new_session(engine_of(request)) as session:
        try:
            actor = actor_for_session(session, settings, secret, context.source, context.request_id, notes_use=False)
        except NotAuthenticated:
            return None
        if actor.user_id is None:
            return None
        told = idempotency.find(session, actor.user_id, call.key)
        if told is not None and told.created_at >= _horizon(told, settings):
            return _replay(told, call)  # also while the first still runs and holds SQLite's write lock
        session.rollback()
        begin_immediate(session)
        found = idempotency.find(session, actor.user_id, call.key)
        if found is not None and found.created_at < _horizon(found, settings):
            idempotency.release(session, found.id, status=found.status)
            found = idempotency.find(session, actor.user_id, call.key)
        if found is not None:
            return _replay(found, call)
        row = IdempotencyKey(user_id=actor.user_id, key=call.key, route=call.route, body_digest=call.digest)
        session.add(row)
        try:
            session.commit()
        except IntegrityError:  # the same call arrived at another process at the same moment
            session.rollback()
            other = idempotency.find(session, actor.user_id, call.key)
            if other is None:
                raise _in_progress() from None
            return _replay(other, call)
        context.claim = row.id
        return None


def _replay(found: IdempotencyKey, call: Call) -> Response:
    if found.body_digest != call.digest:
        raise IdempotencyMismatch(
            N_("This idempotency key was used for another request. Make a new key for each new request."), field=HEADER
        )
    if found.status is None:
        raise _in_progress()
    return Response(
        found.answer or "",
        found.status,
        headers={REPLAYED: "true"},
        media_type="application/json" if found.answer else None,
    )


def _in_progress() -> InProgress:
    return InProgress(N_("The same request is still running. Wait a moment and ask again with the same key."))


def _horizon(found: IdempotencyKey, settings: Settings) -> datetime:
    """Return the moment before which such a row no longer counts."""
    kept = TAKEOVER_AFTER if found.status is None else timedelta(hours=settings.policy.idempotency_hours)
    return clock.now() - kept


def remember(session: Session, row_id: uuid.UUID, response: Response) -> None:
    """Store a successful answer in the deed's transaction, before it commits.

    Raises:
        InProgress: the claim was taken over; the caller's transaction must roll back.
    """
    answer = bytes(response.body)
    if answer:
        document = orjson.loads(answer)
        if isinstance(document, dict) and any(name in document for name in _NOT_REPEATED):
            answer = orjson.dumps({key: None if key in _NOT_REPEATED else value for key, value in document.items()})
    if not idempotency.remember(session, row_id, response.status_code, answer.decode()):
        raise _in_progress()


def release(request: Request) -> None:
    """Drop this request's claim: it did not succeed, so the key may be used again."""
    context = context_of(request)
    if context.claim is None:
        return
    with new_session(engine_of(request)) as session:
        begin_immediate(session)
        idempotency.release(session, context.claim)
        session.commit()
    context.claim = None
