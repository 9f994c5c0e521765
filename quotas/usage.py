"""What is left, where: one account with all that binds it, the tree as a table, and a preview. Writes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from quotas import quick
from quotas.accounts import ACCOUNTS, no_such_account, require_open
from quotas.admission import EMPTY, Balance, Level, bindings, charged, room
from quotas.books import BALANCE_COLUMNS, BALANCES, balance_of, read_levels
from quotas.keys import Key, stored_key
from quotas.parts import Part, checked
from quotas.refusals import Binding, QuotaExceeded


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """One account's numbers by canonical key; every mapping but `room` has the same keys.

    `available` is what its own limit still lets in (None: no limit here), `room` what it can really still be granted:
    bound by every account above and by wider keys. `room` also has keys that are limited only further up.
    """

    account_id: UUID
    parent_id: UUID | None
    code: str
    name: str
    depth: int
    ancestors: Sequence[tuple[UUID, str]]
    limits: Mapping[str, int | None]
    used: Mapping[str, int]
    reserved: Mapping[str, int]
    available: Mapping[str, int | None]
    overhang: Mapping[str, int]
    """By how much use stands above the limit, since the limit was lowered."""
    room: Mapping[str, int | None]
    guaranteed: Mapping[str, int] = field(default_factory=dict)
    """What is kept free for the account, where it is guaranteed anything."""
    set_aside: Mapping[str, int] = field(default_factory=dict)
    """What accounts right below are guaranteed and have not taken, where there is any."""
    borrowed: Mapping[str, int] = field(default_factory=dict)
    """How much of the limit is on loan, where any is."""
    children_limit_sum: Mapping[str, int] = field(default_factory=dict)
    """Sum of the direct children's limits, in `tree` only; above the own limit it is over-allocation."""
    is_closed: bool = False
    """It takes no charges any more."""


@dataclass(frozen=True, slots=True)
class PreviewKey:
    """What a request would do to one balance."""

    key: str
    limit: int | None
    used: int
    reserved: int
    available: int | None
    asked: int
    ok: bool


@dataclass(frozen=True, slots=True)
class PreviewLevel:
    """What a request would cost at one account."""

    account_id: UUID
    name: str
    keys: Sequence[PreviewKey]


@dataclass(frozen=True, slots=True)
class Preview:
    """Cost at every level, root first; `bindings` are those of the refusal that `reserve` would give."""

    levels: Sequence[PreviewLevel]
    bindings: Sequence[Binding]

    @property
    def ok(self) -> bool:
        """Whether a reservation at this moment would be granted."""
        return not self.bindings

    def refusal(self) -> QuotaExceeded | None:
        """Return the refusal that `reserve` would raise, or None."""
        return QuotaExceeded(self.bindings) if self.bindings else None


def account_usage(session: Session, account_id: UUID) -> AccountUsage:
    """Return what an account has, holds, and can still be granted.

    Raises:
        NotFound: no such account.
    """
    levels = read_levels(session, account_id)
    if not levels:
        raise no_such_account(account_id)
    return _usage(levels)


def drawn_from_above(session: Session, account_id: UUID, keys: Iterable[str]) -> set[str]:
    """Return which of these keys are limited above the account and not at it: taking them draws on the levels above alone.

    A key that nobody limits draws on nothing.
    """
    levels = quick.levels_in_force(session, account_id) or read_levels(session, account_id)
    limited = [{key for key, each in level.balances.items() if each.limit is not None} for level in levels]
    *above, own = limited or [set()]
    return {key for key in keys if (found := stored_key(key)) not in own and any(found in each for each in above)}


def preview(session: Session, *, account_id: UUID, parts: Sequence[Part]) -> Preview:
    """Return what `reserve` would do now, without locking or writing anything.

    Raises:
        NotFound: no such account. Conflict: it is closed. InvalidInput: impossible amounts or dimensions.
    """
    wanted = checked(parts)
    levels = read_levels(session, account_id)
    if not levels:
        raise no_such_account(account_id)
    require_open(levels[-1])
    asked: dict[tuple[UUID, Key], int] = {}
    for part in wanted:
        for at, key, amount in charged(levels, part.amounts, part.dims, part.top):
            asked[at, key] = asked.get((at, key), 0) + amount
    binding = bindings(levels, asked)
    bound = {(found.account_id, found.key) for found in binding}
    return Preview([_preview_level(level, asked, bound) for level in levels], binding)


def tree(session: Session, *, root_id: UUID | None = None, depth: int | None = None) -> list[AccountUsage]:
    """Return accounts as a table, parents before their children, siblings by code.

    From `root_id` (or all roots) down, `depth` levels below it (None: all, 0: itself only). Reads in one statement, so
    the numbers are of one moment.

    Raises:
        NotFound: no such account.
    """
    above = [] if root_id is None else read_levels(session, root_id)[:-1]
    nodes = _read_subtree(session, root_id)
    if root_id is not None and not nodes:
        raise no_such_account(root_id)
    children: dict[UUID | None, list[Level]] = {}
    for level in sorted(nodes.values(), key=lambda node: (node.code, node.account_id)):
        children.setdefault(level.parent_id, []).append(level)
    starts = [nodes[root_id]] if root_id is not None else children.get(None, [])
    rows: list[AccountUsage] = []
    waiting = [([*above, start], 0) for start in reversed(starts)]
    while waiting:
        levels, below = waiting.pop()
        own = children.get(levels[-1].account_id, [])
        rows.append(_usage(levels, own))
        if depth is None or below < depth:
            waiting.extend(([*levels, child], below + 1) for child in reversed(own))
    return rows


def _usage(levels: Sequence[Level], children: Sequence[Level] = ()) -> AccountUsage:
    *above, own = levels
    rows = {str(key): balance for key, balance in own.balances.items()}
    keys = set(own.balances) | {
        key for level in above for key, found in level.balances.items() if found.limit is not None
    }
    return AccountUsage(
        own.account_id,
        own.parent_id,
        own.code,
        own.name,
        len(above),
        [(level.account_id, level.name) for level in above],
        limits={key: row.limit for key, row in rows.items()},
        used={key: row.used for key, row in rows.items()},
        reserved={key: row.reserved for key, row in rows.items()},
        available={key: row.available for key, row in rows.items()},
        overhang={key: row.overhang for key, row in rows.items()},
        room={str(key): room(levels, key) for key in sorted(keys, key=str)},
        guaranteed={key: row.guaranteed for key, row in rows.items() if row.guaranteed},
        set_aside={key: row.set_aside for key, row in rows.items() if row.set_aside},
        borrowed={key: row.borrowed for key, row in rows.items() if row.borrowed},
        children_limit_sum=_limit_sums(children),
        is_closed=own.is_closed,
    )


def _limit_sums(children: Sequence[Level]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for child in children:
        for key, balance in child.balances.items():
            if balance.limit is not None:
                sums[str(key)] = sums.get(str(key), 0) + balance.limit
    return sums


def _preview_level(level: Level, asked: Mapping[tuple[UUID, Key], int], bound: set[tuple[UUID, Key]]) -> PreviewLevel:
    keys = []
    for (account_id, key), amount in asked.items():
        if account_id == level.account_id:
            row = level.balances.get(key, EMPTY)
            fits = (account_id, key) not in bound
            keys.append(PreviewKey(str(key), row.limit, row.used, row.reserved, row.available, amount, fits))
    return PreviewLevel(level.account_id, level.name, keys)


def _read_subtree(session: Session, root_id: UUID | None) -> dict[UUID, Level]:
    start = sa.select(ACCOUNTS.c.id).where(
        ACCOUNTS.c.parent_id.is_(None) if root_id is None else ACCOUNTS.c.id == root_id
    )
    members = start.cte("members", recursive=True)
    below = ACCOUNTS.alias("below")
    members = members.union_all(sa.select(below.c.id).where(below.c.parent_id == members.c.id))
    rows = session.connection().execute(
        sa.select(
            ACCOUNTS.c.id,
            ACCOUNTS.c.parent_id,
            ACCOUNTS.c.code,
            ACCOUNTS.c.name,
            ACCOUNTS.c.closed_at,
            *BALANCE_COLUMNS,
        )
        .select_from(members.join(ACCOUNTS, ACCOUNTS.c.id == members.c.id).outerjoin(BALANCES))
        .order_by(BALANCES.c.key)
    )
    nodes: dict[UUID, Level] = {}
    balances: dict[UUID, dict[Key, Balance]] = {}
    for row in rows:
        if row.id not in nodes:
            balances[row.id] = {}
            is_closed = row.closed_at is not None
            nodes[row.id] = Level(row.id, row.parent_id, row.code, row.name, balances[row.id], is_closed)
        if row.key is not None:
            balances[row.id][stored_key(row.key)] = balance_of(row)
    return nodes
