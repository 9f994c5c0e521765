"""配额变更: other limits for one quota account. Nothing is held; the limits are set when it is granted."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.approval import Facts, OwnQuota
from cloudmgr.domain.errors import Forbidden, InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import Organization, Project, QuotaChange, ResourceRequest
from cloudmgr.services import resolution, waiting_requests
from cloudmgr.services.policy import policy_of
from cloudmgr.services.quota_keys import require_countable
from cloudmgr.services.quota_places import Place, visible_place
from cloudmgr.services.request_inputs import QuotaChangeRequest
from cloudmgr.services.request_kinds.base import Kind, Plan
from cloudmgr.store import organizations, projects
from cloudmgr.store import quota_changes as store

_WHOLE_PCT = 100


@dataclass(frozen=True, slots=True)
class ResolvedQuotaChange:
    """A quota change whose account was found; `project` is None where the account is an organization's own."""

    project: Project | None
    organization: Organization
    account_id: uuid.UUID
    is_top: bool
    is_own: bool
    """Whether the account lies in what the requester makes requests for, and not above it."""
    before: Mapping[str, int | None]
    wanted: Mapping[str, int]


class QuotaChangeKind(Kind[QuotaChangeRequest, ResolvedQuotaChange]):
    """The rules of asking for quota."""

    name = "quota_change"
    counted = "limits"
    told = N_("Submitted by {person} as {number}.")

    def resolve(self, session: Session, actor: Actor, command: QuotaChangeRequest) -> ResolvedQuotaChange:
        account_id, owner = command.account, None
        if command.project is not None:
            project, owner = resolution.own_project(session, actor, command.project, Action.REQUEST_MAKE)
            account_id = account_id or project.account_id
        if account_id is None:
            raise InvalidInput(N_("Say which quota account is to have other limits."), field="account")
        place = visible_place(session, actor, account_id)
        is_own = actor.may(Action.REQUEST_MAKE, place.organization_path)
        owner = _organization(session, actor, place, owner)
        require_countable(session, command.limits)
        wanted = _canonical(command.limits)
        usage = quotas.account_usage(session, account_id)
        before = {key: usage.limits.get(key) for key in wanted}
        if before == wanted:
            raise InvalidInput(N_("The limits are so already: there is nothing to change."), field="limits")
        return ResolvedQuotaChange(
            project=projects.get(session, place.owner_id) if place.kind == "project" else None,
            organization=owner,
            account_id=account_id,
            is_top=usage.parent_id is None,
            is_own=is_own,
            before=before,
            wanted=wanted,
        )

    def plan(self, session: Session, actor: Actor, command: QuotaChangeRequest) -> Plan:
        resolved = self.resolve(session, actor, command)
        is_by_rule = self._rule(session, resolved, uuid.UUID(int=0)) is not None
        hint = (
            N_("This raise is small enough to be granted by rule.")
            if is_by_rule
            else N_("This change is decided on by who administers the quota of the level above.")
        )
        return Plan(kind=self.name, totals={}, quota=None, warnings=[Message(hint)])

    def hold(
        self,
        session: Session,  # noqa: ARG002 - of the base
        request: ResourceRequest,
        command: QuotaChangeRequest,  # noqa: ARG002 - of the base
        resolved: ResolvedQuotaChange,
    ) -> None:
        request.account_id = resolved.account_id
        request.project_id = resolved.project.id if resolved.project else None

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedQuotaChange) -> int:
        rows = [
            QuotaChange(
                request_id=request.id,
                account_id=resolved.account_id,
                key=key,
                before=resolved.before[key],
                wanted=wanted,
            )
            for key, wanted in resolved.wanted.items()
        ]
        store.replace(session, request.id, rows)
        return len(rows)

    def by_rule(self, session: Session, request: ResourceRequest, resolved: ResolvedQuotaChange) -> Message | None:
        return self._rule(session, resolved, request.id)

    def _rule(self, session: Session, resolved: ResolvedQuotaChange, request_id: uuid.UUID) -> Message | None:
        """Say by which rule a raise needs nobody's decision: small, of one's own, and the first in a while."""
        policy = policy_of(session)
        pct, days = policy.quota_change_auto_pct, policy.quota_change_auto_days
        if not pct or resolved.is_top or not resolved.is_own:
            return None
        for key, wanted in resolved.wanted.items():
            before = resolved.before[key]
            if before is None or wanted < before or (wanted - before) * _WHOLE_PCT > before * pct:
                return None
        since = clock.now() - timedelta(days=days)
        if days and store.asked_since(session, resolved.account_id, since, besides=request_id):
            return None
        return Message(
            N_("Granted by rule: a raise of at most {pct} %, the first in {days} days."), {"pct": pct, "days": days}
        )

    def facts(
        self,
        session: Session,  # noqa: ARG002 - of the base
        request: ResourceRequest,
        command: QuotaChangeRequest,  # noqa: ARG002 - of the base
        resolved: ResolvedQuotaChange,
    ) -> Facts:
        raised = {
            key: wanted - (resolved.before[key] or 0)
            for key, wanted in resolved.wanted.items()
            if wanted > (resolved.before[key] or 0)
        }
        return Facts(kind=request.kind, own_quota=OwnQuota.OVER, totals=raised)

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        """Nothing is held."""

    def ended(self, session: Session, request: ResourceRequest, phase: RequestPhase) -> None:
        """Tell those whose requests wait for it."""
        waiting_requests.told_of_end(session, request, phase)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - of the base
        return any(row.granted_at is None for row in store.of_request(session, request.id))

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        rows = store.of_request(session, request.id)
        name = quotas.get_account(session, rows[0].account_id).name if rows else ""
        return [
            Message(
                N_("{account}: {key} from {before} to {wanted}"),
                {
                    "account": name,
                    **quotas.parse_key(row.key).told(
                        before=Message(N_("no limit")) if row.before is None else row.before, wanted=row.wanted
                    ),
                },
            )
            for row in rows
        ]


def _organization(session: Session, actor: Actor, place: Place, of_project: Organization | None) -> Organization:
    """Return the organization that asks: the account's own, or the asker's where the account stands above."""
    if actor.may(Action.REQUEST_MAKE, place.organization_path):
        owner_id = place.organization_path.rstrip("/").rpartition("/")[2]
        return session.get_one(Organization, uuid.UUID(owner_id))
    if of_project is not None and of_project.path.startswith(place.path):
        return of_project
    for path in actor.scope(Action.REQUEST_MAKE):
        below = organizations.get(session, uuid.UUID(path.rstrip("/").rpartition("/")[2])) if path != "/" else None
        if below is not None and path.startswith(place.path):
            return below
    raise Forbidden(N_("Your roles do not allow asking for the quota of {name}."), name=place.name)


def _canonical(limits: Mapping[str, int]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for text, amount in limits.items():
        key = str(quotas.parse_key(text))
        if key in wanted:
            raise InvalidInput(N_("Quota key {key} is given twice."), field=f"limits.{text}", key=key)
        wanted[key] = amount
    return wanted
