"""What was asked of a simulated cloud to change, call by call: the proof that a token built once and only once.

Reads are not written down, so that they stay reads. The newest 10,000 calls are kept.
"""

import sqlite3
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from cloudmgr.domain import clock

_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One changing call. `outcome`: `built`, `found`, `done`, `lost`, `half_created`, or the error's code."""

    call: str
    token: uuid.UUID | None
    ref: str | None
    outcome: str
    at: datetime


def begin(db: sqlite3.Connection, call: str, token: str | None, ref: str | None) -> int:
    """Write down that a call arrived; returns its number."""
    seq = db.execute(
        "INSERT INTO calls (at, call, token, ref) VALUES (?, ?, ?, ?)", (clock.now().timestamp(), call, token, ref)
    ).lastrowid
    assert seq is not None, "an INSERT has a row id"  # noqa: S101 - narrows sqlite3's optional
    db.execute("DELETE FROM calls WHERE seq <= ?", (seq - _KEPT,))
    return seq


def end(db: sqlite3.Connection, seq: int, outcome: str, ref: str | None) -> None:
    """Write down how it ended."""
    db.execute("UPDATE calls SET outcome = ?, ref = COALESCE(ref, ?) WHERE seq = ?", (outcome, ref, seq))


def calls(db: sqlite3.Connection, call: str | None, token: uuid.UUID | None) -> list[Call]:
    """Return calls in the order they came, all or of one kind or for one token."""
    rows = db.execute(
        "SELECT * FROM calls WHERE (?1 IS NULL OR call = ?1) AND (?2 IS NULL OR token = ?2) ORDER BY seq",
        (call, str(token) if token else None),
    )
    return [
        Call(
            call=row["call"],
            token=uuid.UUID(row["token"]) if row["token"] else None,
            ref=row["ref"],
            outcome=row["outcome"],
            at=datetime.fromtimestamp(row["at"], UTC),
        )
        for row in rows
    ]
