"""What the edge refuses before any endpoint runs: too many requests, too large a body, unreadable addresses."""

import asyncio
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloudmgr.http.errors import STATUS, busy, told, too_large
from cloudmgr.http.metrics import Metrics

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_UNMETERED = ("/healthz", "/readyz", "/metrics", "/static/")


class AdmissionMiddleware:
    """Let `threads` requests work at once and `max_waiting` in all; one more is answered 503 with Retry-After.

    Of those that change something no more than `changes` work at once: they wait for the same rows anyhow, and each that
    works beside the one that holds them takes processor time from it.

    A request holds its place until its answer begins: by then its transaction is over, so a long stream holds none. With
    no more workers than database connections, a request never waits for a connection while it holds a thread, which is
    how thread pools in front of connection pools deadlock.
    """

    def __init__(self, app: ASGIApp, *, threads: int, changes: int, max_waiting: int, metrics: Metrics) -> None:
        self._app = app
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._places = asyncio.Semaphore(threads)
        self._changes = asyncio.Semaphore(changes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNMETERED):
            await self._app(scope, receive, send)
            return
        if self._metrics.in_flight >= self._max_waiting:
            self._metrics.refused += 1
            await busy().response(Request(scope))(scope, receive, send)
            return
        self._metrics.in_flight += 1
        wanted = [self._places] if scope["method"] in _READS else [self._changes, self._places]
        held: list[asyncio.Semaphore] = []

        def leave() -> None:
            if held:
                self._metrics.in_flight -= 1
            while held:
                held.pop().release()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                leave()
            await send(message)

        try:
            for places in wanted:
                await places.acquire()
                held.append(places)
        except BaseException:
            if not held:
                self._metrics.in_flight -= 1
            leave()
            raise
        try:
            await self._app(scope, receive, watched)
        finally:
            leave()


class BodyLimitMiddleware:
    """Refuse a body over the limit: at once by its Content-Length, else as soon as the bytes received pass it."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(not value.isdigit() or int(value) > self._limit for value in lengths):
            await told(Request(scope), too_large(self._limit))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(STATUS["body_too_large"])
            return message

        await self._app(scope, counted, send)


def is_readable(scope: Scope) -> bool:
    """Whether path and query are text: valid UTF-8 and without NUL bytes, which no database takes."""
    for raw in (scope.get("raw_path") or b"", scope.get("query_string") or b""):
        plain = unquote_to_bytes(raw)
        try:
            plain.decode("utf-8")
        except UnicodeDecodeError:
            return False
        if b"\x00" in plain:
            return False
    return True
