"""The journal of changed servers that an incremental reading follows.

Triggers keep one line a server, the newest change of it; a change that comes with time is found by its moment.
"""

import sqlite3

from cloudmgr.domain import clock
from providers.base import Changes
from providers.simulated import servers

_GONE_KEPT = 100_000
_MOST_REFS = 500


def since(db: sqlite3.Connection, cursor: str | None) -> Changes:
    """Return what changed since a cursor; everything without one, or when it is of another installation or too old."""
    (installation,) = db.execute("SELECT id FROM installation").fetchone()
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()
    now_s = clock.now().timestamp()
    told = f"{installation}:{last}:{now_s}"
    seq, looked_s = _read(cursor, installation)
    if seq is None or seq > last or seq < last - _GONE_KEPT:
        return Changes(tuple(servers.observe_all(db)), (), told, is_full=True)
    gone = [row["ref"] for row in db.execute("SELECT ref FROM changes WHERE gone = 1 AND seq > ?", (seq,))]
    refs = [
        row["ref"]
        for row in db.execute(
            """
            SELECT ref FROM changes WHERE gone = 0 AND seq > ?1
            UNION SELECT ref FROM servers WHERE until > ?2 AND until <= ?3
            """,
            (seq, looked_s, now_s),
        )
    ]
    seen = [
        server
        for at in range(0, len(refs), _MOST_REFS)
        for server in servers.observe_some(db, refs[at : at + _MOST_REFS])
    ]
    return Changes(tuple(seen), tuple(gone), told)


def forget_oldest(db: sqlite3.Connection) -> None:
    """Drop lines of servers that went long ago."""
    db.execute("DELETE FROM changes WHERE gone = 1 AND seq < (SELECT max(seq) FROM changes) - ?", (_GONE_KEPT,))


def touch(db: sqlite3.Connection, ref: str) -> None:
    """Note that something of a server changed which is not in its own row."""
    db.execute("INSERT OR REPLACE INTO changes (ref, gone) SELECT ref, 0 FROM servers WHERE ref = ?", (ref,))


def _read(cursor: str | None, installation: str) -> tuple[int | None, float]:
    parts = (cursor or "").split(":")
    try:
        name, seq, looked_s = parts
        return (int(seq) if name == installation else None), float(looked_s)
    except ValueError:
        return None, 0.0
