"""What reservations hold: their parts as read and as rewritten. The rows behind `quotas.reservations`, no rules."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import groupby
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.sql.dml import UpdateBase
from sqlmodel import Session

from quotas.accounts import RESERVATIONS
from quotas.keys import DIMENSIONS
from quotas.rowsets import encode, rowset
from quotas.tables import PartAmountRow, PartRow

PARTS = PartRow.__table__  # type: ignore[attr-defined]
PART_AMOUNTS = PartAmountRow.__table__  # type: ignore[attr-defined]


class PartState(StrEnum):
    """Life of a part; a reservation shows the first of these that one of its parts is in."""

    PENDING = "pending"
    POSTED = "posted"
    RELEASED = "released"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class HeldPart:
    """One part as it stands: `amounts` is what it still holds, `placed` names the dimensions placement fixed, `top` is
    the account at which its counting ends (None: the root).
    """

    part_id: UUID
    state: PartState
    amounts: Mapping[str, int]
    dims: Mapping[str, str]
    placed: frozenset[str] = frozenset()
    top: UUID | None = None

    @property
    def submitted_dims(self) -> dict[str, str]:
        """Return the dimensions that the request itself fixed."""
        return {name: value for name, value in self.dims.items() if name not in self.placed}

    @property
    def placed_dims(self) -> dict[str, str]:
        """Return the dimensions that placement fixed."""
        return {name: value for name, value in self.dims.items() if name in self.placed}


@dataclass(frozen=True, slots=True)
class Reservation:
    """Quota held for one request."""

    reservation_id: UUID
    account_id: UUID
    kind: str
    state: PartState
    reason: str
    fingerprint: str
    parts: Sequence[HeldPart]


def read_reservation(session: Session, reservation_id: UUID, part_id: UUID | None = None) -> Reservation | None:
    """Return a reservation with all its parts, or with the one named; None when there is none."""
    row = session.connection().execute(_RESERVATION, {"reservation_id": reservation_id}).one_or_none()
    if row is None:
        return None
    query = _PARTS if part_id is None else _ONE_PART
    rows = session.connection().execute(query, {"reservation_id": reservation_id, "wanted_part": part_id})
    parts = [_held(list(group)) for _, group in groupby(rows, key=lambda found: found.part_id)]
    return Reservation(row.id, row.account_id, row.kind, PartState(row.state), row.reason, row.fingerprint, parts)


def read_fingerprint(session: Session, reservation_id: UUID) -> str | None:
    """Return what was asked for under this id; None when nothing was."""
    found: str | None = session.connection().execute(_FINGERPRINT, {"reservation_id": reservation_id}).scalar()
    return found


def read_states(session: Session, reservation_id: UUID) -> dict[UUID, PartState]:
    """Return every part's state."""
    rows = session.connection().execute(_STATES, {"reservation_id": reservation_id})
    return {row.part_id: PartState(row.state) for row in rows}


def overall_state(states: Iterable[PartState]) -> PartState:
    """Return what a reservation with such parts shows."""
    present = set(states)
    return next(state for state in PartState if state in present)


@cache
def insertion(dialect: str) -> tuple[UpdateBase, ...]:
    """Return the statements that add a reservation, for `insertion_parameters`."""
    parts = rowset(
        dialect,
        "parts",
        {"part_id": sa.Uuid(), "top_account_id": sa.Uuid(), **dict.fromkeys(DIMENSIONS, sa.Text())},
    )
    amounts = rowset(dialect, "amounts", {"part_id": sa.Uuid(), "resource": sa.Text(), "amount": sa.BigInteger()})
    reservation = sa.bindparam("held_under", type_=sa.Uuid())
    at = sa.bindparam("moved_at", type_=PARTS.c.created_at.type)
    return (
        sa.insert(RESERVATIONS).values(
            id=reservation,
            account_id=sa.bindparam("held_by", type_=sa.Uuid()),
            kind="request",
            state=PartState.PENDING.value,
            reason=sa.bindparam("held_for", type_=sa.String()),
            fingerprint=sa.bindparam("held_print", type_=sa.String()),
            created_at=at,
        ),
        sa.insert(PARTS).from_select(
            [
                "part_id",
                "top_account_id",
                *DIMENSIONS,
                "reservation_id",
                "account_id",
                "state",
                "placed",
                "created_at",
                "changed_at",
            ],
            sa.select(
                *parts.c,
                reservation.label("reservation_id"),
                sa.bindparam("held_by", type_=sa.Uuid()).label("account_id"),
                sa.literal(PartState.PENDING.value).label("state"),
                sa.literal("").label("placed"),
                at.label("created_at"),
                at.label("changed_at"),
            ),
        ),
        sa.insert(PART_AMOUNTS).from_select(
            ["part_id", "resource", "amount", "remaining", "reservation_id"],
            sa.select(*amounts.c, amounts.c.amount.label("remaining"), reservation.label("reservation_id")),
        ),
    )


def insertion_parameters(
    reservation_id: UUID, account_id: UUID, parts: Sequence[HeldPart], *, reason: str, fingerprint: str
) -> dict[str, Any]:
    """Return what `insertion` binds."""
    return {
        "held_under": reservation_id,
        "held_by": account_id,
        "held_for": reason,
        "held_print": fingerprint,
        "parts": encode(
            {"part_id": part.part_id.hex, "top_account_id": part.top.hex if part.top else None, **part.dims}
            for part in parts
        ),
        "amounts": encode(
            {"part_id": part.part_id.hex, "resource": resource, "amount": amount}
            for part in parts
            for resource, amount in part.amounts.items()
        ),
    }


@cache
def rewriting(dialect: str) -> tuple[UpdateBase, ...]:
    """Return the statements that bring parts to a new state, for `rewriting_parameters`."""
    texts = dict.fromkeys((*DIMENSIONS, "state", "placed"), sa.Text())
    parts = rowset(dialect, "parts", {"part_id": sa.Uuid(), "top_account_id": sa.Uuid(), **texts})
    amounts = rowset(dialect, "amounts", {"part_id": sa.Uuid(), "resource": sa.Text(), "remaining": sa.BigInteger()})
    reservation = sa.bindparam("held_under", type_=sa.Uuid())
    at = sa.bindparam("moved_at", type_=PARTS.c.changed_at.type)
    return (
        sa.update(PARTS)
        .where(PARTS.c.reservation_id == reservation, PARTS.c.part_id == parts.c.part_id)
        .values({**{name: parts.c[name] for name in (*texts, "top_account_id")}, "changed_at": at}),
        sa.update(PART_AMOUNTS)
        .where(
            PART_AMOUNTS.c.reservation_id == reservation,
            PART_AMOUNTS.c.part_id == amounts.c.part_id,
            PART_AMOUNTS.c.resource == amounts.c.resource,
        )
        .values(remaining=amounts.c.remaining),
        sa.update(RESERVATIONS)
        .where(RESERVATIONS.c.id == reservation)
        .values(state=sa.bindparam("held_state", type_=sa.String())),
    )


def rewriting_parameters(
    reservation_id: UUID, changes: Sequence[tuple[HeldPart, HeldPart]], state: PartState
) -> dict[str, Any]:
    """Return what `rewriting` binds for parts (before, after); a resource that `after` leaves out is held no more."""
    return {
        "held_under": reservation_id,
        "held_state": state.value,
        "parts": encode(
            {
                "part_id": after.part_id.hex,
                "state": after.state.value,
                "placed": ",".join(sorted(after.placed)),
                "top_account_id": after.top.hex if after.top else None,
                **after.dims,
            }
            for _, after in changes
        ),
        "amounts": encode(
            {"part_id": after.part_id.hex, "resource": resource, "remaining": after.amounts.get(resource, 0)}
            for before, after in changes
            for resource, amount in before.amounts.items()
            if after.amounts.get(resource, 0) != amount
        ),
    }


def _held(rows: Sequence[Any]) -> HeldPart:
    first = rows[0]._mapping  # noqa: SLF001 - the documented way to read a row by column name
    return HeldPart(
        first["part_id"],
        PartState(first["state"]),
        {row.resource: row.remaining for row in rows if row.remaining},
        {name: first[name] for name in DIMENSIONS if first[name] is not None},
        frozenset(first["placed"].split(",")) - {""},
        first["top_account_id"],
    )


_given = sa.bindparam("reservation_id", type_=sa.Uuid())
_RESERVATION = sa.select(RESERVATIONS).where(RESERVATIONS.c.id == _given)
_FINGERPRINT = sa.select(RESERVATIONS.c.fingerprint).where(RESERVATIONS.c.id == _given)
_STATES = sa.select(PARTS.c.part_id, PARTS.c.state).where(PARTS.c.reservation_id == _given)
_PARTS = (
    sa.select(
        PARTS.c.part_id,
        PARTS.c.state,
        PARTS.c.placed,
        PARTS.c.top_account_id,
        *(PARTS.c[name] for name in DIMENSIONS),
        PART_AMOUNTS.c.resource,
        PART_AMOUNTS.c.remaining,
    )
    .select_from(PARTS.outerjoin(PART_AMOUNTS))
    .where(PARTS.c.reservation_id == _given)
    .order_by(PARTS.c.part_id, PART_AMOUNTS.c.resource)
)
_ONE_PART = _PARTS.where(PARTS.c.part_id == sa.bindparam("wanted_part", type_=sa.Uuid()))
