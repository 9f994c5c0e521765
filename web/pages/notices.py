"""Notices: a person's inbox, what they want to hear of, and for system administrators what left by e-mail and webhook."""

import uuid

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.notices import Channel, DeliveryChannel, DeliveryState, NoticeEvent
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import deliveries, notices
from cloudmgr.services.notices import SetPreferences
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.lists import PAGE, cursor_of, filters_of, pages
from web.presenters import notices as lines

router = page_router()


@router.get("/notices", openapi_extra=rule("person"))
def show_inbox(request: Request, desk: DeskDep) -> Response:
    """List the reader's notices."""
    filters = filters_of(request, "unread", "event")
    if filters.get("event") not in {None, *NoticeEvent}:
        raise InvalidInput(N_("There is no such state."), field="event")
    rows, following = notices.list_notices(
        desk.session,
        desk.actor,
        unread="unread" in filters,
        event=NoticeEvent(filters["event"]) if "event" in filters else None,
        limit=PAGE,
        cursor=cursor_of(request),
    )
    return desk.page(
        "pages/notices.html",
        lines=[lines.line(desk.words, row) for row in rows],
        events=[(each, desk.words.label("notice_event", each)) for each in NoticeEvent],
        form=Form(filters),
        filtered=bool(filters),
        sees_deliveries=desk.may(Action.DELIVERY_MANAGE),
        **pages(request, filters, following),
    )


@router.post("/notices/read", openapi_extra=rule("person", object_type="notice", remembers=False))
def mark_read(desk: DeskDep, sent: FormDep) -> Response:
    """Mark what is named as read, or everything."""
    marked = [str(value) for value in sent.getlist("ids")]
    try:
        ids = [uuid.UUID(each) for each in marked]
    except ValueError as error:
        raise InvalidInput(N_("There is no such object."), field="ids") from error
    notices.mark_read(desk.session, desk.actor, ids or None)
    return go("/notices", done="read")


@router.get("/notices/preferences", openapi_extra=rule("person"))
def show_preferences(desk: DeskDep) -> Response:
    """Show what the reader hears of, and how."""
    found = notices.get_preferences(desk.session, desk.actor)
    return _preferences(desk)(Form({"email": found.email, "language": found.language}), 200)


@router.post(
    "/notices/preferences",
    openapi_extra=rule("person", event=Event.NOTICE_CHANGE, object_type="user", remembers=False),
)
def change_preferences(desk: DeskDep, sent: FormDep) -> Response:
    """Take the whole form: every box not ticked is not wanted."""
    values = texts(sent)
    view = _preferences(desk)
    desk.on_refusal(view, values, ("email", "language"))
    wanted = {
        event.value: [each.value for each in Channel if lines.box(event, each) in values] for event in NoticeEvent
    }
    try:
        spoken = {"language": values["language"]} if "language" in values else {}
        wish = command(SetPreferences, {"email": values.get("email", ""), "wanted": wanted, **spoken})
    except ValidationError as error:
        return desk.invalid(view, values, error, ("email", "language"))
    notices.set_preferences(desk.session, desk.actor, wish)
    return go("/notices/preferences", done="saved")


class _preferences:  # noqa: N801 - a function with what it was prepared with
    """The page of preferences, ready to be drawn with or without a refusal."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wanted = lines.wanted(desk.words, notices.get_preferences(desk.session, desk.actor))

    def __call__(self, form: Form, status: int) -> Response:
        has_mail = self._desk.settings.mail.host is not None
        return self._desk.page(
            "pages/notice_preferences.html", status, form=form, wanted=self._wanted, has_mail=has_mail
        )


@router.get("/notices/deliveries", openapi_extra=rule(Action.DELIVERY_MANAGE))
def show_deliveries(request: Request, desk: DeskDep) -> Response:
    """List what left this system, or is on its way."""
    filters = filters_of(request, "state", "channel")
    if filters.get("state") not in {None, *DeliveryState} or filters.get("channel") not in {None, *DeliveryChannel}:
        raise InvalidInput(N_("There is no such state."), field="state")
    rows, following = deliveries.list_deliveries(
        desk.session,
        desk.actor,
        states=[DeliveryState(filters["state"])] if "state" in filters else (),
        channel=DeliveryChannel(filters["channel"]) if "channel" in filters else None,
        limit=PAGE,
        cursor=cursor_of(request),
    )
    return desk.page(
        "pages/deliveries.html",
        lines=[lines.delivery(desk.words, row) for row in rows],
        states=[(each, desk.words.label("delivery_state", each)) for each in DeliveryState],
        channels=[(each, desk.words.label("delivery_channel", each)) for each in DeliveryChannel],
        webhooks=[(hook.name, hook.url.partition("?")[0]) for hook in desk.settings.webhooks],
        mail_host=desk.settings.mail.host or "",
        form=Form(filters),
        filtered=bool(filters),
        **pages(request, filters, following),
    )


@router.post(
    "/notices/deliveries/{delivery_id}/replay",
    openapi_extra=rule(Action.DELIVERY_MANAGE, event=Event.NOTICE_REPLAY, object_type="delivery", remembers=False),
)
def replay(desk: DeskDep, delivery_id: uuid.UUID) -> Response:
    """Send one once more."""
    deliveries.replay(desk.session, desk.actor, delivery_id)
    return go("/notices/deliveries", done="replayed")
