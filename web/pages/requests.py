"""Requests: the list, one request with its progress, and what its maker may do with it."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from fastapi import Request
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import EDITABLE_REQUESTS, REQUEST_MOVES, RequestKind, RequestPhase
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import approvals, deadlines, remarks, request_changes, requests, servers
from cloudmgr.services.request_clones import CLONABLE
from cloudmgr.services.request_view import RequestView
from cloudmgr.services.stage_seats import seats_of
from cloudmgr.services.working_calendar import calendar_of
from web import corrections
from web.desk import Desk, DeskDep, FormView, go
from web.forms import Form
from web.lists import PAGE, cursor_of, filters_of, pages
from web.pages import server_changes
from web.presenters import office
from web.presenters import requests as lines
from web.presenters import servers as server_lines
from web.presenters.deadlines import Due, due, shown_in_list

router = page_router()

_EDITABLE = frozenset({RequestKind.CREATE, RequestKind.QUOTA_CHANGE, RequestKind.RETIRE}) | server_changes.CORRECTED
"""Kinds with a form in which a draft or a returned one is corrected; others are sent again as they are."""
_RETRIABLE = frozenset({RequestPhase.FAILED, RequestPhase.PARTLY_FULFILLED})


@router.get("/requests", openapi_extra=rule(Action.REQUEST_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the requests the reader may see."""
    filters = filters_of(request, "phase", "mine")
    if filters.get("phase") not in {None, *RequestPhase}:
        raise InvalidInput(N_("There is no such state."), field="phase")
    rows, following = requests.list_requests(
        desk.session,
        desk.actor,
        phases=[filters["phase"]] if "phase" in filters else (),
        mine="mine" in filters,
        limit=PAGE,
        cursor=cursor_of(request),
    )
    dues = deadlines.open_dues(desk.session, [row[0].id for row in rows])
    return desk.page(
        "pages/requests.html",
        form=Form(filters),
        lines=[lines.line(row, due=_mark(desk, dues.get(row[0].id))) for row in rows],
        phases=[(phase, desk.words.label("request_phase", phase)) for phase in RequestPhase],
        filtered=bool(filters),
        may_request=desk.may(Action.REQUEST_MAKE),
        **pages(request, filters, following),
    )


@router.get("/requests/{request_id}", openapi_extra=rule(Action.REQUEST_READ))
def show(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show one request."""
    return _page(desk, requests.get_request(desk.session, desk.actor, request_id), Form(), 200)


@router.get("/requests/{request_id}/state", openapi_extra=rule(Action.REQUEST_READ))
def show_state(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show the part of the page that follows the work: what can be done, stages and servers."""
    view = requests.get_request(desk.session, desk.actor, request_id)
    return desk.fragment("fragments/request_live.html", view=_arranged(desk, view), may=_may(desk, view), form=Form())


@router.post(
    "/requests/{request_id}/submit",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False),
)
def submit(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Submit a draft."""
    _on_refusal(desk, request_id)
    requests.submit(desk.session, desk.actor, request_id)
    return go(f"/requests/{request_id}", done="submitted")


@router.post(
    "/requests/{request_id}/withdraw",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_WITHDRAW, object_type="request", remembers=False),
)
def withdraw(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Take a request back."""
    _on_refusal(desk, request_id)
    requests.withdraw(desk.session, desk.actor, request_id)
    return go(f"/requests/{request_id}", done="withdrawn")


@router.post(
    "/requests/{request_id}/retry",
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_RETRY, object_type="request", remembers=False),
)
def retry(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Try again what failed."""
    _on_refusal(desk, request_id)
    requests.retry(desk.session, desk.actor, request_id)
    return go(f"/requests/{request_id}", done="retried")


@router.post(
    "/requests/{request_id}/urge",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_URGE, object_type="request", remembers=False),
)
def urge(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Urge a decision."""
    _on_refusal(desk, request_id)
    deadlines.urge(desk.session, desk.actor, request_id)
    return go(f"/requests/{request_id}", done="urged")


@router.get("/requests/{request_id}/handover", openapi_extra=rule(Action.REQUEST_READ))
def show_handover(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show the delivery sheet, made to be printed."""
    handover = servers.handover(desk.session, desk.actor, request_id)
    may_read = desk.may(Action.PERSONAL_READ, handover.organization.path)
    return desk.page("pages/handover.html", sheet=server_lines.sheet(desk.words, handover, may_read_personal=may_read))


def _mark(desk: Desk, due_at: datetime | None) -> Due | None:
    return shown_in_list(due(desk.words, calendar_of(desk.session), due_at))


def refused_there(desk: Desk, request_id: uuid.UUID, values: Mapping[str, str]) -> FormView:
    """Have a refusal shown on the request's own page with what was typed; returns what draws it."""
    draw = _prepared(desk, requests.get_request(desk.session, desk.actor, request_id))
    desk.on_refusal(draw, values, values)
    return draw


def _on_refusal(desk: Desk, request_id: uuid.UUID) -> None:
    """Have a refusal shown on the request's own page; all it shows is arranged now, while the transaction stands."""
    draw = _prepared(desk, requests.get_request(desk.session, desk.actor, request_id))
    desk.on_refusal(draw, {}, ())


def _page(desk: Desk, view: RequestView, form: Form, status: int) -> Response:
    return _prepared(desk, view)(form, status)


class _prepared:  # noqa: N801 - a function with what it was prepared with
    """The page of one request, ready to be drawn with or without a refusal."""

    def __init__(self, desk: Desk, view: RequestView) -> None:
        self._desk = desk
        self._view = _arranged(desk, view)
        self._may = _may(desk, view)
        self._events = [lines.event_line(desk.words, event) for event in view.events]
        self._room = _room(desk, view)

    def __call__(self, form: Form, status: int) -> Response:
        return self._desk.page(
            "pages/request.html",
            status,
            view=self._view,
            may=self._may,
            form=form,
            room=self._room,
            events=self._events,
            last_event=max((event.id for event in self._events), default=0),
            is_live=lines.is_live(self._view.phase),
        )


def _arranged(desk: Desk, view: RequestView) -> lines.RequestPage:
    return lines.page(
        desk.words,
        view,
        may_read_personal=desk.may(Action.PERSONAL_READ, view.organization.path),
        seats=seats_of(desk.session, view),
        calendar=calendar_of(desk.session),
    )


def _room(desk: Desk, view: RequestView) -> office.Room:
    change = request_changes.proposed(desk.session, view.request)
    return office.Room(
        comments=[office.comment_line(row) for row in remarks.list_comments(desk.session, desk.actor, view.request.id)],
        files=[office.file_line(row) for row in remarks.list_attachments(desk.session, desk.actor, view.request.id)],
        feedback=remarks.read_feedback(desk.session, desk.actor, view.request.id),
        change=office.ChangeBox(
            change.id,
            change.comment,
            office.diff_rows(desk.words, change.before, change.after),
            is_mine=change.proposer_id == desk.actor.user_id,
        )
        if change
        else None,
    )


def _may(desk: Desk, view: RequestView) -> dict[str, bool]:
    """Say which buttons make sense; what they do asks again."""
    phase = RequestPhase(view.request.phase)
    own = view.request.requester_id == desk.actor.user_id and desk.may(Action.REQUEST_MAKE, view.organization.path)
    power = desk.may(Action.SERVER_POWER, view.organization.path)
    has_form = view.request.kind in _EDITABLE or corrections.page_of(view) is not None
    queue = approvals.list_decidable(desk.session, desk.actor) if any(s.state == "open" for s in view.stages) else []
    return {
        "edit": own and phase in EDITABLE_REQUESTS and has_form,
        "submit": own and (phase is RequestPhase.DRAFT or (phase is RequestPhase.RETURNED and not has_form)),
        "withdraw": own and RequestPhase.WITHDRAWN in REQUEST_MOVES[phase],
        "urge": own and any(stage.state == "open" for stage in view.stages),
        "retry": phase in _RETRIABLE and (power or desk.may(Action.REQUEST_MAKE, view.organization.path)),
        "clone": desk.may(Action.REQUEST_MAKE, view.organization.path) and view.request.kind in CLONABLE,
        "decide": any(row[0].id == view.request.id for row in queue),
        "answer": own,
        "note": (note := remarks.sees_internal(desk.session, desk.actor, view.request, view.organization)),
        "remark": own or note or desk.may(Action.REQUEST_MAKE, view.organization.path),
        "feedback": own and phase in (RequestPhase.FULFILLED, RequestPhase.PARTLY_FULFILLED),
    }
