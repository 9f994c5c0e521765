"""Proving the books: recounts every balance from the entries and from the parts. Finds, and repairs nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from quotas import guarantees, loan_books
from quotas.accounts import ACCOUNTS
from quotas.books import BALANCES, ENTRIES
from quotas.recount import recounted


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One number in the books that its source does not bear out; `source` is entries, parts, guarantees or loans."""

    account_id: UUID
    name: str
    key: str
    column: str
    recorded: int | None
    recounted: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a recount looked at and what it found."""

    checked_accounts: int
    checked_entries: int
    mismatches: list[Mismatch]
    at: datetime

    @property
    def ok(self) -> bool:
        """Whether the books balance."""
        return not self.mismatches


def verify(session: Session) -> Verification:
    """Recount every balance and limit, without locking anybody out; each comparison reads one snapshot.

    Balances against the sum of their entries, balances against the parts still held, limits against the last entry
    that set them.
    """
    connection = session.connection()
    at = clock.now()
    accounts = connection.execute(sa.select(sa.func.count()).select_from(ACCOUNTS)).scalar_one()
    entries = connection.execute(sa.select(sa.func.count()).select_from(ENTRIES)).scalar_one()
    promises = [
        *((*found, "guarantees") for found in guarantees.mismatches(connection)),
        *((*found, "loans") for found in loan_books.mismatches(connection)),
    ]
    found = [
        *_compare(connection, _sum_of_entries(), "entries"),
        *_compare(connection, recounted(), "parts"),
        *_compare_limits(connection),
        *(Mismatch(account, "", key, column, is_, should, by) for account, key, column, is_, should, by in promises),
    ]
    names = _names(connection, {mismatch.account_id for mismatch in found})
    named = [_named(mismatch, names) for mismatch in found]
    return Verification(accounts, entries, named, at)


def between_sources(session: Session) -> list[Mismatch]:
    """Return where entries and parts do not tell the same; `recorded` is what the entries say."""
    entries = _sum_of_entries()
    return list(_compare(session.connection(), recounted(), "parts", of=entries))


def _sum_of_entries() -> sa.Subquery:
    return (
        sa.select(
            ENTRIES.c.account_id,
            ENTRIES.c.key,
            _whole(sa.func.sum(ENTRIES.c.used_delta)).label("used"),
            _whole(sa.func.sum(ENTRIES.c.reserved_delta)).label("reserved"),
        )
        .group_by(ENTRIES.c.account_id, ENTRIES.c.key)
        .subquery("summed")
    )


def _compare(
    connection: sa.Connection, counted: sa.Subquery, source: str, of: sa.FromClause = BALANCES
) -> Iterator[Mismatch]:
    """Yield balances (or what stands for them) that differ, either way: rows without a source, sources without a row."""
    zero = sa.literal(0, sa.BigInteger)
    both = sa.union_all(
        sa.select(
            of.c.account_id,
            of.c.key,
            of.c.used,
            of.c.reserved,
            zero.label("counted_used"),
            zero.label("counted_reserved"),
        ),
        sa.select(counted.c.account_id, counted.c.key, zero, zero, counted.c.used, counted.c.reserved),
    ).subquery("both_sides")
    sums = [_whole(sa.func.sum(both.c[name])) for name in ("used", "reserved", "counted_used", "counted_reserved")]
    used, reserved, counted_used, counted_reserved = sums
    rows = connection.execute(
        sa.select(both.c.account_id, both.c.key, *sums)
        .group_by(both.c.account_id, both.c.key)
        .having(sa.or_(used != counted_used, reserved != counted_reserved))
        .order_by(both.c.account_id, both.c.key)
    )
    for account_id, key, is_used, is_reserved, should_used, should_reserved in rows:
        if is_used != should_used:
            yield Mismatch(account_id, "", key, "used", is_used, should_used, source)
        if is_reserved != should_reserved:
            yield Mismatch(account_id, "", key, "reserved", is_reserved, should_reserved, source)


def _compare_limits(connection: sa.Connection) -> Iterator[Mismatch]:
    last = (
        sa.select(ENTRIES.c.account_id, ENTRIES.c.key, sa.func.max(ENTRIES.c.seq).label("seq"))
        .where(ENTRIES.c.movement == "limit_set")
        .group_by(ENTRIES.c.account_id, ENTRIES.c.key)
        .subquery("last")
    )
    said = (
        sa.select(last.c.account_id, last.c.key, ENTRIES.c.limit_amount)
        .join(ENTRIES, ENTRIES.c.seq == last.c.seq)
        .subquery("said")
    )
    rows = connection.execute(
        sa.select(BALANCES.c.account_id, BALANCES.c.key, BALANCES.c.limit_amount, said.c.limit_amount)
        .select_from(
            BALANCES.outerjoin(said, sa.and_(said.c.account_id == BALANCES.c.account_id, said.c.key == BALANCES.c.key))
        )
        .where(BALANCES.c.limit_amount.is_distinct_from(said.c.limit_amount))
        .order_by(BALANCES.c.account_id, BALANCES.c.key)
    )
    for account_id, key, recorded, entered in rows:
        yield Mismatch(account_id, "", key, "limit", recorded, entered, "entries")
    lost = connection.execute(
        sa.select(said.c.account_id, said.c.key, said.c.limit_amount)
        .select_from(
            said.outerjoin(BALANCES, sa.and_(said.c.account_id == BALANCES.c.account_id, said.c.key == BALANCES.c.key))
        )
        .where(BALANCES.c.account_id.is_(None), said.c.limit_amount.is_not(None))
        .order_by(said.c.account_id, said.c.key)
    )
    for account_id, key, entered in lost:
        yield Mismatch(account_id, "", key, "limit", None, entered, "entries")


def _names(connection: sa.Connection, account_ids: set[UUID]) -> dict[UUID, str]:
    if not account_ids:
        return {}
    rows = connection.execute(sa.select(ACCOUNTS.c.id, ACCOUNTS.c.name).where(ACCOUNTS.c.id.in_(account_ids)))
    return {row.id: row.name for row in rows}


def _named(mismatch: Mismatch, names: dict[UUID, str]) -> Mismatch:
    return Mismatch(
        mismatch.account_id,
        names.get(mismatch.account_id, ""),
        mismatch.key,
        mismatch.column,
        mismatch.recorded,
        mismatch.recounted,
        mismatch.source,
    )


def _whole(total: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    return sa.cast(total, sa.BigInteger)
