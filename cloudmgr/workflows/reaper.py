"""Taking over the work of a worker that died for good (PostgreSQL).

Every worker holds a session-level advisory lock for as long as it lives. Whoever can take the lock of an executor that
still has running work knows that it is dead, and puts that work back into the queue. A worker that loses the connection
its own lock lives on may be taken for dead, so it stops itself at once: its work is safe in the database.
"""

import hashlib
import logging
import os

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy.exc import DBAPIError

from cloudmgr.workflows import engine as engines

logger = logging.getLogger(__name__)

EXIT_LOST_LOCK = 75
"""EX_TEMPFAIL: start me again."""


def lock_key(executor_id: str) -> int:
    """Return the 64-bit advisory lock key of an executor."""
    return int.from_bytes(hashlib.sha256(f"cloudmgr executor {executor_id}".encode()).digest()[:8], signed=True)


class Reaper:
    """One worker's own lock and its watch over the others' locks."""

    def __init__(self, engine: sa.Engine, executor_id: str) -> None:
        self._engine = engine
        self._executor_id = executor_id
        self._connection: sa.Connection | None = None

    def hold(self) -> None:
        """Take this worker's own lock, on a connection kept for nothing else."""
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": lock_key(self._executor_id)})

    def prove_alive(self) -> None:
        """End this process when its lock is lost: another worker may already be doing its work."""
        try:
            if self._connection is not None:
                self._connection.execute(sa.text("SELECT 1"))
        except DBAPIError:
            logger.critical("the connection of executor %s's lock is gone; stopping at once", self._executor_id)
            os._exit(EXIT_LOST_LOCK)

    def let_go(self) -> None:
        """Give the lock back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def reap(self) -> list[str]:
        """Recover the running work of every dead executor; return their ids. Safe to do at the same time as others."""
        dead = []
        for executor_id in self._others_at_work():
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                key = {"key": lock_key(executor_id)}
                if not connection.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), key).scalar_one():
                    continue
                try:
                    engines.adopt(self._engine, [executor_id])
                    DBOS._recover_pending_workflows([executor_id])  # noqa: SLF001 - the one private call; the version is pinned
                    dead.append(executor_id)
                    logger.warning("executor %s is dead; its work is taken over", executor_id)
                finally:
                    connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), key)
        return dead

    def _others_at_work(self) -> list[str]:
        versions = [engines.VERSION, *engines.READS]
        statement = sa.text(
            "SELECT DISTINCT executor_id FROM dbos.workflow_status WHERE status = 'PENDING' "
            "AND executor_id <> :mine AND application_version IN :versions"
        ).bindparams(sa.bindparam("versions", expanding=True))
        with self._engine.connect() as connection:
            return list(connection.execute(statement, {"mine": self._executor_id, "versions": versions}).scalars())
