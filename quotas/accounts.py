"""The tree of accounts: making, naming, walking and locking it. Holds no amounts."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.messages import N_
from quotas.admission import Level
from quotas.tables import AccountRow, ReservationRow

MAX_DEPTH = 16
"""Levels of a tree: every charge walks to the root, so its length has a limit."""

_SOME = 500
"""Codes in one statement."""

_GENERATION_BITS = 62

ACCOUNTS = AccountRow.__table__  # type: ignore[attr-defined]
RESERVATIONS = ReservationRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Account:
    """Node of the quota tree."""

    account_id: UUID
    parent_id: UUID | None
    code: str
    name: str


def create_account(session: Session, *, account_id: UUID, parent_id: UUID | None, code: str, name: str) -> Account:
    """Add a node without limits; the same call again changes nothing. No parent makes it a root.

    Raises:
        NotFound: no such parent.
        InvalidInput: deeper than `MAX_DEPTH`.
        Conflict: the id stands for another account already, or the parent is closed.
    """
    connection = session.connection()
    wanted = Account(account_id, parent_id, code, name)
    existing = connection.execute(sa.select(*_SHOWN).where(ACCOUNTS.c.id == account_id)).one_or_none()
    if existing is not None:
        if Account(*existing) == wanted:
            return wanted
        raise Conflict(N_("Quota account {account} exists already, with another parent, code or name."), account=code)
    root_id = account_id
    if parent_id is not None:
        lock_tree(session, parent_id)  # the parent may be moving, or closing
        closed = sa.select(ACCOUNTS.c.name).where(ACCOUNTS.c.id == parent_id, ACCOUNTS.c.closed_at.is_not(None))
        if above := connection.execute(closed).scalar():
            raise account_closed(above)
        ancestors = ancestors_of(session, parent_id)
        if len(ancestors) + 1 >= MAX_DEPTH:
            raise InvalidInput(N_("The quota tree may be at most {most} levels deep."), most=MAX_DEPTH)
        root_id = ancestors[0].account_id if ancestors else parent_id
    connection.execute(
        sa.insert(ACCOUNTS).values(
            id=account_id,
            parent_id=parent_id,
            root_id=root_id,
            code=code,
            name=name,
            generation=0,
            created_at=clock.now(),
        )
    )
    return wanted


def rename_account(session: Session, account_id: UUID, *, code: str | None = None, name: str | None = None) -> Account:
    """Change what an account is called; None leaves it.

    Raises:
        NotFound: no such account.
    """
    changes = {column: value for column, value in (("code", code), ("name", name)) if value is not None}
    if changes:
        session.connection().execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(**changes))
    return get_account(session, account_id)


def get_account(session: Session, account_id: UUID) -> Account:
    """Return one account.

    Raises:
        NotFound: there is none.
    """
    row = session.connection().execute(sa.select(*_SHOWN).where(ACCOUNTS.c.id == account_id)).one_or_none()
    if row is None:
        raise no_such_account(account_id)
    return Account(*row)


def accounts_by_code(session: Session, codes: Iterable[str]) -> dict[str, list[tuple[UUID, int]]]:
    """Return the accounts of these codes, each with how many are above it; a code may stand for several."""
    wanted = sorted(set(codes))
    by_code: dict[str, list[tuple[UUID, int]]] = {}
    start = sa.select(ACCOUNTS.c.id, sa.literal(0).label("depth")).where(ACCOUNTS.c.parent_id.is_(None))
    every = start.cte("every", recursive=True)
    below = ACCOUNTS.alias("below")
    every = every.union_all(sa.select(below.c.id, every.c.depth + 1).where(below.c.parent_id == every.c.id))
    for at in range(0, len(wanted), _SOME):
        rows = session.connection().execute(
            sa.select(ACCOUNTS.c.code, ACCOUNTS.c.id, every.c.depth)
            .join(every, every.c.id == ACCOUNTS.c.id)
            .where(ACCOUNTS.c.code.in_(wanted[at : at + _SOME]))
        )
        for row in rows:
            by_code.setdefault(row.code, []).append((row.id, row.depth))
    return by_code


def ancestors_of(session: Session, account_id: UUID) -> list[Account]:
    """Return the accounts above this one, root first, without itself.

    Raises:
        NotFound: no such account.
    """
    chain = chain_of(sa.bindparam("account_id", type_=sa.Uuid()))
    rows = session.connection().execute(
        sa.select(*_SHOWN).join(chain, chain.c.id == ACCOUNTS.c.id).order_by(chain.c.distance.desc()),
        {"account_id": account_id},
    )
    accounts = [Account(*row) for row in rows]
    if not accounts:
        raise no_such_account(account_id)
    return accounts[:-1]


def chain_of(account_id: sa.ColumnElement[UUID]) -> sa.CTE:
    """Return a recursive CTE (id, distance) of an account and all above it; distance 0 is the account."""
    start = (
        sa.select(ACCOUNTS.c.id, ACCOUNTS.c.parent_id, sa.literal(0).label("distance"))
        .where(ACCOUNTS.c.id == account_id)
        .cte("chain", recursive=True)
    )
    above = ACCOUNTS.alias("above")
    return start.union_all(
        sa.select(above.c.id, above.c.parent_id, start.c.distance + 1).where(above.c.id == start.c.parent_id)
    )


def lock_tree(session: Session, account_id: UUID) -> None:
    """Wait for every other movement in this account's tree, and keep out new ones until the transaction ends.

    For whoever changes what charges depend on: accounts, limits, guarantees, loans. Gives the tree a new generation, so
    that nobody relies on what they remember of it. The generation is drawn, not counted: one that was rolled back never
    comes again.

    One row a tree, its root's, is the lock, so two movements of one tree can never wait for each other. It is an UPDATE
    and not a SELECT … FOR UPDATE for two reasons: on SQLite a transaction becomes IMMEDIATE at its first write, and a
    PostgreSQL transaction that reads from an older snapshot (REPEATABLE READ and above) fails here instead of deciding
    on old balances. What is read after it, in a new statement, is what the last holder committed.

    Raises:
        NotFound: no such account.
    """
    changing = {"locked_account": account_id, "drawn": secrets.randbits(_GENERATION_BITS)}
    if session.connection().execute(_LOCK_AND_CHANGE, changing).rowcount != 1:
        raise no_such_account(account_id)


def lock_for_charges(session: Session, account_id: UUID) -> None:
    """Lock as `lock_tree` does, for whoever only charges or gives back: the tree keeps its generation.

    Raises:
        NotFound: no such account.
    """
    if session.connection().execute(_LOCK, {"locked_account": account_id}).rowcount != 1:
        raise no_such_account(account_id)


def lock_tree_of_reservation(session: Session, reservation_id: UUID) -> bool:
    """Lock as `lock_for_charges` does, by reservation; False when there is no such reservation."""
    return session.connection().execute(_LOCK_BY_RESERVATION, {"locked_reservation": reservation_id}).rowcount == 1


def require_open(*levels: Level) -> None:
    """Refuse what would charge a closed account, or change its limits.

    Raises:
        Conflict: one of them is closed.
    """
    for level in levels:
        if level.is_closed:
            raise account_closed(level.name)


def account_closed(name: str) -> Conflict:
    """Return the refusal for an account that takes nothing any more."""
    return Conflict(N_("The quota account of {account} is closed; nothing can be charged to it."), account=name)


def no_such_account(account_id: UUID) -> NotFound:
    """Return the refusal for an account that does not exist."""
    return NotFound(N_("There is no such quota account."), detail=f"account {account_id}")


_SHOWN = (ACCOUNTS.c.id, ACCOUNTS.c.parent_id, ACCOUNTS.c.code, ACCOUNTS.c.name)
_member = ACCOUNTS.alias("member")
_root_of_account = (
    sa.select(_member.c.root_id)
    .where(_member.c.id == sa.bindparam("locked_account", type_=sa.Uuid()))
    .scalar_subquery()
)
_root_of_reservation = (
    sa.select(_member.c.root_id)
    .join(RESERVATIONS, RESERVATIONS.c.account_id == _member.c.id)
    .where(RESERVATIONS.c.id == sa.bindparam("locked_reservation", type_=sa.Uuid()))
    .scalar_subquery()
)
_change = sa.update(ACCOUNTS).values(generation=sa.bindparam("drawn", type_=sa.BigInteger()))
_keep = sa.update(ACCOUNTS).values(generation=ACCOUNTS.c.generation)
_LOCK_AND_CHANGE = _change.where(ACCOUNTS.c.id == _root_of_account)
_LOCK = _keep.where(ACCOUNTS.c.id == _root_of_account)
_LOCK_BY_RESERVATION = _keep.where(ACCOUNTS.c.id == _root_of_reservation)
