"""Setting limits: who, how much, why, on which document. Counts a narrowed key from the moment it is limited."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from quotas.accounts import lock_tree, no_such_account, require_open
from quotas.admission import EMPTY, Level
from quotas.books import BALANCES, ENTRIES, open_balances, read_levels
from quotas.guarantees import require_ceilings
from quotas.keys import Key
from quotas.parts import by_key
from quotas.recount import recounted
from quotas.refusals import LimitOmitted, RootLimitRequired
from quotas.tables import LimitRow
from quotas.timed_tables import TermRow

LIMITS = LimitRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One limit that changed; None is no limit."""

    key: Key
    before: int | None
    after: int | None


def set_limits(
    session: Session,
    *,
    account_id: UUID,
    limits: Mapping[str, int | None],
    replace: bool,
    reason: str,
    basis_no: str | None = None,
    actor: str,
) -> list[LimitChange]:
    """Set limits at one account and return those that changed; None takes a limit away.

    With `replace` the mapping must name every limit there is. A limit may be set below what is in use: nothing is taken
    away, and only growth is refused from then on. Runs in the caller's transaction, under the tree's lock.

    Raises:
        LimitOmitted: `replace`, and a limit is not named; `errors` lists the keys.
        GuaranteeRefused: below what is guaranteed to the account, or to those right below it.
        RootLimitRequired: None for a plain key at the root.
        InvalidInput: a malformed or doubled key, an impossible amount, no reason.
        Conflict: the account is closed. NotFound: no such account.
    """
    wanted = by_key(limits, within="limits")
    if not reason.strip():
        raise InvalidInput(N_("Say why the limit changes."), field="reason")
    lock_tree(session, account_id)
    level = read_levels(session, account_id)[-1]
    require_open(level)
    if replace:
        _require_all(level, wanted)
    changes = _admitted(session, level, wanted)
    change_limits(session, level, changes, new_id(), reason=reason, basis_no=basis_no, actor=actor)
    _supersede(session, account_id, [change.key for change in changes])
    return changes


def require_settable(session: Session, account_id: UUID, limits: Mapping[str, int | None]) -> None:
    """Refuse limits that `set_limits` would refuse as things stand. Locks and changes nothing.

    Raises:
        GuaranteeRefused, RootLimitRequired, InvalidInput, Conflict, NotFound: see `set_limits`.
    """
    wanted = by_key(limits, within="limits")
    levels = read_levels(session, account_id)
    if not levels:
        raise no_such_account(account_id)
    require_open(levels[-1])
    _admitted(session, levels[-1], wanted)


def _admitted(session: Session, level: Level, wanted: Mapping[Key, int | None]) -> list[LimitChange]:
    """Return what changes at an account if these limits may be set there."""
    if level.parent_id is None:
        require_at_root(wanted)
    changes = [
        LimitChange(key, before, after)
        for key, after in wanted.items()
        if (before := level.balances.get(key, EMPTY).limit) != after
    ]
    require_ceilings(session, level, {change.key: change.after for change in changes})
    return changes


def change_limits(
    session: Session,
    level: Level,
    changes: list[LimitChange],
    movement_id: UUID,
    *,
    reason: str,
    basis_no: str | None,
    actor: str,
) -> None:
    """Write what was decided on one account's limits, and remember why. The tree is locked, `level` read after that.

    Several accounts may share one `movement_id`: a transfer is one movement.
    """
    _count_from_now(session, level, [change.key for change in changes if change.key not in level.balances], movement_id)
    for change in changes:
        _write(session, level.account_id, change, movement_id)
    _remember(session, level.account_id, changes, movement_id, reason=reason, basis_no=basis_no, actor=actor)


def _supersede(session: Session, account_id: UUID, keys: list[Key]) -> None:
    """Let a decision made now outlive limits that were in force for a time: their end changes nothing any more."""
    if keys:
        terms = TermRow.__table__  # type: ignore[attr-defined]
        texts = [str(key) for key in keys]
        session.connection().execute(
            sa.update(terms)
            .where(terms.c.account_id == account_id, terms.c.key.in_(texts), terms.c.state == "in_force")
            .values(state="superseded", changed_at=clock.now())
        )


def end_terms(session: Session, account_id: UUID) -> None:
    """Let nothing of a closed account's limits begin or end by itself any more."""
    terms = TermRow.__table__  # type: ignore[attr-defined]
    session.connection().execute(
        sa.update(terms)
        .where(terms.c.account_id == account_id, terms.c.state.in_(("waiting", "in_force")))
        .values(state=sa.case((terms.c.state == "waiting", "cancelled"), else_="superseded"), changed_at=clock.now())
    )


def _require_all(level: Level, wanted: Mapping[Key, int | None]) -> None:
    omitted = [key for key, balance in level.balances.items() if balance.limit is not None and key not in wanted]
    if omitted:
        raise LimitOmitted(
            N_(
                "Replacing all limits of {account} must name every one; missing: {keys}. Give null to take a limit away."
            ),
            field="limits",
            errors=[
                {"account": str(level.account_id), "key": str(key), "limit": level.balances[key].limit}
                for key in omitted
            ],
            account=level.name,
            keys=[key.describe() for key in omitted],
        )


def require_at_root(wanted: Mapping[Key, int | None]) -> None:
    """Refuse to take a plain limit from the topmost account.

    Raises:
        RootLimitRequired: naming the keys.
    """
    missing = [key for key, amount in wanted.items() if amount is None and key.is_plain]
    if missing:
        raise RootLimitRequired(
            N_("The topmost account must keep a limit for {keys}: without one nothing bounds the whole tree."),
            field="limits",
            errors=[{"key": str(key)} for key in missing],
            keys=[key.describe() for key in missing],
        )


def _count_from_now(session: Session, level: Level, keys: list[Key], movement_id: UUID) -> None:
    """Open balances and bring them to what the parts below hold, in this transaction, so they are never wrong."""
    if not keys:
        return
    open_balances(session, [(level.account_id, key) for key in keys])
    counts = recounted(level.account_id)
    texts = [str(key) for key in keys]
    found = session.connection().execute(sa.select(counts).where(counts.c.key.in_(texts))).all()
    for row in found:
        session.connection().execute(
            sa.update(BALANCES)
            .where(BALANCES.c.account_id == level.account_id, BALANCES.c.key == row.key)
            .values(used=row.used, reserved=row.reserved)
        )
        session.connection().execute(
            sa.insert(ENTRIES).values(
                account_id=level.account_id,
                key=row.key,
                movement="open",
                movement_id=movement_id,
                used_delta=row.used,
                reserved_delta=row.reserved,
                at=clock.now(),
            )
        )


def _write(session: Session, account_id: UUID, change: LimitChange, movement_id: UUID) -> None:
    held = BALANCES.c.used + BALANCES.c.reserved
    overhang: sa.ColumnElement[int] = sa.literal(0)
    if change.after is not None:
        overhang = sa.case((held > change.after, held - change.after), else_=0)
    session.connection().execute(
        sa.update(BALANCES)
        .where(BALANCES.c.account_id == account_id, BALANCES.c.key == str(change.key))
        .values(limit_amount=change.after, overhang=overhang)
    )
    session.connection().execute(
        sa.insert(ENTRIES).values(
            account_id=account_id,
            key=str(change.key),
            movement="limit_set",
            movement_id=movement_id,
            used_delta=0,
            reserved_delta=0,
            limit_amount=change.after,
            at=clock.now(),
        )
    )


def _remember(
    session: Session,
    account_id: UUID,
    changes: list[LimitChange],
    movement_id: UUID,
    *,
    reason: str,
    basis_no: str | None,
    actor: str,
) -> None:
    at = clock.now()
    rows = [
        {
            "id": new_id(),
            "account_id": account_id,
            "key": str(change.key),
            "amount": change.after,
            "previous_amount": change.before,
            "valid_from": at,
            "reason": reason.strip(),
            "basis_no": basis_no,
            "actor": actor,
            "movement_id": movement_id,
            "created_at": at,
        }
        for change in changes
    ]
    if rows:
        session.connection().execute(sa.insert(LIMITS), rows)
