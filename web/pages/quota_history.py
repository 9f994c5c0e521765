"""What happened to one quota account, entry by entry."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.messages import N_
from cloudmgr.http.deps import SeqPageDep, encode_seq
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import quota_history, quotas
from cloudmgr.services.quota_history import Cause, HistoryEntry
from web import formats
from web.desk import Desk, DeskDep
from web.forms import Form
from web.lists import PAGE, filters_of, next_pages
from web.presenters.quota import in_order

router = page_router()


@dataclass(frozen=True, slots=True)
class Line:
    """One entry; amounts in words, empty where nothing of the kind changed."""

    at: datetime
    key: str
    movement: str
    change: str
    used: str
    held: str
    reason: str
    basis_no: str
    actor: str
    cause: Cause | None


@router.get("/quotas/{account_id}/history", openapi_extra=rule(Action.QUOTA_READ))
def show(request: Request, desk: DeskDep, account_id: uuid.UUID, page: SeqPageDep) -> Response:
    """Show it, the newest first; only what somebody decided, at first."""
    filters = filters_of(request, "key", "what")
    view = quotas.get_usage(desk.session, desk.actor, account_id)
    found = quota_history.read_history(
        desk.session,
        desk.actor,
        account_id,
        limit=PAGE,
        before=page.cursor,
        key=filters.get("key"),
        decisions_only=filters.get("what") == "decisions",
    )
    translate = desk.words.translate
    return desk.page(
        "pages/quota_history.html",
        name=view.usage.name,
        address=f"/quotas/{account_id}/history",
        crumbs=[(translate(N_("Quotas")), "/quotas"), (view.usage.name, f"/quotas/{account_id}")],
        form=Form(filters),
        filtered=bool(filters),
        keys=[(key, desk.words.key_label(key)) for key in in_order({*view.usage.limits, *view.usage.used})],
        kinds=[("decisions", translate(N_("Only limits and guarantees")))],
        lines=[_line(desk, each, found.causes.get(each.part_id) if each.part_id else None) for each in found.lines],
        **next_pages(request, filters, encode_seq(found.following)),
    )


def _line(desk: Desk, entry: HistoryEntry, cause: Cause | None) -> Line:
    no_limit = desk.words.translate(N_("No limit"))
    change = ""
    if entry.movement == "limit_set":
        before, after = (formats.amount(each, entry.key) or no_limit for each in (entry.previous, entry.limit))
        change = f"{before} → {after}"
    elif entry.movement == "guarantee_set":
        change = formats.amount(entry.limit, entry.key) or "0"
    return Line(
        at=entry.at,
        key=desk.words.key_label(entry.key),
        movement=desk.words.label("quota_movement", entry.movement),
        change=change,
        used=_signed(entry.used, entry.key),
        held=_signed(entry.reserved, entry.key),
        reason=entry.reason,
        basis_no=entry.basis_no or "",
        actor=entry.actor,
        cause=cause,
    )


def _signed(amount: int, key: str) -> str:
    return "" if not amount else f"{'+' if amount > 0 else '−'}{formats.amount(abs(amount), key)}"
