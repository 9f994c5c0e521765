"""Less typing: a draft made of an old request, and many servers asked for by one sheet."""

from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import Depends, Query, Request, Response, status
from pydantic import Field

from cloudmgr.adapters import workbooks
from cloudmgr.api.imports import CellErrorShape
from cloudmgr.api.request_shapes import RequestShape, request_shape
from cloudmgr.api.shapes import Shape
from cloudmgr.api.uploads import Rows, sent_sheet
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.problem import rendered
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import request_clones, request_sheet, requests, sheet_requests, sheet_templates
from cloudmgr.services.import_sheet import Sheet
from cloudmgr.services.inputs import Loose
from cloudmgr.services.request_sheet import MAX_ROWS
from cloudmgr.services.sheet_requests import MOST_TOLD, SheetOptions

router = api_router("/requests", "requests")


class SheetRows(Rows):
    """Lines of a sheet as JSON, by column keys."""

    rows: Annotated[list[dict[str, Loose]], Field(min_length=1, max_length=MAX_ROWS)]


class AskedShape(Shape):
    """One request made of lines of a sheet; after a dry run its id and number are those of a rehearsal."""

    id: UUID
    number: str = Field(examples=["SQ20261122-0001"])
    project: UUID
    project_name: str
    organization_name: str
    network_zone: str
    rows: list[int]
    servers: int
    amounts: dict[str, int]


class SheetShape(Shape):
    """What became of a sheet; with `dry_run` true, what would. At most 500 errors are listed."""

    dry_run: bool
    accepted: bool = Field(description="Every line was, or would be, asked for.")
    rows: int
    servers: int
    error_count: int
    errors: list[CellErrorShape]
    refusals: list[dict[str, Any]] = Field(description="Requests refused as a whole: code, message, rows, project.")
    requests: list[AskedShape]


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
                            "system_name": "智慧社区综合服务平台",
                            "name": "430102-mzj-zhsq-prd-app01",
                            "flavor": "8C32G",
                            "image": "kylin-v10",
                            "arch": "aarch64",
                            "purpose": "业务系统应用服务器",
                            "lease_end": "2027-11-22",
                        }
                    ]
                },
            },
            "text/csv": {"schema": _FILE},
            workbooks.MEDIA_TYPE: {"schema": _FILE},
            "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE}}},
        },
    }
}


class Upload(Shape):
    """A sheet that was sent."""

    sheet: Any


async def _upload(request: Request) -> Upload:
    sent = await sent_sheet(request, files=("text/csv", workbooks.MEDIA_TYPE), rows=SheetRows)
    read = request_sheet.read(sent.content) if sent.rows is None else request_sheet.read_rows(sent.rows)
    return Upload(sheet=read)


@router.get(
    "/sheet-template",
    response_class=Response,
    responses={200: {"content": {workbooks.MEDIA_TYPE: {"schema": _FILE}, "text/csv": {"schema": _FILE}}}},
    openapi_extra=rule(Action.REQUEST_MAKE, object_type="request"),
)
def send_template(
    http: Request,
    actor: ActorDep,
    session: SessionDep,
    form: Annotated[Literal["xlsx", "csv"], Query(alias="format")] = "xlsx",
) -> Response:
    """Send an empty sheet in your language, with the choices of the catalogue beside the columns."""
    content = sheet_templates.template(session, actor, form, language=language_of(http))
    media_type = workbooks.MEDIA_TYPE if form == "xlsx" else "text/csv; charset=utf-8"
    disposition = f'attachment; filename="requests.{form}"'
    return Response(content, media_type=media_type, headers={"Content-Disposition": disposition})


@router.post(
    "/sheets",
    response_model=SheetShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request") | _BODY,
)
def submit_sheet(
    http: Request,
    actor: ActorDep,
    session: SessionDep,
    upload: Annotated[Upload, Depends(_upload)],
    dry_run: Annotated[bool, Query(description="Do everything, tell it, and roll it back.")] = False,
    accept: Annotated[
        Literal["all", "good"], Query(description="all: nothing if one line breaks a rule; good: the good lines.")
    ] = "all",
) -> SheetShape:
    """Ask for many servers by a sheet: a workbook, CSV (UTF-8 or GB 18030), a form with a `file`, or JSON rows.

    Lines of one information system, network zone, environment, purpose, lease and person become one request of at most
    50 lines; the answer says which lines went into which.
    """
    sheet: Sheet = upload.sheet
    report = sheet_requests.submit(session, actor, sheet, SheetOptions(dry_run=dry_run, accept=accept))
    translate = translator(language_of(http))
    return SheetShape(
        dry_run=report.dry_run,
        accepted=report.is_good,
        rows=report.rows,
        servers=sum(each.servers for each in report.requests),
        error_count=len(report.errors),
        errors=[rendered(error.as_json(), translate) for error in report.errors[:MOST_TOLD]],
        refusals=[rendered(refusal, translate) for refusal in report.refusals],
        requests=[
            AskedShape(
                id=each.id,
                number=each.number,
                project=each.project.id,
                project_name=each.project.name,
                organization_name=each.organization.name,
                network_zone=each.network_zone,
                rows=each.rows,
                servers=each.servers,
                amounts=each.amounts,
            )
            for each in report.requests
        ],
    )


@router.post(
    "/{request_id}/clone",
    status_code=status.HTTP_201_CREATED,
    response_model=RequestShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SAVE, object_type="request"),
)
def clone_request(request_id: UUID, http: Request, actor: ActorDep, session: SessionDep) -> Response:
    """Make a draft of your own from an old request; nothing is held until you submit it."""
    made = request_clones.clone(session, actor, request_id)
    shape = request_shape(requests.get_request(session, actor, made.id), actor, translator(language_of(http)))
    headers = {"Location": f"/api/v1/requests/{made.id}"}
    return Response(orjson.dumps(shape, option=orjson.OPT_UTC_Z), 201, media_type="application/json", headers=headers)
