"""Guarantees: what the accounts beside one keep free for it, up to the root. Its limit is its ceiling.

A guarantee binds the level above: whatever the account has not taken yet of what it was guaranteed is set aside there, and
refused to all others. It is only as good as what stands behind it, so the level above must itself be guaranteed as much (or
be the root), and its limit must hold all that it has promised. The sum set aside is kept with the balance, so that
admission need not look at siblings; `settle` counts it anew, `mismatches` proves it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from quotas.accounts import ACCOUNTS, lock_tree
from quotas.admission import EMPTY, Level
from quotas.books import BALANCES, ENTRIES, read_levels
from quotas.keys import Key, stored_key
from quotas.parts import by_key
from quotas.refusals import GuaranteeRefused


@dataclass(frozen=True, slots=True)
class GuaranteeChange:
    """One guarantee that changed; 0 is none."""

    key: Key
    before: int
    after: int


def set_guarantees(
    session: Session, *, account_id: UUID, guarantees: Mapping[str, int], reason: str
) -> list[GuaranteeChange]:
    """Set what one account is guaranteed, by key; 0 takes it away. Returns those that changed.

    Runs in the caller's transaction, under the tree's lock.

    Raises:
        GuaranteeRefused: something must stand behind a guarantee, and does not; `errors` names every key and level.
        InvalidInput: a malformed or doubled key, an impossible amount, the root, no reason.
        NotFound: no such account.
    """
    wanted = by_key(guarantees, within="guarantees")
    if not reason.strip():
        raise InvalidInput(N_("Say why the guarantee changes."), field="reason")
    lock_tree(session, account_id)
    levels = read_levels(session, account_id)
    own = levels[-1]
    if own.parent_id is None:
        raise InvalidInput(N_("The topmost account has all there is; nobody stands beside it."), field="guarantees")
    changes = [
        GuaranteeChange(key, before, after)
        for key, after in wanted.items()
        if (before := own.balances.get(key, EMPTY).guaranteed) != after
    ]
    promised = guaranteed_below(session, [own.parent_id, account_id])
    problems = _problems(levels, wanted, changes, promised)
    if problems:
        raise GuaranteeRefused(problems)
    movement_id = new_id()
    for change in changes:
        _write(session, account_id, change, movement_id)
    settle(session, [own.parent_id])
    return changes


def guaranteed_below(session: Session, account_ids: Iterable[UUID]) -> dict[tuple[UUID, Key], int]:
    """Return the sum of the guarantees right below each account, by account and key."""
    rows = session.connection().execute(
        sa.select(ACCOUNTS.c.parent_id, BALANCES.c.key, sa.cast(sa.func.sum(BALANCES.c.guaranteed), sa.BigInteger))
        .join(BALANCES, BALANCES.c.account_id == ACCOUNTS.c.id)
        .where(ACCOUNTS.c.parent_id.in_(list(account_ids)), BALANCES.c.guaranteed > 0)
        .group_by(ACCOUNTS.c.parent_id, BALANCES.c.key)
    )
    return {(parent_id, stored_key(key)): amount for parent_id, key, amount in rows}


def require_ceilings(session: Session, level: Level, limits: Mapping[Key, int | None]) -> None:
    """Refuse limits of an account below what it is guaranteed itself, has let its accounts be guaranteed, or has borrowed.

    Raises:
        GuaranteeRefused: naming each key, with what is promised.
    """
    lowered = {key: after for key, after in limits.items() if after is not None}
    if not lowered:
        return
    own = {
        key: max(level.balances[key].guaranteed, level.balances[key].borrowed)
        for key in lowered
        if key in level.balances
    }
    below = guaranteed_below(session, [level.account_id])
    problems = []
    for key, after in lowered.items():
        promised = max(own.get(key, 0), below.get((level.account_id, key), 0))
        if after < promised:
            problems.append(_problem(level, key, promised, after, after - promised))
    if problems:
        raise GuaranteeRefused(problems)


def settle(session: Session, account_ids: Sequence[UUID]) -> None:
    """Count anew what is set aside at these accounts: after guarantees changed, or accounts below them came or went."""
    counted = _counted(account_ids)
    at = BALANCES.c.account_id.in_(list(account_ids))
    here = sa.and_(counted.c.account_id == BALANCES.c.account_id, counted.c.key == BALANCES.c.key)
    total = sa.select(counted.c.set_aside).where(here).scalar_subquery()
    session.connection().execute(sa.update(BALANCES).where(at).values(set_aside=sa.func.coalesce(total, 0)))


def mismatches(connection: sa.Connection) -> Iterator[tuple[UUID, str, str, int, int]]:
    """Yield (account, key, column, recorded, recounted) where what is set aside, or guaranteed, is not borne out."""
    counted = _counted(None)
    rows = connection.execute(
        sa.select(BALANCES.c.account_id, BALANCES.c.key, BALANCES.c.set_aside, sa.func.coalesce(counted.c.set_aside, 0))
        .select_from(
            BALANCES.outerjoin(
                counted, sa.and_(counted.c.account_id == BALANCES.c.account_id, counted.c.key == BALANCES.c.key)
            )
        )
        .where(BALANCES.c.set_aside != sa.func.coalesce(counted.c.set_aside, 0))
        .order_by(BALANCES.c.account_id, BALANCES.c.key)
    )
    for account_id, key, recorded, recounted in rows:
        yield account_id, key, "set_aside", recorded, recounted
    last = (
        sa.select(ENTRIES.c.account_id, ENTRIES.c.key, sa.func.max(ENTRIES.c.seq).label("seq"))
        .where(ENTRIES.c.movement == "guarantee_set")
        .group_by(ENTRIES.c.account_id, ENTRIES.c.key)
        .subquery("last")
    )
    said = (
        sa.select(last.c.account_id, last.c.key, ENTRIES.c.limit_amount)
        .join(ENTRIES, ENTRIES.c.seq == last.c.seq)
        .subquery("said")
    )
    entered = sa.func.coalesce(said.c.limit_amount, 0)
    rows = connection.execute(
        sa.select(BALANCES.c.account_id, BALANCES.c.key, BALANCES.c.guaranteed, entered)
        .select_from(
            BALANCES.outerjoin(said, sa.and_(said.c.account_id == BALANCES.c.account_id, said.c.key == BALANCES.c.key))
        )
        .where(BALANCES.c.guaranteed != entered)
        .order_by(BALANCES.c.account_id, BALANCES.c.key)
    )
    for account_id, key, recorded, recounted in rows:
        yield account_id, key, "guaranteed", recorded, recounted


def _problems(
    levels: Sequence[Level],
    wanted: Mapping[Key, int],
    changes: Sequence[GuaranteeChange],
    promised: Mapping[tuple[UUID, Key], int],
) -> list[dict[str, object]]:
    """Return what stands against a guarantee, for each key: at the account itself, above it, and below it."""
    above, own = levels[-2], levels[-1]
    found = []
    for change in changes:
        key, after = change.key, change.after
        mine, theirs = own.balances.get(key, EMPTY), above.balances.get(key, EMPTY)
        total = promised.get((above.account_id, key), 0) - change.before + after
        if after and (mine.limit is None or mine.limit < after):
            found.append(_problem(own, key, after, mine.limit, mine.limit))
        if below := max(0, promised.get((own.account_id, key), 0) - after):
            found.append(_problem(own, key, promised[own.account_id, key], mine.limit, -below))
        if after <= change.before:
            continue
        behind = theirs.limit if above.parent_id is None else min(theirs.limit or 0, theirs.guaranteed)
        if behind is None or theirs.limit is None or total > behind:
            found.append(_problem(above, key, total, theirs.limit, (behind or 0) - total + after))
        unfilled = max(0, after - mine.used - mine.reserved) - mine.unfilled
        if theirs.limit is not None and theirs.used + theirs.reserved + theirs.set_aside + unfilled > theirs.limit:
            left = theirs.limit - theirs.used - theirs.reserved - theirs.set_aside
            found.append(_problem(above, key, after, theirs.limit, max(0, left)))
        for wider, balance in above.balances.items():
            covered = wanted.get(wider, own.balances.get(wider, EMPTY).guaranteed)
            if wider != key and wider.contains(key) and balance.limit is not None and covered < after:
                found.append(_problem(own, wider, after, balance.limit, covered))
    return found


def _problem(level: Level, key: Key, promised: int, limit: int | None, room: int | None) -> dict[str, object]:
    return {
        "account": str(level.account_id),
        "name": level.name,
        "key": str(key),
        "guaranteed": promised,
        "limit": limit,
        "room": room,
    }


def _write(session: Session, account_id: UUID, change: GuaranteeChange, movement_id: UUID) -> None:
    connection = session.connection()
    connection.execute(
        sa.update(BALANCES)
        .where(BALANCES.c.account_id == account_id, BALANCES.c.key == str(change.key))
        .values(guaranteed=change.after)
    )
    connection.execute(
        sa.insert(ENTRIES).values(
            account_id=account_id,
            key=str(change.key),
            movement="guarantee_set",
            movement_id=movement_id,
            used_delta=0,
            reserved_delta=0,
            limit_amount=change.after,
            at=clock.now(),
        )
    )


def _counted(account_ids: Sequence[UUID] | None) -> sa.Subquery:
    taken = BALANCES.c.used + BALANCES.c.reserved
    unfilled = sa.case((BALANCES.c.guaranteed > taken, BALANCES.c.guaranteed - taken), else_=0)
    below = (
        sa.select(
            ACCOUNTS.c.parent_id.label("account_id"),
            BALANCES.c.key,
            sa.cast(sa.func.sum(unfilled), sa.BigInteger).label("set_aside"),
        )
        .join(BALANCES, BALANCES.c.account_id == ACCOUNTS.c.id)
        .where(BALANCES.c.guaranteed > 0)
        .group_by(ACCOUNTS.c.parent_id, BALANCES.c.key)
    )
    if account_ids is not None:
        below = below.where(ACCOUNTS.c.parent_id.in_(list(account_ids)))
    return below.subquery("counted")
