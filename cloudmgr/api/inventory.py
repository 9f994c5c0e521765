"""The inventory as a file, streamed."""

from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.exports import send_inventory
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services.inventory import InventoryExport

router = api_router("/inventory", "inventory")

_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file. `X-Export-Id` names its entry in the register of exports, which holds its SHA-256.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "as_of": "2026-11-22T07:30:00Z",
                    "view": "short",
                    "columns": [
                        {
                            "key": "resource_id",
                            "header_zh": "资源编号",
                            "header_en": "Resource ID",
                            "type": "text",
                            "required": True,
                        }
                    ],
                    "items": [{"resource_id": "430102-VM-000123"}],
                },
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "",
    response_class=Response,
    responses=_FILE,
    openapi_extra=rule(
        Action.INVENTORY_EXPORT, event=Event.INVENTORY_EXPORT, object_type="inventory", transaction="write"
    ),
)
def export_inventory(
    request: Request, session: SessionDep, actor: ActorDep, command: Annotated[InventoryExport, Query()]
) -> Response:
    """Export the servers of your subtrees, 64 columns, as json, jsonl or csv. Every export is recorded.

    Phone numbers and names are masked; `reveal=personal` with a `reason` shows them to audit administrators.
    """
    return send_inventory(request, session, actor, command)
