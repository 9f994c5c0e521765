"""What stands already: importing servers of clouds into the ledger, one or by sheet, and rows kept by hand."""

import hashlib
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response, status
from pydantic import Field

from cloudmgr.api.server_shapes import ServerShape, server_shape
from cloudmgr.api.shapes import Shape
from cloudmgr.api.uploads import Rows, sent_sheet
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.problem import rendered
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import import_sheet, imports, manual_servers
from cloudmgr.services.import_sheet import MAX_ROWS, Sheet
from cloudmgr.services.imports import MOST_TOLD, ImportOptions
from cloudmgr.services.inputs import Loose
from cloudmgr.services.manual_servers import ChangeServer, EndServer, EnterServer

router = api_router("/inventory", "inventory")


class ImportRows(Rows):
    """Lines of a sheet as JSON: column keys of the inventory, and `uuid` and `counts_quota` beside them."""

    rows: Annotated[list[dict[str, Loose]], Field(min_length=1, max_length=MAX_ROWS)]


class CellErrorShape(Shape):
    """One cell that cannot be taken: its line (1 is the header of a file), column, what stood there, why, and the way out."""

    row: int = Field(examples=[7])
    column: str = Field(examples=["lease_end"])
    header: str = Field(examples=["到期时间"])
    value: str = Field(examples=["2026/13/1"])
    rule: str = Field(examples=["date"])
    message: str
    remedy: str
    field: str = Field(examples=["rows[7].lease_end"])


class TakenShape(Shape):
    """A server that is in the ledger now; after a dry run its id and number are those of a rehearsal."""

    row: int
    id: UUID
    resource_no: str = Field(examples=["430102-VM-000123"])
    name: str
    project: str
    organization: str
    source: str = Field(examples=["imported"])
    backend: str | None


class KnownShape(Shape):
    """A line whose server is in the ledger already, where the line puts it."""

    row: int
    id: UUID
    resource_no: str
    name: str


class PostedShape(Shape):
    """The request under which an information system got its servers. `passed`: limits that an opening balance stands above."""

    id: UUID
    number: str = Field(examples=["DR20261122-0001"])
    project: str
    organization: str
    servers: int
    amounts: dict[str, int]
    passed: list[dict[str, Any]]


class ImportShape(Shape):
    """What became of a sheet; with `dry_run` true, what would. At most 500 of each are listed."""

    dry_run: bool
    accepted: bool = Field(description="Every line was, or would be, taken, or had been before.")
    rows: int
    taken: int
    known_count: int = Field(description="Lines whose servers an earlier import took; nothing is done for them.")
    error_count: int
    errors: list[CellErrorShape]
    refusals: list[dict[str, Any]] = Field(description="Information systems whose quota has no room.")
    requests: list[PostedShape]
    servers: list[TakenShape]
    known: list[KnownShape]


_FILE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rows"],
                    "additionalProperties": False,
                    "properties": {
                        "rows": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MAX_ROWS,
                            "items": {"type": "object", "additionalProperties": True},
                        }
                    },
                },
                "example": {
                    "rows": [
                        {
                            "ipv4": "198.51.100.20",
                            "system_name": "智慧社区综合服务平台",
                            "env": "prd",
                            "purpose": "app",
                            "lease_end": "2027-11-22",
                        }
                    ]
                },
            },
            "text/csv": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE}},
            },
        },
    }
}


class Upload(Shape):
    """A sheet that was sent, and the SHA-256 of what was sent."""

    sheet: Any
    digest: str


async def _upload(request: Request) -> Upload:
    sent = await sent_sheet(request, files=("text/csv",), rows=ImportRows)
    read = import_sheet.read_csv(sent.content) if sent.rows is None else import_sheet.read_rows(sent.rows)
    return Upload(sheet=read, digest=hashlib.sha256(sent.content).hexdigest())


@router.post(
    "/imports",
    response_model=ImportShape,
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_IMPORT, object_type="inventory") | _BODY,
)
def import_servers(
    http: Request,
    actor: ActorDep,
    session: SessionDep,
    upload: Annotated[Upload, Depends(_upload)],
    dry_run: Annotated[bool, Query(description="Do everything, tell it, and roll it back.")] = False,
    accept: Annotated[
        Literal["all", "good"], Query(description="all: nothing if one line breaks a rule; good: the good lines.")
    ] = "all",
    opening_balance: Annotated[
        bool, Query(description="Count even above the limits, for quota administrators; needs a reason.")
    ] = False,
    reason: Annotated[str, Query(max_length=500, description="Recorded with the import.")] = "",
) -> ImportShape:
    """Take servers that stand already into the ledger: a sheet as CSV (UTF-8 or GB 18030), as a form, or as JSON rows.

    Each line is matched by `uuid`, or by address, with what a cloud shows; one with `source` 人工登记 is kept by hand.
    """
    options = ImportOptions(dry_run=dry_run, accept=accept, opening_balance=opening_balance, reason=reason)
    sheet: Sheet = upload.sheet
    report = imports.run(session, actor, sheet, options, digest=upload.digest)
    translate = translator(language_of(http))
    return ImportShape(
        dry_run=report.dry_run,
        accepted=report.would_be_taken,
        rows=report.rows,
        taken=len(report.servers),
        known_count=len(report.known),
        error_count=len(report.errors),
        errors=[rendered(error.as_json(), translate) for error in report.errors[:MOST_TOLD]],
        refusals=[rendered(refusal, translate) for refusal in report.refusals],
        requests=[PostedShape.model_validate(each) for each in report.requests],
        servers=[TakenShape.model_validate(each) for each in report.servers[:MOST_TOLD]],
        known=[KnownShape.model_validate(each) for each in report.known[:MOST_TOLD]],
    )


@router.post(
    "/manual-servers",
    status_code=status.HTTP_201_CREATED,
    response_model=ServerShape,
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_ENTER, object_type="server"),
)
def enter_server(
    command: EnterServer, http: Request, response: Response, actor: ActorDep, session: SessionDep
) -> dict[str, Any]:
    """Register by hand a physical machine, or a server of a cloud without a driver."""
    row = manual_servers.enter(session, actor, command)
    response.headers["Location"] = f"/api/v1/servers/{row[0].id}"
    return server_shape(row, actor, translator(language_of(http)))


@router.patch(
    "/manual-servers/{server_id}",
    response_model=ServerShape,
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_CHANGE, object_type="server"),
)
def change_server(
    server_id: UUID, command: ChangeServer, http: Request, actor: ActorDep, session: SessionDep
) -> dict[str, Any]:
    """Change what is kept by hand of a server; it counts as confirmed."""
    return server_shape(manual_servers.change(session, actor, server_id, command), actor, translator(language_of(http)))


@router.post(
    "/manual-servers/{server_id}/confirmations",
    response_model=ServerShape,
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_CONFIRM, object_type="server"),
)
def confirm_server(server_id: UUID, http: Request, actor: ActorDep, session: SessionDep) -> dict[str, Any]:
    """Confirm that a server kept by hand is as written, as of now."""
    return server_shape(manual_servers.confirm(session, actor, server_id), actor, translator(language_of(http)))


@router.post(
    "/manual-servers/{server_id}/retirement",
    response_model=ServerShape,
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_RETIRE, object_type="server"),
)
def retire_server(
    server_id: UUID, command: EndServer, http: Request, actor: ActorDep, session: SessionDep
) -> dict[str, Any]:
    """Retire a server kept by hand; its quota and name are free at once."""
    return server_shape(manual_servers.retire(session, actor, server_id, command), actor, translator(language_of(http)))
