"""Approvals: the queue, and one request beside what it takes of every quota."""

import uuid
from collections.abc import Mapping

from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Decision, RequestPhase
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import approvals, request_changes, requests, weighing
from cloudmgr.services.request_changes import ProposeChange
from cloudmgr.services.request_inputs import Decide
from cloudmgr.services.stage_seats import seats_of
from cloudmgr.services.working_calendar import calendar_of
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.presenters import requests as lines
from web.presenters.deadlines import due
from web.presenters.weighing import Scale, scale
from web.request_payload import changed_body

router = page_router()

AGREED = N_("Agreed")
_SHOWN = ("comment", "decision")
_DONE: Mapping[str, str] = {"approve": "approved", "return": "returned", "reject": "rejected"}


@router.get("/approvals", openapi_extra=rule(Action.REQUEST_READ))
def show_queue(desk: DeskDep) -> Response:
    """List what waits for the reader's decision, the oldest first: by role, as a person named, or as quota administrator."""
    access.require(desk.actor, Action.REQUEST_READ)
    rows = approvals.list_decidable(desk.session, desk.actor)
    calendar = calendar_of(desk.session)
    shown = [
        lines.line((request, project, organization, person), due=due(desk.words, calendar, stage.due_at))
        for request, stage, project, organization, person in rows
    ]
    return desk.page("pages/approvals.html", lines=shown, first="", next="")


@router.get("/approvals/{request_id}", openapi_extra=rule(Action.REQUEST_READ))
def show(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show one request to decide on."""
    access.require(desk.actor, Action.REQUEST_READ)
    return _Sheet(desk, request_id).page(Form({"comment": desk.words.translate(AGREED)}), 200)


@router.post(
    "/approvals/{request_id}",
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_APPROVE, object_type="request", remembers=False),
)
def decide(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Record the decision."""
    typed = texts(sent)
    values = {"comment": typed.get("comment", "")}
    sheet = _Sheet(desk, request_id)
    decision = typed.get("decision", "")
    is_default = values["comment"].strip() == desk.words.translate(AGREED)
    comment = "" if decision != "approve" and is_default else values["comment"]  # "agreed" is no reason to refuse
    try:
        wanted = command(Decide, {"decision": decision, "comment": comment})
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, _SHOWN)
    desk.on_refusal(sheet.page, values, _SHOWN)
    decided = approvals.decide(desk.session, desk.actor, request_id, wanted)
    is_passed_on = wanted.decision is Decision.APPROVE and decided.phase == RequestPhase.IN_REVIEW
    return go(f"/requests/{request_id}", done="passed" if is_passed_on else _DONE[wanted.decision])


@router.post(
    "/approvals/{request_id}/changes",
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_CHANGE, object_type="request", remembers=False),
)
def propose(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Propose other numbers or sizes to the applicant."""
    typed = texts(sent)
    sheet = _Sheet(desk, request_id)
    view = requests.get_request(desk.session, desk.actor, request_id)
    try:
        wanted = command(
            ProposeChange, {"body": changed_body(view.request.body, typed), "comment": typed.get("change_comment", "")}
        )
    except ValidationError as error:
        return desk.invalid(sheet.page, typed, error, typed)
    desk.on_refusal(sheet.page, typed, typed)
    request_changes.propose(desk.session, desk.actor, request_id, wanted)
    return go(f"/requests/{request_id}", done="proposed")


class _Sheet:
    """The page of one decision, read before anything is decided."""

    def __init__(self, desk: Desk, request_id: uuid.UUID) -> None:
        view = requests.get_request(desk.session, desk.actor, request_id)
        self._desk = desk
        self._view = lines.page(
            desk.words,
            view,
            may_read_personal=desk.may(Action.PERSONAL_READ, view.organization.path),
            seats=seats_of(desk.session, view),
            calendar=calendar_of(desk.session),
        )
        self._scale: Scale | None = None
        if desk.may(Action.QUOTA_READ, view.organization.path):
            self._scale = scale(desk.words, weighing.weigh(desk.session, desk.actor, request_id))
        queue = approvals.list_decidable(desk.session, desk.actor)
        self._may_decide = any(row[0].id == request_id for row in queue)
        self._proposal = (
            [entry for entry in view.request.body.get("servers") or [] if isinstance(entry, Mapping)]
            if view.request.kind == "create" and self._may_decide
            else []
        )
        self._is_own = view.request.requester_id == desk.actor.user_id

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        own = N_("You cannot decide on your own request; another person with the role must.")
        other = N_("There is nothing here for you to decide: it was decided already, or another role decides.")
        return self._desk.page(
            "pages/approval.html",
            status,
            view=self._view,
            form=form,
            scale=self._scale,
            may={"decide": self._may_decide},
            proposal=self._proposal,
            why_not=self._desk.words.translate(own if self._is_own else other),
        )
