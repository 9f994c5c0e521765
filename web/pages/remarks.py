"""What people add to a request in the console: comments, files, feedback, answers to changes; and the form that is stamped."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.files import saved_file
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import remarks, request_changes, requests
from cloudmgr.services.remarks import GiveFeedback, WriteComment
from cloudmgr.services.request_changes import AnswerChange
from cloudmgr.services.stage_seats import seats_of
from web import formats
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import whole
from web.pages.requests import refused_there
from web.presenters import office
from web.presenters import requests as lines
from web.presenters.quota import in_order

router = page_router()


@router.post(
    "/requests/{request_id}/comments",
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_COMMENT, object_type="request", remembers=False),
)
def comment(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Write a comment, or an internal note."""
    typed = texts(sent)
    return _done(
        desk,
        request_id,
        typed,
        lambda: remarks.comment(
            desk.session,
            desk.actor,
            request_id,
            command(WriteComment, {"text": typed.get("text", ""), "internal": bool(typed.get("internal"))}),
        ),
        "commented",
    )


async def _with_file(request: Request) -> tuple[str, bytes]:
    """Return the file in the form. The form was read already, for the token in it, and is kept."""
    form = await request.form()
    file = form.get("file")
    found = (file.filename or "", await file.read()) if isinstance(file, UploadFile) else ("", b"")
    await form.close()
    return found


@router.post(
    "/requests/{request_id}/attachments",
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_ATTACH, object_type="request", remembers=False),
)
def attach(desk: DeskDep, request_id: uuid.UUID, sent: Annotated[tuple[str, bytes], Depends(_with_file)]) -> Response:
    """Attach a file."""
    name, content = sent
    return _done(
        desk,
        request_id,
        {},
        lambda: remarks.attach(desk.session, desk.actor, request_id, name, content),
        "attached",
    )


@router.get("/requests/{request_id}/attachments/{attachment_id}", openapi_extra=rule(Action.REQUEST_READ))
def download(desk: DeskDep, request_id: uuid.UUID, attachment_id: uuid.UUID) -> Response:
    """Hand out an attached file."""
    file = remarks.download(desk.session, desk.actor, request_id, attachment_id)
    return saved_file(file.name, file.media_type, file.content)


@router.post(
    "/requests/{request_id}/feedback",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_FEEDBACK, object_type="request", remembers=False),
)
def give_feedback(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Say how the delivery was."""
    typed = texts(sent)
    wanted = {"score": whole(typed.get("score", "")), "comment": typed.get("feedback", "")}
    return _done(
        desk,
        request_id,
        typed,
        lambda: remarks.give_feedback(desk.session, desk.actor, request_id, command(GiveFeedback, wanted)),
        "feedback",
    )


@router.post(
    "/requests/{request_id}/changes/{change_id}/answer",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_CONFIRM, object_type="request", remembers=False),
)
def answer(desk: DeskDep, request_id: uuid.UUID, change_id: uuid.UUID, sent: FormDep) -> Response:
    """Confirm or decline a proposed change."""
    typed = texts(sent)
    accept = typed.get("accept") == "yes"
    wanted = {"accept": accept, "comment": typed.get("answer", "")}
    return _done(
        desk,
        request_id,
        typed,
        lambda: request_changes.answer(desk.session, desk.actor, request_id, change_id, command(AnswerChange, wanted)),
        "change_confirmed" if accept else "change_declined",
    )


@router.post(
    "/requests/{request_id}/changes/{change_id}/withdrawal",
    openapi_extra=rule(Action.REQUEST_DECIDE, event=Event.REQUEST_DECLINE, object_type="request", remembers=False),
)
def withdraw_change(desk: DeskDep, request_id: uuid.UUID, change_id: uuid.UUID) -> Response:
    """Take back a change that one has proposed."""
    return _done(
        desk,
        request_id,
        {},
        lambda: request_changes.withdraw(desk.session, desk.actor, request_id, change_id),
        "change_withdrawn",
    )


@router.get("/requests/{request_id}/form", openapi_extra=rule(Action.REQUEST_READ))
def show_form(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show the request and its decisions as the form that is printed and stamped."""
    view = requests.get_request(desk.session, desk.actor, request_id)
    may_read = desk.may(Action.PERSONAL_READ, view.organization.path)
    return desk.page(
        "pages/request_paper.html",
        view=lines.page(desk.words, view, may_read_personal=may_read),
        request=view.request,
        organization=view.organization,
        project=view.project,
        entries=_entries(view.request.body),
        amounts=[
            (desk.words.key_label(key), formats.amount(view.amounts[key], key))
            for key in in_order(view.amounts)
            if view.amounts[key]
        ],
        opinions=office.opinions(desk.words, view, seats_of(desk.session, view)),
        files=[office.file_line(row) for row in remarks.list_attachments(desk.session, desk.actor, request_id)],
        feedback=remarks.read_feedback(desk.session, desk.actor, request_id),
    )


def _entries(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in body.get("servers") or [] if isinstance(entry, Mapping)]


def _done(desk: Desk, request_id: uuid.UUID, values: Mapping[str, str], act: Any, done: str) -> Response:
    """Do it and go back to the request; what is refused is told on its page."""
    view = refused_there(desk, request_id, values)
    try:
        act()
    except ValidationError as error:
        return desk.invalid(view, values, error, values)
    return go(f"/requests/{request_id}", done=done)
