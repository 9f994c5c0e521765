"""The stages of a submission: which the policy asks for, whose seats they have, which opens next. Decides nothing itself."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlmodel import Session

import quotas
from cloudmgr.domain import approval, clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.approval import Facts, Level, Mode, OwnQuota, SeatRule, StageRule
from cloudmgr.models import Approval, ApprovalSeat, ApprovalStage, Organization, ResourceRequest
from cloudmgr.services import approval_policy, request_notices
from cloudmgr.services.quota_places import places_of
from cloudmgr.services.usernames import username_key
from cloudmgr.services.working_calendar import calendar_of
from cloudmgr.store import approvals, organizations, users
from cloudmgr.store.recent import recent

_ABOVE: Mapping[str, Level] = {
    Level.UNIT: Level.DISTRICT,
    Level.DISTRICT: Level.CITY,
    Level.TECHNICAL: Level.CITY,
    Level.PARENT: Level.CITY,
    Level.PERSON: Level.CITY,
}
"""Whom a stage of a level goes to when nobody decides it; the city's own has nobody above it."""


@dataclass(frozen=True, slots=True)
class SeatTaken:
    """A seat somebody may decide from; `on_behalf_of_id` is the person away whose deputy they are."""

    seat: ApprovalSeat
    on_behalf_of_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Draft:
    """The stages of a submission and the seats of each, not written yet; the first is open."""

    stages: list[ApprovalStage]
    seats: list[ApprovalSeat]


def draft(session: Session, request: ResourceRequest, organization: Organization, facts: Facts) -> Draft:
    """Make the stages that the policy in force asks of this submission. Writes nothing of them."""
    policy = approval_policy.deciding(session)
    rules = policy.rule_for(complete(session, organization, facts, policy)).stages
    stages, seats = [], []
    for position, rule in enumerate(rules, 1):
        places = [_place(session, request, organization, seat) for seat in rule.seats]
        stage = ApprovalStage(
            request_id=request.id,
            submission=request.submission,
            position=position,
            name=rule.name,
            level=rule.seats[0].level.value,
            mode=rule.mode.value,
            role=rule.seats[0].role.value if rule.seats[0].role else None,
            organization_id=places[0][0],
            policy_version=policy.version,
            sla_working_days=rule.sla_working_days,
            escalate_after_working_days=rule.escalate_after_working_days,
            on_timeout=rule.on_timeout.value,
        )
        stages.append(stage)
        seats += [
            ApprovalSeat(
                stage_id=stage.id,
                position=number,
                role=seat.role.value if seat.role and person is None else None,
                organization_id=place,
                person_id=person,
            )
            for number, (seat, (place, person)) in enumerate(zip(rule.seats, places, strict=True), 1)
        ]
    open_stage(session, stages[0])
    return Draft(stages, seats)


def lay_out(session: Session, request: ResourceRequest, drafted: Draft) -> list[ApprovalStage]:
    """Write the stages of a submission, and tell those who may decide the first."""
    stages = drafted.stages
    approvals.add(session, *stages)
    approvals.add(session, *drafted.seats)
    first = [seat for seat in drafted.seats if seat.stage_id == stages[0].id]
    request_notices.stage_opened(session, request, stages[0], first)
    return stages


def rules_for(session: Session, organization: Organization, facts: Facts) -> tuple[StageRule, ...]:
    """Return the stages that the policy in force asks of a request like this."""
    policy = approval_policy.in_force(session).policy
    return policy.rule_for(complete(session, organization, facts, policy)).stages


def complete(session: Session, organization: Organization, facts: Facts, policy: approval.Policy) -> Facts:
    """Fill in what only the tree knows, where a rule of the policy asks for it: owners above, the district's own quota."""
    if any(rule.when.organizations for rule in policy.rules):
        chain = [uuid.UUID(each) for each in organization.path.strip("/").split("/")]
        facts = replace(facts, organization_codes=frozenset(organizations.codes_of(session, chain)))
    none = replace(facts, own_quota=OwnQuota.NONE)
    if facts.own_quota is OwnQuota.WITHIN and policy.rule_for(facts) is not policy.rule_for(none):
        district = _district(organization)
        account = recent(
            session, ("account", district), lambda: session.get_one(Organization, district).account_id
        )  # it never changes
        if quotas.drawn_from_above(session, account, (key for key, amount in facts.totals.items() if amount)):
            return none
    return facts


def open_stage(session: Session, stage: ApprovalStage) -> None:
    """Open a stage: from now on it can be decided, and its time runs."""
    stage.state = "open"
    stage.opened_at = clock.now()
    if stage.sla_working_days is not None:
        stage.due_at = calendar_of(session).after_days(stage.opened_at, stage.sla_working_days)


def finish(session: Session, stage: ApprovalStage, state: str) -> None:
    """Close a stage with what came of it."""
    stage.state = state
    stage.closed_at = clock.now()
    session.add(stage)


def next_stage(session: Session, stage: ApprovalStage) -> ApprovalStage | None:
    """Open the stage behind one that was passed; None behind the last."""
    following = approvals.stage_at(session, stage.request_id, stage.submission, stage.position + 1)
    if following is not None:
        open_stage(session, following)
        approvals.add(session, following)
        request_notices.stage_opened(session, session.get_one(ResourceRequest, following.request_id), following)
    return following


def is_passed(session: Session, stage: ApprovalStage) -> bool:
    """Whether enough seats have approved: one, or all where the stage wants all (a stand-in's counts for its seat)."""
    seats = approvals.seats(session, [stage.id]).get(stage.id, [])
    passed = approvals.seats_decided(session, stage.id)
    if stage.mode == Mode.ANY:
        return bool(passed)
    return all(
        any(other.id in passed for other in seats if seat.id in (other.id, other.stands_for_id))
        for seat in seats
        if seat.stands_for_id is None
    )


def seats_for(session: Session, actor: Actor, request: ResourceRequest, stage: ApprovalStage) -> list[SeatTaken]:
    """Return the undecided seats of a stage that an actor may decide from, their own before those of people away.

    Nobody is a deputy for the requester, nor for somebody who has decided in this submission.
    """
    done = approvals.seats_decided(session, stage.id)
    seats = [seat for seat in approvals.seats(session, [stage.id]).get(stage.id, []) if seat.id not in done]
    standing_ins = {seat.stands_for_id for seat in seats}
    seats.sort(key=lambda seat: seat.id in standing_ins)
    busy = {request.requester_id}
    for each in approvals.decided(session, request.id, request.submission):
        busy |= {each.decider_id} | ({each.on_behalf_of_id} if each.on_behalf_of_id else set())
    found = []
    for seat in seats:
        if seat.person_id is not None:
            if seat.person_id == actor.user_id:
                found.append(SeatTaken(seat, None))
            elif actor.user_id and seat.person_id in users.away_for(session, actor.user_id, clock.now()):
                found.append(SeatTaken(seat, seat.person_id))
            continue
        path = session.get_one(Organization, seat.organization_id).path
        found += [
            SeatTaken(seat, grant.for_user_id)
            for grant in actor.grants
            if grant.role == seat.role and path.startswith(grant.path)
        ]
    found.sort(key=lambda taken: taken.on_behalf_of_id is not None)
    return [taken for taken in found if taken.on_behalf_of_id not in busy]


def escalate(session: Session, stage: ApprovalStage) -> list[ApprovalSeat]:
    """Let the level above decide an open stage as well, in place of the seats nobody has decided; twice is once.

    Returns the seats added: none where it was escalated before, is not open, or has nobody above it.
    """
    if stage.state != "open" or stage.escalated_at is not None:
        return []
    request = session.get_one(ResourceRequest, stage.request_id)
    organization = session.get_one(Organization, request.organization_id)
    seats = approvals.seats(session, [stage.id]).get(stage.id, [])
    done = approvals.seats_decided(session, stage.id)
    level = _ABOVE.get(stage.level)
    stage.escalated_at = clock.now()
    approvals.add(session, stage)
    if level is None:
        return []
    place, _ = _place(session, request, organization, SeatRule(level, approval.ROLES[level]))
    added = [
        ApprovalSeat(
            stage_id=stage.id,
            position=len(seats) + number,
            role=approval.ROLES[level].value,
            organization_id=place,
            stands_for_id=seat.id,
        )
        for number, seat in enumerate([seat for seat in seats if seat.id not in done], 1)
    ]
    approvals.add(session, *added)
    return added


def _place(
    session: Session, request: ResourceRequest, organization: Organization, seat: SeatRule
) -> tuple[uuid.UUID, uuid.UUID | None]:
    if seat.person is not None:
        person = users.by_key(session, username_key(seat.person))
        if person is not None:
            return person.organization_id, person.id
        seat = SeatRule(Level.CITY, approval.ROLES[Level.CITY])  # the person is gone: the city decides
    root = uuid.UUID(organization.path.split("/")[1])
    if seat.level is Level.UNIT:
        return organization.id, None
    if seat.level is Level.DISTRICT:
        return _district(organization), None
    if seat.level is Level.PARENT:
        return _above_account(session, request, organization), None
    return root, None


def _above_account(session: Session, request: ResourceRequest, organization: Organization) -> uuid.UUID:
    """Return the organization above the quota account that a request asks to change, whoever asks."""
    root = uuid.UUID(organization.path.split("/")[1])
    if request.account_id is None:
        return organization.parent_id or root
    place = places_of(session, [request.account_id]).get(request.account_id)
    if place is None:
        return root
    chain = place.organization_path.strip("/").split("/")
    if place.kind == "organization":
        chain = chain[:-1]
    return uuid.UUID(chain[-1]) if chain else root


def _district(organization: Organization) -> uuid.UUID:
    return organization.district_id or uuid.UUID(organization.path.split("/")[1])


def decisions_of(session: Session, request: ResourceRequest) -> list[Approval]:
    """Return the decisions of the present submission, oldest first."""
    return approvals.decided(session, request.id, request.submission)
