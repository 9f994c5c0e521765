"""Reading balances and writing movements: the only SQL that changes them. Decides nothing.

Every writer locks the tree first (`quotas.accounts.lock_tree`), reads, decides, and then writes all of a movement at
once. The guard is in the UPDATE all the same, and a CHECK stands behind it: a balance passes its limit only if all
three fail.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.sql.dml import UpdateBase
from sqlmodel import Session

from cloudmgr.domain import clock
from quotas.accounts import ACCOUNTS, chain_of
from quotas.admission import Balance, Charge, Level, set_aside_changes, totals
from quotas.keys import DIMENSIONS, Key, stored_key
from quotas.refusals import LedgerError
from quotas.rowsets import combined, encode, rowset
from quotas.tables import BalanceRow, EntryRow

BALANCES = BalanceRow.__table__  # type: ignore[attr-defined]
ENTRIES = EntryRow.__table__  # type: ignore[attr-defined]

BALANCE_COLUMNS = (
    BALANCES.c.key,
    BALANCES.c.limit_amount,
    BALANCES.c.used,
    BALANCES.c.reserved,
    BALANCES.c.overhang,
    BALANCES.c.guaranteed,
    BALANCES.c.set_aside,
    BALANCES.c.borrowed,
)
"""What `balance_of` reads."""

_AMOUNT = sa.BigInteger()
_NOTHING = dict.fromkeys(("used", "reserved", "overhang", "guaranteed", "set_aside", "borrowed"), 0)


def read_levels(session: Session, account_id: UUID) -> list[Level]:
    """Return the account and all above it, root first, with every balance; empty when there is no such account."""
    rows = session.connection().execute(_LEVELS, {"account_id": account_id})
    return [_level(list(group)) for _, group in groupby(rows, key=lambda row: row.id)]


def read_own_level(session: Session, account_id: UUID) -> tuple[Level, UUID, int] | None:
    """Return the account by itself with its balances, its root, and the tree's generation, all of one moment."""
    rows = session.connection().execute(_OWN_LEVEL, {"account_id": account_id}).all()
    return (_level(rows), rows[0].root_id, rows[0].generation) if rows else None


def _level(rows: Sequence[Any]) -> Level:
    own = rows[0]
    balances = {stored_key(row.key): balance_of(row) for row in rows if row.key is not None}
    return Level(own.id, own.parent_id, own.code, own.name, balances, own.closed_at is not None)


def balance_of(row: Any) -> Balance:
    """Return the balance in a row that holds `BALANCE_COLUMNS`."""
    return Balance(row.limit_amount, row.used, row.reserved, row.overhang, row.guaranteed, row.set_aside, row.borrowed)


def open_balances(session: Session, missing: Iterable[tuple[UUID, Key]]) -> None:
    """Start counting keys at accounts where they have no row yet, from zero."""
    rows = [
        {"account_id": account_id, "key": str(key), "resource": key.resource, **_NOTHING}
        | {name: dict(key.dims).get(name) for name in DIMENSIONS}
        for account_id, key in missing
    ]
    if rows:
        session.connection().execute(sa.insert(BALANCES), rows)


def write_movement(
    session: Session,
    levels: Sequence[Level],
    charges: Sequence[Charge],
    *,
    movement: str,
    movement_id: UUID,
    reservation_id: UUID | None = None,
    along: Sequence[UpdateBase] = (),
    parameters: Mapping[str, Any] | None = None,
    above_limits: bool = False,
) -> None:
    """Apply charges to balances and append their entries, with the changes in `along`, in one round trip if possible.

    The tree must be locked and `levels` read after that. `along` are statements whose bound names `parameters` fills.
    With `above_limits`, growth that passes a limit becomes its overhang: for what stands already, and nothing else.

    Raises:
        LedgerError: a guard in the database refused what was decided on. The transaction must be rolled back.
    """
    changes = totals(charges)
    known = {(level.account_id, key) for level in levels for key in level.balances}
    open_balances(session, [change for change in changes if change not in known])
    asides = set_aside_changes(levels, {balance: used + reserved for balance, (used, reserved) in changes.items()})
    changes |= dict.fromkeys(asides.keys() - changes.keys(), (0, 0))
    bound = dict(parameters or {}) | {
        "deltas": encode(
            {
                "account_id": account_id.hex,
                "key": str(key),
                "used": used,
                "reserved": reserved,
                "aside": asides.get((account_id, key), 0),
            }
            for (account_id, key), (used, reserved) in changes.items()
        ),
        "lines": encode(
            {
                "account_id": charge.account_id.hex,
                "key": str(charge.key),
                "part_id": charge.part_id.hex if charge.part_id else None,
                "used": charge.used,
                "reserved": charge.reserved,
            }
            for charge in charges
        ),
        "moved_reservation": reservation_id,
        "moved_as": movement,
        "moved_by": movement_id,
        "moved_at": clock.now(),
    }
    connection = session.connection()
    statements = _statements(connection.dialect.name, tuple(along), above_limits)
    results = [connection.execute(statement, bound) for statement in statements]
    touched = results[0].one()[0] if connection.dialect.name != "sqlite" else results[0].rowcount
    if touched != len(changes):
        raise LedgerError(f"{movement} {movement_id}: {touched} of {len(changes)} balances let the change through")


@cache
def _statements(dialect: str, along: tuple[UpdateBase, ...], above_limits: bool) -> list[sa.Executable]:
    return combined(dialect, [_change_balances(dialect, above_limits=above_limits), *along, _append_entries(dialect)])


def _change_balances(dialect: str, *, above_limits: bool) -> UpdateBase:
    delta = rowset(
        dialect,
        "deltas",
        {"account_id": sa.Uuid(), "key": sa.Text(), "used": _AMOUNT, "reserved": _AMOUNT, "aside": _AMOUNT},
    )
    growth = delta.c.used + delta.c.reserved
    after = BALANCES.c.used + BALANCES.c.reserved + growth
    if above_limits:
        return (
            sa.update(BALANCES)
            .where(BALANCES.c.account_id == delta.c.account_id, BALANCES.c.key == delta.c.key)
            .values(
                used=BALANCES.c.used + delta.c.used,
                reserved=BALANCES.c.reserved + delta.c.reserved,
                set_aside=BALANCES.c.set_aside + delta.c.aside,
                overhang=sa.case((after > BALANCES.c.limit_amount, after - BALANCES.c.limit_amount), else_=0),
            )
        )
    return (
        sa.update(BALANCES)
        .where(
            BALANCES.c.account_id == delta.c.account_id,
            BALANCES.c.key == delta.c.key,
            sa.or_(growth <= 0, BALANCES.c.limit_amount.is_(None), after <= BALANCES.c.limit_amount),
        )
        .values(
            used=BALANCES.c.used + delta.c.used,
            reserved=BALANCES.c.reserved + delta.c.reserved,
            set_aside=BALANCES.c.set_aside + delta.c.aside,
            overhang=sa.case(
                (sa.or_(growth >= 0, BALANCES.c.overhang == 0), BALANCES.c.overhang),
                (after <= BALANCES.c.limit_amount, 0),
                else_=after - BALANCES.c.limit_amount,
            ),
        )
    )


def _append_entries(dialect: str) -> UpdateBase:
    line = rowset(
        dialect,
        "lines",
        {"account_id": sa.Uuid(), "key": sa.Text(), "part_id": sa.Uuid(), "used": _AMOUNT, "reserved": _AMOUNT},
    )
    columns = ["account_id", "key", "part_id", "used_delta", "reserved_delta"]
    common: dict[str, sa.BindParameter[Any]] = {
        "reservation_id": sa.bindparam("moved_reservation", type_=sa.Uuid()),
        "movement": sa.bindparam("moved_as", type_=sa.String()),
        "movement_id": sa.bindparam("moved_by", type_=sa.Uuid()),
        "at": sa.bindparam("moved_at", type_=ENTRIES.c.at.type),
    }
    source = sa.select(*line.c, *(value.label(name) for name, value in common.items()))
    return sa.insert(ENTRIES).from_select([*columns, *common], source)


_LEVEL_COLUMNS = (
    ACCOUNTS.c.id,
    ACCOUNTS.c.parent_id,
    ACCOUNTS.c.code,
    ACCOUNTS.c.name,
    ACCOUNTS.c.closed_at,
    *BALANCE_COLUMNS,
)
_chain = chain_of(sa.bindparam("account_id", type_=sa.Uuid()))
_LEVELS = (
    sa.select(*_LEVEL_COLUMNS)
    .select_from(_chain.join(ACCOUNTS, ACCOUNTS.c.id == _chain.c.id).outerjoin(BALANCES))
    .order_by(_chain.c.distance.desc(), BALANCES.c.key)
)
_root = ACCOUNTS.alias("root")
_OWN_LEVEL = (
    sa.select(*_LEVEL_COLUMNS, ACCOUNTS.c.root_id, _root.c.generation)
    .select_from(
        ACCOUNTS.join(_root, _root.c.id == ACCOUNTS.c.root_id).outerjoin(
            BALANCES, BALANCES.c.account_id == ACCOUNTS.c.id
        )
    )
    .where(ACCOUNTS.c.id == sa.bindparam("account_id", type_=sa.Uuid()))
)
