"""One try of one delivery: what is to be sent is put together in one transaction, sent, and what came of it is noted.

At least once: killed between the send and its note, the workflow sends again with the same delivery id.
"""

import time
import uuid
from datetime import timedelta
from html import escape
from typing import Any

import orjson
from dbos import DBOS
from sqlmodel import Session

from cloudmgr.adapters import mail, webhooks
from cloudmgr.adapters.mail import Letter
from cloudmgr.adapters.sent import Sent
from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import NOTICE_EVENTS, DeliveryChannel, DeliveryState, backoff
from cloudmgr.i18n import LANGUAGES, translator
from cloudmgr.models import Delivery, Happening, User
from cloudmgr.settings import Settings, Web
from cloudmgr.store import notices
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, write

_PRODUCT = N_("Unified Cloud Manager")
_FOOT = N_("Sent automatically; choose what you are told of in the console, under Notices.")


@DBOS.workflow(name="deliver_notice", max_recovery_attempts=1000)
def deliver_notice(delivery_id: str, number: int) -> bool:
    """Try a delivery once; True when the receiver took it. Another try is begun by whoever looks for what is due."""
    parcel = write("notice_begin", begin, delivery_id, number)
    if parcel is None:
        return False
    sent: dict[str, Any] = call("notice_send", _send, parcel, number)
    write("notice_end", end, delivery_id, number, sent)
    return bool(sent["is_sent"])


def begin(session: Session, delivery_id: str, number: int) -> dict[str, Any] | None:
    """Return what is to be sent; None where this try is no longer wanted."""
    row = notices.get_delivery(session, uuid.UUID(delivery_id), lock=True)
    if row is None or row[0].state != DeliveryState.WAITING or row[0].attempts != number:
        return None
    delivery, happening, user = row
    if delivery.channel == DeliveryChannel.WEBHOOK:
        return _for_webhook(delivery, happening)
    email = notices.email_of(session, user.id) if user else None
    if user is None or email is None or user.disabled:
        _settle(session, delivery, DeliveryState.FAILED, Message(N_("The person has no e-mail address any more.")))
        return None
    return _for_person(delivery, happening, user, email)


def _for_webhook(delivery: Delivery, happening: Happening) -> dict[str, Any]:
    message = Message.from_json(happening.message)
    subject = NOTICE_EVENTS.get(happening.event, happening.event)
    document = {
        "id": str(delivery.id),
        "event": happening.event,
        "at": happening.created_at,
        "object": {"type": happening.object_type, "id": happening.object_id, "name": happening.object_name},
        "subject": {language: translator(language)(subject) for language in LANGUAGES},
        "text": {language: message.render(translator(language)) for language in LANGUAGES},
        "link": runtime().settings.notices.console_url.rstrip("/") + happening.link if happening.link else None,
    }
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()
    return {"channel": delivery.channel, "id": str(delivery.id), "hook": delivery.target, "event": happening.event} | {
        "body": body
    }


def _for_person(delivery: Delivery, happening: Happening, user: User, email: str) -> dict[str, Any]:
    settings = runtime().settings
    language = user.language if user.language in LANGUAGES else LANGUAGES[0]
    translate = translator(language)
    product = _product(settings, language)
    subject = translate(NOTICE_EVENTS.get(happening.event, happening.event))
    text = Message.from_json(happening.message).render(translate)
    link = settings.notices.console_url.rstrip("/") + happening.link if happening.link else ""
    return {
        "channel": delivery.channel,
        "id": str(delivery.id),
        "to": email,
        "sender_name": product,
        "subject": f"[{product}] {subject}" + (f": {happening.object_name}" if happening.object_name else ""),
        "text": "\n\n".join(part for part in (subject, text, link, "-- \n" + translate(_FOOT)) if part) + "\n",
        "html": _html(language, subject, text, link, translate(_FOOT)),
        "language": "zh-CN" if language == "zh_CN" else language,
    }


def _product(settings: Settings, language: str) -> str:
    return translator(language)(_PRODUCT) if settings.web.title == Web().title else settings.web.title


def _html(language: str, subject: str, text: str, link: str, foot: str) -> str:
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())
    anchor = f'<p><a href="{escape(link)}">{escape(link)}</a></p>' if link.startswith(("http://", "https://")) else ""
    return (
        f'<!doctype html><html lang="{"zh-CN" if language == "zh_CN" else language}"><head><meta charset="utf-8">'
        f"<title>{escape(subject)}</title></head><body><h3>{escape(subject)}</h3>{paragraphs}{anchor}"
        f"<hr><p><small>{escape(foot)}</small></p></body></html>"
    )


def _send(parcel: dict[str, Any], number: int) -> dict[str, Any]:
    settings = runtime().settings
    began = time.monotonic()
    if parcel["channel"] == DeliveryChannel.EMAIL:
        letter = Letter(**{key: value for key, value in parcel.items() if key != "channel"})
        sent = mail.send(settings.mail, letter)
    else:
        sent = _post(settings, parcel, number)
    return sent.as_json() | {"duration_ms": round((time.monotonic() - began) * 1000)}


def _post(settings: Settings, parcel: dict[str, Any], number: int) -> Sent:
    hook = next((each for each in settings.webhooks if each.name == parcel["hook"]), None)
    if hook is None:
        return Sent.failed(N_("No webhook {name} is in this worker's settings."), name=parcel["hook"])
    return webhooks.send(
        hook,
        parcel["body"].encode(),
        event=parcel["event"],
        delivery=parcel["id"],
        attempt=number,
        timestamp=int(clock.now().timestamp()),
    )


def end(session: Session, delivery_id: str, number: int, sent: dict[str, Any]) -> None:
    """Note a try; one that failed waits longer each time until it is given up."""
    row = notices.get_delivery(session, uuid.UUID(delivery_id), lock=True)
    if row is None:
        return
    delivery = row[0]
    notices.add_attempt(
        session,
        delivery_id=delivery.id,
        number=number,
        is_sent=sent["is_sent"],
        duration_ms=sent["duration_ms"],
        status=sent["status"],
        message=sent["message"],
    )
    message = Message.from_json(sent["message"]) if sent["message"] else None
    if sent["is_sent"]:
        _settle(session, delivery, DeliveryState.SENT, None)
    elif delivery.attempts == number and delivery.state == DeliveryState.WAITING:
        told = runtime().settings.notices
        wait = backoff(
            number - delivery.replayed_after,
            first=timedelta(seconds=told.first_retry_s),
            most=timedelta(seconds=told.most_retry_s),
        )
        if sent["is_final"] or clock.now() + wait > delivery.give_up_at:
            _settle(session, delivery, DeliveryState.FAILED, message)
        else:
            delivery.next_at = clock.now() + wait
            delivery.message = message.as_json() if message else None
            session.add(delivery)
            session.flush()


def _settle(session: Session, delivery: Delivery, state: DeliveryState, message: Message | None) -> None:
    delivery.state = state.value
    delivery.finished_at = clock.now()
    delivery.message = message.as_json() if message else None
    session.add(delivery)
    session.flush()
