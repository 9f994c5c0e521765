"""What happened to one account: every entry of the ledger, with who decided and why where somebody did. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from quotas.books import ENTRIES
from quotas.limits import LIMITS
from quotas.tables import ReservationRow

RESERVATIONS = ReservationRow.__table__  # type: ignore[attr-defined]
MOVEMENTS = (
    "limit_set",
    "guarantee_set",
    "open",
    "reserve",
    "adopt",
    "post",
    "place",
    "unplace",
    "resize",
    "void",
    "release",
    "move",
    "merge",
)
"""Every kind of movement that an entry can be part of."""
DECISIONS = ("limit_set", "guarantee_set")
"""Those that somebody decided on, and that no request made."""


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One entry. `limit` and `previous` belong to decisions; `reason` is the decision's, or the number of the request."""

    seq: int
    at: datetime
    key: str
    movement: str
    used: int
    reserved: int
    limit: int | None
    previous: int | None
    reason: str
    basis_no: str | None
    actor: str
    part_id: UUID | None = None
    """What holds it: a server's id, or that of another thing."""


def history(
    session: Session,
    account_id: UUID,
    *,
    limit: int,
    before: int | None = None,
    key: str | None = None,
    movements: Sequence[str] = (),
) -> list[HistoryLine]:
    """Return up to `limit` entries of an account, the newest first, from below entry `before`.

    Of one canonical `key`, or of some movements only, where that is asked. One statement along the account's index,
    whatever the number of entries.
    """
    query = (
        sa.select(
            ENTRIES.c.seq,
            ENTRIES.c.at,
            ENTRIES.c.key,
            ENTRIES.c.movement,
            ENTRIES.c.used_delta,
            ENTRIES.c.reserved_delta,
            ENTRIES.c.limit_amount,
            LIMITS.c.previous_amount,
            sa.func.coalesce(LIMITS.c.reason, RESERVATIONS.c.reason, ""),
            LIMITS.c.basis_no,
            sa.func.coalesce(LIMITS.c.actor, ""),
            ENTRIES.c.part_id,
        )
        .outerjoin(
            LIMITS,
            sa.and_(
                LIMITS.c.account_id == ENTRIES.c.account_id,
                LIMITS.c.key == ENTRIES.c.key,
                LIMITS.c.movement_id == ENTRIES.c.movement_id,
                ENTRIES.c.movement == "limit_set",
            ),
        )
        .outerjoin(RESERVATIONS, RESERVATIONS.c.id == ENTRIES.c.reservation_id)
        .where(ENTRIES.c.account_id == account_id)
        .order_by(ENTRIES.c.seq.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(ENTRIES.c.seq < before)
    if key is not None:
        query = query.where(ENTRIES.c.key == key)
    if movements:
        query = query.where(ENTRIES.c.movement.in_(movements))
    return [HistoryLine(*row) for row in session.connection().execute(query)]
