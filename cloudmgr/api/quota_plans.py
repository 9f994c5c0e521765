"""The yearly plan of quotas: a sheet of limits, previewed cell by cell and set all or none."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import Field

from cloudmgr.adapters.workbooks import MEDIA_TYPE
from cloudmgr.api.shapes import Shape
from cloudmgr.api.uploads import sent_sheet
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.files import saved_file
from cloudmgr.http.problem import rendered
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import quota_plans
from cloudmgr.services.quota_plans import MOST_TOLD, PlanOptions

router = api_router("/quotas/plans", "quotas")

_FILE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": _FILE, "example": "账户编码,vCPU（核）,内存（GiB）\n430102,480,1920\n"},
            MEDIA_TYPE: {"schema": _FILE},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE}},
            },
        },
    }
}


class PlanChangeShape(Shape):
    """One limit that changes. `below_use`: more is in use than the new limit; nothing breaks, growth is refused."""

    row: int
    column: str = Field(examples=["vCPU（核）"])
    account: UUID
    name: str = Field(examples=["芙蓉区"])
    key: str = Field(examples=["vcpus"])
    before: int | None
    after: int | None
    in_use: int
    below_use: bool


class PlanErrorShape(Shape):
    """One cell that cannot be taken, or a whole line (no column). Row 1 is the header."""

    field: str
    row: int
    column: str
    value: str
    message: str
    limits: list[dict[str, Any]] = Field(default_factory=list)


class QuotaPlanShape(Shape):
    """What became of a sheet; with `dry_run` true, what would. At most 500 errors are listed."""

    dry_run: bool
    accepted: bool
    rows: int
    changes: list[PlanChangeShape]
    error_count: int
    errors: list[PlanErrorShape]


async def _sheet(request: Request) -> bytes:
    return (await sent_sheet(request, files=("text/csv", MEDIA_TYPE))).content


@router.post(
    "",
    response_model=QuotaPlanShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_SET, object_type="quota_account") | _BODY,
)
def load_plan(
    http: Request,
    actor: ActorDep,
    session: SessionDep,
    sheet: Annotated[bytes, Depends(_sheet)],
    reason: Annotated[str, Query(min_length=1, max_length=2000, description="Recorded with every limit.")],
    basis_no: Annotated[str | None, Query(max_length=128, description="Number of the document.")] = None,
    dry_run: Annotated[bool, Query(description="Do everything, tell it, and roll it back.")] = False,
) -> QuotaPlanShape:
    """Set limits from a workbook or CSV: one line an account, one column a key; all in one transaction, or none.

    422 `import_refused` names every cell that cannot be taken, by row and column.
    """
    options = PlanOptions(dry_run=dry_run, reason=reason, basis_no=basis_no or None)
    report = quota_plans.load(session, actor, sheet, options)
    translate = translator(language_of(http))
    return QuotaPlanShape(
        dry_run=report.dry_run,
        accepted=not report.errors,
        rows=report.rows,
        changes=[
            PlanChangeShape(
                row=each.row,
                column=each.column,
                account=each.account_id,
                name=each.name,
                key=each.key,
                before=each.before,
                after=each.after,
                in_use=each.held,
                below_use=each.is_below_use,
            )
            for each in report.changes
        ],
        error_count=len(report.errors),
        errors=[
            PlanErrorShape.model_validate(rendered(each.as_json(), translate)) for each in report.errors[:MOST_TOLD]
        ],
    )


@router.get(
    "/template",
    response_class=Response,
    openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account"),
    responses={200: {"content": {MEDIA_TYPE: {"schema": _FILE}}}},
)
def plan_template(actor: ActorDep, session: SessionDep) -> Response:
    """Return a workbook of your accounts with the limits that are set, to be changed and sent back."""
    return saved_file("配额计划.xlsx", MEDIA_TYPE, quota_plans.template(session, actor))
