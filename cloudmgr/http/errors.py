"""From refusals and faults to HTTP: the only table of codes and statuses, and the audit of denials.

A refusal has rolled its transaction back by the time it is told here; that it was refused is then written in a second
transaction, without a word of what was sent.
"""

import logging
from collections.abc import Mapping
from typing import Any

import sqlalchemy.exc
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cloudmgr.domain.errors import (
    ClassificationRefused,
    Forbidden,
    Hidden,
    IdempotencyMismatch,
    InProgress,
    InvalidInput,
    Locked,
    NotAuthenticated,
    NotFound,
    Overloaded,
    Refusal,
)
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.http.context import context_of, engine_of
from cloudmgr.http.problem import Problem
from cloudmgr.http.validation import findings
from cloudmgr.services import audit
from cloudmgr.services.inputs import Input
from cloudmgr.store.db import begin_immediate, new_session

log = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    "malformed": 400,
    "unauthenticated": 401,
    "session_expired": 401,
    "bad_credentials": 401,
    "forbidden": 403,
    "csrf_refused": 403,
    "own_request": 403,
    "second_stage": 403,
    "password_change_required": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "refused": 409,
    "exclusive_role": 409,
    "stale": 409,
    "quota_exceeded": 409,
    "guarantee_refused": 409,
    "loan_ends_first": 409,
    "over_allotted": 409,
    "limit_in_use": 409,
    "address_unavailable": 409,
    "change_frozen": 409,
    "urged_already": 409,
    "emergency_allowance_exceeded": 409,
    "unsupported": 409,
    "in_progress": 409,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "wrong_password": 422,
    "limit_omitted": 422,
    "root_limit_required": 422,
    "arch_mismatch": 422,
    "no_fitting_pool": 422,
    "as_of_unavailable": 422,
    "import_refused": 422,
    "unsupported_format": 422,
    "classification_refused": 422,
    "idempotency_mismatch": 422,
    "locked": 423,
    "internal": 500,
    "overloaded": 503,
    "not_ready": 503,
    "schema_mismatch": 503,
}
"""Code → status. Every code has a heading in docs/errors.md; an unknown code is a fault of ours and 500."""

RETRY_AFTER_S = 2
_UNIQUE_VIOLATION = "23505"
_TRY_AGAIN = frozenset({"40001", "40P01", "55P03", "57014", "53300"})
"""PostgreSQL: serialization failure, deadlock, lock timeout, cancelled, too many connections."""

_UNAUDITED = (NotAuthenticated, Overloaded, InProgress, IdempotencyMismatch)
_READS = frozenset({"GET", "HEAD", "OPTIONS"})

_HTTP_CODES: Mapping[int, tuple[str, str]] = {
    400: ("malformed", N_("The request cannot be read.")),
    404: ("not_found", N_("There is nothing at this address.")),
    405: ("method_not_allowed", N_("This address does not take {method}.")),
    413: (
        "body_too_large",
        N_("What was sent is too large; the limit is {limit} bytes. Send a smaller file, or less at once."),
    ),
    415: ("unsupported_media_type", N_("Send what this address takes, and name it as the Content-Type: {types}.")),
}


def install(app: FastAPI) -> None:
    """Register the handlers of everything an endpoint may raise."""
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(ValidationError, _on_command)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(sqlalchemy.exc.SQLAlchemyError, _on_database)


def problem_of(refusal: Refusal) -> Problem:
    """Return the problem a refusal is told as."""
    status = STATUS.get(refusal.code, 500)
    message = refusal.message
    if isinstance(refusal, NotFound) and refusal.field is None:
        message = Message(N_("There is no such object."))  # one wording, whether it is absent or somebody else's
    errors: list[Mapping[str, Any]] = list(refusal.errors)
    if refusal.field is not None and all(each.get("field") != refusal.field for each in errors):
        errors.insert(0, {"field": refusal.field, "rule": refusal.code, "message": message})
    if isinstance(refusal, InvalidInput):
        errors += findings(refusal.invalid)
    headers = {}
    if status == STATUS["unauthenticated"]:
        headers["WWW-Authenticate"] = 'Bearer realm="cloudmgr"'
    if isinstance(refusal, Overloaded):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(refusal, Locked):
        headers["Retry-After"] = str(int(refusal.message.params.get("minutes", 1)) * 60)
    return Problem(status, refusal.code, message, errors, refusal.extra, headers)


def told(request: Request, problem: Problem) -> Response:
    """Answer with a problem: as a page where a browser asked for one and the console knows how, else as JSON."""
    page = getattr(request.app.state, "error_page", None)
    if (
        page is not None
        and not request.url.path.startswith("/api/")
        and "text/html" in request.headers.get("accept", "")
    ):
        response: Response = page(request, problem)
        return response
    return problem.response(request)


def _on_refusal(request: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):  # registered for refusals only
        raise refusal
    problem = problem_of(refusal)
    context = context_of(request)
    context.log["code"] = refusal.code
    if refusal.detail:
        context.log["detail"] = refusal.detail
    if problem.status == STATUS["internal"]:
        log.error("refusal without a status: %s", refusal.code, exc_info=refusal)
    _audit_denial(request, refusal)
    return told(request, problem)


def _audit_denial(request: Request, refusal: Refusal) -> None:
    """Write that something was refused: every refused change, and every read of what is not the reader's."""
    context = context_of(request)
    is_denial = isinstance(refusal, Forbidden | Hidden) or (
        request.method not in _READS and not isinstance(refusal, NotFound)
    )
    if context.actor is None or refusal.keeps_writes or isinstance(refusal, _UNAUDITED) or not is_denial:
        return
    extra = getattr(request.scope.get("route"), "openapi_extra", None) or {}
    is_silent = isinstance(refusal, ClassificationRefused)  # of these only actor, time and code are kept
    try:
        with new_session(engine_of(request)) as session:
            begin_immediate(session)
            audit.record(
                session,
                context.actor,
                Event(extra.get("x-event") or Event.ACCESS_DENIED),
                object_type=str(extra.get("x-object") or "route"),
                object_id="" if is_silent else str(next(iter(request.path_params.values()), ""))[:64],
                object_name="" if is_silent else f"{request.method} {request.url.path}"[:200],
                outcome=Outcome.DENIED,
                reason=refusal.code,
            )
            session.commit()
    except sqlalchemy.exc.SQLAlchemyError:  # it stays refused; the operator must hear that the record is missing
        log.exception("a denial could not be audited: %s by %s", refusal.code, context.actor.username)


def _on_validation(request: Request, error: Exception) -> Response:
    found = findings(error.errors(), placed=True) if isinstance(error, RequestValidationError) else []
    if found and request.path_params and all(str(e["loc"][0]) == "path" for e in _errors_of(error)):
        return told(request, Problem(404, "not_found", Message(N_("There is no such object."))))
    context_of(request).log["fields"] = [finding["field"] for finding in found][:20]
    return told(request, _invalid(found))


def _on_command(request: Request, error: Exception) -> Response:
    """Tell what is wrong with a command that an endpoint put together itself, of query parameters or a form."""
    if not isinstance(error, ValidationError) or error.title not in _command_names(Input):
        return internal(request, error)  # a shape of ours does not fit our own data
    return told(request, _invalid(findings(error.errors(include_url=False, include_input=False))))


def _command_names(kind: type[Input]) -> set[str]:
    return {kind.__name__}.union(*(_command_names(child) for child in kind.__subclasses__()))


def _invalid(found: list[dict[str, Any]]) -> Problem:
    message = Message(N_("The input needs correction in {count} place(s)."), {"count": len(found)})
    return Problem(STATUS["invalid"], "invalid", message, found)


def _errors_of(error: Exception) -> list[Any]:
    return list(error.errors()) if isinstance(error, RequestValidationError) else []


def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code, template = _HTTP_CODES.get(
        status, _HTTP_CODES[400] if status < STATUS["internal"] else ("internal", INTERNAL)
    )
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    params = {
        "method": request.method,
        "limit": request.app.state.settings.web.body_limit_bytes,
        "types": headers.get("Accept", "application/json"),
    }
    return told(request, Problem(STATUS[code], code, Message(template, params), headers=headers))


INTERNAL = N_("Something went wrong on our side. Tell the operator the request id.")
BUSY = N_("The system is busy. Try again shortly.")
CHANGED = N_("Somebody else changed this at the same time. Look again and repeat.")


def _on_database(request: Request, error: Exception) -> Response:
    """Tell what of the database's errors is no fault of ours; the rest is 500 like any other."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    text = str(getattr(error, "orig", ""))
    if isinstance(error, sqlalchemy.exc.IntegrityError) and (state == _UNIQUE_VIOLATION or text.startswith("UNIQUE")):
        log.warning("unique constraint met at the last moment: %s", text.splitlines()[0])
        return told(request, Problem(STATUS["conflict"], "conflict", Message(CHANGED)))
    is_locked = isinstance(error, sqlalchemy.exc.OperationalError) and ("locked" in text or "busy" in text)
    if is_locked or isinstance(error, sqlalchemy.exc.TimeoutError) or state in _TRY_AGAIN:
        log.warning("database busy: %s", type(error).__name__)
        return told(request, busy())
    return internal(request, error)


def unsupported(*types: str) -> HTTPException:
    """Return the answer to another content type than those an address takes; its `Accept` names them (RFC 9110 §15.5.16)."""
    return HTTPException(STATUS["unsupported_media_type"], headers={"Accept": ", ".join(types)})


def busy() -> Problem:
    """Return the answer to one request too many."""
    return Problem(STATUS["overloaded"], "overloaded", Message(BUSY), headers={"Retry-After": str(RETRY_AFTER_S)})


def too_large(limit: int) -> Problem:
    """Return the answer to a body over the limit."""
    code, template = _HTTP_CODES[413]
    return Problem(STATUS[code], code, Message(template, {"limit": limit}), headers={"Connection": "close"})


def internal(request: Request, error: BaseException) -> Response:
    """Log a fault of ours in full and tell the asker no more than its request id."""
    log.error("unhandled error in %s %s", request.method, request.url.path, exc_info=error)
    return told(request, Problem(STATUS["internal"], "internal", Message(INTERNAL)))
