"""Admission on PostgreSQL in one round trip: driver-level statements, prepared once a connection. Decides in favour only.

Rows travel as arrays, so a statement's text does not depend on their number. What nobody else waits for is written first;
then the tree is locked, for the update of the balances and the commit alone. The commit does not keep the lock while the disk
writes: it is asynchronous, and `Session.commit` returns only after the log is on the disk (and with synchronous standbys, as
the server is told), together with whoever committed meanwhile. What is told to anybody is durable, and the log is in the order
in which the balances were changed: a crash takes the last of those that nobody was told of, and never one without the next.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session as OrmSession
from sqlmodel import Session

from quotas.keys import DIMENSIONS

if TYPE_CHECKING:
    from quotas.quick import Wanted

_CLAIM = "SELECT pg_advisory_xact_lock(%(claim)s)"
# A table that was read while it was empty has plans that scan it, foreign keys' too, until somebody counts it anew: none are made here.
_WRITE = f"""
WITH claimed AS MATERIALIZED ({_CLAIM}, set_config('enable_seqscan', 'off', true)),
held AS (
  INSERT INTO quota_reservations (id, account_id, kind, state, reason, fingerprint, created_at)
  SELECT %(reservation)s, %(account)s, 'request', 'pending', %(reason)s, %(print)s, %(at)s FROM claimed
), parts AS (
  INSERT INTO quota_parts
    (reservation_id, account_id, state, placed, created_at, changed_at, part_id, top_account_id, {", ".join(DIMENSIONS)})
  SELECT %(reservation)s, %(account)s, 'pending', '', %(at)s, %(at)s, p.*
  FROM unnest(%(parts)s::uuid[], %(tops)s::uuid[]{"".join(f", %({name})s::text[]" for name in DIMENSIONS)}) AS p
), part_amounts AS (
  INSERT INTO quota_part_amounts (reservation_id, part_id, resource, amount, remaining)
  SELECT %(reservation)s, a.part_id, a.resource, a.amount, a.amount
  FROM unnest(%(amount_parts)s::uuid[], %(resources)s::text[], %(part_amounts)s::bigint[]) AS a (part_id, resource, amount)
)
INSERT INTO quota_entries
  (account_id, key, reservation_id, part_id, movement, movement_id, used_delta, reserved_delta, at)
SELECT l.account_id, l.key, %(reservation)s, l.part_id, 'reserve', %(movement)s, 0, l.amount, %(at)s
FROM unnest(%(line_accounts)s::uuid[], %(line_keys)s::text[], %(line_parts)s::uuid[], %(line_amounts)s::bigint[])
  AS l (account_id, key, part_id, amount)
"""  # noqa: S608 - names of columns
# Refusing is a division by zero: the rest of the pipeline is skipped then, and the savepoint undoes what was written.
_LOCK = "SELECT 1 / (generation = %(generation)s)::int FROM quota_accounts WHERE id = %(root)s FOR NO KEY UPDATE"
_OPEN = """
INSERT INTO quota_balances (account_id, key, resource, used, reserved, overhang, guaranteed, set_aside, borrowed)
SELECT w.account_id, w.key, w.key, 0, 0, 0, 0, 0, 0
FROM unnest(%(accounts)s::uuid[], %(keys)s::text[]) AS w (account_id, key)
ON CONFLICT DO NOTHING
"""
_CHARGE = """
WITH charged AS (
  UPDATE quota_balances b SET reserved = b.reserved + w.amount
  FROM unnest(%(accounts)s::uuid[], %(keys)s::text[], %(amounts)s::bigint[]) AS w (account_id, key, amount)
  WHERE b.account_id = w.account_id AND b.key = w.key
    AND (b.limit_amount IS NULL OR b.used + b.reserved + b.set_aside + w.amount <= b.limit_amount)
  RETURNING 1
)
SELECT 1 / (count(*) = %(count)s)::int, set_config('enable_seqscan', %(scans)s, true),
  set_config('synchronous_commit', %(commit)s, true) FROM charged
"""
_CHARGE_AND_WAIT = _CHARGE.replace(",\n  set_config('synchronous_commit', %(commit)s, true)", "")
_FLUSH = "SELECT pg_logical_emit_message(true, '', '')"
"""The shortest thing that is written to the log: its own commit waits for all before it."""
_UNFLUSHED = "quotas.unflushed"


def claim(connection: sa.Connection, reservation_id: UUID) -> None:
    """Wait for whoever is writing this reservation. Before the tree is locked, or the two could wait for each other."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(_CLAIM, {"claim": _claimed(reservation_id)})


def admit(session: Session, wanted: "Wanted") -> bool:
    """Write all of it; False when a condition did not hold: then nothing was written, and nothing is locked."""
    connection = session.connection()
    raw: Any = connection.connection.driver_connection
    driver: Any = connection.dialect.loaded_dbapi
    if raw.autocommit:
        return False
    is_ours = isinstance(session.bind, sa.Engine)  # otherwise somebody else commits, and nobody would wait for the disk
    along, told = wanted.along, None
    with _told(connection):
        try:
            with raw.pipeline():
                raw.execute("SAVEPOINT quick", prepare=True)
                raw.execute(_WRITE, _written(wanted), prepare=True)
                raw.execute(_LOCK, {"root": wanted.root_id, "generation": wanted.generation}, prepare=True)
                if unopened := wanted.unopened():
                    raw.execute(_OPEN, _opened(unopened), prepare=True)
                charged = _charged(wanted)
                charged["scans"] = "off" if along and along.commits else "on"
                if is_ours:
                    raw.execute(_CHARGE, {**charged, "commit": "off"}, prepare=True)
                else:
                    raw.execute(_CHARGE_AND_WAIT, charged, prepare=True)
                for statement, parameters in along.statements if along else ():
                    told = raw.execute(statement, parameters, prepare=True)
                if along and along.commits and is_ours:
                    raw.execute("COMMIT", prepare=False)
        except (driver.DataError, driver.IntegrityError):
            raw.execute("ROLLBACK TO quick", prepare=False)
            raw.execute("RELEASE quick", prepare=False)
            return False
        if along and told is not None:
            along.row = told.fetchone()
    if is_ours:
        session.info[_UNFLUSHED] = (session.get_transaction(), connection)
    return True


def _flush(session: OrmSession) -> None:
    """Wait until what this session has just committed is on the disk."""
    transaction, connection = session.info.get(_UNFLUSHED, (None, None))
    if connection is None:
        return
    if transaction is not session.get_transaction():  # that one was rolled back
        del session.info[_UNFLUSHED]
        return
    raw = connection.connection.driver_connection
    if raw.info.transaction_status != _IDLE and not raw.closed:  # a savepoint's end is no commit
        return
    del session.info[_UNFLUSHED]
    with _told(connection):
        raw.autocommit = True
        raw.execute(_FLUSH, prepare=True)
        raw.autocommit = False


event.listen(OrmSession, "after_commit", _flush)
_IDLE = 0


def _written(wanted: "Wanted") -> dict[str, Any]:
    rows = [(part.part_id.hex, part.amounts, charges) for part, charges in wanted.parts]
    dims = [part.dims for part, _ in wanted.parts]
    return {
        "claim": _claimed(wanted.reservation_id),
        "reservation": wanted.reservation_id,
        "account": wanted.account_id,
        "reason": wanted.reason,
        "print": wanted.fingerprint,
        "movement": wanted.movement_id,
        "at": wanted.at,
        "line_accounts": _array([charges.accounts for _, _, charges in rows]),
        "line_keys": _array([charges.keys for _, _, charges in rows]),
        "line_parts": _array([",".join([held] * len(charges.resources)) for held, _, charges in rows]),
        "line_amounts": _array([",".join([str(n[name]) for name in charges.resources]) for _, n, charges in rows]),
        "parts": _array([held for held, _, _ in rows]),
        "tops": _array([part.top.hex if part.top else "NULL" for part, _ in wanted.parts]),
        **{name: _array([quoted(each[name]) if name in each else "NULL" for each in dims]) for name in DIMENSIONS},
        "amount_parts": _array([",".join([held] * len(amounts)) for held, amounts, _ in rows if amounts]),
        "resources": _array([",".join(amounts) for _, amounts, _ in rows if amounts]),
        "part_amounts": _array([",".join(map(str, amounts.values())) for _, amounts, _ in rows if amounts]),
    }


def _charged(wanted: "Wanted") -> dict[str, Any]:
    deltas = wanted.deltas()
    if len(wanted.parts) == 1:
        ((_, charges),) = wanted.parts
        accounts, keys = [charges.accounts], [charges.keys]
    else:
        accounts, keys = [account for account, _ in deltas], [quoted(key) for _, key in deltas]
    return {
        "accounts": _array(accounts),
        "keys": _array(keys),
        "amounts": _array(map(str, deltas.values())),
        "count": len(deltas),
    }


def _opened(balances: Iterable[tuple[str, str]]) -> dict[str, str]:
    accounts, keys = zip(*balances, strict=True)
    return {"accounts": _array(accounts), "keys": _array(map(quoted, keys))}


def _claimed(reservation_id: UUID) -> int:
    return reservation_id.int % (1 << 63)


def _array(spelled: Iterable[str]) -> str:
    """Spell an array of what is spelled already: ids, names and numbers need no quotes."""
    return "{" + ",".join(spelled) + "}"


def quoted(text: str) -> str:
    """Spell a text as an element of an array."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def _told(connection: sa.Connection) -> Iterator[None]:
    """Let a failure of the driver be seen as SQLAlchemy shows it everywhere else; a broken connection is given up."""
    dialect = connection.dialect
    base: Any = dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        is_lost = dialect.is_disconnect(error, connection.connection.driver_connection, None)
        if is_lost:
            connection.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            "admission in one round trip", None, error, base, connection_invalidated=is_lost, dialect=dialect
        ) from error
