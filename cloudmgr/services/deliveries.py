"""Deliveries of notices: making inboxes, e-mails and webhooks of what happened, taking up what is due, reading and replaying.

At least once: a worker that is killed between a send and its note sends again, under the same delivery id.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import Conflict, Hidden, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.notices import TO_DECIDERS, Channel, DeliveryChannel, DeliveryState
from cloudmgr.models import DeliveryAttempt, Happening
from cloudmgr.services import audit
from cloudmgr.settings import Settings
from cloudmgr.store import deputies, notices, requests

DeliveryRow = notices.DeliveryRow

AT_ONCE = 200
"""So many happenings are spread, and so many deliveries begun, in one transaction; the rest is next."""
LOST_AFTER = timedelta(hours=1)
"""A try whose workflow has not said by then how it ended is begun anew."""


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One delivery with its log."""

    row: DeliveryRow
    attempts: list[DeliveryAttempt]


def has_work(session: Session) -> bool:
    """Whether there is anything to spread or to send now; asked often, so it takes no lock."""
    return notices.has_work(session, clock.now())


def spread(session: Session, settings: Settings) -> int:
    """Make inbox entries and deliveries of what happened; each happening exactly once. Return how many happenings.

    Who holds a role is looked up now; who may not sign in, or does not want to hear of the event, is left out.
    """
    happenings = notices.take_unspread(session, AT_ONCE)
    for happening in happenings:
        _spread(session, settings, happening)
        happening.spread_at = clock.now()
        session.add(happening)
    session.flush()
    return len(happenings)


def _spread(session: Session, settings: Settings, happening: Happening) -> None:
    now = clock.now()
    meant = {uuid.UUID(each) for each in happening.recipients.get("people", [])}
    roles = [(role, uuid.UUID(place)) for role, place in happening.recipients.get("roles", [])]
    meant |= notices.holders(session, roles, now)
    without = {uuid.UUID(each) for each in happening.recipients.get("without", [])}
    meant -= without
    if meant and happening.event in TO_DECIDERS:
        meant |= _deputies(session, happening, meant, now) - without
    people = notices.reachable(session, meant, now) if meant else []
    refused = notices.refusals(session, [user_id for user_id, _ in people], happening.event) if people else set()
    notices.add_notices(
        session, happening.id, [user_id for user_id, _ in people if (user_id, Channel.INBOX.value) not in refused]
    )
    give_up_at = now + timedelta(hours=settings.notices.give_up_hours)
    if settings.mail.host:
        for user_id, email in people:
            if email and (user_id, Channel.EMAIL.value) not in refused:
                notices.add_delivery(
                    session,
                    happening_id=happening.id,
                    channel=DeliveryChannel.EMAIL.value,
                    target=str(user_id),
                    user_id=user_id,
                    next_at=now,
                    give_up_at=give_up_at,
                )
    for hook in settings.webhooks:
        if not hook.events or happening.event in hook.events:
            notices.add_delivery(
                session,
                happening_id=happening.id,
                channel=DeliveryChannel.WEBHOOK.value,
                target=hook.name,
                next_at=now,
                give_up_at=give_up_at,
            )


def _deputies(session: Session, happening: Happening, deciders: set[uuid.UUID], now: datetime) -> set[uuid.UUID]:
    """Return who stands in for those who may decide: not for the requester, nor the requester, who never decides."""
    if not deputies.standing_in(session, deciders, now):
        return set()
    request = requests.get(session, uuid.UUID(happening.object_id))
    maker = {request.requester_id} if request is not None else set()
    return deputies.standing_in(session, deciders - maker, now) - maker


def take_up_due(session: Session) -> int:
    """Enqueue the next try of every delivery that is due; return how many. Two workers at once enqueue each try once."""
    now = clock.now()
    taken = notices.take_due(session, now=now, until=now + LOST_AFTER, limit=AT_ONCE)
    for delivery_id, number in taken:
        queue.enqueue(
            session,
            "deliver_notice",
            queue.workflow_id("deliver_notice", delivery_id, number),
            str(delivery_id),
            number,
        )
    return len(taken)


def list_deliveries(
    session: Session,
    actor: Actor,
    *,
    states: Sequence[DeliveryState] = (),
    channel: DeliveryChannel | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[DeliveryRow], uuid.UUID | None]:
    """Return what left this system or is on its way, newest first."""
    require(actor, Action.DELIVERY_MANAGE)
    paths = actor.scope(Action.DELIVERY_MANAGE)
    return notices.deliveries(session, paths=paths, states=states, channel=channel, limit=limit, cursor=cursor)


def get_delivery(session: Session, actor: Actor, delivery_id: uuid.UUID) -> DeliveryView:
    """Return one delivery with every try of it.

    Raises:
        NotFound: there is none, or it is not the actor's to see.
    """
    require(actor, Action.DELIVERY_MANAGE)
    return DeliveryView(_row(session, actor, delivery_id), notices.attempts(session, delivery_id))


def replay(session: Session, actor: Actor, delivery_id: uuid.UUID) -> DeliveryView:
    """Send a delivery again by hand, whether it had failed or arrived; it keeps its id. Returns with it waiting.

    Raises:
        NotFound: there is none. Conflict: it is waiting already.
    """
    require(actor, Action.DELIVERY_MANAGE)
    row = _row(session, actor, delivery_id, lock=True)
    delivery, happening, _ = row
    if delivery.state == DeliveryState.WAITING:
        raise Conflict(N_("This delivery is waiting to be sent already."))
    delivery.state = DeliveryState.WAITING.value
    delivery.replayed_after = delivery.attempts
    delivery.next_at = clock.now()
    delivery.give_up_at = clock.now() + timedelta(days=1)
    delivery.finished_at = None
    session.add(delivery)
    session.flush()
    audit.record(
        session,
        actor,
        Event.NOTICE_REPLAY,
        object_type="delivery",
        object_id=delivery.id,
        object_name=happening.event,
        organization_path=happening.organization_path,
        channel=delivery.channel,
        target=delivery.target,
    )
    return DeliveryView(row, notices.attempts(session, delivery_id))


def _row(session: Session, actor: Actor, delivery_id: uuid.UUID, *, lock: bool = False) -> DeliveryRow:
    row = notices.get_delivery(session, delivery_id, lock=lock)
    if row is None:
        raise NotFound(N_("There is no such delivery."))
    path = row[1].organization_path
    if path != notices.NOBODYS and not actor.may(Action.DELIVERY_MANAGE, path):
        raise Hidden(N_("There is no such delivery."), detail=f"{actor.username} may not read {delivery_id}")
    return row
