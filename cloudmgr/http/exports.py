"""Sending an export that was begun: streamed in flat memory, counted and digested on the way, settled at the end.

The register says `done` before the reader sees the end of the file, and `broken` when the reader went away or the
deadline passed. Each stream has a database connection of its own, so that slow readers take none from requests.
"""

import logging
import threading
import weakref
from collections.abc import Generator, Iterator
from contextlib import closing
from urllib.parse import quote

import anyio
from fastapi import FastAPI
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Overloaded
from cloudmgr.domain.messages import N_
from cloudmgr.http.context import language_of, settings_of
from cloudmgr.services import exports, inventory
from cloudmgr.services.inventory import InventoryExport, InventoryJob
from cloudmgr.store.db import begin_immediate, make_engine, new_session

log = logging.getLogger(__name__)

MAX_STREAMS = 4
"""Exports a process sends at once; one more is answered 503 with Retry-After."""
_first = threading.Lock()


class Recording:
    """The bytes of one export, to be iterated once and closed always (`contextlib.closing`)."""

    def __init__(self, database_url: str, job: InventoryJob) -> None:
        self._engine = make_engine(database_url, pool_size=1, application_name="cloudmgr export")
        self._job = job
        self._tally = exports.Tally()
        self._is_settled = False
        self._bytes = self._read()

    @property
    def tally(self) -> exports.Tally:
        """What has left so far."""
        return self._tally

    def __iter__(self) -> Iterator[bytes]:
        return self._bytes

    def close(self) -> None:
        """Settle the export as broken unless it was sent to its end; give the connection back. Twice is once."""
        self._bytes.close()
        try:
            if not self._is_settled:
                self._settle(is_whole=False)
        finally:
            self._engine.dispose()

    def _read(self) -> Generator[bytes, None, None]:
        with new_session(self._engine) as session, closing(inventory.chunks(session, self._job)) as chunks:
            for chunk, rows in chunks:
                self._tally.add(chunk, rows)
                yield chunk
        self._settle(is_whole=True)

    def _settle(self, *, is_whole: bool) -> None:
        with new_session(self._engine) as session:
            begin_immediate(session)
            exports.finish(session, self._job.actor, self._job.export_id, self._tally, is_whole=is_whole)
            session.commit()
        self._is_settled = True


class ExportResponse(StreamingResponse):
    """A recorded export as an attachment; it is cut off at the deadline, and settled however it ends."""

    def __init__(self, recording: Recording, job: InventoryJob, places: threading.BoundedSemaphore) -> None:
        super().__init__(
            recording,
            media_type=job.media_type,
            headers={
                "Content-Disposition": _disposition(job.filename, job.ascii_filename),
                "X-Export-Id": str(job.export_id),
                **({"X-Not-Collected": ", ".join(job.not_collected)} if job.not_collected else {}),
            },
        )
        self._recording = recording
        self._job = job
        self._leave = weakref.finalize(self, places.release)  # also when the answer is dropped before it begins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with anyio.move_on_after(exports.DEADLINE.total_seconds()) as deadline:
                await super().__call__(scope, receive, send)
            if deadline.cancelled_caught:
                log.warning("export %s was cut off at the deadline", self._job.export_id)
        except ClientDisconnect:
            log.info("export %s: the reader went away", self._job.export_id)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._recording.close)
            self._leave()


def send_inventory(request: Request, session: Session, actor: Actor, command: InventoryExport) -> ExportResponse:
    """Begin an export in the request's transaction and return the answer that sends it after the commit.

    Raises:
        Overloaded: as many exports are being sent as a process takes on.
        The refusals of `inventory.begin`.
    """
    places = _take_place(request.app)
    try:
        job = inventory.begin(session, actor, command, language=language_of(request))
        return ExportResponse(Recording(settings_of(request).database_url, job), job, places)
    except BaseException:
        places.release()
        raise


def _take_place(app: FastAPI) -> threading.BoundedSemaphore:
    with _first:
        if not hasattr(app.state, "export_places"):
            app.state.export_places = threading.BoundedSemaphore(MAX_STREAMS)
    places: threading.BoundedSemaphore = app.state.export_places
    if not places.acquire(blocking=False):
        raise Overloaded(N_("Other exports are being sent right now. Try again in a minute."))
    return places


def _disposition(filename: str, ascii_filename: str) -> str:
    """Return the header that names the file: ASCII for old clients, UTF-8 for the rest (RFC 6266, RFC 5987)."""
    return f"attachment; filename=\"{ascii_filename}\"; filename*=UTF-8''{quote(filename, safe='')}"
