"""Information systems: the register, and adding to it for those who keep it."""

from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.phases import MlpsLevel
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue, organizations, projects
from cloudmgr.services.organizations import OrganizationFilter
from cloudmgr.services.projects import CreateProject, ProjectFilter, ProjectView
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form, text_of
from web.lists import PAGE, cursor_of, every, filters_of, pages

router = page_router()

_NEW = (
    "organization",
    "name",
    "system_code",
    "mlps_level",
    "mlps_record_no",
    "project_no",
    "owner_name",
    "owner_phone",
    "network_zone",
    "is_classified",
)


@router.get("/projects", openapi_extra=rule(Action.ORGANIZATION_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the information systems the reader may see."""
    return _List(desk, request).page(Form({"mlps_level": MlpsLevel.LEVEL_2}), 200)


@router.post(
    "/projects",
    openapi_extra=rule(Action.ORGANIZATION_WRITE, event=Event.PROJECT_CREATE, object_type="project", remembers=False),
)
def create(request: Request, desk: DeskDep, sent: FormDep) -> Response:
    """Register an information system."""
    values = texts(sent)
    sheet = _List(desk, request)
    payload: dict[str, Any] = dict(text_of(values, *_NEW[:-1]))
    payload["is_classified"] = bool(values.get("is_classified"))
    try:
        wanted = command(CreateProject, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, _NEW)
    desk.on_refusal(sheet.page, values, _NEW)
    projects.create_project(desk.session, desk.actor, wanted)
    return go("/projects", done="saved")


class _List:
    """The register with the form for a new entry."""

    def __init__(self, desk: Desk, request: Request) -> None:
        filters = filters_of(request, "q")
        rows, following = projects.list_projects(
            desk.session, desk.actor, command(ProjectFilter, dict(filters)), limit=PAGE, cursor=cursor_of(request)
        )
        self._desk, self._filters = desk, filters
        self._lines = [_line(view) for view in rows]
        self._may_write = desk.may(Action.ORGANIZATION_WRITE)
        self._choices = _choices(desk) if self._may_write else {}
        self._pages = pages(request, filters, following)

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/projects.html",
            status,
            lines=self._lines,
            filter=Form(self._filters),
            filtered=bool(self._filters),
            may_write=self._may_write,
            choices=self._choices,
            form=form,
            **self._pages,
        )


def _line(view: ProjectView) -> dict[str, Any]:
    project = view.project
    return {
        "name": project.name,
        "system_code": project.system_code,
        "organization": view.organization.name,
        "mlps_level": project.mlps_level,
        "mlps_record_no": project.mlps_record_no,
        "project_no": project.project_no,
        "is_classified": project.is_classified,
        "owner": f"{project.owner_name} {view.owner_phone}".strip(),
        "network_zone": project.network_zone,
        "stage": project.stage,
        "account_id": project.account_id,
    }


def _choices(desk: Desk) -> dict[str, list[tuple[str, str]]]:
    session, actor, label = desk.session, desk.actor, desk.words.label
    found = every(
        lambda at: organizations.list_organizations(session, actor, OrganizationFilter(), limit=200, cursor=at)
    )
    zones, _ = catalogue.list_network_zones(session, actor)
    return {
        "organizations": sorted(
            (str(view.organization.id), f"{view.organization.code} {view.organization.name}") for view in found
        ),
        "levels": [(level, label("mlps_level", level)) for level in MlpsLevel],
        "network_zones": [(zone.name, zone.name) for zone in zones if zone.is_active],
    }
