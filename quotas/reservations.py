"""Two-phase holding of quota: reserve, place, post or void, release. Takes no decision on who may.

Each call runs in the caller's transaction and never commits. Each is decided wholly before anything is written, so a
refusal leaves the books as they were and the transaction usable. Every movement is the difference between what a part
held before and what it holds after, charged to its account and all accounts above.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from quotas import quick
from quotas.accounts import lock_for_charges, lock_tree_of_reservation, require_open
from quotas.admission import Charge, Level, bindings, charged, totals
from quotas.books import ENTRIES, read_levels, write_movement
from quotas.holdings import (
    PART_AMOUNTS,
    HeldPart,
    PartState,
    Reservation,
    insertion,
    insertion_parameters,
    overall_state,
    read_fingerprint,
    read_reservation,
    read_states,
    rewriting,
    rewriting_parameters,
)
from quotas.keys import PLACEMENT_DIMENSIONS, Key, normalise_dims
from quotas.outlasting import LoanEndsFirst, outlived
from quotas.parts import Part, checked, checked_amounts, fingerprint
from quotas.quick_postgresql import claim
from quotas.refusals import Binding, QuotaExceeded

_HOLDING = (PartState.PENDING, PartState.POSTED)


def reserve(
    session: Session,
    *,
    reservation_id: UUID,
    account_id: UUID,
    parts: Sequence[Part],
    reason: str = "",
    until: datetime | None = None,
) -> None:
    """Hold quota for all parts at the account and every account above it, or for none.

    The same call again changes nothing. `until` is the end of the lease: it may not outlive a loan that it needs.

    Raises:
        QuotaExceeded: some limit has too little left; nothing was written.
        LoanEndsFirst: some limit has room only while a loan lasts that ends before the lease; nothing was written.
        Conflict: the id holds something else already, or the account is closed.
        NotFound: no such account. InvalidInput: impossible amounts or dimensions.
    """
    wanted = checked(parts)
    asked = fingerprint(account_id, wanted)
    if quick.admit(
        session,
        reservation_id=reservation_id,
        account_id=account_id,
        parts=wanted,
        reason=reason,
        fingerprint=asked,
        until=until,
    ):
        return
    claim(session.connection(), reservation_id)
    lock_for_charges(session, account_id)
    existing = read_fingerprint(session, reservation_id)
    if existing == asked:
        return
    if existing is not None:
        raise Conflict(
            N_("This reservation holds something else already; use a new one."), detail=f"reservation {reservation_id}"
        )
    levels = read_levels(session, account_id)
    require_open(levels[-1])
    held = [HeldPart(part.part_id, PartState.PENDING, part.amounts, part.dims, top=part.top) for part in wanted]
    charges = [charge for part in held for charge in _difference(levels, None, part)]
    if binding := _passed(levels, charges):
        quick.note_answer(session, account_id, is_granted=False)
        raise QuotaExceeded(binding)
    if until is not None and (found := outlived(session, levels, _growth(charges), until)):
        raise LoanEndsFirst(found)
    write_movement(
        session,
        levels,
        charges,
        movement="reserve",
        movement_id=new_id(),
        reservation_id=reservation_id,
        along=insertion(session.connection().dialect.name),
        parameters=insertion_parameters(reservation_id, account_id, held, reason=reason, fingerprint=asked),
    )
    quick.note_answer(session, account_id, is_granted=True)


def adopt(
    session: Session,
    *,
    reservation_id: UUID,
    account_id: UUID,
    parts: Sequence[Part],
    reason: str = "",
    above_limits: bool = False,
) -> list[Binding]:
    """Count as used what stands already, all parts in one movement; return the limits that were passed.

    With `above_limits` (an opening balance) it is counted whatever the limits say: what stands above one becomes its
    overhang, which can only shrink, so that every growth is refused until the account is within its limit again. A part
    may hold nothing. The same call again changes nothing.

    Raises:
        QuotaExceeded: some limit has too little left, and `above_limits` is not set; nothing was written.
        Conflict: the id holds something else already, or the account is closed.
        NotFound: no such account. InvalidInput: impossible amounts or dimensions.
    """
    wanted = checked(parts)
    asked = fingerprint(account_id, wanted)
    lock_for_charges(session, account_id)
    existing = read_fingerprint(session, reservation_id)
    if existing == asked:
        return []
    if existing is not None:
        raise Conflict(
            N_("This reservation holds something else already; use a new one."), detail=f"reservation {reservation_id}"
        )
    levels = read_levels(session, account_id)
    require_open(levels[-1])
    held = [HeldPart(part.part_id, PartState.PENDING, part.amounts, part.dims, top=part.top) for part in wanted]
    charges = [charge for part in held for charge in _difference(levels, None, part)]
    passed = _passed(levels, charges)
    if passed and not above_limits:
        raise QuotaExceeded(passed)
    write_movement(
        session,
        levels,
        charges,
        movement="adopt",
        movement_id=new_id(),
        reservation_id=reservation_id,
        along=insertion(session.connection().dialect.name),
        parameters=insertion_parameters(reservation_id, account_id, held, reason=reason, fingerprint=asked),
        above_limits=bool(passed),
    )
    reservation = read_reservation(session, reservation_id)
    if reservation is None:
        raise _no_such_reservation(reservation_id)
    _move(session, reservation, [(part, replace(part, state=PartState.POSTED)) for part in reservation.parts], "post")
    return passed


def place(
    session: Session, *, reservation_id: UUID, part_id: UUID, dims: Mapping[str, str], top: UUID | None = None
) -> None:
    """Charge the keys that placement fixed (backend, tier, cpu_family, is_xinchuang), up to the account `top`.

    The same dimensions again change nothing; others move the charge. Above `top` (None: there is nothing above the root)
    what is held is given back, except under keys narrowed by backend or tier.

    Raises:
        QuotaExceeded: a limit on the new keys has too little left; the old charge stands.
        Conflict: the part holds nothing any more, or the request itself named another value.
        NotFound: no such reservation or part. InvalidInput: not a dimension of placement.
    """
    fixed = normalise_dims(dims)
    foreign = sorted(fixed.keys() - PLACEMENT_DIMENSIONS)
    if foreign:
        raise InvalidInput(
            N_("Placement does not decide {names}; it decides {known}."),
            names=", ".join(foreign),
            known=", ".join(sorted(PLACEMENT_DIMENSIONS)),
        )
    reservation, part = _open_part(session, reservation_id, part_id)
    if part.state not in _HOLDING:
        raise _gone(part)
    submitted = part.submitted_dims
    for name in sorted(fixed.keys() & submitted.keys()):
        if fixed[name] != submitted[name]:
            raise Conflict(
                N_("The request asks for {name} {asked}; it cannot be placed on {given}."),
                name=name,
                asked=submitted[name],
                given=fixed[name],
            )
    added = {name: value for name, value in fixed.items() if name not in submitted}
    _move(
        session, reservation, [(part, replace(part, dims=submitted | added, placed=frozenset(added), top=top))], "place"
    )


def unplace(session: Session, *, reservation_id: UUID, part_id: UUID) -> None:
    """Take back what `place` charged; again, or on a part that holds nothing any more, it changes nothing.

    What it gave back above `top` stays given back until the next `place`, which may be refused: this never is.

    Raises:
        NotFound: no such reservation or part.
    """
    reservation, part = _open_part(session, reservation_id, part_id)
    if part.state in _HOLDING:
        _move(session, reservation, [(part, replace(part, dims=part.submitted_dims, placed=frozenset()))], "unplace")


def post(session: Session, *, reservation_id: UUID, part_id: UUID) -> None:
    """Turn a part from reserved to used, for a server that stands; again it changes nothing. Never over quota.

    Raises:
        Conflict: the part was voided.
        NotFound: no such reservation or part.
    """
    reservation, part = _open_part(session, reservation_id, part_id)
    if part.state is PartState.VOIDED:
        raise _gone(part)
    if part.state is PartState.PENDING:
        _move(session, reservation, [(part, replace(part, state=PartState.POSTED))], "post")


def void(session: Session, *, reservation_id: UUID, part_id: UUID | None = None) -> tuple[UUID, ...]:
    """Give back what is still pending, of one part or of all; return the parts that were voided by this call.

    What is posted, released or voided already is left alone, and so is a reservation that never was: an undo may call
    this whatever happened before.

    Raises:
        NotFound: the reservation has no such part.
    """
    if not lock_tree_of_reservation(session, reservation_id):
        return ()
    reservation = read_reservation(session, reservation_id, part_id)
    if reservation is None or not reservation.parts:
        raise _no_such_part(reservation_id, part_id)
    pending = [part for part in reservation.parts if part.state is PartState.PENDING]
    _move(session, reservation, [(part, replace(part, state=PartState.VOIDED, amounts={})) for part in pending], "void")
    return tuple(part.part_id for part in pending)


def release(
    session: Session,
    *,
    reservation_id: UUID,
    part_id: UUID,
    amounts: Mapping[str, int] | None = None,
    release_id: UUID | None = None,
) -> None:
    """Give back used quota for what the backend confirms is gone: the whole part, or only some amounts of it.

    A whole release may be repeated. A partial one is repeatable only with a `release_id`: the same id again changes
    nothing. When nothing is left, the part is released.

    Raises:
        Conflict: the part is still pending, or holds less than that.
        NotFound: no such reservation or part. InvalidInput: impossible amounts.
    """
    given = None if amounts is None else checked_amounts(amounts)
    reservation, part = _open_part(session, reservation_id, part_id)
    if part.state is PartState.PENDING:
        raise Conflict(
            N_("This part is only reserved, not in use; void it instead."),
            detail=f"part {part_id} of reservation {reservation_id}",
        )
    if release_id is not None and _released_before(session, reservation_id, part_id, release_id):
        return
    left = {} if given is None else _subtracted(part, given)
    if part.state is PartState.POSTED:
        after = replace(part, amounts=left, state=PartState.POSTED if left else PartState.RELEASED)
        _move(session, reservation, [(part, after)], "release", release_id)


def resize(
    session: Session,
    *,
    reservation_id: UUID,
    part_id: UUID,
    amounts: Mapping[str, int],
    held_by: UUID | None = None,
) -> None:
    """Let a part in use hold other amounts of some resources, for a server that has another size; again it changes nothing.

    Growth is admitted like a new reservation, at every level; what is not named stays as it is. `held_by` is a
    reservation whose pending part of the same id holds the growth already: it is given back in the same transaction, and
    what it held is not asked for again, even where a limit was lowered meanwhile.

    Raises:
        QuotaExceeded: some limit has too little left; nothing was written.
        Conflict: the part is not in use, or never held such a resource.
        NotFound: no such reservation or part. InvalidInput: impossible amounts.
    """
    given = checked_amounts(amounts)
    reservation, part = _open_part(session, reservation_id, part_id)
    if part.state is not PartState.POSTED:
        raise Conflict(
            N_("This part is not in use; only what is in use changes its size."),
            detail=f"part {part_id} of reservation {reservation_id} is {part.state.value}",
        )
    for resource in given.keys() - part.amounts.keys():
        raise Conflict(N_("No {key} are held here."), key=Key(resource).describe())
    after = replace(part, amounts={**part.amounts, **given})
    is_held = held_by is not None and _gives_up(session, held_by, part, after)
    if not is_held:
        levels = read_levels(session, reservation.account_id)
        _admit(levels, _difference(levels, part, after))  # decided before anything is written
    for resource, amount in given.items():
        session.connection().execute(
            sa.update(PART_AMOUNTS)
            .where(
                PART_AMOUNTS.c.reservation_id == reservation_id,
                PART_AMOUNTS.c.part_id == part_id,
                PART_AMOUNTS.c.resource == resource,
                PART_AMOUNTS.c.amount < amount,
            )
            .values(amount=amount)
        )
    _move(session, reservation, [(part, after)], "resize", above_limits=is_held)


def _gives_up(session: Session, held_by: UUID, part: HeldPart, after: HeldPart) -> bool:
    """Void what holds a part's growth; True when it held all of it, under the same dimensions."""
    holding = read_reservation(session, held_by, part.part_id)
    held = holding.parts[0] if holding is not None and holding.parts else None
    if held is None or held.state is not PartState.PENDING:
        return False
    void(session, reservation_id=held_by, part_id=part.part_id)
    return (held.dims, held.top) == (part.dims, part.top) and all(
        amount - part.amounts.get(resource, 0) <= held.amounts.get(resource, 0)
        for resource, amount in after.amounts.items()
    )


def get_reservation(session: Session, reservation_id: UUID) -> Reservation:
    """Return a reservation with all its parts as they stand.

    Raises:
        NotFound: there is none.
    """
    found = read_reservation(session, reservation_id)
    if found is None:
        raise _no_such_reservation(reservation_id)
    return found


def _open_part(session: Session, reservation_id: UUID, part_id: UUID) -> tuple[Reservation, HeldPart]:
    if not lock_tree_of_reservation(session, reservation_id):
        raise _no_such_reservation(reservation_id)
    reservation = read_reservation(session, reservation_id, part_id)
    if reservation is None or not reservation.parts:
        raise _no_such_part(reservation_id, part_id)
    return reservation, reservation.parts[0]


def _move(
    session: Session,
    reservation: Reservation,
    changes: Sequence[tuple[HeldPart, HeldPart]],
    movement: str,
    movement_id: UUID | None = None,
    *,
    above_limits: bool = False,
) -> None:
    changes = [(before, after) for before, after in changes if before != after]
    if not changes:
        return
    levels = read_levels(session, reservation.account_id)
    charges = [charge for before, after in changes for charge in _difference(levels, before, after)]
    if not above_limits:
        _admit(levels, charges)
    states = read_states(session, reservation.reservation_id) | {after.part_id: after.state for _, after in changes}
    write_movement(
        session,
        levels,
        charges,
        movement=movement,
        movement_id=movement_id or new_id(),
        reservation_id=reservation.reservation_id,
        along=rewriting(session.connection().dialect.name),
        parameters=rewriting_parameters(reservation.reservation_id, changes, overall_state(states.values())),
        above_limits=above_limits,
    )


def _difference(levels: Sequence[Level], before: HeldPart | None, after: HeldPart) -> list[Charge]:
    """Return what moves at every level when a part goes from `before` (None: nothing) to `after`."""
    old = _holds(levels, before) if before else {}
    new = _holds(levels, after)
    moves = []
    for account_id, key in old | new:
        used_before, reserved_before = old.get((account_id, key), (0, 0))
        used_after, reserved_after = new.get((account_id, key), (0, 0))
        used, reserved = used_after - used_before, reserved_after - reserved_before
        if used or reserved:
            moves.append(Charge(account_id, key, after.part_id, used, reserved))
    return moves


def _holds(levels: Sequence[Level], part: HeldPart) -> dict[tuple[UUID, Key], tuple[int, int]]:
    if part.state not in _HOLDING:
        return {}
    posted = part.state is PartState.POSTED
    return {
        (account_id, key): (amount, 0) if posted else (0, amount)
        for account_id, key, amount in charged(levels, part.amounts, part.dims, part.top)
    }


def _admit(levels: Sequence[Level], charges: Sequence[Charge]) -> None:
    binding = _passed(levels, charges)
    if binding:
        raise QuotaExceeded(binding)


def _passed(levels: Sequence[Level], charges: Sequence[Charge]) -> list[Binding]:
    return bindings(levels, _growth(charges))


def _growth(charges: Sequence[Charge]) -> dict[tuple[UUID, Key], int]:
    return {balance: used + reserved for balance, (used, reserved) in totals(charges).items()}


def _subtracted(part: HeldPart, given: Mapping[str, int]) -> dict[str, int]:
    for resource, amount in given.items():
        if amount > part.amounts.get(resource, 0):
            raise Conflict(
                N_("Only {held} {key} are held here; {asked} cannot be released."),
                **Key(resource).told(held=part.amounts.get(resource, 0), asked=amount),
            )
    left = {resource: amount - given.get(resource, 0) for resource, amount in part.amounts.items()}
    return {resource: amount for resource, amount in left.items() if amount}


def _released_before(session: Session, reservation_id: UUID, part_id: UUID, release_id: UUID) -> bool:
    found = session.connection().execute(
        sa.select(sa.literal(1))
        .where(
            ENTRIES.c.reservation_id == reservation_id,
            ENTRIES.c.part_id == part_id,
            ENTRIES.c.movement_id == release_id,
        )
        .limit(1)
    )
    return found.first() is not None


def _gone(part: HeldPart) -> Conflict:
    return Conflict(
        N_("This part was given back and holds no quota any more."), detail=f"part {part.part_id} is {part.state.value}"
    )


def _no_such_reservation(reservation_id: UUID) -> NotFound:
    return NotFound(N_("There is no such reservation."), detail=f"reservation {reservation_id}")


def _no_such_part(reservation_id: UUID, part_id: UUID | None) -> NotFound:
    return NotFound(N_("The reservation has no such part."), detail=f"part {part_id} of reservation {reservation_id}")
