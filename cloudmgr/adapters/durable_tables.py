"""The durable engine's own tables: made with ours, so that a process without a worker can enqueue from its first request on."""

import sqlalchemy as sa
from dbos import DBOSClient

from cloudmgr.adapters.serialization import JsonSerializer


def ensure(engine: sa.Engine) -> None:
    """Make the engine's tables, or bring them up to date; idempotent, and safe beside others that do the same.

    DBOS's public migration opens a connection of its own, without the function that Debian 12's SQLite lacks
    (see store/db.py); so its migrations are run on our engine, by a private call. The version is pinned exactly.
    """
    client = DBOSClient(system_database_engine=engine, serializer=JsonSerializer(), lazy=True)
    client._sys_db.run_migrations()  # noqa: SLF001 - see above
