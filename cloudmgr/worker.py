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
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa
from sqlmodel import select

import cloudmgr
from cloudmgr.adapters import migrate, occupancy
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import SyncKind
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend
from cloudmgr.models import Worker as WorkerRow
from cloudmgr.services import (
    approval_policy,
    audit,
    audit_verification,
    certificates,
    deliveries,
    maintenance,
    policy,
    quota_proofs,
)
from cloudmgr.settings import Settings
from cloudmgr.store.db import begin_immediate, make_engine, new_session
from cloudmgr.worker_listener import Listener
from cloudmgr.workflows import deadlines, discover, housekeeping, leases, looks, openings, quota_turns, sync
from cloudmgr.workflows import engine as engines
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.reaper import Reaper

logger = logging.getLogger(__name__)

BEAT_S = 5.0
REAP_S = 10.0
"""How often the locks of others are tried: a dead worker's work is taken over within about this time."""
SILENCE_S = 30.0
"""A worker that has not reached the database for so long is not ready."""
SCHEDULE_S = 5.0
"""How often it is asked which looks at backends are due."""
SWEEP_S = 3600.0
OPENINGS_S = 600.0
"""How often is looked for openings whose last day is past; each is tried once an hour."""
LEASES_S = 300.0
"""How often is looked whether a day has begun on which leases are not yet acted on."""
VERIFY_S = 24 * 3600.0
PROVER_LOOK_S = 10.0
"""How often is looked whether a new period of the quota ledger's recount has begun."""
FIRST_S = {"_sweep": 60.0, "_verify_log": 120.0, "_act_on_leases": 60.0}
"""What need not run at the start is first done so long after it."""
EXIT_CANNOT_BEGIN = 75
"""EX_TEMPFAIL: start me again."""
PAUSE_POLL_S = 2.0
"""How often a worker that waits after a restore looks whether work goes on."""


class Worker:
    """One worker in this process. `start` returns when work is being taken; `stop` when none is."""

    def __init__(self, settings: Settings, engine: sa.Engine | None = None, *, is_draining: bool = False) -> None:
        self.settings = settings
        self._is_draining = is_draining
        self._beaten = 0.0
        self.executor_id = settings.worker.executor_id or (
            "embedded" if settings.is_sqlite else f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        )
        self._shared = engine
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self._locks = contextlib.ExitStack()
        self._working = False
        self._reaper: Reaper | None = None
        self._watchers = ThreadPoolExecutor(
            max_workers=max(8, len(settings.backends) + 2), thread_name_prefix="watch"
        )  # one that does not answer never keeps another from being asked
        self._scheduled: set[str] = set()
        self._leases_day: date | None = None
        self._watching: dict[str, Future[None]] = {}
        self._engine: sa.Engine | None = None

    def start(self) -> None:
        """Take the locks, launch the engine, see every backend once, then keep watch in a thread of its own.

        After a restore it takes no work and returns all the same: the thread waits until an administrator has reconciled
        and resumed, and begins then.

        Raises:
            Conflict: another worker runs on this SQLite database, or a restore is under way.
            SchemaRefused: the database is not at this release's schema.
        """
        migrate.check(self.settings)
        with contextlib.ExitStack() as taken:
            taken.enter_context(occupancy.sharing(self.settings.data_dir))
            if self.settings.is_sqlite:
                taken.enter_context(_only_worker(self.settings.data_dir))
            self._locks = taken.pop_all()
        self._engine = self._shared or make_engine(
            self.settings.database_url,
            pool_size=self.settings.database.pool_size,
            synchronous=self.settings.database.synchronous,
        )
        since = self._paused_since()
        if since is None:
            self._begin()
        else:
            logger.warning("work is paused since the restore of %s; see `cloudmgr db reconcile`", since.isoformat())
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    def _begin(self) -> None:
        """Begin to take work."""
        assert self._engine is not None  # noqa: S101 - start made it
        if not self.settings.is_sqlite:
            self._reaper = Reaper(self._engine, self.executor_id)
            self._reaper.hold()
        self._declare_backends()
        self._load_policy()
        engines.start(self.settings, self.executor_id, self._engine)
        self._working = True
        if self._reaper is not None:
            self._reaper.reap()
        self._beat()
        self._watch_backends()
        self._record(Event.SYSTEM_START)

    def stop(self, *, wait_s: int = 5) -> None:
        """Stop taking work and let go; what is still running goes on at the next start."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join(timeout=10)
        self._watchers.shutdown(wait=False, cancel_futures=True)
        if self._working:
            self._record(Event.SYSTEM_STOP)
            engines.stop(wait_s=wait_s)
        if self._reaper is not None:
            self._reaper.let_go()
        self._locks.close()
        if self._shared is None and self._engine is not None:
            self._engine.dispose()

    def is_idle(self) -> bool:
        """Whether nothing is running or waiting in the engine."""
        return not any(self._unfinished().values())

    def ready(self) -> dict[str, bool]:
        """Return whether this worker takes work and has reached the database lately."""
        return {"working": self._working, "database": time.monotonic() - self._beaten < SILENCE_S}

    def counts(self) -> dict[str, float]:
        """Return what a monitoring system should see of this worker and of the queues all workers share."""
        unfinished = self._unfinished()
        return {
            "cloudmgr_worker_working": float(self._working),
            "cloudmgr_worker_seconds_since_beat": round(time.monotonic() - self._beaten, 1),
            "cloudmgr_workflows_running": unfinished.get("PENDING", 0),
            "cloudmgr_workflows_waiting": unfinished.get("ENQUEUED", 0),
            "cloudmgr_looks_hung": len(looks.hung()),
        }

    def _unfinished(self) -> dict[str, int]:
        table = engines.status_table(self._engine) if self._engine is not None else None
        if self._engine is None or table is None:
            return {}
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.text(
                    f"SELECT status, count(*) FROM {table} WHERE status IN ('PENDING', 'ENQUEUED') GROUP BY status"  # noqa: S608 - a constant
                )
            )
            return {status: int(count) for status, count in rows}

    def _keep(self) -> None:
        if not self._working and not self._await_resume():
            return
        rounds: list[tuple[Callable[[], Any], float]] = [
            (self._beat, BEAT_S),
            (self._watch_backends, self.settings.worker.health_interval_s),
            (self._schedule_looks, SCHEDULE_S),
            (self._sweep, SWEEP_S),
            (self._end_openings, OPENINGS_S),
            (self._verify_log, VERIFY_S),
            (self._act_on_leases, LEASES_S),
            (self._take_up_retirements, self.settings.worker.retire_recheck_s),
            (self._turn_quotas, self.settings.worker.quota_turn_s),
            (self._watch_deadlines, self.settings.worker.deadlines_interval_s),
            (self._tell, self.settings.notices.spread_interval_s),
        ]
        if self.settings.worker.prover_interval_s:
            rounds.append((self._recount_quotas, min(PROVER_LOOK_S, self.settings.worker.prover_interval_s)))
        if self._reaper is not None:
            rounds += [(self._reaper.prove_alive, BEAT_S), (self._reaper.reap, REAP_S)]
        due = {deed: time.monotonic() + FIRST_S.get(deed.__name__, every) for deed, every in rounds}
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

    def _await_resume(self) -> bool:
        """Wait until work goes on, then begin it; False when this worker is told to stop first."""
        while not self._stopping.wait(PAUSE_POLL_S):
            try:
                if self._paused_since() is None:
                    logger.info("work goes on")
                    self._begin()
                    return True
            except (
                Exception
            ):  # the keeper's edge: a worker that cannot begin must not look like one that waits, so it ends
                logger.critical("this worker cannot begin to work", exc_info=True)
                os._exit(EXIT_CANNOT_BEGIN)
        return False

    def _beat(self) -> None:
        with self._transaction() as session:
            row = session.get(WorkerRow, self.executor_id)
            if row is None:
                row = WorkerRow(executor_id=self.executor_id, version=cloudmgr.__version__, host=socket.gethostname())
            row.last_seen_at = clock.now()
            row.version, row.is_draining = cloudmgr.__version__, self._is_draining
            session.add(row)
        self._beaten = time.monotonic()

    def _declare_backends(self) -> None:
        with self._transaction() as session:
            names = [sync.declare(session, dict(section)).name for section in self.settings.backends]
            for backend in session.exec(select(Backend).where(Backend.is_configured)):
                if backend.name not in names and self.settings.is_sqlite:
                    backend.is_configured = False
                    session.add(backend)

    def _load_policy(self) -> None:
        with self._transaction() as session:
            approval_policy.prepare(session, SYSTEM)

    def _watch_backends(self) -> None:
        """Ask every backend at once; one that is still being asked from the last round is left to it."""
        for section in self.settings.backends:
            name = str(section["name"])
            running = self._watching.get(name)
            if running is None or running.done():
                self._watching[name] = self._watchers.submit(self._watch, name)

    def _watch(self, name: str) -> None:
        try:
            with self._transaction() as session:
                if not sync.may_ask(session, name):
                    return
            seen = sync.observe(name)
            with self._transaction() as session:
                sync.record(session, name, seen)
        except Exception:  # the edge of this thread, which nobody waits for; the next round asks again
            logger.exception("what cloud %s said could not be written", name)

    def _take_up_retirements(self) -> None:
        """Go on with servers whose end waits: for a cloud that was away, or for pieces that were still there."""
        with self._transaction() as session:
            certificates.take_up_due(session, timedelta(seconds=self.settings.worker.retire_recheck_s))

    def _tell(self) -> None:
        """Spread what happened to inboxes and deliveries, and begin deliveries that are due."""
        if self._engine is None:
            return
        with new_session(self._engine) as session:  # nearly always there is nothing, and a look takes no lock
            if not deliveries.has_work(session):
                return
        with self._transaction() as session:
            deliveries.spread(session, self.settings)
            deliveries.take_up_due(session)

    def _schedule_looks(self) -> None:
        """Enqueue the looks of the present period; workers that do so at the same time enqueue them once."""
        names = [str(section["name"]) for section in self.settings.backends]
        worker = self.settings.worker
        due = [
            (name, kind, id_)
            for kind, interval_s in (
                (SyncKind.FULL, worker.full_sync_interval_s),
                (SyncKind.INCREMENTAL, worker.incremental_sync_interval_s),
            )
            for name, id_ in discover.due(names, kind=kind, interval_s=interval_s).items()
        ]
        self._scheduled &= {id_ for _, _, id_ in due}
        wanted = [each for each in due if each[2] not in self._scheduled]
        if wanted:
            with self._transaction() as session:
                done = discover.schedule(session, wanted)
            self._scheduled |= done

    def _recount_quotas(self) -> None:
        """Have the recount of the present period enqueued, once for all workers."""
        with self._transaction() as session:
            quota_proofs.schedule(session, self.settings.worker.prover_interval_s)

    def _turn_quotas(self) -> None:
        """Have done what time does to quota, where there is something: limits, loans, holds, crossings."""
        with self._transaction() as session:
            quota_turns.schedule(session, self.settings.worker.quota_turn_s)

    def _watch_deadlines(self) -> None:
        """Have done what the clock has to do, where there is something: reminders, escalations, ended freezes."""
        with self._transaction() as session:
            deadlines.schedule(session, self.settings.worker.deadlines_interval_s)

    def _end_openings(self) -> None:
        """Have openings closed whose last day is past, and public addresses given back that could not be before."""
        with self._transaction() as session:
            openings.schedule(session)

    def _act_on_leases(self) -> None:
        """Have leases acted on, once a day: workers that do so at the same time do it once."""
        day = clock.today()
        if day != self._leases_day:
            with self._transaction() as session:
                leases.schedule(session, day)
            self._leases_day = day

    def _sweep(self) -> None:
        with self._transaction() as session:
            removed = housekeeping.sweep(session, self.settings)
            if any(removed.values()):
                audit.record(session, SYSTEM, Event.SYSTEM_RETENTION, object_type="system", removed=removed)

    def _verify_log(self) -> None:
        if self._engine is None:
            return
        with new_session(self._engine) as session:  # a long look must not hold SQLite's write lock
            found = audit_verification.verify(session)
        with self._transaction() as session:
            audit_verification.record(session, SYSTEM, found)
        if not found.ok:
            logger.error("the audit log is not whole: %s", found.as_json())

    def _record(self, event: Event) -> None:
        with self._transaction() as session:
            audit.record(
                session, SYSTEM, event, object_type="worker", object_id=self.executor_id, version=cloudmgr.__version__
            )

    def _paused_since(self) -> datetime | None:
        if self._engine is None:
            raise RuntimeError("the worker has not been started")
        with new_session(self._engine) as session:
            return maintenance.paused_since(session)

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        if self._engine is None:
            raise RuntimeError("the worker has not been started")
        with policy.attach(new_session(self._engine), self.settings) as session:
            begin_immediate(session)
            yield session
            session.commit()


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
    worker = Worker(settings, is_draining=drain)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker.start()
    logger.info("worker %s has started", worker.executor_id)
    listener = Listener(settings.worker.listen, worker.ready, worker.counts) if settings.worker.listen else None
    if listener is not None:
        listener.start()
    while not stop.wait(1.0):
        if drain and worker.is_idle():
            break
    if listener is not None:
        listener.stop()
    worker.stop(wait_s=30)
