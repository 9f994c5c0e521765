"""代理: who decides for people who are away, and from when until when. A deputy gets the power to decide and nothing else."""

import uuid
from datetime import date, timedelta
from typing import Annotated

from pydantic import StringConstraints
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.access import ROLE_ACTIONS, Action, Actor
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent
from cloudmgr.models import Deputy, User
from cloudmgr.services import audit
from cloudmgr.services.inputs import Code, Day, Input, Text
from cloudmgr.services.notices import notify
from cloudmgr.services.usernames import username_key
from cloudmgr.store import deputies, requests, users

DeputyRow = deputies.DeputyRow
LONGEST_DAYS, MOST_AT_ONCE = 366, 20
_MOST_NUMBERS = 10
"""Numbers of requests in one notice; the rest is under Approvals."""


class NameDeputy(Input):
    """Who is away (oneself where nobody is named), who decides instead, and on which days, both included."""

    absent: Code | None = None
    deputy: Code
    valid_from: Day
    valid_until: Day
    reason: Annotated[Text, StringConstraints(max_length=500)] = ""


def name(session: Session, actor: Actor, command: NameDeputy) -> DeputyRow:
    """Name a deputy for oneself; the security administrator may for anybody, as somebody ill cannot. The deputy is told.

    Raises:
        Forbidden: it is for somebody else. InvalidInput: unknown people, or days that cannot be.
        Conflict: more than `MOST_AT_ONCE` at once.
    """
    absent = _person(session, command.absent, "absent") if command.absent else _self(session, actor)
    if absent.id != actor.user_id and not actor.may(Action.ROLE_WRITE):
        raise Forbidden(N_("You name deputies for yourself; the security administrator names them for others."))
    deputy = _person(session, command.deputy, "deputy")
    today = clock.today()
    if deputy.id == absent.id:
        raise InvalidInput(N_("A deputy is another person."), field="deputy")
    if deputy.disabled or (deputy.expires_at is not None and deputy.expires_at <= clock.now()):
        raise InvalidInput(
            N_("The account of {person} is disabled or has expired."), field="deputy", person=deputy.username
        )
    if command.valid_until < command.valid_from:
        raise InvalidInput(N_("It would end before it begins."), field="valid_until")
    if command.valid_until < today:
        raise InvalidInput(N_("These days are over."), field="valid_until")
    if command.valid_until - command.valid_from > timedelta(days=LONGEST_DAYS):
        raise InvalidInput(N_("A deputy is named for {days} days at most."), field="valid_until", days=LONGEST_DAYS)
    if not _decides(session, absent):
        raise InvalidInput(
            N_("{person} decides on nothing that a deputy could decide."), field="absent", person=absent.username
        )
    if deputies.count_standing(session, absent.id, today) >= MOST_AT_ONCE:
        raise Conflict(N_("{count} deputies are named already; end one first."), count=MOST_AT_ONCE)
    row = Deputy(
        absent_id=absent.id,
        deputy_id=deputy.id,
        valid_from=command.valid_from,
        valid_until=command.valid_until,
        reason=command.reason,
        named_by=actor.username,
    )
    session.add(row)
    session.flush()
    _audit(session, actor, Event.DEPUTY_NAME, row, absent, deputy)
    notify(
        session,
        NoticeEvent.DEPUTY_NAMED,
        Message(
            N_("You decide for {person} from {day} until {last}, both days included. What waits is under Approvals."),
            {"person": absent.display_name, "day": row.valid_from.isoformat(), "last": row.valid_until.isoformat()},
        ),
        to=[deputy.id],
        about=About("deputy", str(row.id), absent.username, "/approvals"),
        dedupe=str(row.id),
        without=[actor.user_id] if actor.user_id else [],
    )
    return row, absent, deputy


def end(session: Session, actor: Actor, deputy_id: uuid.UUID) -> None:
    """End a deputyship before its time; twice is once. What was decided stands.

    Raises:
        NotFound: there is none that this actor may end.
    """
    row = session.get(Deputy, deputy_id)
    if row is None or (row.absent_id != actor.user_id and not actor.may(Action.ROLE_WRITE)):
        raise NotFound(N_("There is no such deputyship of yours."))
    if row.ended_at is None:
        row.ended_at = clock.now()
        session.add(row)
        session.flush()
        _audit(
            session,
            actor,
            Event.DEPUTY_END,
            row,
            session.get_one(User, row.absent_id),
            session.get_one(User, row.deputy_id),
        )


def tell_begun(session: Session, limit: int) -> int:
    """Tell deputies whose days have begun what waits already for whom they stand in, once each; return how many were looked at.

    What comes later is told to them as it comes. Where nothing waits, nothing is told.
    """
    now = clock.now()
    rows = deputies.beginning(session, now, limit=limit)
    for row, absent, deputy in rows:
        numbers = _waiting(session, absent, deputy)
        if numbers:
            shown = [*numbers[:_MOST_NUMBERS], *(["…"] if len(numbers) > _MOST_NUMBERS else [])]
            notify(
                session,
                NoticeEvent.DEPUTY_BEGINS,
                Message(
                    N_("You decide for {person} now, until {last}. {count} requests wait already: {numbers}."),
                    {
                        "person": absent.display_name,
                        "last": row.valid_until.isoformat(),
                        "count": len(numbers),
                        "numbers": ", ".join(shown),
                    },
                ),
                to=[deputy.id],
                about=About("deputy", str(row.id), absent.username, "/approvals"),
                dedupe=f"begun:{row.id}",
            )
        row.told_at = now
        session.add(row)
    session.flush()
    return len(rows)


def is_any_to_tell(session: Session) -> bool:
    """Whether the days of a deputy have begun who was not told so."""
    return bool(deputies.beginning(session, clock.now(), limit=1))


def list_deputies(session: Session, actor: Actor, *, since: date | None = None) -> list[DeputyRow]:
    """Return the deputyships of oneself, of whom one stands in for, and of everybody whose accounts one may read."""
    paths = [*actor.scope(Action.USER_READ), *actor.scope(Action.ROLE_WRITE)]
    return deputies.listed(session, paths=paths, person_id=actor.user_id, since=since or clock.today())


def _decides(session: Session, person: User) -> bool:
    grants = users.grants_now(session, person.id, clock.now())
    return any(Action.REQUEST_DECIDE in ROLE_ACTIONS[grant.role] for grant in grants if grant.for_user_id is None)


def _waiting(session: Session, absent: User, deputy: User) -> list[str]:
    """Return the numbers of what a person could decide now and their deputy may decide instead."""
    now = clock.now()
    own = [each for each in users.grants_now(session, absent.id, now) if each.for_user_id is None]
    lent = [each for each in users.grants_now(session, deputy.id, now) if each.for_user_id == absent.id]
    theirs, instead = (
        requests.waiting_for(
            session,
            grants=[(each.role.value, each.path, each.for_user_id) for each in grants],
            decider_id=person.id,
        )
        for person, grants in ((absent, own), (deputy, lent))
    )
    may = {request.id for request, *_ in instead}
    return [request.number or "" for request, *_ in theirs if request.id in may]


def _self(session: Session, actor: Actor) -> User:
    if actor.user_id is None:
        raise InvalidInput(N_("Say who is away."), field="absent")
    return session.get_one(User, actor.user_id)


def _person(session: Session, username: str, field: str) -> User:
    found = users.by_key(session, username_key(username))
    if found is None:
        raise InvalidInput(N_("There is no account {username}."), field=field, username=username)
    return found


def _audit(session: Session, actor: Actor, event: Event, row: Deputy, absent: User, deputy: User) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="deputy",
        object_id=row.id,
        object_name=absent.username,
        deputy=deputy.username,
        valid_from=row.valid_from.isoformat(),
        valid_until=row.valid_until.isoformat(),
    )
