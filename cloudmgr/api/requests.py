"""Requests: plan, make, submit, decide, follow, hand over."""

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Body, Header, Query, Request, Response, status
from pydantic import Field

from cloudmgr.api.server_shapes import ServerShape, server_shape
from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.events import Event
from cloudmgr.domain.masking import mask_phone
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.http import streams
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.models import ResourceRequest
from cloudmgr.services import approvals, plans, requests, servers
from cloudmgr.services.plans import Plan
from cloudmgr.services.request_bodies import SentRequest, drafted
from cloudmgr.services.request_inputs import Decide, DraftRequest, RequestBody
from cloudmgr.services.requests import RequestRow, RequestView

router = api_router("", "requests")

CREATE_EXAMPLE = {
    "kind": "create",
    "project": "019ab6f0-0000-7000-8000-000000000001",
    "purpose": "业务系统应用服务器",
    "env": "prd",
    "network_zone": "政务外网区",
    "lease_end": "2027-11-22",
    "owner": {"name": "王芳", "phone": "13800000000"},
    "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Kq0g2bYpQ5c0Z1Y2vVQe7q3v1m0n2o3p4q5r6s7t8 wang@furong"],
    "servers": [
        {
            "name": "430102-mzj-zhsq-prd-app",
            "count": 2,
            "flavor": "8C32G",
            "image": "kylin-v10",
            "arch": "aarch64",
            "purpose_kind": "app",
            "data_disk_gib": 500,
            "spread": "host",
            "backend": None,
            "network_zone": None,
            "playbook": "configure_server",
            "variables": {},
        }
    ],
}
RETIRE_EXAMPLE = {
    "kind": "retire",
    "project": "019ab6f0-0000-7000-8000-000000000001",
    "purpose": "系统下线",
    "servers": ["019ab6f0-0000-7000-8000-000000000002"],
}
_EXAMPLES = {
    "create": {"summary": "申请", "value": CREATE_EXAMPLE},
    "retire": {"summary": "注销", "value": RETIRE_EXAMPLE},
}
CommandBody = Annotated[RequestBody, Body(openapi_examples=_EXAMPLES)]


class StageShape(Shape):
    """One approval stage."""

    position: int
    name: str = Field(examples=["区县初审"])
    role: str = Field(examples=["district_admin"])
    organization: UUID
    state: str = Field(examples=["open"])
    opened_at: datetime | None
    closed_at: datetime | None


class DecisionShape(Shape):
    """One decision."""

    stage: str
    decision: str = Field(examples=["approve"])
    comment: str = Field(examples=["同意"])
    decided_by: str
    decided_at: At


class ReservationShape(Shape):
    """The quota a request holds: its id in the ledger and the sums over all servers."""

    id: UUID
    amounts: dict[str, int] = Field(examples=[{"servers": 2, "vcpus": 16}])


class EventShape(Shape):
    """One line of progress; `data` of a playbook's task tells run, role, task and state."""

    id: int
    at: At
    kind: str = Field(examples=["step"])
    server: UUID | None
    text: str
    data: dict[str, Any]


class RequestLine(Shape):
    """A request in a list."""

    id: UUID
    kind: str
    number: str | None = Field(examples=["SQ20261122-0001"])
    phase: str = Field(examples=["in_review"])
    project: UUID
    project_name: str
    organization: UUID
    organization_name: str
    requester: str
    purpose: str
    env: str
    lease_end: date | None
    created_at: At
    submitted_at: datetime | None
    finished_at: datetime | None


class RequestShape(RequestLine):
    """A request with its stages, servers and newest progress."""

    network_zone: str | None
    lease_long_term: bool
    lease_reason: str
    owner: dict[str, str]
    ssh_keys: list[str]
    body: dict[str, Any]
    refusal: dict[str, Any] | None
    reservation: ReservationShape | None
    stages: list[StageShape]
    decisions: list[DecisionShape]
    servers: list[ServerShape]
    events: list[EventShape]


class PlanShape(Shape):
    """What a request would cost at every level and where its servers could go. `accepted` False tells why in `refusals`."""

    accepted: bool
    totals: dict[str, int]
    quota: list[dict[str, Any]]
    entries: list[dict[str, Any]]
    warnings: list[str]
    refusals: list[dict[str, Any]]


def _translator(request: Request) -> Translator:
    return translator(language_of(request))


@router.post(
    "/plans",
    response_model=PlanShape,
    openapi_extra=rule(Action.REQUEST_MAKE, object_type="request", transaction="read", remembers=False),
)
def make_plan(command: CommandBody, actor: ActorDep, session: SessionDep, http: Request) -> PlanShape:
    """Preview a request: quota cost at every level, candidate zones with reasons, refusals. Changes nothing."""
    return _plan_shape(plans.plan(session, actor, command), _translator(http))


def _plan_shape(plan: Plan, translate: Translator) -> PlanShape:
    levels = plan.quota.levels if plan.quota else ()
    return PlanShape(
        accepted=plan.would_be_accepted,
        totals=plan.totals,
        quota=[
            {
                "account": str(level.account_id),
                "name": level.name,
                "keys": [
                    {
                        "key": key.key,
                        "limit": key.limit,
                        "used": key.used,
                        "reserved": key.reserved,
                        "available": key.available,
                        "asked": key.asked,
                        "ok": key.ok,
                    }
                    for key in level.keys
                ],
            }
            for level in levels
        ],
        entries=[
            {
                "name": entry.name,
                "count": entry.count,
                "arch": entry.arch,
                "fits": entry.fits,
                "zones": [
                    {
                        "zone": verdict.zone.name,
                        "title": verdict.zone.title,
                        "backend": verdict.zone.backend,
                        "arch": verdict.zone.arch,
                        "cpu_family": verdict.zone.cpu_family,
                        "is_xinchuang": verdict.zone.is_xinchuang,
                        "candidate": verdict.is_candidate,
                        "rank": verdict.rank,
                        "reasons": [reason.render(translate) for reason in (verdict.against or verdict.notes)],
                        "room": dict(verdict.zone.room) if plan.shows_capacity else None,
                    }
                    for verdict in entry.verdicts
                ],
            }
            for entry in plan.entries
        ],
        warnings=[warning.render(translate) for warning in plan.warnings],
        refusals=[
            {key: value.render(translate) if isinstance(value, Message) else value for key, value in refusal.items()}
            for refusal in plan.refusals
        ],
    )


@router.get(
    "/requests", response_model=ItemPage[RequestLine], openapi_extra=rule(Action.REQUEST_READ, object_type="request")
)
def list_requests(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    phase: Annotated[list[RequestPhase] | None, Query(description="One or more phases.")] = None,
    project: UUID | None = None,
    mine: Annotated[bool, Query(description="Only those you made.")] = False,
    kind: Annotated[str | None, Query(max_length=16)] = None,
    number: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """List the requests you may read, newest first."""
    rows, following = requests.list_requests(
        session,
        actor,
        phases=phase or (),
        project_id=project,
        mine=mine,
        kind=kind,
        number=number,
        limit=page.limit,
        cursor=page.cursor,
    )
    return _json({"items": [_line(row) for row in rows], "next_cursor": encode_cursor(following)})


def _line(row: RequestRow) -> dict[str, Any]:
    request, project, organization, requester = row
    return {
        "id": request.id,
        "kind": request.kind,
        "number": request.number,
        "phase": request.phase,
        "project": project.id,
        "project_name": project.name,
        "organization": organization.id,
        "organization_name": organization.name,
        "requester": requester.username,
        "purpose": request.purpose,
        "env": request.env,
        "lease_end": request.lease_end,
        "created_at": request.created_at,
        "submitted_at": request.submitted_at,
        "finished_at": request.finished_at,
    }


def _json(document: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(document, option=orjson.OPT_UTC_Z), status_code, media_type="application/json", headers=headers
    )


@router.post(
    "/requests",
    status_code=status.HTTP_201_CREATED,
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request"),
)
def create_request(
    command: Annotated[SentRequest, Body(openapi_examples=_EXAMPLES)],
    actor: ActorDep,
    session: SessionDep,
    http: Request,
) -> Response:
    """Submit a request, or keep it as a draft with `"draft": true`. Over quota nothing is held and nothing stays."""
    body = drafted(command)
    if isinstance(body, DraftRequest):
        request = requests.save_draft(session, actor, body)
    else:
        request = requests.submit_new(session, actor, body)
    return _answer(session, actor, request, http, status.HTTP_201_CREATED)


def _answer(session: Any, actor: Actor, request: ResourceRequest, http: Request, status_code: int = 200) -> Response:
    view = requests.get_request(session, actor, request.id)
    return _json(_shape(view, actor, _translator(http)), status_code, {"Location": f"/api/v1/requests/{request.id}"})


def _shape(view: RequestView, actor: Actor, translate: Translator) -> dict[str, Any]:
    request = view.request
    sees_people = actor.may(Action.PERSONAL_READ, view.organization.path)
    titles = {stage.id: stage.name for stage in view.stages}
    return {
        **_line((request, view.project, view.organization, view.requester)),
        "network_zone": request.network_zone,
        "lease_long_term": request.lease_long_term,
        "lease_reason": request.lease_reason,
        "owner": {
            "name": request.owner_name,
            "phone": request.owner_phone if sees_people else mask_phone(request.owner_phone),
        },
        "ssh_keys": request.ssh_keys,
        "body": request.body if sees_people else {key: value for key, value in request.body.items() if key != "owner"},
        "refusal": request.refusal,
        "reservation": _reservation(view),
        "stages": [
            {
                "position": stage.position,
                "name": translate(stage.name),
                "role": stage.role,
                "organization": stage.organization_id,
                "state": stage.state,
                "opened_at": stage.opened_at,
                "closed_at": stage.closed_at,
            }
            for stage in view.stages
        ],
        "decisions": [
            {
                "stage": translate(titles.get(decision.stage_id, "")) if decision.stage_id in titles else "",
                "decision": decision.decision,
                "comment": decision.comment,
                "decided_by": decider.username,
                "decided_at": decision.created_at,
            }
            for decision, decider in view.approvals
        ],
        "servers": [server_shape(row, actor, translate) for row in view.servers],
        "events": [streams.shape(event, translate) for event in view.events],
    }


def _reservation(view: RequestView) -> dict[str, Any] | None:
    if view.request.kind != "create" or not view.servers:
        return None
    amounts: dict[str, int] = {}
    for row in view.servers:
        for key, amount in requests.amounts_of(row[0]).items():
            amounts[key] = amounts.get(key, 0) + amount
    return {"id": requests.reservation_id(view.request), "amounts": amounts}


@router.get(
    "/requests/{request_id}",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_READ, object_type="request"),
)
def read_request(request_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> Response:
    """Tell everything about one request."""
    return _json(_shape(requests.get_request(session, actor, request_id), actor, _translator(http)))


@router.put(
    "/requests/{request_id}",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SAVE, object_type="request"),
)
def update_request(
    request_id: UUID,
    command: Annotated[SentRequest, Body(openapi_examples=_EXAMPLES)],
    actor: ActorDep,
    session: SessionDep,
    http: Request,
) -> Response:
    """Replace your own draft or returned request; `"draft": true` lets it be incomplete."""
    return _answer(session, actor, requests.update_request(session, actor, request_id, drafted(command)), http)


@router.post(
    "/requests/{request_id}/submit",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request"),
)
def submit_request(request_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> Response:
    """Submit your own draft or returned request; every rule is asked again and quota is held."""
    return _answer(session, actor, requests.submit(session, actor, request_id), http)


@router.post(
    "/requests/{request_id}/withdraw",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_WITHDRAW, object_type="request"),
)
def withdraw_request(request_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> Response:
    """Take back your own request before it is approved."""
    return _answer(session, actor, requests.withdraw(session, actor, request_id), http)


@router.post(
    "/requests/{request_id}/retry",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_RETRY, object_type="request"),
)
def retry_request(request_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> Response:
    """Try again what failed, from the step that failed. For the requester's unit and those who may switch servers."""
    return _answer(session, actor, requests.retry(session, actor, request_id), http)


@router.post(
    "/requests/{request_id}/decisions",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_DECIDE, event=Event.REQUEST_APPROVE, object_type="request"),
)
def decide(request_id: UUID, command: Decide, actor: ActorDep, session: SessionDep, http: Request) -> Response:
    """Approve, reject or return. One's own request is refused with 403 `own_request`, whatever roles one holds."""
    return _answer(session, actor, approvals.decide(session, actor, request_id, command), http)


@router.get(
    "/requests/{request_id}/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    openapi_extra=rule(Action.REQUEST_READ, object_type="request"),
)
def follow_request(
    request_id: UUID,
    actor: ActorDep,
    session: SessionDep,
    http: Request,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**63 - 1)] = None,
) -> Response:
    """Follow a request live as server-sent events, playbook tasks included; resumes behind Last-Event-ID."""
    requests.list_events(session, actor, request_id, after=last_event_id or 0)
    return streams.event_stream(http.app, request_id, last_event_id or 0, _translator(http))


class HandoverServer(Shape):
    """One delivered server and how to log in."""

    id: UUID
    resource_no: str | None
    name: str
    ipv4: list[str]
    ipv6: list[str]
    gateway: str | None
    system: str = Field(examples=["Kylin V10 V10 SP3"])
    arch: str
    size: str = Field(examples=["8C32G"])
    account: str = Field(examples=["ops"])
    lease_end: date | None
    rehearsed: bool


class HandoverShape(Shape):
    """交付单."""

    number: str | None
    project: UUID
    project_name: str
    organization_name: str
    contact: dict[str, str]
    servers: list[HandoverServer]
    pending: list[str]


@router.get(
    "/requests/{request_id}/handover",
    response_model=HandoverShape,
    openapi_extra=rule(Action.REQUEST_READ, object_type="request"),
)
def read_handover(request_id: UUID, actor: ActorDep, session: SessionDep) -> HandoverShape:
    """Tell where the delivered servers are and how to log in; 409 before anything is delivered."""
    sheet = servers.handover(session, actor, request_id)
    sees_people = actor.may(Action.PERSONAL_READ, sheet.organization.path)
    request = sheet.request
    return HandoverShape(
        number=request.number,
        project=sheet.project.id,
        project_name=sheet.project.name,
        organization_name=sheet.organization.name,
        contact={
            "name": request.owner_name,
            "phone": request.owner_phone if sees_people else mask_phone(request.owner_phone),
        },
        servers=[
            HandoverServer(
                id=line.row[0].id,
                resource_no=line.row[0].resource_no,
                name=line.row[0].name,
                ipv4=line.row[0].ipv4,
                ipv6=line.row[0].ipv6,
                gateway=line.network.gateway_v4 if line.network else None,
                system=f"{line.row[4].os_name} {line.row[4].os_version}",
                arch=line.row[0].arch,
                size=line.row[3].name,
                account=line.login_user,
                lease_end=line.row[0].lease_end,
                rehearsed=line.row[0].rehearsed,
            )
            for line in sheet.lines
        ],
        pending=[row[0].name for row in sheet.pending],
    )
