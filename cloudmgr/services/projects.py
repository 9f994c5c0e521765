"""Use cases of projects (信息系统): the leaves that own servers, and the public keys put on those servers.

Marking a system as classified or as 等保四级 is allowed here: the register must know it, so that requests can refuse it.
"""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.masking import mask_phone
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import MlpsLevel
from cloudmgr.models import Organization, Project
from cloudmgr.services import audit
from cloudmgr.services.inputs import Closed, Code, Id, Input, Name, Phone, Text, unset
from cloudmgr.services.network_zones import require_network_zone
from cloudmgr.store import organizations, projects
from cloudmgr.store.unique import add_unique

Stage = Literal["planning", "trial", "live", "closing"]
Person = Annotated[Text, StringConstraints(max_length=64)]
Level = Annotated[MlpsLevel, Closed]
_PERSONAL = frozenset({"owner_name", "owner_phone"})
_UNFILED_LEVELS = frozenset({MlpsLevel.LEVEL_1, MlpsLevel.UNRATED})
"""Levels that need no filing with the public security authority."""


class CreateProject(Input):
    """A new information system of an organization."""

    organization: Id
    name: Name
    system_code: Code | None = None
    mlps_level: Level
    mlps_record_no: Code | None = None
    project_no: Annotated[Text, StringConstraints(min_length=1, max_length=128)] | None = None
    is_classified: bool = False
    owner_name: Person = ""
    owner_phone: Phone = ""
    ops_vendor: Name | None = None
    network_zone: Code | None = None
    stage: Stage = "planning"


class UpdateProject(Input):
    """What may change of a project; its organization stays, because its servers and quota hang on it."""

    name: Name = unset()
    system_code: Code | None = None
    mlps_level: Level = unset()
    mlps_record_no: Code | None = None
    project_no: Annotated[Text, StringConstraints(min_length=1, max_length=128)] | None = None
    is_classified: bool = unset()
    owner_name: Person = unset()
    owner_phone: Phone = unset()
    ops_vendor: Name | None = None
    network_zone: Code | None = None
    stage: Stage = unset()
    is_active: bool = unset()


class SetStage(Input):
    """Another stage of a project's life."""

    stage: Stage
    reason: Annotated[Text, StringConstraints(max_length=500)] = ""


class ProjectFilter(Input):
    """Which projects a list shows."""

    organization: Id | None = None
    q: Text | None = Field(default=None, max_length=100)


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project with its organization; `owner_phone` is masked unless the reader may see personal data there."""

    project: Project
    organization: Organization
    owner_phone: str


def list_projects(
    session: Session, actor: Actor, filters: ProjectFilter, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[ProjectView], uuid.UUID | None]:
    """Return a page of the projects the actor may see, and the cursor of the next one."""
    access.require(actor, Action.ORGANIZATION_READ)
    rows, following = projects.listed(
        session,
        actor.scope(Action.ORGANIZATION_READ),
        organization_id=filters.organization,
        search=filters.q,
        limit=limit,
        after=cursor,
    )
    return [_view(actor, *row) for row in rows], following


def get_project(session: Session, actor: Actor, project_id: uuid.UUID) -> ProjectView:
    """Return one project.

    Raises:
        NotFound: there is none, or it belongs to an organization outside the actor's subtrees.
    """
    return _view(actor, *_visible(session, actor, project_id))


def create_project(session: Session, actor: Actor, command: CreateProject) -> ProjectView:
    """Register a project with its quota account under its organization's.

    Raises:
        InvalidInput: the organization or the network zone does not exist.
        Conflict: the organization has a project of that name, or is closed.
    """
    organization = organizations.get(session, command.organization)
    if organization is None or not actor.may(Action.ORGANIZATION_READ, organization.path):
        raise InvalidInput(N_("There is no such organization."), field="organization")
    access.require(actor, Action.ORGANIZATION_WRITE, organization.path, see=Action.ORGANIZATION_READ)
    if not organization.is_active:
        raise Conflict(N_("{organization} is closed; nothing can be added below it."), organization=organization.name)
    require_network_zone(session, command.network_zone)
    if projects.by_name(session, organization.id, command.name) is not None:
        raise _name_taken(organization, command.name)
    account_id = new_id()
    quotas.create_account(
        session,
        account_id=account_id,
        parent_id=organization.account_id,
        code=account_code(organization, command.system_code or command.name),
        name=command.name,
    )
    fields = command.model_dump(exclude={"organization"}) | {"mlps_level": command.mlps_level.value}
    _check_live(fields["stage"], fields["mlps_level"], fields["mlps_record_no"])
    project = Project(organization_id=organization.id, account_id=account_id, **fields)
    if not add_unique(session, project):
        raise _name_taken(organization, command.name)
    _record(session, actor, Event.PROJECT_CREATE, project, organization, mlps_level=project.mlps_level)
    return _view(actor, project, organization)


def set_stage(session: Session, actor: Actor, project_id: uuid.UUID, command: SetStage) -> ProjectView:
    """Bring a project to another stage; the one it has changes nothing.

    Raises:
        NotFound, Forbidden: as for reading and by role.
        InvalidInput: it is to go live without the filing that its level needs.
    """
    return update_project(session, actor, project_id, UpdateProject(stage=command.stage), reason=command.reason)


def update_project(
    session: Session, actor: Actor, project_id: uuid.UUID, command: UpdateProject, *, reason: str = ""
) -> ProjectView:
    """Change what was given of a project; nothing given changes nothing and is not recorded.

    Raises:
        NotFound, Forbidden: as for reading and by role.
        InvalidInput: the network zone does not exist; it would be live without the filing that its level needs.
        Conflict: the name is taken, or it is to be closed while servers stand.
    """
    project, organization = _visible(session, actor, project_id)
    access.require(actor, Action.ORGANIZATION_WRITE, organization.path, see=Action.ORGANIZATION_READ)
    wanted: dict[str, Any] = command.changes()
    if "mlps_level" in wanted:
        wanted["mlps_level"] = MlpsLevel(wanted["mlps_level"]).value
    changed = {name: value for name, value in wanted.items() if getattr(project, name) != value}
    if not changed:
        return _view(actor, project, organization)
    require_network_zone(session, changed.get("network_zone"))
    if "name" in changed and projects.by_name(session, organization.id, changed["name"]) is not None:
        raise _name_taken(organization, changed["name"])
    if changed.keys() & {"stage", "mlps_level", "mlps_record_no"}:
        after = {name: changed.get(name, getattr(project, name)) for name in ("stage", "mlps_level", "mlps_record_no")}
        _check_live(after["stage"], after["mlps_level"], after["mlps_record_no"])
    if changed.get("is_active") is False and (standing := projects.live_servers(session, project.id)):
        raise Conflict(
            N_("{project} still has {servers} servers; retire those first."), project=project.name, servers=standing
        )
    before = {name: getattr(project, name) for name in changed if name not in _PERSONAL}
    for name, value in changed.items():
        setattr(project, name, value)
    session.add(project)
    session.flush()
    if changed.keys() & {"name", "system_code"}:
        code = account_code(organization, project.system_code or project.name)
        quotas.rename_account(session, project.account_id, code=code, name=project.name)
    after = {name: value for name, value in changed.items() if name not in _PERSONAL}
    detail = {"reason_given": reason} if reason else {}
    personal = sorted(changed.keys() & _PERSONAL)
    _record(
        session,
        actor,
        Event.PROJECT_UPDATE,
        project,
        organization,
        before=before,
        after=after,
        personal=personal,
        **detail,
    )
    return _view(actor, project, organization)


def _check_live(stage: str, level: str, record_no: str | None) -> None:
    """Refuse a live system of 等保二级 and above that was not filed (网络安全法, GB/T 22239-2019)."""
    if stage == "live" and level not in _UNFILED_LEVELS and not record_no:
        raise InvalidInput(
            N_(
                "A system of MLPS level {level} goes live only when it is filed: give its filing number (备案号) first."
            ),
            field="mlps_record_no",
            level=level,
        )


def _visible(session: Session, actor: Actor, project_id: uuid.UUID) -> tuple[Project, Organization]:
    row = projects.get_row(session, project_id)
    if row is None:
        raise NotFound(N_("There is no such project."))
    access.require(actor, Action.ORGANIZATION_READ, row[1].path, see=Action.ORGANIZATION_READ)
    return row


def _view(actor: Actor, project: Project, organization: Organization) -> ProjectView:
    may_read = actor.may(Action.PERSONAL_READ, organization.path)
    return ProjectView(project, organization, project.owner_phone if may_read else mask_phone(project.owner_phone))


def account_code(organization: Organization, last: str) -> str:
    """Return the code of a project's quota account: below its organization's, by system code or name."""
    return f"{organization.code}/{last}"[:128]


def _name_taken(organization: Organization, name: str) -> Conflict:
    return Conflict(
        N_("{organization} has a project called {name} already."),
        field="name",
        organization=organization.name,
        name=name,
    )


def _record(
    session: Session, actor: Actor, event: Event, project: Project, organization: Organization, **detail: Any
) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="project",
        object_id=project.id,
        object_name=project.name,
        organization_path=organization.path,
        **detail,
    )
