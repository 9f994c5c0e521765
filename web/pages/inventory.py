"""Inventory export: what can be chosen; the file itself is the API's, fetched with the reader's own session."""

from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from web.desk import DeskDep
from web.forms import Form

router = page_router()

_FORMATS = (("csv", N_("csv (spreadsheet)")), ("json", "json"), ("jsonl", N_("jsonl (one object a line)")))
_VIEWS = (
    ("audit", N_("For audit: every column")),
    ("short", N_("Short: what is used daily")),
    ("public", N_("Public: without persons and addresses")),
)
_ENCODINGS = (("utf-8-sig", N_("UTF-8 with BOM")), ("gb18030", "GB18030"))


@router.get("/inventory", openapi_extra=rule(Action.INVENTORY_EXPORT))
def show(desk: DeskDep) -> Response:
    """Show the export form."""
    access.require(desk.actor, Action.INVENTORY_EXPORT)
    translate = desk.words.translate
    return desk.page(
        "pages/inventory.html",
        form=Form({"format": "csv", "view": "audit", "encoding": "utf-8-sig"}),
        formats=[(value, translate(text)) for value, text in _FORMATS],
        views=[(value, translate(text)) for value, text in _VIEWS],
        encodings=[(value, translate(text)) for value, text in _ENCODINGS],
        exports=None,
    )
