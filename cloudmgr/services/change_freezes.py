"""Change freezes (重保期): announced by an administrator for a subtree; what stands is not changed while one holds.

Requests may be made and approved as ever; those of `[policy] change_freeze_kinds` begin by themselves when the freeze is over.
Emergency orders pass. Playbooks whose catalogue entry says `frozen_in_key_period` are refused.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor, Role
from cloudmgr.domain.errors import ChangeFrozen, Conflict, Hidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import ChangeFreeze, Organization, ResourceRequest
from cloudmgr.services import audit
from cloudmgr.services.inputs import Id, Input, Moment, Text
from cloudmgr.services.notices import notify
from cloudmgr.services.policy import policy_of
from cloudmgr.store import change_freezes as store
from cloudmgr.store import organizations, requests

_WORKED_OFF = (RequestPhase.APPROVED, RequestPhase.FULFILLING)
_TOLD_ROLES = (Role.DISTRICT_ADMIN, Role.REQUESTER)


def _exact(moment: datetime) -> datetime:
    """Refuse a day, or a moment that does not say in which time zone: a freeze begins and ends to the minute for everybody."""
    if moment.tzinfo is None:
        raise PydanticCustomError("datetime_object_invalid", "Give a moment like 2026-11-22T08:00:00+08:00.")
    return moment.astimezone(UTC)


ExactMoment = Annotated[Moment, AfterValidator(_exact)]


class MakeFreeze(Input):
    """A freeze of an organization and everything below it; it begins at once where no beginning is given."""

    organization: Id
    starts_at: ExactMoment | None = None
    ends_at: ExactMoment
    reason: Annotated[Text, StringConstraints(min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True)
class FreezeView:
    """A freeze, whom it is for, and whether it holds now. `may_lift`: by this reader."""

    freeze: ChangeFreeze
    organization: Organization
    is_in_force: bool
    may_lift: bool


def make_freeze(session: Session, actor: Actor, command: MakeFreeze) -> FreezeView:
    """Announce a freeze, now or for later; requesters and district administrators there are told.

    Raises:
        InvalidInput: it would end before it begins, or has ended already. NotFound: no such organization.
    """
    organization = organizations.get(session, command.organization)
    if organization is None or not actor.may(Action.ORGANIZATION_READ, organization.path):
        access.require(actor, Action.FREEZE_WRITE)
        raise NotFound(N_("There is no such organization."), field="organization")
    access.require(actor, Action.FREEZE_WRITE, organization.path)
    now = clock.now()
    begins = command.starts_at or now
    if command.ends_at <= max(begins, now):
        raise InvalidInput(N_("A freeze ends after it begins, and after now."), field="ends_at")
    freeze = ChangeFreeze(
        organization_id=organization.id,
        starts_at=begins,
        ends_at=command.ends_at,
        reason=command.reason,
        made_by=actor.username,
    )
    store.add(session, freeze)
    _audit(session, actor, Event.CHANGE_FREEZE_MAKE, freeze, organization)
    notify(
        session,
        NoticeEvent.FREEZE_ANNOUNCED,
        Message(
            N_("No changes at {organization} from {begin} to {end}: {reason}"),
            {
                "organization": organization.name,
                "begin": _shown(freeze.starts_at),
                "end": _shown(freeze.ends_at),
                "reason": freeze.reason,
            },
        ),
        to=[RoleAt(role, organization.id) for role in _TOLD_ROLES],
        about=About("change_freeze", str(freeze.id), organization.name, "/change-freezes"),
        dedupe=f"freeze:{freeze.id}",
        organization_path=organization.path,
    )
    return _view(actor, freeze, organization)


def lift_freeze(session: Session, actor: Actor, freeze_id: uuid.UUID) -> None:
    """End a freeze before its time; what waits for it goes on within a minute. It stays on record.

    Raises:
        NotFound: there is none for this actor to see. Conflict: it is over already.
    """
    row = store.get(session, freeze_id, lock=True)
    if row is None:
        raise NotFound(N_("There is no such change freeze."))
    freeze, organization = row
    if not _is_visible(actor, organization.path):
        raise Hidden(N_("There is no such change freeze."))
    access.require(actor, Action.FREEZE_WRITE, organization.path)
    if freeze.lifted_at is not None or freeze.ends_at <= clock.now():
        raise Conflict(N_("This change freeze is over already."))
    freeze.lifted_at, freeze.lifted_by = clock.now(), actor.username
    store.add(session, freeze)
    _audit(session, actor, Event.CHANGE_FREEZE_LIFT, freeze, organization)


def list_freezes(
    session: Session, actor: Actor, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[FreezeView], uuid.UUID | None]:
    """Return the freezes that concern the actor's organizations, past ones too, newest first."""
    access.require(actor, Action.ORGANIZATION_READ)
    paths = actor.scope(Action.ORGANIZATION_READ)
    above = [each for path in paths for each in ids_of(path)]
    rows, following = store.listed(session, paths=paths, above=above, limit=limit, cursor=cursor)
    return [_view(actor, freeze, organization) for freeze, organization in rows], following


def concerning(session: Session, actor: Actor) -> list[FreezeView]:
    """Return the freezes that hold now for the organizations the actor has a role on, or for theirs: for the banner."""
    paths = {actor.organization_path, *(grant.path for grant in actor.grants)}
    ids = sorted({each for path in paths for each in ids_of(path)})
    return [_view(actor, *row) for row in store.in_force(session, ids, clock.now())]


def standing(session: Session, organization_path: str) -> ChangeFreeze | None:
    """Return the freeze that holds now for the organization at a path; of several, the one that ends last."""
    found = store.in_force(session, ids_of(organization_path), clock.now())
    return found[0][0] if found else None


def require_no_freeze(session: Session, organization_path: str) -> None:
    """Refuse while a freeze holds.

    Raises:
        ChangeFrozen: it does.
    """
    freeze = standing(session, organization_path)
    if freeze is not None:
        raise ChangeFrozen(
            N_("A change freeze holds until {end} ({reason}); this is not done before."),
            extra={"until": freeze.ends_at.isoformat()},
            end=_shown(freeze.ends_at),
            reason=freeze.reason,
        )


def hold_if_frozen(session: Session, request: ResourceRequest) -> bool:
    """Let an approved request wait where a freeze holds for it; returns whether it does."""
    if request.is_emergency or request.kind not in policy_of(session).change_freeze_kinds:
        return False
    freeze = standing(session, session.get_one(Organization, request.organization_id).path)
    if freeze is None:
        return False
    store.hold(session, request.id, request.attempt, freeze.id)
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(
            N_("Waits for the end of the change freeze ({reason}) at {end}; it then begins by itself."),
            {"reason": freeze.reason, "end": _shown(freeze.ends_at)},
        ),
        dedupe=f"held:{request.attempt}",
    )
    return True


def release_due(session: Session, limit: int) -> int:
    """Begin the requests whose freeze is over; return how many were looked at. Another freeze that holds is waited for."""
    found = store.released(session, clock.now(), limit=limit)
    for row, request in found:
        path = session.get_one(Organization, request.organization_id).path
        another = standing(session, path) if request.phase in _WORKED_OFF else None
        if another is not None:
            row.freeze_id = another.id
        else:
            row.released_at = clock.now()
            if request.phase in _WORKED_OFF:
                _begin(session, request)
        store.add(session, row)
    return len(found)


def _begin(session: Session, request: ResourceRequest) -> None:
    request.attempt += 1
    requests.add(session, request)
    queue.enqueue(
        session,
        "fulfil_request",
        queue.workflow_id("fulfil_request", request.id, request.attempt),
        str(request.id),
        request.attempt,
    )
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(N_("The change freeze is over: work begins.")),
        dedupe=f"released:{request.attempt}",
    )


def ids_of(path: str) -> list[uuid.UUID]:
    """Return the organizations on a path of ids, root first."""
    return [uuid.UUID(part) for part in path.split("/") if part]


def _is_visible(actor: Actor, path: str) -> bool:
    return any(path.startswith(scope) or scope.startswith(path) for scope in actor.scope(Action.ORGANIZATION_READ))


def _view(actor: Actor, freeze: ChangeFreeze, organization: Organization) -> FreezeView:
    now = clock.now()
    is_open = freeze.lifted_at is None and freeze.ends_at > now
    return FreezeView(
        freeze,
        organization,
        is_in_force=is_open and freeze.starts_at <= now,
        may_lift=is_open and actor.may(Action.FREEZE_WRITE, organization.path),
    )


def _audit(session: Session, actor: Actor, event: Event, freeze: ChangeFreeze, organization: Organization) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="change_freeze",
        object_id=freeze.id,
        object_name=organization.name,
        organization_path=organization.path,
        starts_at=freeze.starts_at.isoformat(),
        ends_at=freeze.ends_at.isoformat(),
        reason_given=freeze.reason,
    )


def _shown(moment: datetime) -> str:
    return moment.astimezone(clock.SHANGHAI).strftime("%Y-%m-%d %H:%M")
