"""Quota in time and beside limits: loans on a page of their own; guarantees, targets and limits for a time on an account's."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import organizations, quota_loans, quota_shares, quotas
from cloudmgr.services.organizations import OrganizationFilter
from cloudmgr.services.quota_loans import DecideLoan, LoanView, OfferLoan
from cloudmgr.services.quota_shares import SetGuarantees, SetTarget
from cloudmgr.services.quotas import AccountView, SetLimits
from web import formats
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.labels import VOCABULARIES
from web.presenters.quota import in_order
from web.quota_amounts import in_gib, key_choices

router = page_router()

_MOST = 200
_LOAN_FIELDS = ("lender", "borrower", "key", "amount", "until", "reason", "basis_no")


@router.get("/quotas/loans", openapi_extra=rule(Action.QUOTA_READ))
def show_loans(desk: DeskDep) -> Response:
    """Show the loans of which the reader sees a side, and the form to offer one."""
    return _loans(desk)(Form({}), 200)


@router.post(
    "/quotas/loans",
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_LOAN, object_type="quota_account", remembers=False),
)
def offer(desk: DeskDep, sent: FormDep) -> Response:
    """Offer a loan, or ask for one."""
    values = texts(sent)
    draw = _loans(desk)
    payload: dict[str, Any] = {
        "amounts": {(key := values.get("key", "").strip()): in_gib(key, values.get("amount", ""))},
        "until": values.get("until", ""),
        "reason": values.get("reason", ""),
    }
    if values.get("basis_no", "").strip():
        payload["basis_no"] = values["basis_no"]
    desk.on_refusal(draw, values, _LOAN_FIELDS)
    for side in ("lender", "borrower"):
        code = values.get(side, "").strip()
        if not code:
            raise InvalidInput(N_("Give the code of an organization."), field=side)
        account = quota_loans.account_by_code(desk.session, code)
        if account is None:
            raise InvalidInput(N_("There is no organization with the code {code}."), field=side, code=code)
        payload[side] = str(account)
    try:
        wanted = command(OfferLoan, payload)
    except ValidationError as error:
        return desk.invalid(draw, values, error, _LOAN_FIELDS)
    quota_loans.offer(desk.session, desk.actor, wanted)
    return go("/quotas/loans", done="loan")


@router.post(
    "/quotas/loans/{loan_id}",
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_LOAN, object_type="quota_account", remembers=False),
)
def decide(desk: DeskDep, loan_id: uuid.UUID, sent: FormDep) -> Response:
    """Sign, decline, cancel, or give back."""
    values = texts(sent)
    draw = _loans(desk)
    desk.on_refusal(draw, values, ())
    try:
        wanted = command(DecideLoan, {"decision": values.get("decision", "")})
    except ValidationError as error:
        return desk.invalid(draw, values, error, ())
    quota_loans.decide(desk.session, desk.actor, loan_id, wanted)
    return go("/quotas/loans", done="loan")


@router.post(
    "/quotas/{account_id}/shares",
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_GUARANTEE, object_type="quota_account", remembers=False),
)
def set_share(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Set a guarantee, a target, or a limit for a time: whichever the form was for."""
    values = texts(sent)
    shown = ("what", "key", "amount", "valid_from", "valid_until", "reason", "basis_no")

    def draw(form: Form, status: int) -> Response:
        return _share_page(desk, account_id, form, status)

    common: dict[str, Any] = {"reason": values.get("reason", "")}
    if values.get("basis_no", "").strip():
        common["basis_no"] = values["basis_no"]
    key = values.get("key", "").strip()
    amount = in_gib(key, values.get("amount", ""))
    desk.on_refusal(draw, values, shown)
    try:
        match values.get("what"):
            case "guarantee":
                guarantee = command(SetGuarantees, {"guarantees": {key: amount}, **common})
                quota_shares.set_guarantees(desk.session, desk.actor, account_id, guarantee)
            case "target":
                target = command(SetTarget, {"name": key, "pct": None if amount == "" else amount, **common})
                quota_shares.set_target(desk.session, desk.actor, account_id, target)
            case _:
                days = {name: values[name] for name in ("valid_from", "valid_until") if values.get(name, "").strip()}
                limits = command(SetLimits, {"limits": {key: amount}, **days, **common})
                quotas.set_limits(desk.session, desk.actor, account_id, limits, replace=False)
    except ValidationError as error:
        return desk.invalid(draw, values, error, shown)
    return go(f"/quotas/{account_id}", done="limits")


@router.post(
    "/quotas/{account_id}/terms/{term_id}",
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_TERM, object_type="quota_account", remembers=False),
)
def cancel_term(desk: DeskDep, account_id: uuid.UUID, term_id: uuid.UUID) -> Response:
    """Take back a limit that is to hold for a time, or end it now."""
    quota_shares.cancel_term(desk.session, desk.actor, account_id, term_id)
    return go(f"/quotas/{account_id}", done="limits")


@router.get("/quotas/{account_id}/shares", openapi_extra=rule(Action.QUOTA_READ))
def show_share(desk: DeskDep, account_id: uuid.UUID) -> Response:
    """Show the form for guarantees, targets and limits for a time."""
    return _share_page(desk, account_id, Form({}), 200)


def shares_of(desk: Desk, view: AccountView) -> dict[str, Any]:
    """Return what stands beside the limits of one account, as its page shows it."""
    usage = view.usage
    keys = in_order({*usage.guaranteed, *usage.set_aside, *usage.borrowed})
    return {
        "lines": [
            (
                key,
                *(
                    formats.amount(amounts.get(key, 0), key)
                    for amounts in (usage.guaranteed, usage.set_aside, usage.borrowed)
                ),
            )
            for key in keys
        ],
        "targets": [
            {
                "name": each.name,
                "base": each.base,
                "pct": each.pct,
                "actual": each.actual_pct,
                "part": formats.amount(each.part, each.base),
                "whole": formats.amount(each.whole, each.base),
                "is_met": each.is_met,
            }
            for each in view.targets
        ],
        "terms": [
            {
                "id": each.term_id,
                "key": each.key,
                "amount": formats.amount(each.amount, each.key),
                "from": formats.moment(each.valid_from),
                "until": formats.moment(each.valid_until) if each.valid_until else "",
                "in_force": each.state == "in_force",
                "reason": each.reason,
            }
            for each in view.terms
        ],
        "holds": [
            {
                "name": each.account,
                "days": each.days,
                "amounts": [f"{desk.words.key_label(key)} {formats.amount(n, key)}" for key, n in each.amounts.items()],
            }
            for each in view.holds
        ],
        "loans": [
            _loan_line(loan)
            for loan in quota_loans.list_loans(
                desk.session, desk.actor, account=usage.account_id, states=("offered", "active", "overdue")
            )
        ],
    }


def notes_of(desk: Desk, view: AccountView) -> list[tuple[str, str]]:
    """Return what a row of the tree says beside its bars (text, tone): crossed thresholds, guarantees,
    loans, and how long something is held.
    """
    highest: dict[str, int] = {}
    for each in view.warnings:
        highest[each.key] = max(each.threshold_pct, highest.get(each.key, 0))
    notes = [
        (f"{desk.words.key_label(key)} ≥ {pct} %", "bad" if pct >= _FULL_PCT else "warn")
        for key, pct in highest.items()
    ]
    for template, amounts in (
        (N_("{key}: {amount} guaranteed"), view.usage.guaranteed),
        (N_("{key}: {amount} borrowed"), view.usage.borrowed),
    ):
        notes += [
            (
                desk.words.translate(template, key=desk.words.key_label(key), amount=formats.amount(amounts[key], key)),
                "info",
            )
            for key in in_order(amounts)
        ]
    if view.usage.is_closed:
        notes.append((desk.words.translate(N_("closed")), "warn"))
    if view.held_days:
        notes.append((desk.words.translate(N_("held for {days} days"), days=view.held_days), "neutral"))
    return notes


_FULL_PCT = 100


def _share_page(desk: Desk, account_id: uuid.UUID, form: Form, status: int) -> Response:
    view = quotas.get_usage(desk.session, desk.actor, account_id)
    crumbs = [(desk.words.translate(N_("Quotas")), "/quotas"), (view.usage.name, f"/quotas/{account_id}")]
    kinds = [
        ("limit", desk.words.translate(N_("Limit for a time"))),
        ("guarantee", desk.words.translate(N_("Guarantee"))),
        ("target", desk.words.translate(N_("Target in percent"))),
    ]
    return desk.page(
        "pages/quota_share.html",
        status,
        account=view.usage,
        crumbs=crumbs,
        kinds=kinds,
        form=form,
        may_set=view.may_set,
        keys=[
            *key_choices(desk.words),
            *((name, desk.words.label("quota_target", name)) for name in VOCABULARIES["quota_target"]),
        ],
    )


def _loans(desk: Desk) -> Callable[[Form, int], Response]:
    def draw(form: Form, status: int) -> Response:
        return desk.page(
            "pages/quota_loans.html",
            status,
            rows=[_loan_line(view) for view in quota_loans.list_loans(desk.session, desk.actor)],
            form=form,
            keys=key_choices(desk.words),
            organizations=_organizations(desk),
            may_offer=desk.may(Action.QUOTA_SPLIT) or desk.may(Action.QUOTA_WRITE),
            crumbs=[(desk.words.translate(N_("Quotas")), "/quotas")],
        )

    return draw


def _organizations(desk: Desk) -> list[tuple[str, str]]:
    """Return the codes to choose from: of what the reader sees. Others may be written."""
    rows, _ = organizations.list_organizations(desk.session, desk.actor, OrganizationFilter(), limit=_MOST, cursor=None)
    return [(view.organization.code, view.organization.name) for view in rows]


def _loan_line(view: LoanView) -> Mapping[str, Any]:
    loan = view.loan
    return {
        "id": loan.loan_id,
        "lender": loan.lender,
        "borrower": loan.borrower,
        "state": loan.state,
        "until": formats.day(loan.until),
        "days_left": view.days_left,
        "amounts": [
            (key, formats.amount(held.amount, key), formats.amount(held.owed, key) if held.owed else "")
            for key in in_order(loan.amounts)
            for held in [loan.amounts[key]]
        ],
        "reason": loan.reason,
        "basis_no": loan.basis_no or "",
        "may_accept": view.may_accept,
        "may_cancel": view.may_cancel,
        "may_return": view.may_return,
    }
