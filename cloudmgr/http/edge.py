"""The outermost layer of ours: request id, source, security headers, access log, metrics, and the last catch of all."""

import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloudmgr.domain.messages import N_
from cloudmgr.domain.messages import Message as Words
from cloudmgr.http.context import KEY, Context
from cloudmgr.http.errors import internal
from cloudmgr.http.limits import is_readable
from cloudmgr.http.logging import log_access
from cloudmgr.http.metrics import Metrics
from cloudmgr.http.problem import Problem

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_SOURCE_LENGTH = 64
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_HSTS = "max-age=31536000; includeSubDomains"

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class EdgeMiddleware:
    """Make the request's context, then tell how it ended. An exception that reaches here is a fault of ours: 500."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, is_secure: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._is_secure = is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        context = Context(_request_id(scope), _source(scope))
        scope[KEY] = context
        status, size = 0, 0

        async def told(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(scope, message, context)
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._answer(scope, receive, told, lambda: status)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.finished(scope["method"], _template(scope), status, seconds)
            if scope["path"] not in _QUIET:
                user = context.actor.username if context.actor else None
                log_access(
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    started=started,
                    size=size,
                    request_id=context.request_id,
                    source=context.source,
                    user=user,
                    **context.log,
                )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, status: Callable[[], int]) -> None:
        if not is_readable(scope):
            words = Words(N_("The address holds bytes that are not text."))
            await Problem(400, "malformed", words).response(Request(scope))(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the HTTP edge: whatever it is, the asker gets an answer and we a log
            response = internal(Request(scope), error)
            if status() == 0:
                await response(scope, receive, send)

    def _add_headers(self, scope: Scope, message: Message, context: Context) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = context.request_id
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)
        if self._is_secure and scope.get("scheme") == "https":
            headers.setdefault("Strict-Transport-Security", _HSTS)
        if not scope["path"].startswith("/static/"):
            headers.setdefault("Cache-Control", "no-store")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            asked = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(asked):
                return str(asked)
    return uuid.uuid4().hex


def _source(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0])[:_SOURCE_LENGTH] if client else "unknown"


def _template(scope: Scope) -> str:
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return str(path) if path else "unmatched"
