"""Quotas: the tree as a table with bars, and one account with the form for its limits."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import quotas
from cloudmgr.services.quotas import AccountView, SetLimits, WhatIf
from web import formats
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.lists import filters_of
from web.pages.quota_proofs import published
from web.pages.quota_shares import notes_of, shares_of
from web.presenters.consequences import consequence
from web.presenters.quota import Bar, bars, in_order, ratio_pct
from web.quota_amounts import factor, key_choices, typed_amount, unit

router = page_router()

_COLUMNS = ("servers", "vcpus", "memory_mib", "disk_gib")
_MOST_DEPTH, _MOST_INDENT, _WHOLE_PCT = 14, 4, 100


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One account in the table."""

    account: uuid.UUID
    name: str
    indent: int
    bars: list[Bar | None]
    ratios: list[int | None]
    notes: list[tuple[str, str]]
    """Crossed thresholds and how long something is held: text and tone."""

    @property
    def has_guarantee(self) -> bool:
        """Whether a bar carries the mark of a guarantee."""
        return any(bar.guaranteed for bar in self.bars if bar is not None)


@dataclass(frozen=True, slots=True)
class RoomLine:
    """What can really be granted of one key."""

    key: str
    here: str
    room: str


@router.get("/quotas", openapi_extra=rule(Action.QUOTA_READ))
def show_tree(request: Request, desk: DeskDep) -> Response:
    """Show the reader's tree, one level at first."""
    filters = filters_of(request, "root", "depth")
    depth = _depth(filters.get("depth", "1"))
    root, above = _start(desk, _account(filters.get("root")))
    views = quotas.get_tree(desk.session, desk.actor, root, above + depth) if root else []
    shallowest = min((view.usage.depth for view in views), default=0)
    deepest = shallowest + above + depth
    has_more = any(view.usage.depth == deepest and view.kind == "organization" for view in views)
    rows = [_row(desk, view, shallowest) for view in views]
    deeper = {**filters, "depth": str(depth + 1)}
    return desk.page(
        "pages/quotas.html",
        rows=rows,
        resources=[desk.words.key_label(key) for key in _COLUMNS],
        proof=published(desk),
        over=[line for view in views if (line := _over(desk, view))],
        deeper=f"/quotas?{urlencode(deeper)}" if has_more else "",
    )


@router.get("/quotas/{account_id}", openapi_extra=rule(Action.QUOTA_READ))
def show(desk: DeskDep, account_id: uuid.UUID) -> Response:
    """Show one account."""
    view = quotas.get_usage(desk.session, desk.actor, account_id)
    sheet = _Sheet(desk, view)
    return sheet.page(Form({f"limits.{key}": sheet.limit(key) for key in sheet.keys}), 200)


@router.post(
    "/quotas/{account_id}",
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_SET, object_type="quota_account", remembers=False),
)
def set_limits(desk: DeskDep, account_id: uuid.UUID, sent: FormDep) -> Response:
    """Set the limits that were changed on the form."""
    values = texts(sent)
    view = quotas.get_usage(desk.session, desk.actor, account_id)
    sheet = _Sheet(desk, view)
    limits: dict[str, int | str | None] = {}
    seen: dict[str, int | None] = {}
    for key in sheet.keys:
        was = _seen(values, key, view.usage.limits.get(key))
        given = typed_amount(values.get(f"limits.{key}", ""), factor(key, was))
        if given != was:
            limits[key], seen[key] = given, was
        else:
            values[f"limits.{key}"] = sheet.limit(key)
    if new_key := values.get("new_key", "").strip():
        limits[new_key] = typed_amount(values.get("new_limit", ""), sheet.factor(new_key))
    payload = {"limits": limits, "reason": values.get("reason", "") or ("-" if values.get("what_if") else "")}
    if values.get("basis_no", "").strip():
        payload["basis_no"] = values["basis_no"]
    shown = [f"limits.{key}" for key in sheet.keys] + ["reason", "basis_no", "new_key"]
    if not limits:
        words = desk.words.translate(N_("No limit was changed."))
        return sheet.page(Form(values, summary=[words]), 422)
    try:
        wanted = command(SetLimits, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, shown)
    desk.on_refusal(sheet.page, values, shown)
    quotas.require_unchanged(desk.session, account_id, seen)
    if values.get("what_if"):
        found = quotas.what_if(desk.session, desk.actor, WhatIf(account=account_id, limits=wanted.limits))
        sheet.tried = [consequence(desk.words, each) for each in found] or [
            desk.words.translate(N_("Nobody would be over."))
        ]
        return sheet.page(Form(values), 200)
    quotas.set_limits(desk.session, desk.actor, account_id, wanted, replace=False)
    return go(f"/quotas/{account_id}", done="limits")


class _Sheet:
    """The page of one account."""

    def __init__(self, desk: Desk, view: AccountView) -> None:
        usage = view.usage
        self._desk, self._view = desk, view
        self.tried: list[str] = []
        """What the limits on the form would bring about, where that was asked."""
        self.keys = in_order({*usage.limits, *_COLUMNS})
        own = bars(usage.limits, usage.used, usage.reserved, usage.guaranteed)
        self._account = {
            "id": view.usage.account_id,
            "name": usage.name,
            "bars": [bar for bar in own if bar.limit is not None or bar.taken],
        }
        no_limit = desk.words.translate(N_("No limit"))
        self._room = [
            RoomLine(
                key,
                formats.amount(usage.available.get(key), key) or no_limit,
                formats.amount(None if usage.room[key] is None else max(0, usage.room[key] or 0), key) or no_limit,
            )
            for key in in_order(usage.room)
        ]

    def factor(self, key: str) -> int:
        """Return how many units of the ledger one unit of the form is."""
        return factor(key, self._view.usage.limits.get(key))

    def limit(self, key: str) -> str:
        """Return the limit that stands, as the form shows it."""
        limit = self._view.usage.limits.get(key)
        return "" if limit is None else str(limit // self.factor(key))

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        crumbs = [(self._desk.words.translate(N_("Quotas")), "/quotas")]
        crumbs += [(name, f"/quotas/{account_id}") for account_id, name in self._view.usage.ancestors]
        return self._desk.page(
            "pages/quota.html",
            status,
            account=self._account,
            crumbs=crumbs,
            below=f"/quotas?root={self._account['id']}&depth=1" if self._view.kind == "organization" else "",
            room=self._room,
            tried=self.tried,
            shares=shares_of(self._desk, self._view),
            keys=[(key, unit(key, self.factor(key)), self._view.usage.limits.get(key)) for key in self.keys],
            may_set=self._view.may_set,
            offered=key_choices(self._desk.words),
            may_ask=self._desk.may(Action.REQUEST_MAKE) and not self._view.usage.is_closed,
            has_history=self._desk.may(Action.QUOTA_READ, self._view.path),
            form=form,
        )


def _seen(values: Mapping[str, str], key: str, now: int | None) -> int | None:
    """Return the limit that the form showed when it was opened; what stands now where it does not say."""
    text = values.get(f"seen.{key}")
    if text is None:
        return now
    return int(text) if text.isdecimal() else None


def _start(desk: Desk, root: uuid.UUID | None) -> tuple[uuid.UUID | None, int]:
    """Return where the table begins and how many levels lead from there to the reader's own.

    Without a wish it begins at the very top: what binds a request is often a limit far above the reader.
    """
    if root is not None:
        return root, 0
    own = quotas.get_tree(desk.session, desk.actor, None, 0)
    if not own:
        return None, 0
    first = own[0].usage
    return (first.ancestors[0][0] if first.ancestors else first.account_id), max(view.usage.depth for view in own)


def _row(desk: Desk, view: AccountView, shallowest: int) -> TreeRow:
    usage = view.usage
    shown = {bar.key: bar for bar in bars(usage.limits, usage.used, usage.reserved, usage.guaranteed)}
    return TreeRow(
        account=usage.account_id,
        name=usage.name,
        indent=min(usage.depth - shallowest, _MOST_INDENT),
        bars=[bar if (bar := shown.get(key)) and (bar.limit is not None or bar.taken) else None for key in _COLUMNS],
        ratios=[ratio_pct(usage.limits.get(key), usage.children_limit_sum.get(key)) for key in _COLUMNS],
        notes=notes_of(desk, view),
    )


def _over(desk: Desk, view: AccountView) -> str:
    usage = view.usage
    over = [
        f"{desk.words.key_label(key)} {ratio} %"
        for key in _COLUMNS
        if (ratio := ratio_pct(usage.limits.get(key), usage.children_limit_sum.get(key))) and ratio > _WHOLE_PCT
    ]
    return f"{usage.name}: {', '.join(over)}" if over else ""


def _depth(text: str) -> int:
    if not text.isdigit() or int(text) > _MOST_DEPTH:
        raise InvalidInput(N_("The depth is a number from 0 to {most}."), field="depth", most=_MOST_DEPTH)
    return int(text)


def _account(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        raise InvalidInput(N_("This is not an id."), field="root") from None
