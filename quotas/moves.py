"""Changing the tree itself: moving a subtree, merging two accounts, closing one. What is held goes along, exactly.

Each is one transaction under the tree's lock, decided wholly before anything is written: requests that run beside it are
charged either wholly as before or wholly as after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_, Message
from quotas.accounts import ACCOUNTS, MAX_DEPTH, RESERVATIONS, lock_tree, no_such_account, require_open
from quotas.admission import EMPTY, Charge, Level, bindings, charged, set_aside_changes
from quotas.books import read_levels, write_movement
from quotas.holdings import PART_AMOUNTS, PARTS, PartState
from quotas.keys import DIMENSIONS, Key
from quotas.limits import LimitChange, change_limits, end_terms
from quotas.refusals import Binding, QuotaExceeded
from quotas.transfers import AccountChange, require_reason

_HOLDING = (PartState.PENDING.value, PartState.POSTED.value)


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge did: which accounts changed their parent, and whose limits changed (the target's, then the source's)."""

    movement_id: UUID
    moved: Sequence[UUID]
    accounts: Sequence[AccountChange]


@dataclass(frozen=True, slots=True)
class _Group:
    """What parts alike hold together of one resource somewhere below an account."""

    state: str
    top: UUID | None
    dims: dict[str, str]
    resource: str
    amount: int


def lock_accounts(session: Session, account_id: UUID) -> None:
    """Lock an account and those right below it, which the tree's lock does not keep from being renamed. It never waits.

    Raises:
        sqlalchemy.exc.OperationalError: somebody holds one of them.
    """
    ours = sa.select(ACCOUNTS.c.id).where(sa.or_(ACCOUNTS.c.id == account_id, ACCOUNTS.c.parent_id == account_id))
    session.connection().execute(ours.with_for_update(nowait=True, key_share=True)).all()


def move_account(session: Session, *, account_id: UUID, parent_id: UUID) -> bool:
    """Hang an account with all below it under another parent; False when it hangs there already.

    What it holds leaves the accounts that are above it no more and is charged to those that come to be. Limits stay as
    they are. Where counting ended at a level of the old chain (a district's own cloud), it ends at the same level of the
    new one.

    Raises:
        QuotaExceeded: accounts that come to be above it have too little left; every key and level is named.
        InvalidInput: it is the root, the parent is below it or in another tree, or the tree would be too deep.
        Conflict: the parent is closed. NotFound: no such account.
    """
    lock_tree(session, account_id)
    old, new = _chain(session, account_id), _chain(session, parent_id)
    moved = old[-1]
    if moved.parent_id is None:
        raise InvalidInput(N_("The topmost account cannot be moved."), field="account")
    if moved.parent_id == parent_id:
        return False
    _require_elsewhere(moved, new, field="parent")
    require_open(new[-1])
    _require_unpromised(moved)
    members = _members(account_id)
    if len(new) + _height(session, account_id) > MAX_DEPTH:
        raise InvalidInput(N_("The quota tree may be at most {most} levels deep."), most=MAX_DEPTH)
    arrival = [*new, replace(moved, parent_id=parent_id)]
    charges = _shift(old[:-1], new, _groups(session, members), _tops(old, arrival))
    _admit(old[:-1], new, charges)
    _write(session, old[:-1], new, charges, "move", new_id())
    _retop(session, members, _tops(old, arrival))
    session.connection().execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(parent_id=parent_id))
    return True


def merge_accounts(
    session: Session, *, source: UUID, target: UUID, reason: str, basis_no: str | None = None, actor: str
) -> Merge:
    """Give everything of one account to another and close it: what it holds, the accounts right below it, its limits.

    The target's limits grow by the source's where both have one; where the target is above the source, its own include
    them already. Limits above either stay as they are.

    Raises:
        QuotaExceeded: accounts that come to be above what is held have too little left; every key and level is named.
        InvalidInput: the source is the root or above the target, another tree, too deep, no reason.
        Conflict: one of them is closed. NotFound: no such account.
    """
    require_reason(reason)
    lock_tree(session, source)
    old, new = _chain(session, source), _chain(session, target)
    leaving, taking = old[-1], new[-1]
    if leaving.parent_id is None:
        raise InvalidInput(N_("The topmost account cannot be merged into another."), field="source")
    _require_elsewhere(leaving, new, field="target")
    require_open(leaving, taking)
    _require_unpromised(leaving)
    if len(new) + _height(session, source) - 1 > MAX_DEPTH:
        raise InvalidInput(N_("The quota tree may be at most {most} levels deep."), most=MAX_DEPTH)
    is_above = any(level.account_id == target for level in old)
    gained = [] if is_above else _sum_of_limits(leaving, taking)
    raised = _with_limits(taking, gained)
    members = _members(source)
    tops = _tops(old, new)
    charges = _shift(old, [*new[:-1], raised], _groups(session, members), tops)
    _admit(old, [*new[:-1], raised], charges)
    movement_id = new_id()
    change_limits(session, taking, gained, movement_id, reason=reason, basis_no=basis_no, actor=actor)
    _write(session, old, new, charges, "merge", movement_id)
    _retop(session, members, tops)
    moved = _children(session, source)
    connection = session.connection()
    connection.execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.parent_id == source).values(parent_id=target))
    for table in (PARTS, RESERVATIONS):
        connection.execute(sa.update(table).where(table.c.account_id == source).values(account_id=target))
    lost = _close(session, _chain(session, source)[-1], movement_id, reason=reason, basis_no=basis_no, actor=actor)
    accounts = [AccountChange(target, taking.name, gained), AccountChange(source, leaving.name, lost)]
    return Merge(movement_id, moved, accounts)


def close_account(
    session: Session, *, account_id: UUID, reason: str, basis_no: str | None = None, actor: str
) -> AccountChange:
    """Let an account take no charges any more; its limits become zero. Again it changes nothing.

    Raises:
        Conflict: something is held there, or an account right below is still open; both are told by number.
        InvalidInput: it is the root, or no reason. NotFound: no such account.
    """
    require_reason(reason)
    lock_tree(session, account_id)
    level = _chain(session, account_id)[-1]
    if level.parent_id is None:
        raise InvalidInput(N_("The topmost account cannot be closed."), field="account")
    if level.is_closed:
        return AccountChange(account_id, level.name, [])
    _require_unpromised(level)
    still_open = session.connection().execute(
        sa.select(sa.func.count())
        .select_from(ACCOUNTS)
        .where(ACCOUNTS.c.parent_id == account_id, ACCOUNTS.c.closed_at.is_(None))
    )
    if count := still_open.scalar_one():
        raise Conflict(
            N_("{count} accounts below {account} are still open; close or move those first."),
            account=level.name,
            count=count,
        )
    held: dict[str, int] = {}
    for group in _groups(session, _members(account_id)):
        held[group.resource] = held.get(group.resource, 0) + group.amount
    if held:
        raise Conflict(
            N_("{account} still holds {held}; retire or release that first."),
            errors=[{"key": resource, "held": amount} for resource, amount in sorted(held.items())],
            account=level.name,
            held=[
                Message(N_("{amount} {key}"), Key(resource).told(amount=amount))
                for resource, amount in sorted(held.items())
            ],
        )
    changes = _close(session, level, new_id(), reason=reason, basis_no=basis_no, actor=actor)
    return AccountChange(account_id, level.name, changes)


def reopen_account(session: Session, *, account_id: UUID) -> bool:
    """Let a closed account take charges again, its limits being zero until they are set; False when it is open.

    Raises:
        Conflict: the account above is closed. NotFound: no such account.
    """
    lock_tree(session, account_id)
    *above, level = _chain(session, account_id)
    if not level.is_closed:
        return False
    require_open(*above[-1:])
    session.connection().execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(closed_at=None))
    return True


def _close(
    session: Session, level: Level, movement_id: UUID, *, reason: str, basis_no: str | None, actor: str
) -> list[LimitChange]:
    changes = [LimitChange(key, held.limit, 0) for key, held in level.balances.items() if held.limit]
    change_limits(session, level, changes, movement_id, reason=reason, basis_no=basis_no, actor=actor)
    end_terms(session, level.account_id)
    session.connection().execute(
        sa.update(ACCOUNTS).where(ACCOUNTS.c.id == level.account_id).values(closed_at=clock.now())
    )
    return changes


def _chain(session: Session, account_id: UUID) -> list[Level]:
    levels = read_levels(session, account_id)
    if not levels:
        raise no_such_account(account_id)
    return levels


def _require_elsewhere(moved: Level, new: Sequence[Level], *, field: str) -> None:
    """Refuse a place below the account itself, or in a tree that is not locked."""
    if any(level.account_id == moved.account_id for level in new):
        raise InvalidInput(N_("{account} cannot come to stand below itself."), field=field, account=moved.name)


def _require_unpromised(level: Level) -> None:
    """Refuse to take away an account that those beside it keep something free for, or whose limit is partly on loan."""
    bound = [key.describe() for key, held in level.balances.items() if held.guaranteed or held.borrowed]
    if bound:
        raise Conflict(
            N_("{account} has a guarantee or a loan on {keys}; take that back first."),
            account=level.name,
            keys=bound,
        )


def _members(account_id: UUID) -> sa.CTE:
    """Return the ids of an account and all below it, with how many levels each is below."""
    start = sa.select(ACCOUNTS.c.id, sa.literal(1).label("height")).where(ACCOUNTS.c.id == account_id)
    members = start.cte("members", recursive=True)
    below = ACCOUNTS.alias("below")
    return members.union_all(sa.select(below.c.id, members.c.height + 1).where(below.c.parent_id == members.c.id))


def _height(session: Session, account_id: UUID) -> int:
    """Return how many levels a subtree has, its own included."""
    return int(session.connection().execute(sa.select(sa.func.max(_members(account_id).c.height))).scalar_one())


def _children(session: Session, account_id: UUID) -> list[UUID]:
    return list(
        session.connection().execute(sa.select(ACCOUNTS.c.id).where(ACCOUNTS.c.parent_id == account_id)).scalars()
    )


def _groups(session: Session, members: sa.CTE) -> list[_Group]:
    """Return what is held in a subtree, added up over all that is counted alike."""
    inside = sa.select(members.c.id)
    alike = [PARTS.c.state, PARTS.c.top_account_id, *(PARTS.c[name] for name in DIMENSIONS), PART_AMOUNTS.c.resource]
    rows = session.connection().execute(
        sa.select(*alike, sa.func.sum(PART_AMOUNTS.c.remaining).label("amount"))
        .join(
            PART_AMOUNTS,
            sa.and_(PART_AMOUNTS.c.reservation_id == PARTS.c.reservation_id, PART_AMOUNTS.c.part_id == PARTS.c.part_id),
        )
        .where(PARTS.c.account_id.in_(inside), PARTS.c.state.in_(_HOLDING), PART_AMOUNTS.c.remaining > 0)
        .group_by(*alike)
    )
    return [
        _Group(
            row["state"],
            row["top_account_id"],
            {name: row[name] for name in DIMENSIONS if row[name] is not None},
            row["resource"],
            int(row["amount"]),
        )
        for row in rows.mappings()
    ]


def _tops(old: Sequence[Level], new: Sequence[Level]) -> dict[UUID, UUID]:
    """Return where counting ends afterwards, for every account at which it may have ended before: at the same level."""
    return {
        level.account_id: new[min(depth, len(new) - 1)].account_id
        for depth, level in enumerate(old)
        if level.account_id != new[min(depth, len(new) - 1)].account_id
    }


def _retop(session: Session, members: sa.CTE, tops: dict[UUID, UUID]) -> None:
    if not tops:
        return
    session.connection().execute(
        sa.update(PARTS)
        .where(PARTS.c.top_account_id.in_(tops), PARTS.c.account_id.in_(sa.select(members.c.id)))
        .values(top_account_id=sa.case(tops, value=PARTS.c.top_account_id))
    )


def _shift(
    old: Sequence[Level], new: Sequence[Level], groups: Iterable[_Group], tops: dict[UUID, UUID]
) -> list[Charge]:
    """Return what every account loses or gains when these holdings are counted along `new` instead of along `old`."""
    changes: dict[tuple[UUID, Key, str], int] = {}
    for group in groups:
        top = tops.get(group.top, group.top) if group.top else None
        for levels, ends, sign in ((old, group.top, -1), (new, top, 1)):
            for account_id, key, amount in _counted(levels, group, ends):
                balance = (account_id, key, group.state)
                changes[balance] = changes.get(balance, 0) + sign * amount
    charges: dict[tuple[UUID, Key], Charge] = {}
    for (account_id, key, state), amount in changes.items():
        charge = charges.get((account_id, key), Charge(account_id, key, None))
        if state == PartState.POSTED.value:
            charge = replace(charge, used=charge.used + amount)
        else:
            charge = replace(charge, reserved=charge.reserved + amount)
        charges[account_id, key] = charge
    return [charge for charge in charges.values() if charge.used or charge.reserved]


def _counted(levels: Sequence[Level], group: _Group, top: UUID | None) -> Iterable[tuple[UUID, Key, int]]:
    known = {level.account_id for level in levels}
    if top is not None and top not in known:
        levels = [*levels, Level(top, None, "", "", {})]  # it ends further down: all of these are above it
    for account_id, key, amount in charged(levels, {group.resource: group.amount}, group.dims, top):
        if account_id in known:
            yield account_id, key, amount


def _admit(old: Sequence[Level], new: Sequence[Level], charges: Sequence[Charge]) -> None:
    """Refuse what a limit of the new chain does not let in, or what leaves a guarantee of the old one without room.

    An account above both holds as much as before; but what fills a guarantee below it no more is to be kept free again.
    """
    growth = {(charge.account_id, charge.key): charge.used + charge.reserved for charge in charges}
    found = bindings(new, growth)
    freed, filled = set_aside_changes(old, growth), set_aside_changes(new, growth)
    for level in new:
        for (account_id, key), aside in freed.items():
            more, held = aside + filled.get((account_id, key), 0), level.balances.get(key, EMPTY)
            if account_id != level.account_id or growth.get((account_id, key), 0) or more <= 0 or held.limit is None:
                continue
            if held.used + held.reserved + held.set_aside + more > held.limit:
                found.append(
                    Binding(account_id, level.name, key, held.limit, held.used, held.reserved, more, held.set_aside)
                )
    if found:
        order = [level.account_id for level in new]
        raise QuotaExceeded(sorted(found, key=lambda binding: order.index(binding.account_id)))


def _sum_of_limits(source: Level, target: Level) -> list[LimitChange]:
    return [
        LimitChange(key, limit, limit + held.limit)
        for key, held in source.balances.items()
        if held.limit and (limit := target.balances.get(key, EMPTY).limit) is not None
    ]


def _with_limits(level: Level, changes: Iterable[LimitChange]) -> Level:
    new = {change.key: replace(level.balances[change.key], limit=change.after) for change in changes}
    return replace(level, balances={**level.balances, **new})


def _write(
    session: Session, old: Sequence[Level], new: Sequence[Level], charges: Sequence[Charge], movement: str, by: UUID
) -> None:
    """Write what leaves the old chain, then what comes to the new one; what is above both changes nothing."""
    arriving = {level.account_id for level in new}
    for levels, some in (
        (old, [charge for charge in charges if charge.account_id not in arriving]),
        (new, [charge for charge in charges if charge.account_id in arriving]),
    ):
        if some:
            write_movement(session, levels, some, movement=movement, movement_id=by)
