"""The worker: takes work from the engine, keeps itself known, watches backends and dead colleagues. Holds the secrets."""

import contextlib
import fcntl
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa
from sqlmodel import Session, select

import cloudmgr
from cloudmgr.adapters import migrate
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend, Fact
from cloudmgr.models import Worker as WorkerRow
from cloudmgr.services import audit
from cloudmgr.settings import Settings
from cloudmgr.store.db import begin_immediate, make_engine, new_session
from cloudmgr.workflows import engine as engines
from cloudmgr.workflows import housekeeping, sync
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.reaper import Reaper

logger = logging.getLogger(__name__)

BEAT_S = 5.0
REAP_S = 10.0
"""How often the locks of others are tried: a dead worker's work is taken over within about this time."""
SWEEP_S = 3600.0
PAUSED = "paused"
"""Fact: work is paused, after a restore, until an administrator has reconciled."""


class Worker:
    """One worker in this process. `start` returns when work is being taken; `stop` when none is."""

    def __init__(self, settings: Settings, engine: sa.Engine | None = None) -> None:
        self.settings = settings
        self.executor_id = settings.worker.executor_id or (
            "embedded" if settings.is_sqlite else f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        )
        self._shared = engine
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self._lock: TextIO | None = None
        self._reaper: Reaper | None = None
        self._watchers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="watch")
        self._watching: dict[str, Future[None]] = {}
        self._engine: sa.Engine | None = None

    def start(self) -> None:
        """Take the lock, launch the engine, see every backend once, then keep watch in a thread of its own.

        Raises:
            Conflict: another worker runs on this SQLite database, or work is paused after a restore.
            SchemaRefused: the database is not at this release's schema.
        """
        migrate.check(self.settings)
        self._engine = self._shared or make_engine(
            self.settings.database_url,
            pool_size=self.settings.database.pool_size,
            synchronous=self.settings.database.synchronous,
        )
        self._refuse_paused()
        if self.settings.is_sqlite:
            self._lock = _only_worker(self.settings.data_dir)
        else:
            self._reaper = Reaper(self._engine, self.executor_id)
            self._reaper.hold()
        self._declare_backends()
        engines.start(self.settings, self.executor_id, self._engine)
        if self._reaper is not None:
            self._reaper.reap()
        self._beat()
        self._watch_backends()
        self._record(Event.SYSTEM_START)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    def stop(self, *, wait_s: int = 5) -> None:
        """Stop taking work and let go; what is still running goes on at the next start."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join(timeout=10)
        self._watchers.shutdown(wait=False, cancel_futures=True)
        self._record(Event.SYSTEM_STOP)
        engines.stop(wait_s=wait_s)
        if self._reaper is not None:
            self._reaper.let_go()
        if self._lock is not None:
            self._lock.close()
        if self._shared is None and self._engine is not None:
            self._engine.dispose()

    def is_idle(self) -> bool:
        """Whether nothing is running or waiting in the engine."""
        if self._engine is None:
            return True
        table = engines.status_table(self._engine)
        with self._engine.connect() as connection:
            left = connection.execute(
                sa.text(f"SELECT count(*) FROM {table} WHERE status IN ('PENDING', 'ENQUEUED')")  # noqa: S608 - a constant
            ).scalar_one()
        return int(left) == 0

    def _keep(self) -> None:
        rounds: list[tuple[Callable[[], Any], float]] = [
            (self._beat, BEAT_S),
            (self._watch_backends, self.settings.worker.health_interval_s),
            (self._sweep, SWEEP_S),
        ]
        if self._reaper is not None:
            rounds += [(self._reaper.prove_alive, BEAT_S), (self._reaper.reap, REAP_S)]
        due = {deed: time.monotonic() + (every if deed != self._sweep else 60) for deed, every in rounds}
        while not self._stopping.wait(max(0.2, min(due.values()) - time.monotonic())):
            for deed, every in rounds:
                if time.monotonic() >= due[deed]:
                    try:
                        deed()
                    except (
                        Exception
                    ):  # the keeper's edge: one failed round must not end the watch; the next one tries again
                        logger.exception("a round of %s failed", deed.__name__)
                    due[deed] = time.monotonic() + every

    def _beat(self) -> None:
        with self._transaction() as session:
            row = session.get(WorkerRow, self.executor_id)
            if row is None:
                row = WorkerRow(executor_id=self.executor_id, version=cloudmgr.__version__, host=socket.gethostname())
            row.last_seen_at = clock.now()
            row.version = cloudmgr.__version__
            session.add(row)

    def _declare_backends(self) -> None:
        with self._transaction() as session:
            names = [sync.declare(session, dict(section)).name for section in self.settings.backends]
            for backend in session.exec(select(Backend).where(Backend.is_configured)):
                if backend.name not in names and self.settings.is_sqlite:
                    backend.is_configured = False
                    session.add(backend)

    def _watch_backends(self) -> None:
        """Ask every backend at once; one that is still being asked from the last round is left to it."""
        for section in self.settings.backends:
            name = str(section["name"])
            running = self._watching.get(name)
            if running is None or running.done():
                self._watching[name] = self._watchers.submit(self._watch, name)

    def _watch(self, name: str) -> None:
        seen = sync.observe(name)
        with self._transaction() as session:
            sync.record(session, name, seen)

    def _sweep(self) -> None:
        with self._transaction() as session:
            removed = housekeeping.sweep(session, self.settings)
            if any(removed.values()):
                audit.record(session, SYSTEM, Event.SYSTEM_RETENTION, object_type="system", removed=removed)

    def _record(self, event: Event) -> None:
        with self._transaction() as session:
            audit.record(
                session, SYSTEM, event, object_type="worker", object_id=self.executor_id, version=cloudmgr.__version__
            )

    def _refuse_paused(self) -> None:
        with self._transaction() as session:
            fact = session.get(Fact, PAUSED)
            if fact is not None and fact.value.get("paused"):
                raise Conflict(
                    N_(
                        "Work is paused since the restore of {at}. Look at what `cloudmgr db reconcile` reports, then run it with --resume."
                    ),
                    at=fact.value.get("at", "?"),
                )

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        if self._engine is None:
            raise RuntimeError("the worker has not been started")
        session: Session = new_session(self._engine)
        try:
            begin_immediate(session)
            yield session
            session.commit()
        finally:
            session.close()


def _only_worker(data_dir: Path) -> TextIO:
    """Lock the data directory for one worker; the lock ends with the process, however it ends."""
    data_dir.mkdir(parents=True, exist_ok=True)
    file = (data_dir / "worker.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise Conflict(
            N_("Another worker already runs on {data_dir}; SQLite serves one. Stop it, or move to PostgreSQL."),
            data_dir=str(data_dir),
        ) from error
    return file


def run(settings: Settings, *, drain: bool = False) -> None:
    """Run a worker until SIGTERM or SIGINT; with `drain`, until nothing is running or waiting any more."""
    worker = Worker(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker.start()
    logger.info("worker %s takes work", worker.executor_id)
    while not stop.wait(1.0):
        if drain and worker.is_idle():
            break
    worker.stop(wait_s=30)
