"""Live progress for many readers: one database poller a process, a bounded number of streams, never a thread a stream."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
import orjson
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cloudmgr.domain.errors import Overloaded
from cloudmgr.domain.messages import N_, Message, Translator
from cloudmgr.models import RequestEvent
from cloudmgr.services import progress
from cloudmgr.store.db import new_session

POLL_S = 0.5
HEARTBEAT_S = 15.0
LIFE_S = 1800.0
"""A stream ends after this long; the reader comes back with Last-Event-ID and its session is asked again."""
_QUEUE = 2000


@dataclass(slots=True, eq=False)
class Reader:
    """One open stream: what it has seen and what waits for it."""

    request_id: uuid.UUID
    last: int
    waiting: "asyncio.Queue[list[RequestEvent] | None]" = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    seen: set[int] | None = None


class Hub:
    """The readers of this process and the poller that serves them; the poller runs only while somebody reads."""

    def __init__(self, engine: sa.Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
        self._readers: set[Reader] = set()
        self._poller: asyncio.Task[None] | None = None

    def open(self, request_id: uuid.UUID, last: int) -> Reader:
        """Take a reader in.

        Raises:
            Overloaded: as many streams are open as the settings allow.
        """
        if len(self._readers) >= self._limit:
            raise Overloaded(
                N_("Too many pages follow requests live right now. The page shows the same after a reload.")
            )
        reader = Reader(request_id, last)
        self._readers.add(reader)
        return reader

    async def read(self, reader: Reader, write: Callable[[RequestEvent], bytes]) -> AsyncIterator[bytes]:
        """Yield server-sent events until the request has come to its end, the reader goes away, or the stream is old."""
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        ends_at = time.monotonic() + LIFE_S
        try:
            yield b"retry: 2000\n\n"
            while time.monotonic() < ends_at:
                try:
                    events = await asyncio.wait_for(reader.waiting.get(), HEARTBEAT_S)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if events is None:
                    yield b"event: end\ndata: {}\n\n"
                    return
                for event in events:
                    yield write(event)
        finally:
            self.close(reader)

    def close(self, reader: Reader) -> None:
        """Let a reader go; twice is once."""
        self._readers.discard(reader)

    async def _poll(self) -> None:
        while self._readers:
            readers = list(self._readers)
            found = await anyio.to_thread.run_sync(
                self._look, {reader.request_id: self._since(readers, reader) for reader in readers}
            )
            for reader in readers:
                events, is_over = found.get(reader.request_id, ([], True))
                self._serve(reader, events, is_over=is_over)
            await asyncio.sleep(POLL_S)

    def _serve(self, reader: Reader, events: list[RequestEvent], *, is_over: bool) -> None:
        """Hand a reader what it has not seen; one that lets too much wait is let go, and comes back by itself."""
        if reader.seen is None:  # what stood up to Last-Event-ID was told on an earlier connection
            reader.seen = {event.id for event in events if event.id is not None and event.id <= reader.last}
        fresh = [event for event in events if event.id not in reader.seen]
        if not fresh and not is_over:
            return
        reader.seen.update(event.id for event in fresh if event.id is not None)
        reader.last = max([reader.last, *(event.id for event in fresh if event.id is not None)])
        if reader.waiting.full():
            self._readers.discard(reader)
        else:
            reader.waiting.put_nowait(fresh or None)

    @staticmethod
    def _since(readers: list[Reader], reader: Reader) -> int:
        return min(other.last for other in readers if other.request_id == reader.request_id)

    def _look(self, wanted: dict[uuid.UUID, int]) -> dict[uuid.UUID, tuple[list[RequestEvent], bool]]:
        with new_session(self._engine) as session:
            return progress.since(session, wanted)


def encode(event: RequestEvent, translate: Translator) -> bytes:
    """Return one event in the wire format of server-sent events."""
    return b"id: %d\nevent: progress\ndata: %s\n\n" % (event.id or 0, orjson.dumps(shape(event, translate)))


def shape(event: RequestEvent, translate: Translator) -> dict[str, Any]:
    """Return one line of progress as JSON in the reader's language."""
    return {
        "id": event.id,
        "at": event.at.isoformat().replace("+00:00", "Z"),
        "kind": event.kind,
        "server": str(event.server_id) if event.server_id else None,
        "text": Message.from_json(event.message).render(translate),
        "data": event.data,
    }


def hub_of(app: FastAPI) -> Hub:
    """Return the application's hub, made at the first stream."""
    found = getattr(app.state, "streams", None)
    if found is None:
        found = app.state.streams = Hub(app.state.engine, app.state.settings.web.event_streams)
    hub: Hub = found
    return hub


class EventStream(StreamingResponse):
    """A stream whose reader is let go however it ends, also when the asker left before the first byte."""

    def __init__(self, hub: Hub, reader: Reader, write: Callable[[RequestEvent], bytes]) -> None:
        super().__init__(
            hub.read(reader, write),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._hub, self._reader = hub, reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.close(self._reader)


def event_stream(
    app: FastAPI,
    request_id: uuid.UUID,
    last: int,
    translate: Translator,
    *,
    write: Callable[[RequestEvent], bytes] | None = None,
) -> StreamingResponse:
    """Answer with a request's progress from behind event `last`, live; `write` gives an event another form than JSON."""
    hub = hub_of(app)
    reader = hub.open(request_id, last)
    return EventStream(hub, reader, write or (lambda event: encode(event, translate)))
