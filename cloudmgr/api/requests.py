"""Requests: make, submit, decide, follow, hand over."""

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Body, Header, Query, Request, Response, status

from cloudmgr.api.request_shapes import (
    HandoverServer,
    HandoverShape,
    RequestLine,
    RequestShape,
    request_line,
    request_shape,
)
from cloudmgr.api.shapes import ItemPage
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.events import Event
from cloudmgr.domain.masking import mask_phone
from cloudmgr.domain.messages import Translator
from cloudmgr.domain.phases import RequestKind, RequestPhase
from cloudmgr.http import streams
from cloudmgr.http.context import context_of, language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.models import ResourceRequest
from cloudmgr.services import approvals, deadlines, requests, servers
from cloudmgr.services.request_bodies import SentRequest, awaited, drafted
from cloudmgr.services.request_inputs import Decide, DraftRequest, RequestBody
from cloudmgr.services.request_view import RequestView

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
VOLUME_EXAMPLE = {
    "kind": "volume",
    "project": "019ab6f0-0000-7000-8000-000000000001",
    "purpose": "数据库扩容",
    "create": [{"name": "data01", "size_gib": 200, "server": "019ab6f0-0000-7000-8000-000000000002"}],
}
SNAPSHOT_EXAMPLE = {
    "kind": "snapshot",
    "project": "019ab6f0-0000-7000-8000-000000000001",
    "purpose": "升级前留底",
    "create": [{"server": "019ab6f0-0000-7000-8000-000000000002", "name": "before-upgrade"}],
}
QUOTA_CHANGE_EXAMPLE = {
    "kind": "quota_change",
    "account": "019ab6f0-0000-7000-8000-000000000003",
    "limits": {"vcpus": 640, "vcpus{arch=aarch64}": 512},
    "purpose": "2027 年新建系统",
    "basis_no": "芙数发〔2026〕18号",
}
_EXAMPLES = {
    "quota_change": {"summary": "配额变更", "value": QUOTA_CHANGE_EXAMPLE},
    "volume": {"summary": "云硬盘", "value": VOLUME_EXAMPLE},
    "snapshot": {"summary": "快照", "value": SNAPSHOT_EXAMPLE},
    "create": {"summary": "申请", "value": CREATE_EXAMPLE},
    "retire": {"summary": "注销", "value": RETIRE_EXAMPLE},
}
CommandBody = Annotated[RequestBody, Body(openapi_examples=_EXAMPLES)]


def _translator(request: Request) -> Translator:
    return translator(language_of(request))


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
    kind: RequestKind | None = None,
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
    dues = deadlines.open_dues(session, [row[0].id for row in rows])
    return _json(
        {"items": [request_line(row, dues.get(row[0].id)) for row in rows], "next_cursor": encode_cursor(following)}
    )


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
    """Submit a request, or keep it as a draft with `"draft": true`. Over quota nothing is held and nothing stays.

    With `"after": "<id of a quota change>"` it is kept as a draft that is submitted by itself when that is granted.
    """
    body, after = drafted(command), awaited(command)
    if isinstance(body, DraftRequest):
        request = requests.save_draft(session, actor, body)
    elif after is not None:
        request = requests.save_waiting(session, actor, body, after)
    else:
        view = requests.submit_and_read(session, actor, body, is_last=context_of(http).claim is None)
        return _told(view, actor, http, status.HTTP_201_CREATED)
    return _answer(session, actor, request, http, status.HTTP_201_CREATED)


def _answer(session: Any, actor: Actor, request: ResourceRequest, http: Request, status_code: int = 200) -> Response:
    return _told(requests.get_request(session, actor, request.id), actor, http, status_code)


def _told(view: RequestView, actor: Actor, http: Request, status_code: int) -> Response:
    return _json(
        request_shape(view, actor, _translator(http)), status_code, {"Location": f"/api/v1/requests/{view.request.id}"}
    )


@router.get(
    "/requests/{request_id}",
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_READ, object_type="request"),
)
def read_request(request_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> Response:
    """Tell everything about one request."""
    return _json(request_shape(requests.get_request(session, actor, request_id), actor, _translator(http)))


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
                system=f"{line.row[4].os_name} {line.row[4].os_version}" if line.row[4] else "",
                arch=line.row[0].arch,
                size=line.row[3].name if line.row[3] else "",
                account=line.login_user,
                lease_end=line.row[0].lease_end,
                rehearsed=line.row[0].rehearsed,
            )
            for line in sheet.lines
        ],
        pending=[row[0].name for row in sheet.pending],
    )
