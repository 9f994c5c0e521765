"""Asking for quota: other limits for one account; new, previewed, or corrected after it was returned."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import Conflict, Forbidden
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import EDITABLE_REQUESTS, RequestKind, RequestPhase
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import quotas, requests
from cloudmgr.services.quotas import AccountView
from cloudmgr.services.request_inputs import QuotaChangeRequest
from cloudmgr.services.request_view import account_of
from web import formats
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.presenters import plans
from web.presenters.quota import in_order
from web.presenters.requests import last_comment
from web.quota_amounts import factor, key_choices, typed_amount, unit

router = page_router()

_USUAL = ("servers", "vcpus", "memory_mib", "disk_gib")
_UNPROCESSABLE = 422
_SUBMIT = rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False)


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One limit on the form: what it is now, what is taken of it, and what it could become at most above."""

    key: str
    unit: str
    hint: str


@router.get("/quotas/{account_id}/ask", openapi_extra=rule(Action.REQUEST_MAKE))
def new(request: Request, desk: DeskDep, account_id: uuid.UUID) -> Response:
    """Show the form with today's limits, or with those that a refusal proposed (`?limits.vcpus=640`, in ledger units)."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    sheet = _Sheet(desk, account_id)
    proposed = {
        name.removeprefix("limits."): text for name, text in request.query_params.items() if name.startswith("limits.")
    }
    sheet.add_keys(proposed)
    values = {
        f"limits.{key}": str(int(amount) // sheet.factor(key))
        for key, amount in {**sheet.limits(), **proposed}.items()
        if amount is not None and str(amount).isdigit()
    }
    return sheet.page(Form(values), 200)


@router.post("/quotas/{account_id}/ask", openapi_extra=_SUBMIT)
def ask(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Preview, or submit."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    return _take(_Sheet(desk, account_id), texts(sent))


@router.get("/requests/{request_id}/limits", openapi_extra=rule(Action.REQUEST_MAKE))
def edit(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show a request for quota that was returned, for correction."""
    sheet = _stored(desk, request_id)
    body = sheet.body
    values = {f"limits.{key}": str(int(amount) // sheet.factor(key)) for key, amount in body.get("limits", {}).items()}
    values |= {name: str(body[name]) for name in ("purpose", "basis_no") if body.get(name)}
    unchanged = {
        f"limits.{key}": str(amount // sheet.factor(key))
        for key, amount in sheet.limits().items()
        if amount is not None and key not in body.get("limits", {})
    }
    return sheet.page(Form({**unchanged, **values}), 200)


@router.post("/requests/{request_id}/limits", openapi_extra=_SUBMIT)
def save(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Preview, or submit it again as corrected."""
    return _take(_stored(desk, request_id), texts(sent))


def _stored(desk: Desk, request_id: uuid.UUID) -> "_Sheet":
    access.require(desk.actor, Action.REQUEST_MAKE)
    view = requests.get_request(desk.session, desk.actor, request_id)
    if view.request.requester_id != desk.actor.user_id:
        raise Forbidden(N_("Only the person who made a request can change, submit or withdraw it."))
    if RequestPhase(view.request.phase) not in EDITABLE_REQUESTS or view.request.kind != RequestKind.QUOTA_CHANGE:
        raise Conflict(N_("This request can no longer be changed. Withdraw it or make a new one."))
    sheet = _Sheet(desk, account_of(view), request_id)
    sheet.body = view.request.body
    sheet.returned = last_comment(view)
    sheet.add_keys(view.request.body.get("limits", {}))
    return sheet


def _take(sheet: "_Sheet", values: dict[str, str]) -> Response:
    desk = sheet.desk
    sheet.add_keys([name.removeprefix("limits.") for name in values if name.startswith("limits.")])
    if new_key := values.get("new_key", "").strip():
        sheet.new_key = new_key
    payload = sheet.payload(values)
    shown = [*(f"limits.{key}" for key in {*sheet.keys, sheet.new_key}), "purpose", "basis_no", "new_key"]
    if not payload["limits"]:
        words = desk.words.translate(N_("No limit was changed: write what a limit is to be."))
        return sheet.page(Form(values, summary=[words]), _UNPROCESSABLE)
    desk.on_refusal(sheet.page, values, shown)
    try:
        wanted = command(QuotaChangeRequest, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, shown)
    if values.get("action") == "plan":
        sheet.plan = plans.panel(desk.words, requests.plan(desk.session, desk.actor, wanted))
        return sheet.page(Form(values), 200)
    if sheet.request_id is not None:
        requests.update_request(desk.session, desk.actor, sheet.request_id, wanted)
        requests.submit(desk.session, desk.actor, sheet.request_id)
        return go(f"/requests/{sheet.request_id}", done="submitted")
    return go(f"/requests/{requests.submit_new(desk.session, desk.actor, wanted).id}", done="submitted")


@dataclass
class _Sheet:
    """The form for one account."""

    desk: Desk
    account_id: uuid.UUID
    request_id: uuid.UUID | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    returned: str = ""
    plan: plans.PlanPanel | None = None
    new_key: str = ""

    def __post_init__(self) -> None:
        self._view: AccountView = quotas.get_usage(self.desk.session, self.desk.actor, self.account_id)
        self.keys = in_order({*self._view.usage.limits, *_USUAL})

    def limits(self) -> dict[str, int | None]:
        """Return the limits as they are."""
        return dict(self._view.usage.limits)

    def add_keys(self, keys: Any) -> None:
        """Show further keys."""
        self.keys = in_order({*self.keys, *keys})

    def factor(self, key: str) -> int:
        """Return how many units of the ledger one unit of the form is."""
        return factor(key, self._view.usage.limits.get(key))

    def payload(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the body as the API takes it: only limits that are to be others than they are."""
        limits: dict[str, int | str] = {}
        for key in self.keys:
            given = typed_amount(values.get(f"limits.{key}", ""), self.factor(key))
            if given is not None and given != self._view.usage.limits.get(key):
                limits[key] = given
        if self.new_key:
            given = typed_amount(values.get("new_limit", ""), self.factor(self.new_key))
            limits[self.new_key] = "" if given is None else given
        project = self.body.get("project")
        return {
            "kind": RequestKind.QUOTA_CHANGE.value,
            "account": str(self.account_id),
            "limits": limits,
            "purpose": values.get("purpose", "").strip(),
            **({"project": project} if project else {}),
            **({"basis_no": values["basis_no"].strip()} if values.get("basis_no", "").strip() else {}),
        }

    def page(self, form: Form, status: int) -> Response:
        """Draw it; what is refused of the further key stands where it was typed."""
        for name in (f"limits.{self.new_key}", "limits"):
            if self.new_key and f"limits.{self.new_key}" not in {f"limits.{key}" for key in self.keys}:
                form.errors.setdefault("new_key", []).extend(form.errors.pop(name, []))
        form.errors = {name: found for name, found in form.errors.items() if found}
        usage, translate = self._view.usage, self.desk.words.translate
        return self.desk.page(
            "pages/quota_request.html",
            status,
            form=form,
            name=usage.name,
            address=f"/requests/{self.request_id}/limits" if self.request_id else f"/quotas/{self.account_id}/ask",
            back=f"/requests/{self.request_id}" if self.request_id else f"/quotas/{self.account_id}",
            crumbs=[(translate(N_("Quotas")), "/quotas"), (usage.name, f"/quotas/{self.account_id}")],
            returned=self.returned,
            plan=self.plan,
            keys=key_choices(self.desk.words),
            lines=[
                KeyLine(
                    key,
                    unit(key, self.factor(key)),
                    self._hint(key),
                )
                for key in self.keys
            ],
        )

    def _hint(self, key: str) -> str:
        usage, translate = self._view.usage, self.desk.words.translate
        taken = formats.amount(usage.used.get(key, 0) + usage.reserved.get(key, 0), key)
        if (limit := usage.limits.get(key)) is None:
            return translate(N_("No limit now; {taken} are taken."), taken=taken)
        return translate(N_("Now {limit}, of which {taken} are taken."), limit=formats.amount(limit, key), taken=taken)
