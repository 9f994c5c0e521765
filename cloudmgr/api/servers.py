"""Servers: list, read, switch."""

from typing import Annotated
from uuid import UUID

import orjson
from fastapi import Query, Request, Response, status

from cloudmgr.api.server_shapes import ServerShape, server_shape
from cloudmgr.api.shapes import ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.events import Event
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import servers
from cloudmgr.services.request_inputs import PowerAction

router = api_router("/servers", "servers")


class ActionShape(Shape):
    """A power action that was taken on; the server's `state` follows within seconds."""

    server: UUID
    action: str


@router.get("", response_model=ItemPage[ServerShape], openapi_extra=rule(Action.SERVER_READ, object_type="server"))
def list_servers(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    http: Request,
    phase: Annotated[
        list[ServerPhase] | None, Query(description="One or more phases; none leaves out the retired.")
    ] = None,
    project: UUID | None = None,
    name: Annotated[str | None, Query(max_length=63, description="Part of a name.")] = None,
    arch: Architecture | None = None,
    ending_within: Annotated[
        int | None, Query(ge=0, le=3660, description="Only servers whose lease ends within so many days, or is over.")
    ] = None,
) -> Response:
    """List the servers you may read, newest first."""
    rows, following = servers.list_servers(
        session,
        actor,
        phases=phase or (),
        project_id=project,
        name=name,
        arch=arch,
        ending_within=ending_within,
        limit=page.limit,
        cursor=page.cursor,
    )
    translate = translator(language_of(http))
    document = {"items": [server_shape(row, actor, translate) for row in rows], "next_cursor": encode_cursor(following)}
    return Response(orjson.dumps(document, option=orjson.OPT_UTC_Z), media_type="application/json")


@router.get("/{server_id}", response_model=ServerShape, openapi_extra=rule(Action.SERVER_READ, object_type="server"))
def read_server(server_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> Response:
    """Tell everything about one server."""
    document = server_shape(servers.get_server(session, actor, server_id), actor, translator(language_of(http)))
    return Response(orjson.dumps(document, option=orjson.OPT_UTC_Z), media_type="application/json")


@router.post(
    "/{server_id}/actions",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=ActionShape,
    openapi_extra=rule(Action.SERVER_POWER, event=Event.VM_REBOOT, object_type="server"),
)
def act(server_id: UUID, command: PowerAction, actor: ActorDep, session: SessionDep) -> ActionShape:
    """Start, stop or reboot a server; 409 `unsupported` where its backend cannot."""
    servers.act(session, actor, server_id, command)
    return ActionShape(server=server_id, action=command.action)
