"""The last recount of the quota ledger, published; and asking for another."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import quota_proofs
from web import formats
from web.desk import Desk, DeskDep, go
from web.rendering import Words

router = page_router()

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@router.get("/quotas/recounts", openapi_extra=rule(Action.QUOTA_READ))
def show(desk: DeskDep) -> Response:
    """Show what the last recount looked at and found."""
    found = quota_proofs.latest(desk.session, desk.actor)
    row = found.verification if found else None
    return desk.page(
        "pages/quota_recount.html",
        proof=published(desk),
        row=row,
        finished=formats.full_moment(row.finished_at) if row else "",
        lines=[_line(desk.words, each) for each in row.mismatches] if found and row and found.shows_rows else [],
        crumbs=[(desk.words.translate(N_("Quotas")), "/quotas")],
    )


@router.post(
    "/quotas/recounts",
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_VERIFY, object_type="quota_verification", remembers=False),
)
def ask(desk: DeskDep) -> Response:
    """Have the ledger recounted now."""
    quota_proofs.ask(desk.session, desk.actor)
    return go("/quotas/recounts", done="recount")


def published(desk: Desk) -> dict[str, Any] | None:
    """Return the line that says how the ledger was found, and whether it is an alarm; None before the first recount."""
    found = quota_proofs.latest(desk.session, desk.actor)
    if found is None:
        return None
    wrong = found.verification.mismatch_count or 0
    text = Message(
        N_("The ledger was recounted {ago}: {wrong} mismatches in {accounts} accounts and {entries} entries."),
        {
            "ago": _ago(found.age_s),
            "wrong": wrong,
            "accounts": formats.number(found.verification.accounts),
            "entries": formats.number(found.verification.entries),
        },
    )
    return {"text": desk.words.told(text), "tone": "bad" if wrong else "ok"}


def _line(words: Words, wrong: Mapping[str, Any]) -> dict[str, str]:
    """Return a wrong number in words; where the whole share is wrong, it has no key and no numbers."""
    key = str(wrong["key"])
    is_whole = key == "*"
    return {
        "name": wrong["name"],
        "key": words.translate(N_("All of it")) if is_whole else words.key_label(key),
        "column": words.label("recount_column", wrong["column"] or "none"),
        "recorded": formats.amount(wrong["recorded"], key),
        "recounted": formats.amount(wrong["recounted"], key),
        "source": words.label("recount_source", wrong["source"]),
    }


def _ago(seconds: int) -> Message:
    if seconds < _MINUTE_S:
        return Message(N_("{count} s ago"), {"count": seconds})
    if seconds < _HOUR_S:
        return Message(N_("{count} min ago"), {"count": seconds // _MINUTE_S})
    if seconds < _DAY_S:
        return Message(N_("{count} h ago"), {"count": seconds // _HOUR_S})
    return Message(N_("{count} days ago"), {"count": seconds // _DAY_S})
