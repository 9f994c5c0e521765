"""Notices: a person's inbox and what they want to hear of; deliveries by e-mail and webhook for system administrators."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.domain.notices import NOTICE_EVENTS, DeliveryChannel, DeliveryState, NoticeEvent
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import deliveries, notices
from cloudmgr.services.deliveries import DeliveryRow, DeliveryView
from cloudmgr.services.inputs import Id, Input
from cloudmgr.services.notices import MOST_COUNTED, NoticeRow, Preferences, SetPreferences

router = api_router("/notices", "notices")
MAX_MARKED = 200


class ObjectShape(Shape):
    """What a notice is about."""

    type: str = Field(examples=["request"])
    id: str
    name: str = Field(examples=["SQ20261122-0001"])


class NoticeShape(Shape):
    """One notice of one's own."""

    id: UUID
    at: At
    event: str = Field(examples=["request.fulfilled"])
    subject: str = Field(examples=["您的申请已办结"])
    text: str
    object: ObjectShape
    link: str = Field(examples=["/requests/019ab6f0-0000-7000-8000-000000000001"], description="A path of the console.")
    read_at: datetime | None


class CountShape(Shape):
    """How many notices are unread; `most` stands for as many or more."""

    unread: int
    most: int


class MarkRead(Input):
    """Which notices were read: ids, or none for all."""

    ids: Annotated[list[Id], Field(max_length=MAX_MARKED)] | None = None


class MarkedShape(Shape):
    """How many notices were unread until now."""

    read: int


class PreferencesShape(Shape):
    """Where one gets e-mail, the account's language, and by which channels one hears of each event."""

    email: str
    language: str = Field(examples=["zh_CN"])
    wanted: dict[str, list[str]] = Field(examples=[{"lease.reminder": ["inbox", "email"]}])


class AttemptShape(Shape):
    """One try of a delivery. `status`: what the receiver answered with."""

    number: int
    at: At
    is_sent: bool
    status: str = Field(examples=["503"])
    duration_ms: int
    message: str


class DeliveryLine(Shape):
    """A notice on its way out. Its id is what receivers deduplicate by."""

    id: UUID
    created_at: At
    event: str
    object: ObjectShape
    channel: str = Field(examples=["webhook"])
    target: str = Field(examples=["oa"], description="The webhook's name, or the person's user name.")
    state: str = Field(examples=["waiting"])
    attempts: int
    next_at: datetime | None = Field(description="When it is tried (again); null once it has ended.")
    finished_at: datetime | None
    message: str = Field(description="Why the last try failed.")


class DeliveryShape(DeliveryLine):
    """A delivery with its log."""

    log: list[AttemptShape]


@router.get("", response_model=ItemPage[NoticeShape], openapi_extra=rule("person"))
def list_notices(
    http: Request,
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    unread: Annotated[bool, Query(description="Only those not read yet.")] = False,
    event: NoticeEvent | None = None,
) -> dict[str, Any]:
    """List your own notices, newest first."""
    rows, following = notices.list_notices(
        session, actor, unread=unread, event=event, limit=page.limit, cursor=page.cursor
    )
    translate = translator(language_of(http))
    return {"items": [_notice(row, translate) for row in rows], "next_cursor": encode_cursor(following)}


def _notice(row: NoticeRow, translate: Translator) -> dict[str, Any]:
    notice, happening = row
    return {
        "id": notice.id,
        "at": happening.created_at,
        "event": happening.event,
        "subject": translate(NOTICE_EVENTS.get(happening.event, happening.event)),
        "text": Message.from_json(happening.message).render(translate),
        "object": {"type": happening.object_type, "id": happening.object_id, "name": happening.object_name},
        "link": happening.link,
        "read_at": notice.read_at,
    }


@router.get("/unread", response_model=CountShape, openapi_extra=rule("person"))
def count_unread(actor: ActorDep, session: SessionDep) -> CountShape:
    """Tell how many of your notices are unread."""
    return CountShape(unread=notices.count_unread(session, actor), most=MOST_COUNTED)


@router.post("/read", response_model=MarkedShape, openapi_extra=rule("person", object_type="notice"))
def mark_read(command: MarkRead, actor: ActorDep, session: SessionDep) -> MarkedShape:
    """Mark your notices as read: those named, or all. Ids that are not yours change nothing."""
    return MarkedShape(read=notices.mark_read(session, actor, command.ids))


@router.get("/preferences", response_model=PreferencesShape, openapi_extra=rule("person"))
def read_preferences(actor: ActorDep, session: SessionDep) -> dict[str, Any]:
    """Tell what you hear of, and how."""
    return _preferences(notices.get_preferences(session, actor))


@router.patch(
    "/preferences",
    response_model=PreferencesShape,
    openapi_extra=rule("person", event=Event.NOTICE_CHANGE, object_type="user"),
)
def change_preferences(command: SetPreferences, actor: ActorDep, session: SessionDep) -> dict[str, Any]:
    """Change where you get e-mail, your account's language, and what you hear of; what is left out stays as it is."""
    return _preferences(notices.set_preferences(session, actor, command))


def _preferences(found: Preferences) -> dict[str, Any]:
    return {
        "email": found.email,
        "language": found.language,
        "wanted": {event.value: [channel.value for channel in each] for event, each in found.wanted.items()},
    }


@router.get(
    "/deliveries",
    response_model=ItemPage[DeliveryLine],
    openapi_extra=rule(Action.DELIVERY_MANAGE, object_type="delivery"),
)
def list_deliveries(
    http: Request,
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    state: Annotated[list[DeliveryState] | None, Query(description="One or more states.")] = None,
    channel: DeliveryChannel | None = None,
) -> dict[str, Any]:
    """List what left this system by e-mail and webhook, or is on its way, newest first."""
    rows, following = deliveries.list_deliveries(
        session, actor, states=state or (), channel=channel, limit=page.limit, cursor=page.cursor
    )
    translate = translator(language_of(http))
    return {"items": [_line(row, translate) for row in rows], "next_cursor": encode_cursor(following)}


def _line(row: DeliveryRow, translate: Translator) -> dict[str, Any]:
    delivery, happening, user = row
    return {
        "id": delivery.id,
        "created_at": delivery.created_at,
        "event": happening.event,
        "object": {"type": happening.object_type, "id": happening.object_id, "name": happening.object_name},
        "channel": delivery.channel,
        "target": user.username if user else delivery.target,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at if delivery.state == DeliveryState.WAITING else None,
        "finished_at": delivery.finished_at,
        "message": Message.from_json(delivery.message).render(translate) if delivery.message else "",
    }


@router.get(
    "/deliveries/{delivery_id}",
    response_model=DeliveryShape,
    openapi_extra=rule(Action.DELIVERY_MANAGE, object_type="delivery"),
)
def read_delivery(delivery_id: UUID, http: Request, actor: ActorDep, session: SessionDep) -> dict[str, Any]:
    """Tell one delivery with every try of it."""
    return _whole(deliveries.get_delivery(session, actor, delivery_id), translator(language_of(http)))


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DeliveryShape,
    openapi_extra=rule(Action.DELIVERY_MANAGE, event=Event.NOTICE_REPLAY, object_type="delivery"),
)
def replay_delivery(delivery_id: UUID, http: Request, actor: ActorDep, session: SessionDep) -> dict[str, Any]:
    """Send a delivery once more, under the same id, whether it had failed or arrived; 409 while it waits anyway."""
    return _whole(deliveries.replay(session, actor, delivery_id), translator(language_of(http)))


def _whole(view: DeliveryView, translate: Translator) -> dict[str, Any]:
    return {
        **_line(view.row, translate),
        "log": [
            {
                "number": each.number,
                "at": each.created_at,
                "is_sent": each.is_sent,
                "status": each.status,
                "duration_ms": each.duration_ms,
                "message": Message.from_json(each.message).render(translate) if each.message else "",
            }
            for each in view.attempts
        ],
    }
