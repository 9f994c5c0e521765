"""Projects (信息系统) and the public keys put on their servers."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import project_keys, projects
from cloudmgr.services.project_keys import AddSshKey
from cloudmgr.services.projects import CreateProject, ProjectFilter, ProjectView, SetStage, UpdateProject

router = api_router("/projects", "projects")


class ProjectShape(Shape):
    """An information system. `account` is the id for /quotas; `owner_phone` is masked for readers without the right."""

    id: UUID
    name: str = Field(examples=["智慧社区综合服务平台"])
    organization: UUID
    organization_code: str = Field(examples=["430102-01"])
    organization_name: str = Field(examples=["芙蓉区民政局"])
    account: UUID
    system_code: str | None
    mlps_level: str = Field(examples=["二级"])
    mlps_record_no: str | None
    project_no: str | None = Field(examples=["芙发改〔2026〕12号"])
    is_classified: bool
    owner_name: str = Field(examples=["王芳"])
    owner_phone: str = Field(examples=["138****0000"])
    ops_vendor: str | None
    network_zone: str | None = Field(examples=["政务外网区"])
    stage: str = Field(examples=["live"])
    is_active: bool
    created_at: At


class SshKeyShape(Shape):
    """A public key."""

    id: UUID
    name: str = Field(examples=["wangfang@frq"])
    public_key: str = Field(examples=["ssh-ed25519 AAAA… wangfang@frq"])
    fingerprint: str = Field(examples=["SHA256:…"])
    created_at: At


def _shape(view: ProjectView) -> ProjectShape:
    project, organization = view.project, view.organization
    return ProjectShape(
        id=project.id,
        name=project.name,
        organization=organization.id,
        organization_code=organization.code,
        organization_name=organization.name,
        account=project.account_id,
        system_code=project.system_code,
        mlps_level=project.mlps_level,
        mlps_record_no=project.mlps_record_no,
        project_no=project.project_no,
        is_classified=project.is_classified,
        owner_name=project.owner_name,
        owner_phone=view.owner_phone,
        ops_vendor=project.ops_vendor,
        network_zone=project.network_zone,
        stage=project.stage,
        is_active=project.is_active,
        created_at=project.created_at,
    )


@router.get(
    "", response_model=ItemPage[ProjectShape], openapi_extra=rule(Action.ORGANIZATION_READ, object_type="project")
)
def list_projects(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    organization: Annotated[UUID | None, Query(description="Only this organization's own.")] = None,
    q: Annotated[str | None, Query(max_length=100, description="Part of a name or system code.")] = None,
) -> ItemPage[ProjectShape]:
    """List the projects of the subtrees you may see, oldest first."""
    filters = ProjectFilter(organization=organization, q=q)
    views, following = projects.list_projects(session, actor, filters, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=ProjectShape,
    openapi_extra=rule(Action.ORGANIZATION_WRITE, event=Event.PROJECT_CREATE, object_type="project"),
)
def create_project(command: CreateProject, actor: ActorDep, session: SessionDep) -> ProjectShape:
    """Register a project with its quota account. Classified systems may be registered; requests for them are refused."""
    return _shape(projects.create_project(session, actor, command))


@router.get(
    "/{project_id}", response_model=ProjectShape, openapi_extra=rule(Action.ORGANIZATION_READ, object_type="project")
)
def read_project(project_id: UUID, actor: ActorDep, session: SessionDep) -> ProjectShape:
    """Tell about one project."""
    return _shape(projects.get_project(session, actor, project_id))


@router.patch(
    "/{project_id}",
    response_model=ProjectShape,
    openapi_extra=rule(Action.ORGANIZATION_WRITE, event=Event.PROJECT_UPDATE, object_type="project"),
)
def update_project(project_id: UUID, command: UpdateProject, actor: ActorDep, session: SessionDep) -> ProjectShape:
    """Change a project; its organization stays."""
    return _shape(projects.update_project(session, actor, project_id, command))


@router.post(
    "/{project_id}/stage",
    response_model=ProjectShape,
    openapi_extra=rule(Action.ORGANIZATION_WRITE, event=Event.PROJECT_UPDATE, object_type="project"),
)
def set_stage(project_id: UUID, command: SetStage, actor: ActorDep, session: SessionDep) -> ProjectShape:
    """Bring a project to another stage: planning, trial, live (MLPS level 2 and above: only when filed) or closing."""
    return _shape(projects.set_stage(session, actor, project_id, command))


@router.get(
    "/{project_id}/ssh-keys",
    response_model=ItemPage[SshKeyShape],
    openapi_extra=rule(Action.ORGANIZATION_READ, object_type="ssh_key"),
)
def list_ssh_keys(project_id: UUID, actor: ActorDep, session: SessionDep) -> ItemPage[SshKeyShape]:
    """List the public keys put on the project's new servers; all of them, there are at most fifty."""
    keys = project_keys.list_ssh_keys(session, actor, project_id)
    return ItemPage(items=[SshKeyShape.model_validate(key) for key in keys])


@router.post(
    "/{project_id}/ssh-keys",
    status_code=status.HTTP_201_CREATED,
    response_model=SshKeyShape,
    openapi_extra=rule(Action.ORGANIZATION_READ, event=Event.SSH_KEY_ADD, object_type="ssh_key"),
)
def add_ssh_key(project_id: UUID, command: AddSshKey, actor: ActorDep, session: SessionDep) -> SshKeyShape:
    """Put a public key on the project's new servers. For those who may ask for servers there, and system administrators."""
    return SshKeyShape.model_validate(project_keys.add_ssh_key(session, actor, project_id, command))


@router.delete(
    "/{project_id}/ssh-keys/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule(Action.ORGANIZATION_READ, event=Event.SSH_KEY_REMOVE, object_type="ssh_key"),
)
def remove_ssh_key(project_id: UUID, key_id: UUID, actor: ActorDep, session: SessionDep) -> Response:
    """Take a public key away; servers that stand keep it."""
    project_keys.remove_ssh_key(session, actor, project_id, key_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
