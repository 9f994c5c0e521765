"""The audit log: as far as the reader's roles reach, and always their own actions."""

import re

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.http.deps import SeqPageDep, encode_seq
from cloudmgr.http.routes import page_router, rule
from cloudmgr.models import AuditEvent
from cloudmgr.services import audit_log
from cloudmgr.services.audit_log import AuditFilter
from web.desk import DeskDep, command, refused_filter
from web.forms import Form
from web.lists import filters_of, next_pages

router = page_router()

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHOWN = ("actor", "action", "outcome", "from", "to")


@router.get("/audit", openapi_extra=rule(Action.AUDIT_READ_OWN))
def show_list(request: Request, desk: DeskDep, page: SeqPageDep) -> Response:
    """List records, newest first."""
    filters = filters_of(request, *_SHOWN)
    form, status = Form(filters), 200
    lines: list[AuditEvent] = []
    following = None
    try:
        wanted = command(AuditFilter, _payload(filters))
        lines, following = audit_log.list_events(desk.session, desk.actor, wanted, limit=page.limit, cursor=page.cursor)
    except ValidationError as error:
        form, status = refused_filter(desk.language, error, filters, {"since": "from", "until": "to"})
    label = desk.words.label
    return desk.page(
        "pages/audit.html",
        status,
        form=form,
        lines=lines,
        events=[(event, label("event", event)) for event in Event],
        outcomes=[(outcome, label("outcome", outcome)) for outcome in Outcome],
        wide=desk.may(Action.AUDIT_READ),
        **next_pages(request, filters, encode_seq(following)),
    )


def _payload(filters: dict[str, str]) -> dict[str, str]:
    payload: dict[str, str] = {name: filters[name] for name in ("actor", "action", "outcome") if name in filters}
    if "from" in filters:
        payload["since"] = f"{filters['from']}T00:00:00+08:00" if _DAY.fullmatch(filters["from"]) else filters["from"]
    if "to" in filters:
        payload["until"] = f"{filters['to']}T23:59:59.999+08:00" if _DAY.fullmatch(filters["to"]) else filters["to"]
    return payload
