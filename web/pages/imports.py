"""Imports: servers that stand already are taken into the ledger, by a sheet that is tried first, or one by one."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import ImportRefused, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Environment, PurposeKind
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue, discovery, import_cells, import_sheet, imports, projects
from cloudmgr.services.imports import ImportOptions
from cloudmgr.services.projects import ProjectFilter
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form, text_of
from web.lists import PAGE, every
from web.presenters import imports as lines

router = page_router()

_RULE = rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_IMPORT, object_type="inventory", remembers=False)
_FIELDS = ("text", "reason", "accept", "opening_balance")
_ONE = ("project", "name", "env", "purpose", "network_zone", "lease_end", "owner_name", "owner_phone", "reason")
_UNPROCESSABLE = 422
Choices = list[tuple[str, str]]


async def _with_file(request: Request) -> tuple[dict[str, str], bytes]:
    """Return the form's texts and the file in it. The form was read already, for the token in it, and is kept."""
    form = await request.form()
    file = form.get("file")
    content = await file.read() if isinstance(file, UploadFile) else b""
    await form.close()
    return texts(form), content


@router.get("/imports", openapi_extra=rule(Action.INVENTORY_IMPORT))
def show(desk: DeskDep) -> Response:
    """Show where a sheet is given."""
    access.require(desk.actor, Action.INVENTORY_IMPORT)
    return _Room(desk).page(Form(), 200)


@router.get("/imports/template", openapi_extra=rule(Action.INVENTORY_IMPORT))
def send_template(desk: DeskDep) -> Response:
    """Send an empty sheet with every column that is read, its headers in the reader's language."""
    access.require(desk.actor, Action.INVENTORY_IMPORT)
    at = 0 if desk.language == "zh_CN" else 1
    text = io.StringIO()
    csv.writer(text).writerow([import_sheet.SPELLINGS[key][at] for key in import_cells.RULES])
    return Response(
        text.getvalue().encode("utf-8-sig"),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="import-template.csv"'},
    )


@router.post("/imports", openapi_extra=_RULE)
def take(desk: DeskDep, sent: Annotated[tuple[dict[str, str], bytes], Depends(_with_file)]) -> Response:
    """Try a sheet, or take it into the ledger; what breaks a rule is told cell by cell."""
    access.require(desk.actor, Action.INVENTORY_IMPORT)
    typed, file = sent
    content = file or typed.get("text", "").encode()
    values = {name: typed.get(name, "") for name in _FIELDS} | {"text": _readable(content)}
    room = _Room(desk)
    desk.on_refusal(room.page, values, _FIELDS)
    try:
        options = command(ImportOptions, _options(typed))
    except ValidationError as error:
        return desk.invalid(room.page, values, error, _FIELDS)
    sheet = import_sheet.read_csv(content)
    try:
        report = imports.run(desk.session, desk.actor, sheet, options, digest=hashlib.sha256(content).hexdigest())
    except ImportRefused as refusal:  # told beside the sheet, cell by cell; nothing of it was written
        told = lines.refused(desk.words, refusal.errors, sheet.count)
        return room.page(Form(values, summary=[desk.words.told(refusal.message)]), _UNPROCESSABLE, told)
    return room.page(Form(values if options.dry_run else {}), 200, lines.report(desk.words, report))


@router.get("/imports/one", openapi_extra=rule(Action.INVENTORY_IMPORT))
def show_one(request: Request, desk: DeskDep) -> Response:
    """Show the form that takes one server of a cloud into the ledger, filled with what was seen."""
    return _One(request, desk).page(None, 200)


@router.post("/imports/one", openapi_extra=_RULE)
def take_one(request: Request, desk: DeskDep, sent: FormDep) -> Response:
    """Take one server of a cloud into the ledger."""
    sheet = _One(request, desk)
    typed = texts(sent)
    values = {name: typed.get(name, "") for name in (*_ONE, "lease_long_term")}
    desk.on_refusal(sheet.page, values, _ONE)
    row = {"uuid": sheet.observed_id, "source": "collected", **text_of(values, *_ONE[1:8])}
    if values["lease_long_term"]:
        row["lease_end"] = "长期"
    row |= project_cells(desk, values["project"])
    options = ImportOptions(reason=values["reason"].strip()[:500])
    try:
        report = imports.run(desk.session, desk.actor, import_sheet.read_rows([row]), options)
    except ImportRefused as refusal:
        return sheet.page(marked(desk, values, refusal, _ONE, {"system_name": "project"}), _UNPROCESSABLE)
    server_id = report.servers[0].id if report.servers else report.known[0].id
    return go(f"/servers/{server_id}", done="imported")


class _Room:
    """The room of imports."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def page(self, form: Form, status: int, report: lines.Report | None = None) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/imports.html",
            status,
            form=form,
            report=report,
            may_open=self._desk.may(Action.QUOTA_WRITE),
            most=import_sheet.MAX_ROWS,
        )


class _One:
    """The form for one server that a cloud shows and nobody owns."""

    def __init__(self, request: Request, desk: Desk) -> None:
        access.require(desk.actor, Action.INVENTORY_IMPORT)
        if not desk.actor.scope(Action.FINDING_READ):
            raise _no_such_server()  # a quota administrator imports by sheet, and is not told what clouds show
        asked = {name: request.query_params.get(name, "")[:300] for name in ("backend", "ref", "name")}
        rows = every(
            lambda at: discovery.list_observed(
                desk.session,
                desk.actor,
                managed=False,
                backend=asked["backend"],
                name=asked["name"] or None,
                limit=200,
                cursor=at,
            )
        )
        found = next(((seen, backend) for seen, backend in rows if seen.ref == asked["ref"]), None)
        if found is None:
            raise _no_such_server()
        seen, backend = found
        self._desk = desk
        self.observed_id = str(seen.id)
        self._shown: dict[str, Any] = {
            "seen": lines.seen(desk.words, seen, backend),
            "projects": importable(desk),
            "environments": [(each, desk.words.label("environment", each)) for each in Environment],
            "purposes": [(each, desk.words.label("purpose_kind", each)) for each in PurposeKind],
            "network_zones": zones_of(desk),
            "action": f"/imports/one?{request.url.query}",
        }

    def page(self, form: Form | None, status: int) -> Response:
        """Draw it; without a form, as it is at first."""
        shown = form or Form({"name": self._shown["seen"].label, "env": Environment.PRD, "purpose": PurposeKind.APP})
        return self._desk.page("pages/import_one.html", status, form=shown, **self._shown)


def _no_such_server() -> NotFound:
    return NotFound(N_("No cloud shows such a server now, or it is in the ledger already."))


def importable(desk: Desk) -> Choices:
    """Return the information systems the reader may take servers into."""
    rows = every(lambda at: projects.list_projects(desk.session, desk.actor, ProjectFilter(), limit=200, cursor=at))
    return sorted(
        (
            (str(view.project.id), f"{view.organization.name} · {view.project.name}")
            for view in rows
            if view.project.is_active and desk.may(Action.INVENTORY_IMPORT, view.organization.path)
        ),
        key=lambda pair: pair[1],
    )


def zones_of(desk: Desk) -> Choices:
    """Return the network zones that are in use."""
    rows = every(lambda at: catalogue.list_network_zones(desk.session, desk.actor, limit=PAGE, cursor=at))
    return [
        (zone.name, zone.name if desk.language == "zh_CN" else zone.name_en or zone.name)
        for zone in rows
        if zone.is_active
    ]


def project_cells(desk: Desk, project_id: str) -> dict[str, Any]:
    """Return the cells of a sheet that name an information system; none where there is no such one."""
    rows = every(lambda at: projects.list_projects(desk.session, desk.actor, ProjectFilter(), limit=200, cursor=at))
    found = next((view for view in rows if str(view.project.id) == project_id), None)
    if found is None:
        return {}
    cells = {"system_name": found.project.name, "org_code": found.organization.code}
    return cells | ({"system_code": found.project.system_code} if found.project.system_code else {})


def marked(
    desk: Desk, values: Mapping[str, str], refusal: ImportRefused, shown: Sequence[str], names: Mapping[str, str]
) -> Form:
    """Return the form of one server with the faults of its line at the fields they belong to."""
    form = Form(values)
    found = [
        (
            names.get(str(error["column"]), str(error["column"])),
            f"{desk.words.told(error['message'])} {desk.words.told(error['remedy'])}",
        )
        for error in refusal.errors
    ]
    form.take(found, shown)
    form.summary.insert(0, desk.words.translate(N_("Please correct the fields marked below.")))
    return form


def _options(typed: Mapping[str, str]) -> dict[str, Any]:
    return {
        "dry_run": typed.get("action") != "take",
        "accept": "good" if typed.get("accept") else "all",
        "opening_balance": bool(typed.get("opening_balance")),
        "reason": typed.get("reason", "").strip(),
    }


def _readable(content: bytes) -> str:
    """Return a sheet as text to be shown and mended; empty where it is none, which reading it will tell."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""
