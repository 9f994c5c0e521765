"""The request form: new, edited, previewed. The plan beside it asks the very rules that submitting asks."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import Conflict, Forbidden, Refusal
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import EDITABLE_REQUESTS, RequestKind, RequestPhase
from cloudmgr.http.errors import problem_of
from cloudmgr.http.routes import page_router, rule
from cloudmgr.http.validation import findings
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import CreateRequest, DraftRequest
from web import corrections, quota_wishes, request_payload
from web.desk import Desk, DeskDep, FormDep, command, go, refused_form, texts
from web.forms import Form, row_indices
from web.pages import server_changes
from web.presenters import plans
from web.presenters.requests import form_values, last_comment

router = page_router()

_SUBMIT = rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One form in the making: where it is sent, and which stored request it belongs to."""

    desk: Desk
    choices: request_payload.FormChoices
    address: str = "/requests/new"
    request_id: uuid.UUID | None = None
    returned: str = ""
    may_wait: bool = True
    """Whether it can be kept until quota is granted: a new request or a draft, not one that was returned."""
    awaited: Sequence[tuple[str, str]] = ()
    """Requests for quota under way that it could wait for."""

    def page(
        self, form: Form, status: int = 200, *, plan: Any = None, plan_problems: list[str] | None = None
    ) -> Response:
        """Draw the form; faults of the addresses of several servers stand where they are typed."""
        for name in [each for each in form.errors if each.endswith(".addresses")]:
            form.errors.setdefault(name.removesuffix("addresses") + "ipv4", []).extend(form.errors.pop(name))
        translate = self.desk.words.translate
        return self.desk.page(
            "pages/request_form.html",
            status,
            heading=translate(N_("Edit request")) if self.request_id else translate(N_("New request")),
            about=translate(
                N_("Nothing is held until you submit. The plan shows what it costs and where it could stand.")
            ),
            address=self.address,
            request_id=str(self.request_id or ""),
            returned=self.returned,
            form=form,
            rows=row_indices(form.values, "servers"),
            choices=self.choices,
            plan=plan,
            plan_problems=plan_problems or [],
            wish=quota_wishes.wish(self.desk.words, form.extra.get("next")) if self.may_wait else None,
            awaited=self.awaited if form.code == "quota_exceeded" and self.may_wait else (),
        )


@router.get("/requests/new", openapi_extra=rule(Action.REQUEST_MAKE))
def new(desk: DeskDep) -> Response:
    """Show an empty form."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    choices = request_payload.choices(desk)
    values = {"env": "prd", "project": choices.projects[0][0] if len(choices.projects) == 1 else ""}
    return Sheet(desk, choices).page(Form(request_payload.with_new_row(values)))


@router.post("/requests/new", openapi_extra=_SUBMIT)
def create(desk: DeskDep, sent: FormDep) -> Response:
    """Submit, keep as a draft, or change the number of groups."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    return _take(Sheet(desk, request_payload.choices(desk), awaited=quota_wishes.under_way(desk)), sent)


@router.post("/requests/plan", openapi_extra=rule(Action.REQUEST_MAKE, transaction="read", remembers=False))
def plan(desk: DeskDep, sent: FormDep) -> Response:
    """Preview: a fragment for the live panel, a whole page for a browser without scripts. Changes nothing."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    values = request_payload.renumbered(texts(sent))
    panel, problems, form = _preview(desk, values)
    if desk.request.headers.get("hx-request"):
        return desk.fragment("fragments/plan.html", plan=panel, plan_problems=problems)
    sheet = (
        _stored(desk, values["request_id"]) if values.get("request_id") else Sheet(desk, request_payload.choices(desk))
    )
    return sheet.page(form, plan=panel, plan_problems=problems)


@router.get("/requests/{request_id}/edit", openapi_extra=rule(Action.REQUEST_MAKE))
def edit(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show a draft or a returned request for correction; those for quota and for changes of servers have their own forms."""
    found = requests.get_request(desk.session, desk.actor, request_id)
    kind = found.request.kind
    if (page := corrections.page_of(found)) is not None:
        return go(page)
    if kind == RequestKind.QUOTA_CHANGE:
        return go(f"/requests/{request_id}/limits")
    if kind in server_changes.CORRECTED:
        return go(f"/requests/{request_id}/change")
    if kind == RequestKind.RETIRE:
        return go(f"/requests/{request_id}/retirement")
    sheet = _stored(desk, str(request_id))
    view = requests.get_request(desk.session, desk.actor, request_id)
    values = form_values(view.request.body)
    return sheet.page(Form(values if row_indices(values, "servers") else request_payload.with_new_row(values)))


@router.post("/requests/{request_id}/edit", openapi_extra=_SUBMIT)
def save(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Save the corrected request, and submit it where that was asked."""
    return _take(_stored(desk, str(request_id)), sent)


def _stored(desk: Desk, request_id: str) -> Sheet:
    access.require(desk.actor, Action.REQUEST_MAKE)
    try:
        known = uuid.UUID(request_id)
    except ValueError:
        return Sheet(desk, request_payload.choices(desk))
    view = requests.get_request(desk.session, desk.actor, known)
    if view.request.requester_id != desk.actor.user_id:
        raise Forbidden(N_("Only the person who made a request can change, submit or withdraw it."))
    if RequestPhase(view.request.phase) not in EDITABLE_REQUESTS or view.request.kind != "create":
        raise Conflict(N_("This request can no longer be changed. Withdraw it or make a new one."))
    is_draft = view.request.phase == RequestPhase.DRAFT
    return Sheet(
        desk,
        request_payload.choices(desk),
        f"/requests/{known}/edit",
        known,
        returned="" if is_draft else last_comment(view),
        may_wait=is_draft,
        awaited=quota_wishes.under_way(desk) if is_draft else (),
    )


def _take(sheet: Sheet, sent: FormDep) -> Response:
    """Do what the pressed button says."""
    desk, typed = sheet.desk, texts(sent)
    action = typed.get("action", "submit")
    if action == "add-row":
        return sheet.page(Form(request_payload.with_new_row(request_payload.renumbered(typed))))
    if action.startswith("remove-") and action[7:].isdigit():
        return sheet.page(Form(request_payload.renumbered(typed, without=int(action[7:]))))
    values = request_payload.renumbered(typed)
    shown = request_payload.shown_fields(row_indices(values, "servers"))
    payload = request_payload.body(values)
    wanted: CreateRequest | DraftRequest
    try:
        wanted = command(DraftRequest, payload) if action == "draft" else command(CreateRequest, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, shown)
    desk.on_refusal(sheet.page, values, shown)
    if action == "wait" and isinstance(wanted, CreateRequest) and sheet.may_wait:
        kept = quota_wishes.keep_waiting(desk, wanted, values.get("after", ""))
        if sheet.request_id is not None:
            requests.withdraw(desk.session, desk.actor, sheet.request_id)  # what waits takes its place
        return go(f"/requests/{kept.id}", done="waits" if kept.phase == RequestPhase.DRAFT else "submitted")
    if sheet.request_id is not None:
        requests.update_request(desk.session, desk.actor, sheet.request_id, wanted)
        if isinstance(wanted, CreateRequest):
            requests.submit(desk.session, desk.actor, sheet.request_id)
        stored_id = sheet.request_id
    elif isinstance(wanted, DraftRequest):
        stored_id = requests.save_draft(desk.session, desk.actor, wanted).id
    else:
        stored_id = requests.submit_new(desk.session, desk.actor, wanted).id
    return go(f"/requests/{stored_id}", done="saved" if action == "draft" else "submitted")


def _preview(desk: Desk, values: dict[str, str]) -> tuple[plans.PlanPanel | None, list[str], Form]:
    """Return the plan, or in words what is still in its way; and the form with its marks."""
    shown = request_payload.shown_fields(row_indices(values, "servers"))
    try:
        wanted = command(CreateRequest, request_payload.body(values))
    except ValidationError as error:
        found = findings(error.errors(include_url=False, include_input=False))
        lines = [f"{desk.words.field(str(each['field']))}: {desk.words.told(each['message'])}" for each in found]
        return None, lines[:8], Form(values)
    try:
        return plans.panel(desk.words, requests.plan(desk.session, desk.actor, wanted)), [], Form(values)
    except Refusal as refusal:  # told in the panel: a preview is no deed, so nothing is recorded
        form = refused_form(desk.language, problem_of(refusal), values, shown)
        return None, [desk.words.told(refusal.message)], form
