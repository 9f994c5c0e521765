"""Use cases that rearrange quota: transfers between accounts, moves and merges in the tree, closing. One transaction each.

An account is 1:1 with an organization or a project: where an account comes to stand elsewhere, so does its owner, with all
that names the owner's place. Limits of every account that changes must be the actor's to set; to rearrange the tree, both
the old and the new parent must lie in a subtree whose quota the actor administers.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Organization, Project
from cloudmgr.services import audit
from cloudmgr.services.inputs import Id, Input, Text
from cloudmgr.services.organizations import MAX_DEPTH
from cloudmgr.services.projects import account_code
from cloudmgr.services.quota_keys import require_countable
from cloudmgr.services.quota_places import Place, may_rearrange, places_of, require_may_set, visible_place
from cloudmgr.services.quota_shares import require_allotment
from cloudmgr.services.quotas import MAX_KEYS
from cloudmgr.store import organizations, projects, relocations, standstill
from quotas import AccountChange, Key, parse_key

Reason = Annotated[Text, StringConstraints(min_length=1, max_length=2000)]
BasisNo = Annotated[Text, StringConstraints(min_length=1, max_length=128)]
QuotaKey = Annotated[str, StringConstraints(min_length=1, max_length=640)]


class TransferQuota(Input):
    """Limits that go from one account to another for good, by key."""

    model_config = ConfigDict(populate_by_name=True)

    giver: Id = Field(alias="from")
    taker: Id = Field(alias="to")
    amounts: Annotated[dict[QuotaKey, int], Field(min_length=1, max_length=MAX_KEYS)]
    reason: Reason
    basis_no: BasisNo | None = None


class MoveAccount(Input):
    """An account, its organization or project, and all below it, to stand under another organization."""

    account: Id
    parent: Id
    reason: Reason
    basis_no: BasisNo | None = None


class MergeAccounts(Input):
    """An organization that becomes part of another."""

    source: Id
    target: Id
    reason: Reason
    basis_no: BasisNo | None = None


class CloseAccount(Input):
    """Why an account is closed or opened again."""

    reason: Reason
    basis_no: BasisNo | None = None


@dataclass(frozen=True, slots=True)
class Rearranged:
    """What a movement changed: limits by account, and how many standing servers changed whose they are."""

    accounts: Sequence[AccountChange]
    servers: int = 0


def transfer(session: Session, actor: Actor, command: TransferQuota) -> Rearranged:
    """Move limits from one account to another; the accounts between follow up to the nearest above both.

    Raises:
        NotFound, Forbidden: an account whose limit changes is not the actor's to see or to change.
        OverAllotted: on either side, a level would allot more than policy allows.
        LimitInUse, InvalidInput, Conflict: see `quotas.transfer`.
    """
    giver = visible_place(session, actor, command.giver)
    taker = visible_place(session, actor, command.taker)
    quotas.lock_tree(session, command.giver)
    levels = [level for side in quotas.sides(session, command.giver, command.taker) for level in side]
    for place in places_of(session, [level.account_id for level in levels]).values():
        require_may_set(actor, place)
    require_countable(session, command.amounts, within="amounts")
    done = quotas.transfer(
        session,
        giver=command.giver,
        taker=command.taker,
        amounts=command.amounts,
        reason=command.reason,
        basis_no=command.basis_no,
        actor=actor.username,
    )
    require_allotment(session, _before_and_after(done.accounts))
    for role, account_id, place in (("giver", command.giver, giver), ("taker", command.taker, taker)):
        _record(
            session,
            actor,
            Event.QUOTA_TRANSFER,
            account_id,
            place,
            command,
            role=role,
            amounts=dict(command.amounts),
            other=(taker if role == "giver" else giver).name,
            accounts=_told(done.accounts),
        )
    return Rearranged(done.accounts)


def move(session: Session, actor: Actor, command: MoveAccount) -> Rearranged:
    """Put an account with its organization or project, and all below, under another organization.

    Its limits go along unchanged; what it holds is charged to the accounts above its new place.

    Raises:
        NotFound, Forbidden: the account or a parent is not the actor's to see or to rearrange.
        QuotaExceeded: the accounts that come to be above it lack room; every key and level is named.
        OverAllotted: its limits are more than policy lets the new parent allot.
        InvalidInput, Conflict: see `quotas.move_account`; or the new organization has a project of that name.
    """
    standstill.hold_still(session, command.account)
    place = visible_place(session, actor, command.account)
    target = visible_place(session, actor, command.parent)
    if target.kind != "organization":
        raise InvalidInput(N_("Nothing stands below an information system; name an organization."), field="parent")
    _require_may_rearrange(session, actor, command.account, place, target)
    if not quotas.move_account(session, account_id=command.account, parent_id=command.parent):
        return Rearranged([])
    require_allotment(session, _arrived(session, [command.account]))
    before = place.organization_path
    parent = organizations.get(session, target.owner_id)
    assert parent is not None  # noqa: S101 - its place was just read
    if place.kind == "organization":
        servers = _hang(session, actor, place.owner_id, parent)
    else:
        servers = _hand_over(session, actor, place.owner_id, parent)
    after = places_of(session, [command.account])[command.account]
    _record(
        session,
        actor,
        Event.QUOTA_MOVE,
        command.account,
        after,
        command,
        parent=parent.name,
        before=before,
        after=after.organization_path,
        servers=servers,
    )
    return Rearranged([], servers)


def merge(session: Session, actor: Actor, command: MergeAccounts) -> Rearranged:
    """Make one organization part of another: organizations and projects below it, its clouds and limits go over.

    The merged organization stays as a closed name in the records. Its people and their roles are not touched.

    Raises:
        NotFound, Forbidden: one of them is not the actor's to see or to rearrange.
        QuotaExceeded: the accounts that come to be above lack room; every key and level is named.
        OverAllotted: the limits that the target comes to have are more than policy lets be allotted.
        InvalidInput, Conflict: see `quotas.merge_accounts`; or the target has a project of the same name.
    """
    standstill.hold_still(session, command.source, merges=True)
    place = visible_place(session, actor, command.source)
    target = visible_place(session, actor, command.target)
    for each in (place, target):
        if each.kind != "organization":
            raise InvalidInput(
                N_("Only organizations are merged. Transfer the quota of {name} and close its account instead."),
                name=each.name,
            )
    _require_may_rearrange(session, actor, command.source, place, target)
    done = quotas.merge_accounts(
        session,
        source=command.source,
        target=command.target,
        reason=command.reason,
        basis_no=command.basis_no,
        actor=actor.username,
    )
    require_allotment(session, _before_and_after(done.accounts) | _arrived(session, done.moved))
    leaving, taking = organizations.get(session, place.owner_id), organizations.get(session, target.owner_id)
    assert leaving is not None  # noqa: S101 - its place was just read
    assert taking is not None  # noqa: S101 - its place was just read
    servers = sum(
        _hang(session, actor, child.id, taking) for child in relocations.children_of(session, leaving.id)
    ) + sum(_hand_over(session, actor, project.id, taking) for project in relocations.projects_of(session, leaving.id))
    relocations.hand_over_backends(session, leaving.id, taking.id)
    leaving.is_active = False
    session.add(leaving)
    session.flush()
    for role, account_id, where in (("source", command.source, place), ("target", command.target, target)):
        _record(
            session,
            actor,
            Event.QUOTA_MERGE,
            account_id,
            where,
            command,
            role=role,
            other=(target if role == "source" else place).name,
            moved=len(done.moved),
            servers=servers,
            accounts=_told(done.accounts),
        )
    return Rearranged(done.accounts, servers)


def close(session: Session, actor: Actor, account_id: uuid.UUID, command: CloseAccount) -> Rearranged:
    """Let an account take no charges any more; its limits become zero. Closing it again changes nothing.

    Raises:
        NotFound, Forbidden: the account is not the actor's to see or to change.
        Conflict: something is held there, or an account below is open. InvalidInput: it is the topmost.
    """
    place = visible_place(session, actor, account_id)
    require_may_set(actor, place)
    is_closed = quotas.account_usage(session, account_id).is_closed
    done = quotas.close_account(
        session, account_id=account_id, reason=command.reason, basis_no=command.basis_no, actor=actor.username
    )
    if not is_closed:
        _record(session, actor, Event.QUOTA_CLOSE, account_id, place, command, accounts=_told([done]))
    return Rearranged([done])


def reopen(session: Session, actor: Actor, account_id: uuid.UUID, command: CloseAccount) -> None:
    """Let a closed account take charges again; its limits stay zero until they are set.

    Raises:
        NotFound, Forbidden: the account is not the actor's to see or to change.
        Conflict: the account above is closed, or the organization is inactive.
    """
    place = visible_place(session, actor, account_id)
    require_may_set(actor, place)
    owner = organizations.get(session, place.owner_id) if place.kind == "organization" else None
    if owner is not None and not owner.is_active:
        raise Conflict(
            N_("{organization} is inactive; activate it first, then open its account."), organization=owner.name
        )
    if quotas.reopen_account(session, account_id=account_id):
        _record(session, actor, Event.QUOTA_REOPEN, account_id, place, command)


def _require_may_rearrange(session: Session, actor: Actor, account_id: uuid.UUID, place: Place, target: Place) -> None:
    """Refuse unless the account is the actor's to set, and so are the trees it leaves and comes to.

    Raises:
        Forbidden: with words whom to ask.
    """
    require_may_set(actor, place)
    above = quotas.ancestors_of(session, account_id)
    leaving = places_of(session, [above[-1].account_id]).values() if above else ()
    for each in (*leaving, target):
        if not may_rearrange(actor, each):
            raise Forbidden(
                N_("Moving {name} changes {other} too, which you do not administer; ask the level above both."),
                name=place.name,
                other=each.name,
            )


def _hang(session: Session, actor: Actor, organization_id: uuid.UUID, parent: Organization) -> int:
    organization = organizations.get(session, organization_id)
    assert organization is not None  # noqa: S101 - its account was just moved
    if not parent.is_active:
        raise Conflict(N_("{organization} is closed; nothing can be added below it."), organization=parent.name)
    changed = relocations.hang_organization(session, organization, parent)
    if any(each.path.count("/") - 1 > MAX_DEPTH for each in changed):
        raise InvalidInput(N_("The tree may be at most {most} levels deep."), field="parent", most=MAX_DEPTH)
    below = relocations.projects_below(session, organization.path)
    return relocations.remember(session, below, actor=actor.username, change="moved")


def _hand_over(session: Session, actor: Actor, project_id: uuid.UUID, organization: Organization) -> int:
    project = projects.get(session, project_id)
    assert project is not None  # noqa: S101 - its account was just moved
    if not organization.is_active:
        raise Conflict(N_("{organization} is closed; nothing can be added below it."), organization=organization.name)
    if projects.by_name(session, organization.id, project.name) is not None:
        raise Conflict(
            N_("{organization} has a project called {name} already."), organization=organization.name, name=project.name
        )
    relocations.hand_over_project(session, project, organization)
    quotas.rename_account(session, project.account_id, code=_code(organization, project))
    return relocations.remember(session, [project.id], actor=actor.username, change="moved")


def _code(organization: Organization, project: Project) -> str:
    return account_code(organization, project.system_code or project.name)


def _before_and_after(accounts: Sequence[AccountChange]) -> dict[uuid.UUID, dict[Key, tuple[int | None, int | None]]]:
    return {
        each.account_id: {change.key: (change.before, change.after) for change in each.changes} for each in accounts
    }


def _arrived(
    session: Session, account_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, dict[Key, tuple[int | None, int | None]]]:
    """Return the limits of accounts that stand elsewhere now, as new to the account above."""
    return {
        account_id: {
            parse_key(key): (0, limit) for key, limit in quotas.account_usage(session, account_id).limits.items()
        }
        for account_id in account_ids
    }


def _told(accounts: Sequence[AccountChange]) -> list[dict[str, Any]]:
    return [
        {
            "account": str(each.account_id),
            "name": each.name,
            "before": {str(change.key): change.before for change in each.changes},
            "after": {str(change.key): change.after for change in each.changes},
        }
        for each in accounts
    ]


def _record(
    session: Session,
    actor: Actor,
    event: Event,
    account_id: uuid.UUID,
    place: Place,
    command: TransferQuota | MoveAccount | MergeAccounts | CloseAccount,
    **detail: Any,
) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="quota_account",
        object_id=account_id,
        object_name=place.name,
        organization_path=place.organization_path,
        reason_given=command.reason,
        basis_no=command.basis_no,
        **detail,
    )
