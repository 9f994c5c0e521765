"""Change freezes: those that concern the reader, announcing one, lifting one."""

import uuid
from datetime import datetime
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.domain.events import Event
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import change_freezes, organizations
from cloudmgr.services.change_freezes import MakeFreeze
from cloudmgr.services.organizations import OrganizationFilter
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form, text_of
from web.lists import PAGE, cursor_of, every, pages
from web.presenters import deadlines as lines

router = page_router()

_SHOWN = ("organization", "starts_at", "ends_at", "reason")
_MOST = 200


@router.get("/change-freezes", openapi_extra=rule(Action.ORGANIZATION_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the freezes that concern the reader's organizations, with the form for whoever may announce one."""
    return _Sheet(request, desk).page(Form(), 200)


@router.post(
    "/change-freezes",
    openapi_extra=rule(
        Action.FREEZE_WRITE, event=Event.CHANGE_FREEZE_MAKE, object_type="change_freeze", remembers=False
    ),
)
def announce(request: Request, desk: DeskDep, sent: FormDep) -> Response:
    """Announce a freeze."""
    sheet, typed = _Sheet(request, desk), texts(sent)
    payload: dict[str, Any] = text_of(typed, "organization", "reason")
    payload |= {name: _moment(text) for name, text in text_of(typed, "starts_at", "ends_at").items()}
    try:
        wanted = command(MakeFreeze, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, typed, error, _SHOWN)
    desk.on_refusal(sheet.page, typed, _SHOWN)
    change_freezes.make_freeze(desk.session, desk.actor, wanted)
    return go("/change-freezes", done="freeze_announced")


@router.post(
    "/change-freezes/{freeze_id}/lift",
    openapi_extra=rule(
        Action.FREEZE_WRITE, event=Event.CHANGE_FREEZE_LIFT, object_type="change_freeze", remembers=False
    ),
)
def lift(request: Request, desk: DeskDep, freeze_id: uuid.UUID) -> Response:
    """Lift a freeze before its end."""
    desk.on_refusal(_Sheet(request, desk).page, {}, ())
    change_freezes.lift_freeze(desk.session, desk.actor, freeze_id)
    return go("/change-freezes", done="freeze_lifted")


def _moment(text: str) -> str:
    """Return what a date-and-time field holds as a moment in Asia/Shanghai; other text stays, to be refused by name."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).isoformat()
    except ValueError:
        return text


class _Sheet:
    """The page, read before anything is changed."""

    def __init__(self, request: Request, desk: Desk) -> None:
        views, following = change_freezes.list_freezes(desk.session, desk.actor, limit=PAGE, cursor=cursor_of(request))
        self._desk = desk
        self._lines = [lines.freeze(desk.words, view) for view in views]
        self._pages = pages(request, {}, following)
        self._organizations: list[tuple[str, str]] = []
        if desk.may(Action.FREEZE_WRITE):
            found = every(
                lambda at: organizations.list_organizations(
                    desk.session, desk.actor, OrganizationFilter(), limit=_MOST, cursor=at
                )
            )
            self._organizations = [
                (str(view.organization.id), view.organization.name)
                for view in found
                if desk.may(Action.FREEZE_WRITE, view.organization.path)
            ]

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/change_freezes.html",
            status,
            lines=self._lines,
            form=form,
            organizations=self._organizations,
            may_write=bool(self._organizations),
            **self._pages,
        )
