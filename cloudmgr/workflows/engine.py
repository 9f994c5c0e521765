"""Starting and stopping the durable engine in this process: DBOS on our own database, with our own rules for versions.

`VERSION` is raised by hand when the steps of a workflow change; the change itself is guarded with `DBOS.patch`, so that
work begun by an older version in `READS` goes on. Reason and limits: docs/decisions/0003-durable-engine.md.
"""

import logging
from collections.abc import Sequence

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SQLAlchemyDatasource, _sys_db_postgres, _workflow_commands
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.adapters.serialization import JsonSerializer
from cloudmgr.settings import Settings
from cloudmgr.store.db import make_engine
from cloudmgr.workflows import runtime as runtimes
from cloudmgr.workflows.runtime import Runtime

VERSION = "1"
READS: Sequence[str] = ()
"""Older versions whose running work this one can finish."""
NOTICES_AT_ONCE = 4
PATIENCE_S = 3600.0
"""How long a step waits for a connection: its turn comes when those before it have committed."""
CALM_S = 10.0
"""How often the engine looks after what we do not use: its own queue, timeouts and delays of workflows."""

logger = logging.getLogger(__name__)


def start(settings: Settings, executor_id: str, engine: sa.Engine | None = None) -> Runtime:
    """Launch the engine and begin to take work; what this executor left running is taken up again.

    `engine` is shared with the web half of an embedded process. Returns the runtime that workflows stand on.
    """
    shared = engine or make_engine(
        settings.database_url, pool_size=settings.database.pool_size, synchronous=settings.database.synchronous
    )
    serializer = JsonSerializer()
    threads = settings.worker.request_concurrency + settings.worker.server_concurrency + looks_at_once(settings)
    threads += NOTICES_AT_ONCE + 16
    steps, books = _own_pools(settings, threads)
    config: DBOSConfig = {
        "name": "cloudmgr",
        "system_database_url": settings.database_url,
        "system_database_engine": books,
        "application_version": VERSION,
        "executor_id": executor_id,
        "serializer": serializer,
        "max_executor_threads": threads,
        "notification_listener_polling_interval_sec": max(settings.worker.poll_s, 1.0),
        "scheduler_polling_interval_sec": 60.0,
        "use_listen_notify": False,
        "log_level": "WARNING",
    }
    instance = DBOS(config=config)
    _calm(instance)
    datasource = SQLAlchemyDatasource.create(
        database_url=settings.database_url,
        engine=steps,
        serializer=serializer,
        sessionmaker=sessionmaker(class_=Session, expire_on_commit=False),
    )
    installed = Runtime(settings=settings, engine=shared, datasource=datasource, own_engines=(steps, books))
    runtimes.install(installed)
    define_workflows()
    adopt_enqueued(shared)
    if settings.is_sqlite:
        adopt(shared, [executor_id])
    DBOS.launch()
    _glance_first(instance, books)
    for name, at_once in (
        (queue.REQUESTS, settings.worker.request_concurrency),
        (queue.SERVERS, settings.worker.server_concurrency),
        (queue.LOOKS, looks_at_once(settings)),
        (queue.NOTICES, NOTICES_AT_ONCE),
    ):
        poll_s = settings.worker.poll_s * (2 if name in (queue.LOOKS, queue.NOTICES) else 1)
        DBOS.register_queue(name, worker_concurrency=at_once, polling_interval_sec=poll_s, on_conflict="always_update")
    _remember_queues(instance)
    return installed


def _own_pools(settings: Settings, threads: int) -> tuple[sa.Engine, sa.Engine]:
    """Return the connections that writing steps take, and those of the durable engine's own books.

    Two pools, because before a step commits, the engine asks its books whether this process still owns the workflow: of
    one pool, steps that wait for the quota tree could hold all connections, and the one that holds the tree would wait for
    them. On SQLite even whoever writes the books waits for that step: there, every thread may have one. Steps wait for
    their turn however long it takes: one that gave up would end its workflow for good.
    """
    most = settings.database.pool_size
    steps, books = max(1, most // 2), threads if settings.is_sqlite else max(2, most // 4)

    def make(pool_size: int, name: str) -> sa.Engine:
        return make_engine(
            settings.database_url,
            pool_size=pool_size,
            pool_timeout_s=PATIENCE_S,
            synchronous=settings.database.synchronous,
            application_name=name,
        )

    return make(steps, "cloudmgr step"), make(books, "cloudmgr engine")


def looks_at_once(settings: Settings) -> int:
    """Return how many looks run at once: one for each backend that may hang, and some for those that do not."""
    return max(4, len(settings.backends) + 2)


def _calm(instance: DBOS) -> None:
    """Let the engine rest between looks at what is never there; at a second each they cost as much as our own queues.

    Whoever looks holds a lock until the next look, in a transaction that PostgreSQL ends when it idles for longer than is
    said here: it would end each, with its connection. Private names, checked by a test: the version is pinned.
    """
    instance._registry.get_internal_queue()._polling_interval_sec = CALM_S  # noqa: SLF001
    _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC = CALM_S  # noqa: SLF001
    _sys_db_postgres.BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS = int(3_000 * CALM_S)


def _glance_first(instance: DBOS, engine: sa.Engine) -> None:
    """Let each poll of a queue first ask whether anything waits in it: to claim nothing costs some 20 times as much.

    A private name, checked by a test: the version is pinned. It is the engine's own hook for what a poll goes through.
    """
    statement = sa.text(
        f"SELECT 1 FROM {status_table(engine)} WHERE queue_name = :queue AND status = 'ENQUEUED' "  # noqa: S608 - a constant
        "AND status IN ('ENQUEUED', 'PENDING') LIMIT 1"  # which SQLite wants to see, to take the partial index
    )

    def scopes(queue_name: str) -> list[str | None]:
        with engine.connect() as connection:
            return [None] if connection.execute(statement, {"queue": queue_name}).first() else []

    instance._sys_db.dequeue_scopes = scopes  # type: ignore[method-assign] # noqa: SLF001


def _remember_queues(instance: DBOS) -> None:
    """Let polls take our queues from memory: nobody changes them while this process runs, and asking costs as much again.

    Private names, checked by a test: the version is pinned.
    """
    sys_db = instance._sys_db  # noqa: SLF001
    known = {each.name: each for each in sys_db.list_queues(application_name=sys_db.app_name)}
    sys_db.get_queue = lambda name, **_: known.get(name)  # type: ignore[method-assign]
    sys_db.list_queues = lambda **_: list(known.values())  # type: ignore[method-assign]


def stop(*, wait_s: int = 0) -> None:
    """Stop taking work, give what is running `wait_s` seconds, and let go; what is left is taken up at the next start."""
    DBOS.destroy(workflow_completion_timeout_sec=wait_s)
    try:
        runtimes.runtime().close()
    except RuntimeError:
        return
    runtimes.install(None)


def define_workflows() -> None:
    """Import every workflow, which registers it by name."""
    from cloudmgr.workflows import (  # noqa: F401, PLC0415 - their import is the deed
        deadlines,
        discover,
        fulfil,
        notices,
        playbook_runs,
        power,
        provision,
        quota_proofs,
        quota_turns,
        restore,
        retire,
    )


def adopt(engine: sa.Engine, executor_ids: Sequence[str]) -> int:
    """Give the running work of dead executors of an older version to this version; return how many workflows."""
    return _adopt(engine, "status = 'PENDING' AND executor_id IN :executors", {"executors": list(executor_ids)})


def adopt_enqueued(engine: sa.Engine) -> int:
    """Give work that an older version enqueued and nobody has begun to this version; return how many workflows."""
    return _adopt(engine, "status IN ('ENQUEUED', 'DELAYED')", {})


def _adopt(engine: sa.Engine, condition: str, params: dict[str, object]) -> int:
    table = status_table(engine)
    if not READS or table is None:
        return 0
    statement = sa.text(
        f"UPDATE {table} SET application_version = :mine WHERE application_version IN :older AND {condition}"  # noqa: S608 - constants
    ).bindparams(sa.bindparam("older", expanding=True))
    if "executors" in params:
        statement = statement.bindparams(sa.bindparam("executors", expanding=True))
    with engine.begin() as connection:
        changed = connection.execute(statement, {"mine": VERSION, "older": list(READS), **params}).rowcount
    if changed:
        logger.info("took over %d workflows begun by versions %s", changed, ", ".join(READS))
    return int(changed)


def status_table(engine: sa.Engine) -> str | None:
    """Return the name of the engine's table of workflows, or None before the engine has ever been launched."""
    schema = None if engine.dialect.name == "sqlite" else "dbos"
    if not sa.inspect(engine).has_table("workflow_status", schema=schema):
        return None
    return "workflow_status" if schema is None else "dbos.workflow_status"
