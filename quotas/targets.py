"""Targets beside limits: a share that an account is to reach, with what is reached and of what. They refuse nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from quotas.accounts import ACCOUNTS, lock_tree
from quotas.holdings import PART_AMOUNTS, PARTS, PartState
from quotas.keys import RESOURCES
from quotas.timed_tables import TargetRow

TARGETS = TargetRow.__table__  # type: ignore[attr-defined]

SHARES: Mapping[str, tuple[str, str]] = {
    "xinchuang_share_pct": ("is_xinchuang", "true"),
    "aarch64_share_pct": ("arch", "aarch64"),
    "loongarch64_share_pct": ("arch", "loongarch64"),
    "city_cloud_share_pct": ("tier", "city"),
}
"""What a target can be about: of all that is in use, what has this dimension."""
_WHOLE = 100


@dataclass(frozen=True, slots=True)
class Target:
    """A share that is to be reached, and what is: `part` of `whole` of the base in use below the account."""

    account_id: UUID
    name: str
    base: str
    pct: int
    part: int
    whole: int
    reason: str
    basis_no: str | None
    set_at: datetime

    @property
    def actual_pct(self) -> int | None:
        """The share reached, rounded down; None while nothing is in use."""
        return self.part * _WHOLE // self.whole if self.whole else None

    @property
    def is_met(self) -> bool:
        """Whether it is reached; nothing in use misses no target."""
        return self.part * _WHOLE >= self.pct * self.whole


def set_target(
    session: Session,
    *,
    account_id: UUID,
    name: str,
    pct: int | None,
    base: str = "vcpus",
    reason: str,
    basis_no: str | None = None,
    actor: str,
) -> None:
    """Set a target in percent of what is in use of `base`; None takes it away.

    Raises:
        InvalidInput: an unknown share or resource, no percentage, no reason. NotFound: no such account.
    """
    if name not in SHARES:
        raise InvalidInput(
            N_("There is no target {name}; known are {known}."), field="name", name=name, known=", ".join(SHARES)
        )
    if base not in RESOURCES:
        raise InvalidInput(N_("Nothing is counted as {name}."), field="base", name=base)
    if pct is not None and not 0 <= pct <= _WHOLE:
        raise InvalidInput(N_("A target is a share from 0 to 100 percent."), field="pct")
    if not reason.strip():
        raise InvalidInput(N_("Say why the target changes."), field="reason")
    lock_tree(session, account_id)
    connection = session.connection()
    connection.execute(
        sa.delete(TARGETS).where(TARGETS.c.account_id == account_id, TARGETS.c.name == name, TARGETS.c.base == base)
    )
    if pct is not None:
        connection.execute(
            sa.insert(TARGETS).values(
                account_id=account_id,
                name=name,
                base=base,
                pct=pct,
                reason=reason.strip(),
                basis_no=basis_no,
                actor=actor,
                set_at=clock.now(),
            )
        )


def targets_of(session: Session, account_ids: Iterable[UUID]) -> dict[UUID, list[Target]]:
    """Return the targets of each account with what is reached now; one recount for each account that has any."""
    rows = (
        session.connection()
        .execute(
            sa.select(TARGETS)
            .where(TARGETS.c.account_id.in_(list(account_ids)))
            .order_by(TARGETS.c.account_id, TARGETS.c.name, TARGETS.c.base)
        )
        .all()
    )
    counted = {account_id: _in_use(session, account_id) for account_id in {row.account_id for row in rows}}
    found: dict[UUID, list[Target]] = {}
    for row in rows:
        whole, shares = counted[row.account_id].get(row.base, (0, {}))
        found.setdefault(row.account_id, []).append(
            Target(
                row.account_id,
                row.name,
                row.base,
                row.pct,
                shares.get(row.name, 0),
                whole,
                row.reason,
                row.basis_no,
                row.set_at,
            )
        )
    return found


def _in_use(session: Session, account_id: UUID) -> dict[str, tuple[int, dict[str, int]]]:
    """Return, by resource, what parts in use at or below the account hold: all of it, and by share."""
    start = sa.select(ACCOUNTS.c.id).where(ACCOUNTS.c.id == account_id).cte("members", recursive=True)
    below = ACCOUNTS.alias("below")
    members = start.union_all(sa.select(below.c.id).where(below.c.parent_id == start.c.id))
    held = PART_AMOUNTS.c.remaining
    sums = {
        name: sa.func.coalesce(sa.func.sum(held).filter(PARTS.c[dimension] == value), 0).label(name)
        for name, (dimension, value) in SHARES.items()
    }
    rows = session.connection().execute(
        sa.select(PART_AMOUNTS.c.resource, sa.func.sum(held).label("whole"), *sums.values())
        .select_from(PARTS)
        .join(members, members.c.id == PARTS.c.account_id)
        .join(
            PART_AMOUNTS,
            sa.and_(PART_AMOUNTS.c.reservation_id == PARTS.c.reservation_id, PART_AMOUNTS.c.part_id == PARTS.c.part_id),
        )
        .where(PARTS.c.state == PartState.POSTED.value)
        .group_by(PART_AMOUNTS.c.resource)
    )
    return {row["resource"]: (int(row["whole"]), {name: int(row[name]) for name in SHARES}) for row in rows.mappings()}
