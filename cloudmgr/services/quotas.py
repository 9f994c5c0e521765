"""Use cases of quotas: reading one's own chain, the tree as a table, and setting limits. The ledger itself is `quotas`.

Who may change limits: QUOTA_WRITE anywhere in the granted subtree, the granted organization itself included; QUOTA_SPLIT
(a district administrator) only strictly below the granted organization, never one's own limit.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import InvalidInput, StaleVersion
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.models import Organization
from cloudmgr.services import audit, quota_shares
from cloudmgr.services.inputs import Day, Id, Input, Text
from cloudmgr.services.quota_keys import require_countable
from cloudmgr.services.quota_places import (
    Place,
    is_visible,
    may_rearrange,
    may_set,
    places_of,
    require_may_set,
    visible_place,
)
from cloudmgr.store import organizations
from quotas import AccountUsage, Finding, Hold, QuotaWarning, Target, Term

MAX_KEYS = 200
Limits = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=640)], int | None],
    Field(min_length=1, max_length=MAX_KEYS),
]


class SetLimits(Input):
    """New limits by key, such as `vcpus` or `vcpus{arch=aarch64}`; null is no limit here.

    With a day or two, PATCH lets them hold from the first to the end of the last, and then what stood before.
    """

    limits: Limits
    valid_from: Day | None = None
    valid_until: Day | None = None
    reason: Annotated[Text, StringConstraints(min_length=1, max_length=2000)]
    basis_no: Annotated[Text, StringConstraints(min_length=1, max_length=128)] | None = None

    @property
    def is_for_a_time(self) -> bool:
        """Whether they begin later or end."""
        return self.valid_from is not None or self.valid_until is not None


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account's numbers, whose it is, and whether the reader may change its limits."""

    usage: AccountUsage
    kind: str
    """organization or project"""
    owner_id: uuid.UUID
    path: str
    may_set: bool
    warnings: Sequence[QuotaWarning] = ()
    """Thresholds that are crossed, the highest of a key first."""
    held_since: datetime | None = None
    """Since when the oldest thing is held, at the account or below it."""
    targets: Sequence[Target] = ()
    terms: Sequence[Term] = ()
    """Limits that hold for a time, or are to begin; of one account only."""
    holds: Sequence[Hold] = ()
    """What is held, the oldest first; of one account only."""

    @property
    def allotted_pct(self) -> dict[str, int]:
        """The limits right below in percent of the own, rounded up; above 100 it is over-allocation. In the tree only."""
        sums, limits = self.usage.children_limit_sum, self.usage.limits
        return {key: -(-total * 100 // limit) for key, total in sums.items() if (limit := limits.get(key))}

    @property
    def held_days(self) -> int | None:
        """Whole days since then; None while nothing is held."""
        return None if self.held_since is None else (clock.now() - self.held_since).days


def get_usage(session: Session, actor: Actor, account_id: uuid.UUID) -> AccountView:
    """Return one account of the actor's subtrees or of the chain above them.

    Raises:
        NotFound: there is none, or it is neither below nor above the actor.
    """
    place = visible_place(session, actor, account_id)
    view = _view(actor, quotas.account_usage(session, account_id), place)
    is_own = any(place.path.startswith(path) for path in actor.scope(Action.QUOTA_READ))
    holds = quotas.holds_below(session, account_id) if is_own else []
    return replace(
        view,
        warnings=quotas.standing(session, [account_id]).get(account_id, ()),
        held_since=holds[0].since if holds else None,
        targets=quotas.targets_of(session, [account_id]).get(account_id, ()),
        terms=quotas.terms_of(session, [account_id]),
        holds=holds,
    )


def get_tree(
    session: Session, actor: Actor, root: uuid.UUID | None = None, depth: int | None = None
) -> list[AccountView]:
    """Return the tree as a table, parents before children, from `root` down `depth` levels.

    Without `root` it begins at each of the actor's own subtrees. Below an account that is only above the actor, the table
    shows what leads to the actor's own and nothing beside it.

    Raises:
        NotFound: there is no such account for this actor.
        InvalidInput: `depth` is negative.
    """
    access.require(actor, Action.QUOTA_READ)
    if depth is not None and depth < 0:
        raise InvalidInput(N_("The depth cannot be negative."), field="depth")
    if root is not None:
        visible_place(session, actor, root)
        starts = [root]
    else:
        starts = [found.account_id for path in actor.scope(Action.QUOTA_READ) if (found := _at(session, path))]
    scope = actor.scope(Action.QUOTA_READ)
    views = []
    for start in starts:
        rows = quotas.tree(session, root_id=start, depth=depth)
        places = places_of(session, [row.account_id for row in rows])
        shown = [row for row in rows if row.account_id in places and is_visible(scope, places[row.account_id])]
        warnings = quotas.standing(session, [row.account_id for row in shown])
        targets = quotas.targets_of(session, [row.account_id for row in shown])
        since = quotas.held_since_below(session, [row.account_id for row in shown])
        views += [
            replace(
                _view(actor, row, places[row.account_id]),
                warnings=warnings.get(row.account_id, ()),
                targets=targets.get(row.account_id, ()),
                held_since=since.get(row.account_id),
            )
            for row in shown
        ]
    return views


def set_limits(
    session: Session, actor: Actor, account_id: uuid.UUID, command: SetLimits, *, replace: bool
) -> AccountView:
    """Set limits of one account: merged into those there are, or (`replace`) naming every one there is.

    Setting what is set already changes nothing and is not recorded.

    Raises:
        NotFound, Forbidden: the account is not the actor's to see or to change.
        InvalidInput: a malformed key or amount, or a key that nothing is counted under. LimitOmitted, RootLimitRequired: see `quotas.set_limits`.
    """
    place = visible_place(session, actor, account_id)
    require_may_set(actor, place)
    require_countable(session, [key for key, amount in command.limits.items() if amount is not None])
    if command.is_for_a_time:
        if replace:
            raise InvalidInput(N_("Limits for a time are set one by one; use PATCH."), field="valid_until")
        quota_shares.set_terms(
            session,
            actor,
            account_id,
            place,
            limits=command.limits,
            valid_from=command.valid_from,
            valid_until=command.valid_until,
            reason=command.reason,
            basis_no=command.basis_no,
        )
        return get_usage(session, actor, account_id)
    changes = quotas.set_limits(
        session,
        account_id=account_id,
        limits=command.limits,
        replace=replace,
        reason=command.reason,
        basis_no=command.basis_no,
        actor=actor.username,
    )
    quota_shares.require_allotment(
        session, {account_id: {change.key: (change.before, change.after) for change in changes}}
    )
    if changes:
        audit.record(
            session,
            actor,
            Event.QUOTA_SET,
            object_type="quota_account",
            object_id=account_id,
            object_name=place.name,
            organization_path=place.organization_path,
            before={str(change.key): change.before for change in changes},
            after={str(change.key): change.after for change in changes},
            reason_given=command.reason,
            basis_no=command.basis_no,
        )
    return get_usage(session, actor, account_id)


def require_unchanged(session: Session, account_id: uuid.UUID, seen: Mapping[str, int | None]) -> None:
    """Refuse a decision on limits that are not what its maker saw; what is decided next in the transaction holds for sure.

    Raises:
        StaleVersion: `errors` names each key that somebody else has set meanwhile, and to what.
    """
    quotas.lock_tree(session, account_id)
    limits = quotas.account_usage(session, account_id).limits
    changed = [key for key, limit in seen.items() if limits.get(key) != limit]
    if changed:
        raise StaleVersion(
            N_(
                "Somebody else has set limits that you are changing. Look at them, and save again if yours are to hold."
            ),
            errors=[
                {"field": f"limits.{key}", "rule": "stale", "message": _as_it_is(key, limits.get(key))}
                for key in changed
            ],
        )


def _as_it_is(key: str, limit: int | None) -> Message:
    words = quotas.parse_key(key)
    if limit is None:
        return Message(N_("Somebody else has taken the limit on {key} away meanwhile."), {"key": words.describe()})
    return Message(N_("Somebody else has set this to {limit} {key} meanwhile."), words.told(limit=limit))


Over = Finding
"""One account that would be over if limits were set."""


class WhatIf(Input):
    """Limits to try on an account; null is no limit there."""

    account: Id
    limits: Limits


def what_if(session: Session, actor: Actor, command: WhatIf) -> list[Over]:
    """Return who would be over, and at which level, if these limits were set. Changes nothing.

    Raises:
        NotFound, Forbidden: the account is not the actor's to see, or lies in nothing whose quota they administer.
        GuaranteeRefused, OverAllotted, RootLimitRequired, InvalidInput, Conflict: whatever would refuse to set them.
    """
    place = visible_place(session, actor, command.account)
    if not may_rearrange(actor, place):
        require_may_set(actor, place)
    require_countable(session, [key for key, amount in command.limits.items() if amount is not None])
    quotas.require_settable(session, command.account, command.limits)
    found = quotas.what_if(session, command.account, command.limits)
    quota_shares.require_no_more_allotted(session, found)
    return found


def _view(actor: Actor, usage: AccountUsage, place: Place) -> AccountView:
    return AccountView(usage, place.kind, place.owner_id, place.path, may_set(actor, place))


def _at(session: Session, path: str) -> Organization | None:
    if path == "/":
        return organizations.root(session)
    return organizations.get(session, uuid.UUID(path.rstrip("/").rpartition("/")[2]))
