"""Subnets and their addresses. Everybody reads how full they are, system administrators write."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Response, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, OrganizationName, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import subnets
from cloudmgr.services.inputs import Input
from cloudmgr.services.subnets import (
    AddressView,
    CreateSubnet,
    RangeInput,
    ReserveAddress,
    SubnetView,
    UpdateSubnet,
)

router = api_router("", "networks")


class RangeShape(Shape):
    """Part of a subnet: `pool` is handed out automatically (without one everything is), `excluded` never is."""

    kind: str = Field(examples=["pool"])
    first: str
    last: str
    reason: str


class SubnetShape(Shape):
    """A subnet and how full it is: `total` can be had by servers, `free` is handed out automatically and not taken."""

    id: UUID
    network_zone: str = Field(examples=["政务外网区"])
    cidr: str = Field(examples=["198.51.100.0/24"])
    family: int = Field(examples=[4])
    name: str
    network: UUID | None
    network_name: str | None
    backend: str | None
    gateway: str | None
    dns: list[str]
    vlan: int | None
    is_managed: bool
    is_enabled: bool
    ranges: list[RangeShape]
    total: int
    allocated: int
    reserved: int
    free: int
    created_at: At


class AddressShape(Shape):
    """A taken address. Whose it is, is told to those who may read the owner's servers."""

    id: UUID
    address: str = Field(examples=["198.51.100.7"])
    state: str = Field(examples=["allocated"])
    server: UUID | None
    server_name: str | None
    organization: OrganizationName | None
    purpose: str
    taken_by: str
    taken_at: datetime


class SetRanges(Input):
    """The whole new list of ranges."""

    ranges: Annotated[list[RangeInput], Field(max_length=200)]


@router.get(
    "/subnets", response_model=ItemPage[SubnetShape], openapi_extra=rule(Action.CATALOGUE_READ, object_type="subnet")
)
def list_subnets(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    network_zone: Annotated[str | None, Query(max_length=64)] = None,
    network: UUID | None = None,
    family: Annotated[Literal["4", "6"] | None, Query(description="Only IPv4 or only IPv6.")] = None,
) -> ItemPage[SubnetShape]:
    """List the subnets with how full each is."""
    views, following = subnets.list_subnets(
        session,
        actor,
        network_zone=network_zone,
        network_id=network,
        family=int(family) if family else None,
        limit=page.limit,
        cursor=page.cursor,
    )
    return ItemPage(items=[subnet_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "/subnets",
    status_code=status.HTTP_201_CREATED,
    response_model=SubnetShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="subnet"),
)
def create_subnet(command: CreateSubnet, actor: ActorDep, session: SessionDep) -> SubnetShape:
    """Add a subnet to the address plan of a network zone; it must not overlap with another of that zone."""
    return subnet_shape(subnets.create_subnet(session, actor, command))


@router.get(
    "/subnets/{subnet_id}",
    response_model=SubnetShape,
    openapi_extra=rule(Action.CATALOGUE_READ, object_type="subnet"),
)
def read_subnet(subnet_id: UUID, actor: ActorDep, session: SessionDep) -> SubnetShape:
    """Tell everything about one subnet."""
    return subnet_shape(subnets.get_subnet(session, actor, subnet_id))


@router.patch(
    "/subnets/{subnet_id}",
    response_model=SubnetShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="subnet"),
)
def update_subnet(subnet_id: UUID, command: UpdateSubnet, actor: ActorDep, session: SessionDep) -> SubnetShape:
    """Change a subnet; its network zone and its range stay. Servers keep the addresses they have."""
    return subnet_shape(subnets.update_subnet(session, actor, subnet_id, command))


@router.put(
    "/subnets/{subnet_id}/ranges",
    response_model=SubnetShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="subnet"),
)
def set_ranges(subnet_id: UUID, command: SetRanges, actor: ActorDep, session: SessionDep) -> SubnetShape:
    """Replace the pools and the excluded ranges of a subnet."""
    return subnet_shape(subnets.set_ranges(session, actor, subnet_id, command.ranges))


@router.delete(
    "/subnets/{subnet_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="subnet"),
)
def delete_subnet(subnet_id: UUID, actor: ActorDep, session: SessionDep) -> Response:
    """Take an empty subnet out of the address plan; 409 while an address of it is in use."""
    subnets.delete_subnet(session, actor, subnet_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get(
    "/subnets/{subnet_id}/addresses",
    response_model=ItemPage[AddressShape],
    openapi_extra=rule(Action.CATALOGUE_READ, object_type="subnet"),
)
def list_addresses(subnet_id: UUID, actor: ActorDep, session: SessionDep, page: PageDep) -> ItemPage[AddressShape]:
    """List the addresses that are taken."""
    views, following = subnets.list_addresses(session, actor, subnet_id, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[address_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "/subnets/{subnet_id}/addresses",
    status_code=status.HTTP_201_CREATED,
    response_model=AddressShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.ADDRESS_WRITE, object_type="subnet"),
)
def reserve_address(subnet_id: UUID, command: ReserveAddress, actor: ActorDep, session: SessionDep) -> AddressShape:
    """Keep an address for something; without one, the next that is free."""
    return address_shape(subnets.reserve_address(session, actor, subnet_id, command))


@router.delete(
    "/subnets/{subnet_id}/addresses/{address_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.ADDRESS_WRITE, object_type="subnet"),
)
def free_address(subnet_id: UUID, address_id: UUID, actor: ActorDep, session: SessionDep) -> Response:
    """Let go of an address that was kept for something; 409 for one that a server has."""
    subnets.free_address(session, actor, subnet_id, address_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


def subnet_shape(view: SubnetView) -> SubnetShape:
    """Return a subnet as the API shows it."""
    fields = view.subnet.model_dump(exclude={"network_id", "generation", "hint"})
    return SubnetShape(
        network=view.subnet.network_id,
        network_name=view.network.name if view.network else None,
        backend=view.backend.name if view.backend else None,
        ranges=[RangeShape.model_validate(each) for each in view.ranges],
        **view.counts,
        **fields,
    )


def address_shape(view: AddressView) -> AddressShape:
    """Return a taken address as the API shows it."""
    row = view.address
    is_told = view.organization is not None or row.organization_id is None
    return AddressShape(
        id=row.id,
        address=row.address,
        state=row.state,
        server=view.server.id if view.server else None,
        server_name=view.server.name if view.server else None,
        organization=OrganizationName.model_validate(view.organization) if view.organization else None,
        purpose=row.purpose if is_told else "",
        taken_by=row.taken_by if is_told else "",
        taken_at=row.taken_at,
    )
