"""What decides who decides: approval policies, and deputies of people who are away."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, status
from pydantic import Field

from cloudmgr.api.shapes import At, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.approval import Policy
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import Translator
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import approval_policy, deputies
from cloudmgr.services.deputies import DeputyRow, NameDeputy

router = api_router("", "approvals")


class SeatShape(Shape):
    """Who decides: a role at a level, or one person."""

    level: str = Field(examples=["district"])
    role: str | None = Field(examples=["district_admin"])
    person: str | None = Field(examples=[None])


class StageRuleShape(Shape):
    """One stage of a rule."""

    name: str = Field(examples=["District review"])
    mode: str = Field(examples=["any"])
    by: list[SeatShape]
    sla_working_days: int | None
    escalate_after_working_days: int | None
    on_timeout: str


class RuleShape(Shape):
    """One rule; the first whose conditions hold decides."""

    name: str
    when: dict[str, list[str] | dict[str, int] | bool] = Field(examples=[{"kinds": ["create"]}])
    stages: list[StageRuleShape]


class PolicyLine(Shape):
    """One version of the approval policy."""

    version: str = Field(examples=["2026-11/3"])
    title: str
    valid_from: date
    valid_until: date | None
    sha256: str
    loaded_by: str
    loaded_at: At


class PolicyList(Shape):
    """Every version that was ever loaded, the newest first."""

    items: list[PolicyLine]


class CurrentPolicy(Shape):
    """The policy in force. `expired`: its last day has passed; it stays in force until the next one is loaded."""

    version: str
    title: str
    valid_from: date
    valid_until: date | None
    expired: bool
    rules: list[RuleShape]


class DeputyShape(Shape):
    """Who decides for whom, from one day until another, both included."""

    id: UUID
    absent: str = Field(examples=["frq-lina"])
    absent_name: str
    deputy: str = Field(examples=["frq-chenjie"])
    deputy_name: str
    valid_from: date
    valid_until: date
    reason: str
    named_by: str


class Deputies(Shape):
    """First to begin first."""

    items: list[DeputyShape]


@router.get("/approval-policies", response_model=PolicyList, openapi_extra=rule(Action.CATALOGUE_READ))
def list_policies(actor: ActorDep, session: SessionDep) -> PolicyList:
    """List the versions of the approval policy that were loaded."""
    rows = approval_policy.list_policies(session, actor)
    return PolicyList(
        items=[
            PolicyLine(
                version=row.version,
                title=row.title,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                sha256=row.sha256,
                loaded_by=row.loaded_by,
                loaded_at=row.created_at,
            )
            for row in rows
        ]
    )


@router.get("/approval-policies/current", response_model=CurrentPolicy, openapi_extra=rule(Action.CATALOGUE_READ))
def read_current_policy(http: Request, actor: ActorDep, session: SessionDep) -> CurrentPolicy:
    """Tell the policy that decides today, rule by rule."""
    found = approval_policy.read_current(session, actor)
    policy = found.policy
    return CurrentPolicy(
        version=policy.version,
        title=policy.title,
        valid_from=policy.valid_from,
        valid_until=policy.valid_until,
        expired=found.is_expired,
        rules=_rules(policy, translator(language_of(http))),
    )


def _rules(policy: Policy, translate: Translator) -> list[RuleShape]:
    return [
        RuleShape(
            name=each.name,
            when=each.when.told(),
            stages=[
                StageRuleShape(
                    name=translate(stage.name),
                    mode=stage.mode,
                    by=[SeatShape(level=seat.level, role=seat.role, person=seat.person) for seat in stage.seats],
                    sla_working_days=stage.sla_working_days,
                    escalate_after_working_days=stage.escalate_after_working_days,
                    on_timeout=stage.on_timeout,
                )
                for stage in each.stages
            ],
        )
        for each in policy.rules
    ]


@router.get("/deputies", response_model=Deputies, openapi_extra=rule("person"))
def list_deputies(
    actor: ActorDep,
    session: SessionDep,
    since: Annotated[date | None, Query(description="Those that end on this day or later; today if not given.")] = None,
) -> Deputies:
    """List your deputies, those you stand in for, and those of people whose accounts you may read."""
    return Deputies(items=[_deputy(row) for row in deputies.list_deputies(session, actor, since=since)])


@router.post(
    "/deputies",
    status_code=status.HTTP_201_CREATED,
    response_model=DeputyShape,
    openapi_extra=rule("person", event=Event.DEPUTY_NAME, object_type="deputy"),
)
def name_deputy(command: NameDeputy, actor: ActorDep, session: SessionDep) -> DeputyShape:
    """Name who decides for you while you are away; the security administrator names for others."""
    return _deputy(deputies.name(session, actor, command))


@router.delete(
    "/deputies/{deputy_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule("person", event=Event.DEPUTY_END, object_type="deputy"),
)
def end_deputy(deputy_id: UUID, actor: ActorDep, session: SessionDep) -> None:
    """End a deputyship of yours before its time; what was decided stands."""
    deputies.end(session, actor, deputy_id)


def _deputy(row: DeputyRow) -> DeputyShape:
    deputyship, absent, deputy = row
    return DeputyShape(
        id=deputyship.id,
        absent=absent.username,
        absent_name=absent.display_name,
        deputy=deputy.username,
        deputy_name=deputy.display_name,
        valid_from=deputyship.valid_from,
        valid_until=deputyship.valid_until,
        reason=deputyship.reason,
        named_by=deputyship.named_by,
    )
