"""Setting balances right from the entries, and proving it. Never runs by itself; refuses where the sources disagree.

The entries are the books: append-only, written in the transaction of every movement. Before they are believed against a
balance, they are held against the parts, which are written by other statements.
"""

import sqlalchemy as sa
from sqlmodel import Session

from quotas.accounts import ACCOUNTS
from quotas.books import BALANCES, ENTRIES, open_balances
from quotas.keys import stored_key
from quotas.prover import Mismatch, between_sources, verify
from quotas.refusals import LedgerError


class SourcesDisagree(Exception):  # noqa: N818 - a finding, told by whoever asked for the repair
    """Entries and parts do not tell the same; `mismatches` lists where (recorded: entries, recounted: parts)."""

    def __init__(self, mismatches: list[Mismatch]) -> None:
        self.mismatches = mismatches
        super().__init__(f"{len(mismatches)} numbers differ between entries and parts")


def repair_from_entries(session: Session) -> list[Mismatch]:
    """Bring every balance and limit to what the entries say; return the numbers that were wrong.

    Every tree is locked until the transaction ends. Afterwards the whole ledger is verified in the same transaction; the
    caller commits, or rolls back and nothing has happened.

    Raises:
        SourcesDisagree: entries and parts disagree with each other; nothing may be kept of this transaction.
        LedgerError: the repaired books still do not balance, which a rollback undoes as well.
    """
    connection = session.connection()
    connection.execute(
        sa.update(ACCOUNTS).where(ACCOUNTS.c.parent_id.is_(None)).values(generation=ACCOUNTS.c.generation + 1)
    )
    wrong = [each for each in verify(session).mismatches if each.source == "entries"]
    _open_missing(session)
    differing = between_sources(session)
    if differing:
        raise SourcesDisagree(differing)
    for account_id, key in sorted({(each.account_id, each.key) for each in wrong}):
        used, reserved = connection.execute(
            sa.select(
                sa.func.coalesce(sa.func.sum(ENTRIES.c.used_delta), 0),
                sa.func.coalesce(sa.func.sum(ENTRIES.c.reserved_delta), 0),
            ).where(ENTRIES.c.account_id == account_id, ENTRIES.c.key == key)
        ).one()
        limit = connection.execute(
            sa.select(ENTRIES.c.limit_amount)
            .where(ENTRIES.c.account_id == account_id, ENTRIES.c.key == key, ENTRIES.c.movement == "limit_set")
            .order_by(ENTRIES.c.seq.desc())
            .limit(1)
        ).scalar_one_or_none()
        held = int(used) + int(reserved)
        connection.execute(
            sa.update(BALANCES)
            .where(BALANCES.c.account_id == account_id, BALANCES.c.key == key)
            .values(
                used=int(used),
                reserved=int(reserved),
                limit_amount=limit,
                overhang=0 if limit is None else max(0, held - limit),
            )
        )
    left = verify(session).mismatches
    if left:
        raise LedgerError(f"{len(left)} numbers are still wrong after the repair, the first: {left[0]}")
    return wrong


def _open_missing(session: Session) -> None:
    """Give a row to balances that have entries and were lost."""
    known = sa.and_(BALANCES.c.account_id == ENTRIES.c.account_id, BALANCES.c.key == ENTRIES.c.key)
    rows = session.connection().execute(
        sa.select(ENTRIES.c.account_id, ENTRIES.c.key)
        .distinct()
        .outerjoin(BALANCES, known)
        .where(BALANCES.c.account_id.is_(None))
    )
    open_balances(session, [(account_id, stored_key(key)) for account_id, key in rows])
