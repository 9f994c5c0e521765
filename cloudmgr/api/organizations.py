"""Organizations: the tree of who owns what."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.phases import OrganizationKind
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import organizations
from cloudmgr.services.organizations import (
    CreateOrganization,
    OrganizationFilter,
    OrganizationView,
    UpdateOrganization,
)

router = api_router("/organizations", "organizations")


class OrganizationShape(Shape):
    """An organization. `account` is the id for /quotas."""

    id: UUID
    code: str = Field(examples=["430102"])
    name: str = Field(examples=["芙蓉区"])
    name_en: str = Field(examples=["Furong District"])
    kind: str = Field(examples=["district"])
    parent: UUID | None
    parent_name: str | None = Field(examples=["长沙市"])
    district: UUID | None
    account: UUID
    uscc: str | None
    administered_by: UUID | None
    administered_by_name: str | None
    is_active: bool
    created_at: At


def _shape(view: OrganizationView) -> OrganizationShape:
    organization = view.organization
    return OrganizationShape(
        id=organization.id,
        code=organization.code,
        name=organization.name,
        name_en=organization.name_en,
        kind=organization.kind,
        parent=organization.parent_id,
        parent_name=view.parent.name if view.parent else None,
        district=organization.district_id,
        account=organization.account_id,
        uscc=organization.uscc,
        administered_by=organization.administered_by_id,
        administered_by_name=view.administered_by.name if view.administered_by else None,
        is_active=organization.is_active,
        created_at=organization.created_at,
    )


@router.get(
    "",
    response_model=ItemPage[OrganizationShape],
    openapi_extra=rule(Action.ORGANIZATION_READ, object_type="organization"),
)
def list_organizations(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    parent: Annotated[UUID | None, Query(description="Only those directly below this one.")] = None,
    code: Annotated[str | None, Query(max_length=64, description="The one with this code.")] = None,
    kind: Annotated[OrganizationKind | None, Query()] = None,
    q: Annotated[str | None, Query(max_length=100, description="Part of a name or code.")] = None,
) -> ItemPage[OrganizationShape]:
    """List the organizations of the subtrees you may see, parents before children."""
    filters = OrganizationFilter(parent=parent, code=code, kind=kind, q=q)
    views, following = organizations.list_organizations(session, actor, filters, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=OrganizationShape,
    openapi_extra=rule(Action.ORGANIZATION_WRITE, event=Event.ORGANIZATION_CREATE, object_type="organization"),
)
def create_organization(command: CreateOrganization, actor: ActorDep, session: SessionDep) -> OrganizationShape:
    """Add an organization below `parent`, with its quota account."""
    return _shape(organizations.create_organization(session, actor, command))


@router.get(
    "/{organization_id}",
    response_model=OrganizationShape,
    openapi_extra=rule(Action.ORGANIZATION_READ, object_type="organization"),
)
def read_organization(organization_id: UUID, actor: ActorDep, session: SessionDep) -> OrganizationShape:
    """Tell about one organization."""
    return _shape(organizations.get_organization(session, actor, organization_id))


@router.patch(
    "/{organization_id}",
    response_model=OrganizationShape,
    openapi_extra=rule(Action.ORGANIZATION_WRITE, event=Event.ORGANIZATION_UPDATE, object_type="organization"),
)
def update_organization(
    organization_id: UUID, command: UpdateOrganization, actor: ActorDep, session: SessionDep
) -> OrganizationShape:
    """Change an organization; its code and its place in the tree stay."""
    return _shape(organizations.update_organization(session, actor, organization_id, command))
