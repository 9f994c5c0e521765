"""Less typing: many servers asked for by one sheet, and a new draft made of an old request."""

import uuid
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from cloudmgr.adapters import workbooks
from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import ImportRefused
from cloudmgr.domain.events import Event
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import request_clones, request_sheet, sheet_requests, sheet_templates
from cloudmgr.services.request_sheet import MAX_ROWS
from cloudmgr.services.sheet_requests import SheetOptions
from web.desk import Desk, DeskDep, go, texts
from web.forms import Form
from web.presenters import request_sheets as lines

router = page_router()
_UNPROCESSABLE = 422
_FIELDS = ("file", "accept")


async def _with_file(request: Request) -> tuple[dict[str, str], bytes]:
    """Return the form's texts and the file in it. The form was read already, for the token in it, and is kept."""
    form = await request.form()
    file = form.get("file")
    content = await file.read() if isinstance(file, UploadFile) else b""
    await form.close()
    return texts(form), content


@router.get("/requests/sheet", openapi_extra=rule(Action.REQUEST_MAKE))
def show(desk: DeskDep) -> Response:
    """Show where a sheet is given."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    return _page(desk, Form(), 200)


@router.get("/requests/sheet/template", openapi_extra=rule(Action.REQUEST_MAKE))
def send_template(desk: DeskDep) -> Response:
    """Send an empty workbook in the reader's language."""
    content = sheet_templates.template(desk.session, desk.actor, "xlsx", language=desk.language)
    headers = {"Content-Disposition": 'attachment; filename="requests.xlsx"'}
    return Response(content, media_type=workbooks.MEDIA_TYPE, headers=headers)


@router.post(
    "/requests/sheet",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False),
)
def take(desk: DeskDep, sent: Annotated[tuple[dict[str, str], bytes], Depends(_with_file)]) -> Response:
    """Try a sheet, or submit its requests; what breaks a rule is told cell by cell."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    typed, content = sent
    values = {"accept": typed.get("accept", "")}
    desk.on_refusal(lambda form, status: _page(desk, form, status), values, _FIELDS)
    options = SheetOptions(dry_run=typed.get("action") != "submit", accept="good" if values["accept"] else "all")
    sheet = request_sheet.read(content)
    try:
        report = sheet_requests.submit(desk.session, desk.actor, sheet, options)
    except ImportRefused as refusal:  # told cell by cell; nothing was written
        told = lines.Report(
            is_dry_run=False,
            is_good=False,
            rows=sheet.count,
            servers=0,
            error_count=len(refusal.errors),
            errors=lines.cells(desk.words, refusal.errors),
        )
        return _page(desk, Form(values, summary=[desk.words.told(refusal.message)]), _UNPROCESSABLE, told)
    return _page(desk, Form(values), 200, lines.report(desk.words, report))


def _page(desk: Desk, form: Form, status: int, report: lines.Report | None = None) -> Response:
    return desk.page("pages/request_sheet.html", status, form=form, report=report, most=MAX_ROWS)


@router.post(
    "/requests/{request_id}/clone",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SAVE, object_type="request", remembers=False),
)
def clone(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Make a draft of an old request, and show it."""
    made = request_clones.clone(desk.session, desk.actor, request_id)
    return go(f"/requests/{made.id}", done="cloned")
