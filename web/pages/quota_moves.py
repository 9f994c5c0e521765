"""Rearranging quota: transfers, moves, merges and closing of one account, and the yearly plan from a sheet."""

import uuid
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import ImportRefused, InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.files import saved_file
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import quota_moves, quota_places, quota_plans, quotas
from cloudmgr.services.quota_moves import CloseAccount, MergeAccounts, MoveAccount, TransferQuota
from cloudmgr.services.quota_plans import MOST_TOLD, PlanOptions, PlanReport
from cloudmgr.services.quotas import AccountView
from web import formats
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.presenters.quota import in_order
from web.quota_amounts import in_gib

router = page_router()

_LINES = 4
_UNPROCESSABLE = 422
_WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FIELDS = (
    *("to", "parent", "target", "reason", "basis_no"),
    *(f"{part}.{line}" for line in range(_LINES) for part in ("key", "amount")),
)
_PLAN_FIELDS = ("reason", "basis_no")


def _rule(event: Event) -> dict[str, Any]:
    return rule(Action.QUOTA_READ, event=event, object_type="quota_account", remembers=False)


async def _with_file(request: Request) -> tuple[dict[str, str], bytes]:
    """Return the form's texts and the file in it. The form was read already, for the token in it, and is kept."""
    form = await request.form()
    file = form.get("file")
    content = await file.read() if isinstance(file, UploadFile) else b""
    await form.close()
    return texts(form), content


@router.get("/quotas/plan", openapi_extra=rule(Action.QUOTA_READ))
def show_plan(desk: DeskDep) -> Response:
    """Show where a sheet of limits is given."""
    quotas.get_tree(desk.session, desk.actor, None, 0)  # refused where quotas may not be read
    return _plan_page(desk, None)(Form(), 200)


@router.get("/quotas/plan/template", openapi_extra=rule(Action.QUOTA_READ))
def send_template(desk: DeskDep) -> Response:
    """Send the reader's accounts with their limits, to be changed and sent back."""
    return saved_file("配额计划.xlsx", _WORKBOOK, quota_plans.template(desk.session, desk.actor))


@router.post("/quotas/plan", openapi_extra=_rule(Event.QUOTA_SET))
def load_plan(desk: DeskDep, sent: Annotated[tuple[dict[str, str], bytes], Depends(_with_file)]) -> Response:
    """Try a sheet of limits, or set them; what cannot be taken is told cell by cell."""
    values, content = sent
    page = _plan_page(desk, None)
    payload = {"reason": values.get("reason", ""), "dry_run": values.get("action") != "set", **_basis(values)}
    try:
        options = command(PlanOptions, payload)
    except ValidationError as error:
        return desk.invalid(page, values, error, _PLAN_FIELDS)
    desk.on_refusal(page, values, _PLAN_FIELDS)
    try:
        report = quota_plans.load(desk.session, desk.actor, content, options)
    except ImportRefused as refusal:  # told cell by cell; nothing of it was written
        failed = Form(values, summary=[desk.words.told(refusal.message)])
        report = quota_plans.load(desk.session, desk.actor, content, options.model_copy(update={"dry_run": True}))
        return _plan_page(desk, report)(failed, _UNPROCESSABLE)
    return _plan_page(desk, report)(Form(values if report.dry_run else {}), 200)


@router.get("/quotas/{account_id}/rearrange", openapi_extra=rule(Action.QUOTA_READ))
def show(desk: DeskDep, account_id: uuid.UUID) -> Response:
    """Show what can be done with one account."""
    return _page(desk, account_id)(Form(), 200)


@router.post("/quotas/{account_id}/transfer", openapi_extra=_rule(Event.QUOTA_TRANSFER))
def transfer(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Give limits of this account to another."""
    values = texts(sent)

    def act() -> None:
        amounts = _amounts(values)
        taker = _code(desk, values, "to")
        wanted = {"from": str(account_id), "to": str(taker), "amounts": amounts, **_why(values)}
        quota_moves.transfer(desk.session, desk.actor, command(TransferQuota, wanted))

    return _done(desk, account_id, values, act, f"/quotas/{account_id}")


@router.post("/quotas/{account_id}/move", openapi_extra=_rule(Event.QUOTA_MOVE))
def move(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Put this account under another organization."""
    values = texts(sent)

    def act() -> None:
        wanted = {"account": str(account_id), "parent": str(_code(desk, values, "parent")), **_why(values)}
        quota_moves.move(desk.session, desk.actor, command(MoveAccount, wanted))

    return _done(desk, account_id, values, act, f"/quotas/{account_id}")


@router.post("/quotas/{account_id}/merge", openapi_extra=_rule(Event.QUOTA_MERGE))
def merge(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Make this organization part of another."""
    values = texts(sent)

    def act() -> None:
        wanted = {"source": str(account_id), "target": str(_code(desk, values, "target")), **_why(values)}
        quota_moves.merge(desk.session, desk.actor, command(MergeAccounts, wanted))

    return _done(desk, account_id, values, act, f"/quotas/{account_id}")


@router.post("/quotas/{account_id}/close", openapi_extra=_rule(Event.QUOTA_CLOSE))
def close(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Close this account."""
    values = texts(sent)

    def act() -> None:
        quota_moves.close(desk.session, desk.actor, account_id, command(CloseAccount, _why(values)))

    return _done(desk, account_id, values, act, f"/quotas/{account_id}")


@router.post("/quotas/{account_id}/reopen", openapi_extra=_rule(Event.QUOTA_REOPEN))
def reopen(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Open this account again."""
    values = texts(sent)

    def act() -> None:
        quota_moves.reopen(desk.session, desk.actor, account_id, command(CloseAccount, _why(values)))

    return _done(desk, account_id, values, act, f"/quotas/{account_id}")


def _amounts(values: dict[str, str]) -> dict[str, Any]:
    amounts: dict[str, Any] = {}
    for line in range(_LINES):
        key, typed = (values.get(f"{part}.{line}", "").strip() for part in ("key", "amount"))
        if key and not typed:
            raise InvalidInput(N_("Say how much of it goes."), field=f"amount.{line}")
        if typed and not key:
            raise InvalidInput(N_("Choose what this is an amount of."), field=f"key.{line}")
        if key in amounts:
            raise InvalidInput(N_("This is chosen twice; give it one amount."), field=f"key.{line}")
        if key:
            amounts[key] = in_gib(key, typed)
    return amounts


def _done(desk: Desk, account_id: uuid.UUID, values: dict[str, str], act: Callable[[], None], address: str) -> Response:
    page = _page(desk, account_id)
    desk.on_refusal(page, values, _FIELDS)
    try:
        act()
    except ValidationError as error:
        return desk.invalid(page, values, error, _FIELDS)
    return go(address, done="saved")


def _page(desk: Desk, account_id: uuid.UUID) -> Callable[[Form, int], Response]:
    view = quotas.get_usage(desk.session, desk.actor, account_id)

    def draw(form: Form, status: int) -> Response:
        crumbs = [(desk.words.translate(N_("Quotas")), "/quotas"), (view.usage.name, f"/quotas/{account_id}")]
        return desk.page(
            "pages/quota_moves.html",
            status,
            account=account_id,
            name=view.usage.name,
            code=view.usage.code,
            crumbs=crumbs,
            form=form,
            lines=range(_LINES),
            keys=_keys(desk, view),
            is_closed=view.usage.is_closed,
            is_organization=view.kind == "organization",
            is_root=not view.usage.ancestors,
            may_set=view.may_set,
        )

    return draw


def _keys(desk: Desk, view: AccountView) -> list[tuple[str, str]]:
    """Return the keys that can be given, each with how much of it is free."""
    usage = view.usage
    return [
        (key, f"{desk.words.key_label(key)}: {formats.amount(usage.available.get(key), key)}")
        for key in in_order(usage.limits)
        if usage.limits.get(key)
    ]


def _plan_page(desk: Desk, report: PlanReport | None) -> Callable[[Form, int], Response]:
    def draw(form: Form, status: int) -> Response:
        return desk.page(
            "pages/quota_plan.html",
            status,
            form=form,
            crumbs=[(desk.words.translate(N_("Quotas")), "/quotas")],
            may_set=desk.may(Action.QUOTA_SPLIT) or desk.may(Action.QUOTA_WRITE),
            report=report,
            changes=[
                (each, formats.amount(each.before, each.key), formats.amount(each.after, each.key))
                for each in (report.changes if report else ())
            ],
            errors=[(each, desk.words.told(each.message)) for each in (report.errors if report else ())][:MOST_TOLD],
        )

    return draw


def _code(desk: Desk, values: dict[str, str], field: str) -> uuid.UUID:
    return quota_places.account_of_code(desk.session, desk.actor, values.get(field, "").strip(), field=field)


def _why(values: dict[str, str]) -> dict[str, str]:
    return {"reason": values.get("reason", ""), **_basis(values)}


def _basis(values: dict[str, str]) -> dict[str, str]:
    return {"basis_no": values["basis_no"]} if values.get("basis_no", "").strip() else {}
