"""Admission on SQLite with few calls: driver-level statements under the write lock. Decides in favour only."""

import sqlite3
from datetime import UTC
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlmodel import Session

from quotas.keys import DIMENSIONS

if TYPE_CHECKING:
    from quotas.quick import Wanted

_GENERATION = "SELECT generation FROM quota_accounts WHERE id = ?"
_HELD = "SELECT 1 FROM quota_reservations WHERE id = ?"
_OPEN = """INSERT OR IGNORE INTO quota_balances
(account_id, key, resource, used, reserved, overhang, guaranteed, set_aside, borrowed)
VALUES (?1, ?2, ?2, 0, 0, 0, 0, 0, 0)"""
_CHARGE = """UPDATE quota_balances SET reserved = reserved + ?1 WHERE account_id = ?2 AND key = ?3
AND (limit_amount IS NULL OR used + reserved + set_aside + ?1 <= limit_amount)"""
_HOLD = """INSERT INTO quota_reservations (id, account_id, kind, state, reason, fingerprint, created_at)
VALUES (?, ?, 'request', 'pending', ?, ?, ?)"""
_HOLD_PART = f"""INSERT INTO quota_parts
(reservation_id, account_id, state, placed, created_at, changed_at, part_id, top_account_id, {", ".join(DIMENSIONS)})
VALUES (?1, ?2, 'pending', '', ?3, ?3, ?4, ?5{"".join(f", ?{number}" for number in range(6, 6 + len(DIMENSIONS)))})
"""  # noqa: S608 - names of columns
_HOLD_AMOUNT = """INSERT INTO quota_part_amounts (reservation_id, part_id, resource, amount, remaining)
VALUES (?1, ?2, ?3, ?4, ?4)"""
_ENTER = """INSERT INTO quota_entries
(account_id, key, reservation_id, part_id, movement, movement_id, used_delta, reserved_delta, at)
VALUES (?, ?, ?, ?, 'reserve', ?, 0, ?, ?)"""


def admit(session: Session, wanted: "Wanted") -> bool:
    """Write all of it; False when a condition did not hold: then nothing was written."""
    connection = session.connection()
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - the dialect says so
    try:
        return _admit(raw, wanted)
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance("admission", None, error, sqlite3.Error, dialect=connection.dialect) from error


def _admit(raw: sqlite3.Connection, wanted: "Wanted") -> bool:
    held, account, movement = wanted.reservation_id.hex, wanted.account_id.hex, wanted.movement_id.hex
    at = wanted.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    cursor = raw.cursor()
    if not raw.in_transaction:
        cursor.execute("BEGIN IMMEDIATE")
    if cursor.execute(_GENERATION, (wanted.root_id.hex,)).fetchone() != (wanted.generation,):
        return False
    if cursor.execute(_HELD, (held,)).fetchone():
        return False
    cursor.execute("SAVEPOINT quick")
    cursor.executemany(_OPEN, wanted.unopened())
    deltas = wanted.deltas()
    cursor.executemany(_CHARGE, [(amount, *balance) for balance, amount in deltas.items()])
    if cursor.rowcount != len(deltas):
        cursor.execute("ROLLBACK TO quick")
        cursor.execute("RELEASE quick")
        return False
    cursor.execute(_HOLD, (held, account, wanted.reason, wanted.fingerprint, at))
    parts = [(part.part_id.hex, part, charges) for part, charges in wanted.parts]
    cursor.executemany(
        _HOLD_PART,
        [
            (held, account, at, own, part.top.hex if part.top else None, *map(part.dims.get, DIMENSIONS))
            for own, part, _ in parts
        ],
    )
    cursor.executemany(
        _HOLD_AMOUNT, [(held, own, name, n) for own, part, _ in parts for name, n in part.amounts.items()]
    )
    cursor.executemany(
        _ENTER,
        [
            (*balance, held, own, movement, part.amounts[name], at)
            for own, part, charges in parts
            for balance, name in zip(charges.balances, charges.resources, strict=True)
        ],
    )
    cursor.execute("RELEASE quick")
    return True
