"""The audit log, read only: nobody changes it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.http.deps import ActorDep, SeqPageDep, SessionDep, encode_seq
from cloudmgr.http.routes import api_router, rule
from cloudmgr.models import AuditEvent
from cloudmgr.services import audit_log, audit_verification
from cloudmgr.services.audit_log import AuditFilter
from cloudmgr.services.users import AwareMoment

router = api_router("/audit", "audit")


class AuditShape(Shape):
    """One record: who did what, on what, with which outcome, when and from where."""

    seq: int
    id: UUID
    at: At
    actor: str = Field(examples=["frq-admin"])
    actor_id: UUID | None
    roles: list[str]
    action: str = Field(examples=["request.approve"])
    object_type: str = Field(examples=["request"])
    object_id: str
    object_name: str
    outcome: str = Field(examples=["success"])
    reason: str = Field(examples=[""])
    source: str = Field(examples=["10.1.2.3"])
    session_id: UUID | None
    request_id: str
    detail: dict[str, Any]


def _shape(event: AuditEvent) -> AuditShape:
    values = {name: getattr(event, name) for name in AuditShape.model_fields if name != "action"}
    return AuditShape(action=event.event, **values)


class VerificationShape(Shape):
    """What the last look at the log found; `cloudmgr audit verify` and a worker, once a day, look."""

    ok: bool = Field(description="Nothing speaks against the log.")
    at: At
    stage: str = Field(examples=["append_only"], description="`append_only`: protected by triggers, not chained yet.")
    events: int
    first_seq: int | None
    last_seq: int | None
    missing: int = Field(description="Numbers without a record.")
    gaps: list[list[int]] = Field(description="Pairs of numbers between which some are missing, at most 100.")
    gaps_explained: bool = Field(description="This database leaves gaps where a transaction was rolled back.")
    triggers_missing: list[str]


@router.get(
    "/verification", response_model=VerificationShape, openapi_extra=rule(Action.AUDIT_READ, object_type="audit")
)
def read_verification(who: ActorDep, session: SessionDep) -> VerificationShape:
    """Tell whether the log is whole, as the last look found it."""
    return VerificationShape.model_validate(audit_verification.latest(session, who))


@router.get(
    "/events", response_model=ItemPage[AuditShape], openapi_extra=rule(Action.AUDIT_READ_OWN, object_type="audit")
)
def list_events(
    who: ActorDep,
    session: SessionDep,
    page: SeqPageDep,
    actor: Annotated[str | None, Query(max_length=100, description="A login name.")] = None,
    action: Annotated[Event | None, Query(examples=["vm.delete"])] = None,
    object: Annotated[  # noqa: A002 - the parameter's public name
        str | None, Query(max_length=200, description="An id, a name, or a type such as `server`.")
    ] = None,
    outcome: Outcome | None = None,
    since: Annotated[AwareMoment | None, Query(alias="from")] = None,
    until: Annotated[AwareMoment | None, Query(alias="to")] = None,
) -> ItemPage[AuditShape]:
    """List audit records, newest first: those your roles reach, and your own actions always."""
    filters = AuditFilter(actor=actor, action=action, object=object, outcome=outcome, since=since, until=until)
    rows, following = audit_log.list_events(session, who, filters, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[_shape(row) for row in rows], next_cursor=encode_seq(following))
