"""Limits that hold for a time: set beforehand, begun and ended by whoever calls `apply_term` when they are due.

An end takes back the difference that the beginning made, so a transfer or a loan in between keeps its effect. A later
decision on the same limit supersedes what is in force: then the end changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from quotas.accounts import lock_tree, require_open
from quotas.admission import EMPTY, Level
from quotas.books import read_levels
from quotas.guarantees import require_ceilings
from quotas.keys import Key, stored_key
from quotas.limits import LimitChange, change_limits, end_terms, require_at_root
from quotas.parts import by_key
from quotas.timed_tables import TermRow

TERMS = TermRow.__table__  # type: ignore[attr-defined]
OPEN_TERMS = ("waiting", "in_force")


@dataclass(frozen=True, slots=True)
class Term:
    """One limit that holds from a moment until another (None: for good)."""

    term_id: UUID
    account_id: UUID
    key: str
    amount: int | None
    before: int | None
    valid_from: datetime
    valid_until: datetime | None
    state: str
    reason: str
    basis_no: str | None
    actor: str


@dataclass(frozen=True, slots=True)
class TermTurn:
    """What a due moment of a term did to a limit."""

    term: Term
    account_name: str
    began: bool
    before: int | None
    after: int | None


def set_terms(
    session: Session,
    *,
    account_id: UUID,
    limits: Mapping[str, int | None],
    valid_from: datetime | None,
    valid_until: datetime | None,
    reason: str,
    basis_no: str | None = None,
    actor: str,
) -> list[Term]:
    """Let limits hold from a moment (None or past: from now) until another (None: for good), and return the terms.

    What begins now is in force when this returns. Runs in the caller's transaction, under the tree's lock.

    Raises:
        Conflict: another term on the same key holds at the same time, or the account is closed.
        InvalidInput: the end is past or before the beginning; a malformed key or amount; no reason.
        GuaranteeRefused, RootLimitRequired: see `set_limits`. NotFound: no such account.
    """
    wanted = by_key(limits, within="limits")
    now = clock.now()
    begins = max(valid_from or now, now)
    if valid_until is not None and valid_until <= begins:
        raise InvalidInput(N_("A limit must end after it begins, and not in the past."), field="valid_until")
    if not reason.strip():
        raise InvalidInput(N_("Say why the limit changes."), field="reason")
    lock_tree(session, account_id)
    level = read_levels(session, account_id)[-1]
    require_open(level)
    if level.parent_id is None:
        require_at_root(wanted)
    require_ceilings(session, level, wanted)
    _require_alone(session, level, wanted, begins, valid_until)
    rows: list[dict[str, Any]] = [
        {
            "id": new_id(),
            "account_id": account_id,
            "key": str(key),
            "amount": amount,
            "before": None,
            "valid_from": begins,
            "valid_until": valid_until,
            "state": "waiting",
            "reason": reason.strip(),
            "basis_no": basis_no,
            "actor": actor,
            "created_at": now,
            "changed_at": now,
        }
        for key, amount in wanted.items()
    ]
    session.connection().execute(sa.insert(TERMS), rows)
    if begins <= now:
        for row in rows:
            apply_term(session, row["id"])
    return terms_of(session, [account_id], ids=[row["id"] for row in rows])


def terms_of(
    session: Session, account_ids: Iterable[UUID], *, ids: Sequence[UUID] | None = None, everything: bool = False
) -> list[Term]:
    """Return the terms of these accounts that wait or are in force (or `everything` that ever was), by beginning."""
    query = _SHOWN.where(TERMS.c.account_id.in_(list(account_ids)))
    if ids is not None:
        query = query.where(TERMS.c.id.in_(list(ids)))
    elif not everything:
        query = query.where(TERMS.c.state.in_(OPEN_TERMS))
    rows = session.connection().execute(query.order_by(TERMS.c.valid_from, TERMS.c.key))
    return [Term(*row) for row in rows]


def due_terms(session: Session, *, most: int) -> list[UUID]:
    """Return the terms whose beginning or end is reached, the earliest first, at most so many. Locks nothing."""
    rows = session.connection().execute(sa.select(TERMS.c.id).where(_is_due(clock.now())).order_by(*_ORDER).limit(most))
    return list(rows.scalars())


def apply_term(session: Session, term_id: UUID) -> TermTurn | None:
    """Do the earliest thing that is due of this term's limit: begin or end a term, with its ledger entry.

    One that ends at the moment another begins ends first. None: nothing is due any more. Ask `due_terms` again until it
    names nothing, for a term may have both to begin and to end. A closed account's limits stay as they are.
    """
    chosen = session.connection().execute(_SHOWN.where(TERMS.c.id == term_id)).one_or_none()
    if chosen is None:
        return None
    named = Term(*chosen)
    lock_tree(session, named.account_id)
    found = (
        session.connection()
        .execute(
            _SHOWN.where(TERMS.c.account_id == named.account_id, TERMS.c.key == named.key, _is_due(clock.now()))
            .order_by(*_ORDER)
            .limit(1)
        )
        .one_or_none()
    )
    if found is None:
        return None
    term = Term(*found)
    level = read_levels(session, term.account_id)[-1]
    if level.is_closed:
        end_terms(session, term.account_id)
        return None
    if term.state == "waiting":
        turn = _begin(session, level, term)
        state = "in_force" if term.valid_until is not None else "ended"
        _set(session, term.term_id, state=state, before=turn.before)
        return turn
    return _end(session, level, term)


def cancel_term(session: Session, term_id: UUID) -> TermTurn | Term:
    """Take back a term: one that waits never begins, one in force ends now.

    Raises:
        NotFound: there is none. Conflict: it has ended.
    """
    found = session.connection().execute(_SHOWN.where(TERMS.c.id == term_id)).one_or_none()
    if found is None:
        raise NotFound(N_("There is no such limit with an end."))
    lock_tree(session, Term(*found).account_id)
    term = Term(*session.connection().execute(_SHOWN.where(TERMS.c.id == term_id)).one())
    if term.state == "waiting":
        _set(session, term_id, state="cancelled")
        return term
    level = read_levels(session, term.account_id)[-1]
    if term.state != "in_force" or level.is_closed:
        raise Conflict(N_("This limit has ended already."))
    return _end(session, level, term)


def _begin(session: Session, level: Level, term: Term) -> TermTurn:
    before = level.balances.get(stored_key(term.key), EMPTY).limit
    _change(session, level, term, before, term.amount)
    return TermTurn(term, level.name, began=True, before=before, after=term.amount)


def _end(session: Session, level: Level, term: Term) -> TermTurn:
    now_limit = level.balances.get(stored_key(term.key), EMPTY).limit
    if term.before is None or term.amount is None:
        after = term.before
    else:
        after = None if now_limit is None else max(0, now_limit - (term.amount - term.before))
    _change(session, level, term, now_limit, after)
    _set(session, term.term_id, state="ended")
    return TermTurn(term, level.name, began=False, before=now_limit, after=after)


def _change(session: Session, level: Level, term: Term, before: int | None, after: int | None) -> None:
    if before != after:
        change_limits(
            session,
            level,
            [LimitChange(stored_key(term.key), before, after)],
            new_id(),
            reason=term.reason,
            basis_no=term.basis_no,
            actor=term.actor,
        )


def _require_alone(
    session: Session, level: Level, wanted: Mapping[Key, int | None], begins: datetime, ends: datetime | None
) -> None:
    for term in terms_of(session, [level.account_id]):
        if stored_key(term.key) not in wanted:
            continue
        if (ends is None or term.valid_from < ends) and (term.valid_until is None or begins < term.valid_until):
            raise Conflict(
                N_("{account} has another limit on {key} at that time, until {until}; cancel it first."),
                account=level.name,
                key=stored_key(term.key).describe(),
                until=term.valid_until.astimezone(clock.SHANGHAI).date().isoformat() if term.valid_until else "–",
            )


def _set(session: Session, term_id: UUID, **values: Any) -> None:
    session.connection().execute(sa.update(TERMS).where(TERMS.c.id == term_id).values(changed_at=clock.now(), **values))


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(
        sa.and_(TERMS.c.state == "waiting", TERMS.c.valid_from <= now),
        sa.and_(TERMS.c.state == "in_force", TERMS.c.valid_until <= now),
    )


_ORDER = (
    sa.case((TERMS.c.state == "waiting", TERMS.c.valid_from), else_=TERMS.c.valid_until),
    sa.case((TERMS.c.state == "in_force", 0), else_=1),
    TERMS.c.id,
)
_SHOWN = sa.select(
    TERMS.c.id,
    TERMS.c.account_id,
    TERMS.c.key,
    TERMS.c.amount,
    TERMS.c.before,
    TERMS.c.valid_from,
    TERMS.c.valid_until,
    TERMS.c.state,
    TERMS.c.reason,
    TERMS.c.basis_no,
    TERMS.c.actor,
)
