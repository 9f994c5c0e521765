"""Inventory export: what can be chosen, the file, and the register of what was taken out."""

from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.exports import send_inventory
from cloudmgr.http.routes import page_router, rule
from cloudmgr.models import Export
from cloudmgr.services import exports
from cloudmgr.services.inventory import InventoryExport
from web.desk import Desk, DeskDep, command
from web.forms import Form
from web.lists import filters_of

router = page_router()

_FORMATS = (("csv", N_("csv (spreadsheet)")), ("json", "json"), ("jsonl", N_("jsonl (one object a line)")))
_VIEWS = (
    ("audit", N_("For audit: every column")),
    ("short", N_("Short: what is used daily")),
    ("public", N_("Public: without persons and hosts")),
)
_ENCODINGS = (("utf-8-sig", N_("UTF-8 with BOM")), ("gb18030", "GB18030"))
_FIELDS = ("format", "view", "encoding", "retired", "unmanaged", "reveal", "reason")
_SHOWN = 20


@router.get("/inventory", openapi_extra=rule(Action.INVENTORY_EXPORT))
def show(desk: DeskDep) -> Response:
    """Show the export form and the register."""
    access.require(desk.actor, Action.INVENTORY_EXPORT)
    return _Sheet(desk).page(Form({"format": "csv", "view": "audit", "encoding": "utf-8-sig"}), 200)


@router.get(
    "/inventory/file",
    openapi_extra=rule(
        Action.INVENTORY_EXPORT, event=Event.INVENTORY_EXPORT, object_type="inventory", transaction="write"
    ),
)
def send(request: Request, desk: DeskDep) -> Response:
    """Send the file; it is recorded before its first byte leaves."""
    access.require(desk.actor, Action.INVENTORY_EXPORT)
    values = filters_of(request, *_FIELDS)
    sheet = _Sheet(desk)
    payload: dict[str, Any] = {name: values[name] for name in ("format", "view", "reason") if name in values}
    payload["lang"] = desk.language
    if values.get("format") == "csv" and "encoding" in values:
        payload["encoding"] = values["encoding"]
    payload["include"] = ",".join(name for name in ("retired", "unmanaged") if name in values)
    if "reveal" in values:
        payload["reveal"] = "personal"
    try:
        wanted = command(InventoryExport, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, _FIELDS)
    desk.on_refusal(sheet.page, values, _FIELDS)
    return send_inventory(request, desk.session, desk.actor, wanted)


class _Sheet:
    """The form beside the newest exports the reader may know of."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        rows, _ = exports.list_exports(desk.session, desk.actor, limit=_SHOWN)
        views = {value: desk.words.translate(text).partition("：")[0].partition(":")[0] for value, text in _VIEWS}
        self._lines = [_line(row) | {"view": views.get(row.view, row.view)} for row in rows]

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        translate = self._desk.words.translate
        return self._desk.page(
            "pages/inventory.html",
            status,
            form=form,
            formats=[(value, translate(text)) for value, text in _FORMATS],
            views=[(value, translate(text)) for value, text in _VIEWS],
            encodings=[(value, translate(text)) for value, text in _ENCODINGS],
            may_reveal=self._desk.may(Action.PERSONAL_REVEAL),
            exports=self._lines,
        )


def _line(row: Export) -> dict[str, Any]:
    return {
        "created_at": row.created_at,
        "actor": row.actor,
        "format": row.format,
        "view": row.view,
        "state": row.state,
        "rows": row.rows,
        "sha256": row.sha256,
    }
