"""The port-opening table and the public addresses of servers, for reading; they change by requests."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain import port_rules
from cloudmgr.domain.access import Action
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.domain.openings import OpeningState, PublicIpPhase
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import openings, public_ips

router = api_router("", "networks")


class OpeningShape(Shape):
    """端口开放: who may reach which ports of a server. `recorded` says that the cloud opens no ports itself."""

    id: UUID
    server: UUID
    server_name: str
    organization: UUID
    organization_name: str
    destinations: list[str] = Field(description="Addresses of the server.", examples=[["198.51.100.7"]])
    source: str = Field(examples=["198.51.100.0/24"])
    protocol: str = Field(examples=["tcp"])
    port_from: int | None
    port_to: int | None
    port: str = Field(examples=["tcp/443"])
    purpose: str
    reason: str
    valid_until: date | None
    state: str = Field(examples=["active"])
    message: str | None
    request: UUID
    request_number: str | None
    applied_at: datetime | None
    closed_at: datetime | None
    created_at: At


class PublicIpShape(Shape):
    """公网IP: a public address that leads to a server, with its bandwidth."""

    id: UUID
    server: UUID
    server_name: str
    organization: UUID
    organization_name: str
    address: str | None = Field(examples=["203.0.113.9"])
    bandwidth_mbps: int
    phase: str = Field(examples=["active"])
    message: str | None
    request: UUID
    request_number: str | None
    released_at: datetime | None
    created_at: At


@router.get(
    "/port-openings",
    response_model=ItemPage[OpeningShape],
    openapi_extra=rule(Action.SERVER_READ, object_type="port_opening"),
)
def list_openings(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    http: Request,
    server: UUID | None = None,
    state: Annotated[list[OpeningState] | None, Query(description="One or more states.")] = None,
) -> ItemPage[OpeningShape]:
    """List the port-opening table of the servers you may read, the newest first."""
    rows, following = openings.list_openings(
        session, actor, server_id=server, states=state or (), limit=page.limit, cursor=page.cursor
    )
    translate = translator(language_of(http))
    items = [
        OpeningShape(
            server=machine.id,
            server_name=machine.name,
            organization=organization.id,
            organization_name=organization.name,
            destinations=[*machine.ipv4, *machine.ipv6],
            port=port_rules.port_text(opening.protocol, opening.port_from, opening.port_to),
            message=_told(opening.message, translate),
            request=request.id,
            request_number=request.number,
            **opening.model_dump(exclude={"server_id", "organization_id", "request_id", "message"}),
        )
        for opening, machine, organization, request in rows
    ]
    return ItemPage(items=items, next_cursor=encode_cursor(following))


@router.get(
    "/public-ips",
    response_model=ItemPage[PublicIpShape],
    openapi_extra=rule(Action.SERVER_READ, object_type="public_ip"),
)
def list_public_ips(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    http: Request,
    server: UUID | None = None,
    phase: Annotated[list[PublicIpPhase] | None, Query(description="One or more phases.")] = None,
) -> ItemPage[PublicIpShape]:
    """List the public addresses of the servers you may read, the newest first."""
    rows, following = public_ips.list_public_ips(
        session, actor, server_id=server, phases=phase or (), limit=page.limit, cursor=page.cursor
    )
    translate = translator(language_of(http))
    items = [
        PublicIpShape(
            id=address.id,
            server=machine.id,
            server_name=machine.name,
            organization=organization.id,
            organization_name=organization.name,
            address=address.address,
            bandwidth_mbps=address.bandwidth_mbps,
            phase=address.phase,
            message=_told(address.failure["message"] if address.failure else None, translate),
            request=request.id,
            request_number=request.number,
            released_at=address.released_at,
            created_at=address.created_at,
        )
        for address, machine, organization, request in rows
    ]
    return ItemPage(items=items, next_cursor=encode_cursor(following))


def _told(stored: dict[str, object] | None, translate: Translator) -> str | None:
    return Message.from_json(stored).render(translate) if stored else None
