"""Reading and writing notices: what happened, inboxes, preferences, deliveries and their log."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.notices import Channel, DeliveryState
from cloudmgr.models import (
    Delivery,
    DeliveryAttempt,
    Happening,
    Notice,
    NoticeAddress,
    NoticePreference,
    Organization,
    RoleGrant,
    User,
)
from cloudmgr.store import inserts, paging
from cloudmgr.store.db import is_sqlite

NoticeRow = tuple[Notice, Happening]
DeliveryRow = tuple[Delivery, Happening, User | None]
NOBODYS = "/"
"""Path of what belongs to no organization in particular."""


def _insert_new(session: Session, table: Any, rows: Sequence[Mapping[str, Any]], unique: Sequence[str]) -> int:
    """Insert rows, leaving out those that are there; return how many were new."""
    if not rows:
        return 0
    insert = sqlite.insert(table) if is_sqlite(session) else postgresql.insert(table)
    result = session.execute(
        insert.values(list(rows))
        .on_conflict_do_nothing(index_elements=list(unique))
        .execution_options(preserve_rowcount=True)  # of an INSERT it is forgotten otherwise
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


def add_happening(session: Session, **values: Any) -> bool:
    """Write what happened; False where the same event with the same `dedupe` was written before.

    Inside `inserts.together` it is written with the other new rows: there the caller knows that it never happened before.
    """
    if inserts.is_collecting(session):
        inserts.add(session, Happening(**values))
        return True
    row = {"id": new_id(), "created_at": clock.now(), **values}
    return _insert_new(session, Happening, [row], ("event", "dedupe")) == 1


def told(session: Session, event: str, dedupes: Sequence[str]) -> set[str]:
    """Return which of these were told before."""
    query = select(Happening.dedupe).where(Happening.event == event, col(Happening.dedupe).in_(dedupes))
    return set(session.exec(query))


def take_unspread(session: Session, limit: int) -> list[Happening]:
    """Return what nobody was told of yet, oldest first, kept from other workers until the end of the transaction."""
    query = select(Happening).where(col(Happening.spread_at).is_(None)).order_by(col(Happening.id)).limit(limit)
    return list(session.exec(query.with_for_update(skip_locked=True)))


def has_work(session: Session, now: datetime) -> bool:
    """Whether something is unspread, or a delivery is due."""
    unspread = select(Happening.id).where(col(Happening.spread_at).is_(None)).limit(1)
    due = select(Delivery.id).where(Delivery.state == DeliveryState.WAITING, Delivery.next_at <= now).limit(1)
    return session.exec(unspread).first() is not None or session.exec(due).first() is not None


def holders(session: Session, roles: Iterable[tuple[str, uuid.UUID]], at: datetime) -> set[uuid.UUID]:
    """Return who holds one of these roles on one of these organizations, by a grant there or above."""
    found: set[uuid.UUID] = set()
    for role, organization_id in roles:
        path = session.exec(select(Organization.path).where(Organization.id == organization_id)).first()
        if path is None:
            continue
        above = [uuid.UUID(part) for part in path.split("/") if part]
        found |= set(
            session.exec(
                select(RoleGrant.user_id).where(
                    RoleGrant.role == role,
                    col(RoleGrant.organization_id).in_(above),
                    col(RoleGrant.revoked_at).is_(None),
                    sa.or_(col(RoleGrant.valid_until).is_(None), col(RoleGrant.valid_until) > at),
                )
            )
        )
    return found


def reachable(session: Session, user_ids: Iterable[uuid.UUID], at: datetime) -> list[tuple[uuid.UUID, str | None]]:
    """Return those who may sign in, with their e-mail addresses."""
    query = (
        select(User.id, NoticeAddress.email)
        .join(NoticeAddress, col(NoticeAddress.user_id) == col(User.id), isouter=True)
        .where(
            col(User.id).in_(list(user_ids)),
            col(User.disabled).is_(False),
            sa.or_(col(User.expires_at).is_(None), col(User.expires_at) > at),
        )
        .order_by(col(User.id))
    )
    return [(user_id, email) for user_id, email in session.exec(query)]


def refusals(session: Session, user_ids: Iterable[uuid.UUID], event: str) -> set[tuple[uuid.UUID, str]]:
    """Return who does not want to hear of an event, by which channel."""
    query = select(NoticePreference.user_id, NoticePreference.channel).where(
        col(NoticePreference.user_id).in_(list(user_ids)),
        NoticePreference.event == event,
        col(NoticePreference.is_wanted).is_(False),
    )
    return set(session.exec(query))


def add_notices(session: Session, happening_id: uuid.UUID, user_ids: Iterable[uuid.UUID]) -> int:
    """Put a happening into inboxes; those that have it keep theirs."""
    rows = [
        {"id": new_id(), "created_at": clock.now(), "happening_id": happening_id, "user_id": user_id}
        for user_id in user_ids
    ]
    return _insert_new(session, Notice, rows, ("happening_id", "user_id"))


def add_delivery(session: Session, **values: Any) -> None:
    """Write one delivery of a happening; one that is there stays."""
    row = {"id": new_id(), "created_at": clock.now(), "state": DeliveryState.WAITING.value, "attempts": 0, **values}
    _insert_new(session, Delivery, [row], ("happening_id", "channel", "target"))


def take_due(session: Session, *, now: datetime, until: datetime, limit: int) -> list[tuple[uuid.UUID, int]]:
    """Begin the next try of every delivery that is due; return their ids with the tries' numbers."""
    due = (
        select(Delivery.id)
        .where(Delivery.state == DeliveryState.WAITING, Delivery.next_at <= now)
        .order_by(col(Delivery.next_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = session.execute(
        sa.update(Delivery)
        .where(col(Delivery.id).in_(list(session.exec(due))), col(Delivery.state) == DeliveryState.WAITING)
        .values(attempts=Delivery.attempts + 1, next_at=until)
        .returning(col(Delivery.id), col(Delivery.attempts))
        .execution_options(synchronize_session=False)
    )
    return [(id_, number) for id_, number in taken]


def get_delivery(session: Session, delivery_id: uuid.UUID, *, lock: bool = False) -> DeliveryRow | None:
    """Return one delivery with what it tells and whom."""
    query = (
        select(Delivery, Happening, User)
        .join(Happening, col(Delivery.happening_id) == col(Happening.id))
        .join(User, col(Delivery.user_id) == col(User.id), isouter=True)
        .where(Delivery.id == delivery_id)
    )
    if lock:
        query = query.with_for_update(of=Delivery).execution_options(populate_existing=True)
    row = session.exec(query).first()
    return (row[0], row[1], row[2]) if row else None


def email_of(session: Session, user_id: uuid.UUID) -> str | None:
    """Return where a person wants e-mail."""
    return session.exec(select(NoticeAddress.email).where(NoticeAddress.user_id == user_id)).first()


def attempts(session: Session, delivery_id: uuid.UUID) -> list[DeliveryAttempt]:
    """Return the log of a delivery, oldest first."""
    query = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id)
    return list(session.exec(query.order_by(col(DeliveryAttempt.number))))


def add_attempt(session: Session, **values: Any) -> None:
    """Append one try to the log; its number is told once."""
    row = {"id": new_id(), "created_at": clock.now(), **values}
    _insert_new(session, DeliveryAttempt, [row], ("delivery_id", "number"))


def deliveries(
    session: Session,
    *,
    paths: Sequence[str],
    states: Sequence[str],
    channel: str | None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[DeliveryRow], uuid.UUID | None]:
    """Return deliveries of what belongs to the subtrees at `paths`, or to nobody, newest first."""
    query = (
        select(Delivery, Happening, User)
        .join(Happening, col(Delivery.happening_id) == col(Happening.id))
        .join(User, col(Delivery.user_id) == col(User.id), isouter=True)
        .where(
            sa.or_(paging.below(col(Happening.organization_path), paths), col(Happening.organization_path) == NOBODYS)
        )
    )
    if states:
        query = query.where(col(Delivery.state).in_(states))
    if channel:
        query = query.where(Delivery.channel == channel)
    rows, following = paging.newest_first(session, query, col(Delivery.id), limit=limit, cursor=cursor)
    return [(row[0], row[1], row[2]) for row in rows], following


def inbox(
    session: Session, user_id: uuid.UUID, *, unread: bool, event: str | None, limit: int, cursor: uuid.UUID | None
) -> tuple[list[NoticeRow], uuid.UUID | None]:
    """Return a person's notices, newest first."""
    query = (
        select(Notice, Happening)
        .join(Happening, col(Notice.happening_id) == col(Happening.id))
        .where(Notice.user_id == user_id)
    )
    if unread:
        query = query.where(col(Notice.read_at).is_(None))
    if event:
        query = query.where(Happening.event == event)
    rows, following = paging.newest_first(session, query, col(Notice.id), limit=limit, cursor=cursor)
    return [(row[0], row[1]) for row in rows], following


def count_unread(session: Session, user_id: uuid.UUID, *, most: int) -> int:
    """Return how many notices a person has not read, `most` at most."""
    unread = select(Notice.id).where(Notice.user_id == user_id, col(Notice.read_at).is_(None)).limit(most).subquery()
    return session.exec(select(sa.func.count()).select_from(unread)).one()


def mark_read(session: Session, user_id: uuid.UUID, ids: Sequence[uuid.UUID] | None) -> int:
    """Mark a person's notices as read, all of them for None; return how many were not."""
    statement = sa.update(Notice).where(col(Notice.user_id) == user_id, col(Notice.read_at).is_(None))
    if ids is not None:
        statement = statement.where(col(Notice.id).in_(list(ids)))
    result = session.execute(statement.values(read_at=clock.now()).execution_options(synchronize_session=False))
    return int(result.rowcount)  # type: ignore[attr-defined]


def preferences(session: Session, user_id: uuid.UUID) -> dict[tuple[str, str], bool]:
    """Return what a person decided, by event and channel."""
    rows = session.exec(select(NoticePreference).where(NoticePreference.user_id == user_id))
    return {(row.event, row.channel): row.is_wanted for row in rows}


def set_preferences(session: Session, user_id: uuid.UUID, wanted: Mapping[tuple[str, Channel], bool]) -> None:
    """Write what a person decided; what is not named stays."""
    insert = sqlite.insert(NoticePreference) if is_sqlite(session) else postgresql.insert(NoticePreference)
    for (event, channel), is_wanted in wanted.items():
        values = {
            "id": new_id(),
            "created_at": clock.now(),
            "user_id": user_id,
            "event": event,
            "channel": channel.value,
            "is_wanted": is_wanted,
        }
        session.execute(
            insert.values(values).on_conflict_do_update(
                index_elements=["user_id", "event", "channel"], set_={"is_wanted": is_wanted}
            )
        )


def set_email(session: Session, user_id: uuid.UUID, email: str) -> None:
    """Write where a person wants e-mail; empty: nowhere."""
    session.execute(
        sa.delete(NoticeAddress)
        .where(col(NoticeAddress.user_id) == user_id)
        .execution_options(synchronize_session=False)
    )
    if email:
        session.add(NoticeAddress(user_id=user_id, email=email))
    session.flush()
