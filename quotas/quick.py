"""Admission in one round trip: lock, check, charge and write down, where nothing but plain limits can stand in the way.

What a charge touches follows from the tree's structure, which is remembered and held against the tree's generation under
its lock; what there is room for is decided by the database, on balances read after the lock was had. Decides only in favour:
whatever else comes of it (structure changed, no room, a guarantee or a loan in the way, the id known already) is left to the
exact way of `quotas.reservations`, which explains. Writes all of a reservation or nothing.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from quotas import quick_postgresql, quick_sqlite
from quotas.accounts import ACCOUNTS
from quotas.admission import EMPTY, Level, charged
from quotas.books import read_own_level
from quotas.parts import Part, checked, fingerprint

_MOST_REMEMBERED = 4096
"""Accounts whose chain one process remembers for one database."""
_MOST_SHAPES = 64
"""Kinds of parts it remembers for each."""


@dataclass(slots=True)
class Chain:
    """What charges to one account depend on and do not change themselves. True as long as the tree has this generation."""

    root_id: UUID
    generation: int
    levels: Sequence[Level]
    charges: dict[Any, "Charges"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Charges:
    """What one part of certain resources and dimensions is charged to."""

    balances: tuple[tuple[str, str], ...]
    """Account in hex, and key as stored; each once."""
    resources: tuple[str, ...]
    """Of which resource, for each balance."""
    is_borrowed: bool
    is_guaranteed: bool
    """Some level's guarantee is filled by it, which changes what its siblings may have: more than a sum."""
    accounts: str
    keys: str
    """The same, spelled as elements of PostgreSQL's arrays."""
    unopened: tuple[tuple[str, str], ...]
    """Those of them that had no row when they were read: plain keys, which the first charge opens."""


@dataclass(slots=True)
class Along:
    """What a caller writes with a charge in one round trip: both or neither.

    Driver-level statements, each with its parameters; one that fails, with a division by zero for instance, undoes all.
    """

    statements: Sequence[tuple[str, Sequence[Any]]]
    commits: bool
    """The transaction ends with them: nobody waits for the tree until an answer has been told. For a session of one's own."""
    row: Any = None
    """What the last of them returned."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """All of one reservation, as the statements take it."""

    root_id: UUID
    generation: int
    reservation_id: UUID
    account_id: UUID
    reason: str
    fingerprint: str
    movement_id: UUID
    at: datetime
    parts: Sequence[tuple[Part, Charges]]
    along: Along | None = None

    def deltas(self) -> dict[tuple[str, str], int]:
        """Return by how much each balance grows."""
        summed: dict[tuple[str, str], int] = {}
        for part, charges in self.parts:
            for balance, resource in zip(charges.balances, charges.resources, strict=True):
                summed[balance] = summed.get(balance, 0) + part.amounts[resource]
        return summed

    def unopened(self) -> list[tuple[str, str]]:
        """Return the balances that may have no row yet, each once. A plain key's spelling is its resource."""
        return list(dict.fromkeys(balance for _, charges in self.parts for balance in charges.unopened))


def admit(
    session: Session,
    *,
    reservation_id: UUID,
    account_id: UUID,
    parts: Sequence[Part],
    reason: str,
    fingerprint: str,
    until: datetime | None,
    along: Along | None = None,
) -> bool:
    """Hold quota for checked parts if that is known to be right; False: nothing was written, ask the exact way."""
    connection = session.connection()
    remembered = _remembered(connection.engine)
    if account_id in remembered.refused:
        return False
    chain = remembered.get(account_id) or _learn(session, remembered, account_id)
    if chain is None:
        return False
    charged_parts = []
    for part in parts:
        charges = _charges(chain, part)
        if charges.is_guaranteed or (until is not None and charges.is_borrowed):
            return False
        charged_parts.append((part, charges))
    wanted = Wanted(
        root_id=chain.root_id,
        generation=chain.generation,
        reservation_id=reservation_id,
        account_id=account_id,
        reason=reason,
        fingerprint=fingerprint,
        movement_id=new_id(),
        at=clock.now(),
        parts=charged_parts,
        along=along,
    )
    write = quick_sqlite.admit if connection.dialect.name == "sqlite" else quick_postgresql.admit
    if not write(session, wanted):
        remembered.forget(account_id)
        return False
    for part, charges in charged_parts:
        if charges.unopened:  # if this is rolled back, the next charge finds too few rows and is read afresh
            chain.charges[_shape(part)] = replace(charges, unopened=())
    return True


def reserve_along(
    session: Session,
    *,
    reservation_id: UUID,
    account_id: UUID,
    parts: Sequence[Part],
    along: Along,
    until: datetime | None = None,
) -> bool:
    """Hold quota as `reserve` does and run a caller's statements, all in one round trip under the tree's lock (PostgreSQL).

    False: nothing was written, and what stands against it is for `reserve` to find out.

    Raises:
        InvalidInput: impossible amounts or dimensions.
    """
    if session.get_bind().dialect.name == "sqlite":
        return False
    wanted = checked(parts)
    return admit(
        session,
        reservation_id=reservation_id,
        account_id=account_id,
        parts=wanted,
        reason="",
        fingerprint=fingerprint(account_id, wanted),
        until=until,
        along=along,
    )


def note_answer(session: Session, account_id: UUID, *, is_granted: bool) -> None:
    """Let those who ask next at this account ask the exact way at once as long as it refuses: else they ask twice."""
    refused = _remembered(session.connection().engine).refused
    if is_granted:
        refused.discard(account_id)
    elif len(refused) < _MOST_REMEMBERED:
        refused.add(account_id)


def levels_in_force(session: Session, account_id: UUID) -> Sequence[Level] | None:
    """Return the account and all above it, root first, as they are limited now; what they hold may be of any time before.

    Cheap, because rows that every charge changes are read only after a limit, a loan or the tree did. None: closed, or no account.
    """
    remembered = _remembered(session.connection().engine)
    chain = remembered.get(account_id)
    if chain is not None:
        generation = session.connection().execute(_GENERATION, {"root_id": chain.root_id}).scalar_one_or_none()
        if generation != chain.generation:
            chain = None
    chain = chain or _learn(session, remembered, account_id)
    return chain.levels if chain is not None else None


def _learn(session: Session, remembered: "_Remembered", account_id: UUID) -> Chain | None:
    """Read what charges to an account depend on, from what is remembered of those above it. Locks nothing.

    Each level is read together with the tree's generation, and all of a chain have the same: None, if it changed meanwhile.
    """
    found = read_own_level(session, account_id)
    if found is None:
        return None
    level, root_id, generation = found
    if level.is_closed:
        return None
    above: Sequence[Level] = ()
    if level.parent_id is not None:
        parent = remembered.get(level.parent_id)
        if parent is None or parent.generation != generation:
            parent = _learn(session, remembered, level.parent_id)
        if parent is None or parent.generation != generation:
            return None
        above = parent.levels
    chain = Chain(root_id, generation, (*above, level))
    remembered.put(account_id, chain)
    return chain


def _shape(part: Part) -> Any:
    return tuple(part.amounts), tuple(part.dims.items()), part.top


def _charges(chain: Chain, part: Part) -> Charges:
    """Return what a part is charged to."""
    shape = _shape(part)
    if shape not in chain.charges:
        if len(chain.charges) >= _MOST_SHAPES:
            chain.charges.clear()
        chain.charges[shape] = _found(chain.levels, part)
    return chain.charges[shape]


def _found(levels: Sequence[Level], part: Part) -> Charges:
    known = {level.account_id: level.balances for level in levels}
    balances, resources, unopened, is_borrowed, is_guaranteed = [], [], [], False, False
    for account_id, key, _ in charged(levels, part.amounts, part.dims, part.top):
        balance = known[account_id].get(key, EMPTY)
        is_guaranteed = is_guaranteed or balance.guaranteed > 0
        is_borrowed = is_borrowed or balance.borrowed > 0
        balances.append((account_id.hex, str(key)))
        resources.append(key.resource)
        if key not in known[account_id]:
            unopened.append(balances[-1])
    return Charges(
        tuple(balances),
        tuple(resources),
        is_borrowed,
        is_guaranteed,
        accounts=",".join(account for account, _ in balances),
        keys=",".join(quick_postgresql.quoted(key) for _, key in balances),
        unopened=tuple(unopened),
    )


class _Remembered:
    """The chains of one database that were asked for last."""

    def __init__(self) -> None:
        self._chains: OrderedDict[UUID, Chain] = OrderedDict()
        self._lock = threading.Lock()
        self.refused: set[UUID] = set()

    def forget(self, account_id: UUID) -> None:
        with self._lock:
            self._chains.pop(account_id, None)

    def get(self, account_id: UUID) -> Chain | None:
        with self._lock:
            chain = self._chains.get(account_id)
            if chain is not None:
                self._chains.move_to_end(account_id)
            return chain

    def put(self, account_id: UUID, chain: Chain) -> None:
        with self._lock:
            self._chains[account_id] = chain
            self._chains.move_to_end(account_id)
            while len(self._chains) > _MOST_REMEMBERED:
                self._chains.popitem(last=False)


_by_database: weakref.WeakKeyDictionary[sa.Engine, _Remembered] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _remembered(engine: sa.Engine) -> _Remembered:
    found = _by_database.get(engine)
    if found is None:
        with _making:
            found = _by_database.setdefault(engine, _Remembered())
    return found


_GENERATION = sa.select(ACCOUNTS.c.generation).where(ACCOUNTS.c.id == sa.bindparam("root_id", type_=sa.Uuid()))
