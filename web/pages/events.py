"""Live progress of a request: server-sent events by cookie, because a browser's EventSource carries no bearer token."""

import uuid
from typing import Annotated

from fastapi import Header, Query, Request
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.http import streams
from cloudmgr.http.routes import page_router, rule
from cloudmgr.i18n import translator
from cloudmgr.models import RequestEvent
from cloudmgr.services import requests
from web.desk import DeskDep
from web.presenters.requests import event_line
from web.rendering import environment

router = page_router()

_MOST = 2**63 - 1
_LINE = "fragments/event_line.html"


@router.get("/requests/{request_id}/events", openapi_extra=rule(Action.REQUEST_READ, object_type="request"))
def follow(
    request: Request,
    desk: DeskDep,
    request_id: uuid.UUID,
    after: Annotated[int, Query(ge=0, le=_MOST)] = 0,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_MOST)] = None,
) -> Response:
    """Send each new line of progress as the very HTML the page was made of."""
    requests.list_events(desk.session, desk.actor, request_id, after=_MOST)  # asks whether the reader may
    template = environment(desk.language).get_template(_LINE)
    words = desk.words

    def write(event: RequestEvent) -> bytes:
        text = template.render(event=event_line(words, event)).replace("\r", " ").replace("\n", " ")
        return f"id: {event.id or 0}\nevent: progress\ndata: {text}\n\n".encode()

    last = last_event_id if last_event_id is not None else after
    return streams.event_stream(request.app, request_id, last, translator(desk.language), write=write)
