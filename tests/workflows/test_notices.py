"""Notices on their way out: to a real mail server and a real receiver, tried again, given up, replayed, and through kills."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.access import Role
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, Channel, NoticeEvent, RoleAt
from cloudmgr.models import Delivery, Happening, Notice, User
from cloudmgr.services import deliveries, notices
from cloudmgr.services.notices import SetPreferences
from cloudmgr.settings import Mail, Notices, Webhook
from cloudmgr.store import notices as store
from cloudmgr.workflows import engine as engine_module
from cloudmgr.workflows import notices as workflow
from cloudmgr.workflows import runtime as runtimes
from cloudmgr.workflows.runtime import Runtime
from tests import world
from tests.receivers import http_receiver, mail_server
from tests.stocked import any_world, world_templates
from tests.workflows.proofs import Case

__all__ = ["any_world", "world_templates"]

START = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
LOOPBACK = ["127.0.0.0/8"]


@dataclass
class Post:
    """A city whose notices are sent step by step, as the worker would, on a clock that is moved by hand."""

    city: world.World
    settings: Any
    advance: Callable[[timedelta], None]
    sent: list[dict[str, Any]] = field(default_factory=list)

    def notify(self, *people: str, dedupe: str = "1", event: NoticeEvent = NoticeEvent.REQUEST_FULFILLED) -> None:
        with self.city.session() as session:
            message = Message(N_("{number} is done."), {"number": "SQ20261123-0001"})
            about = About("request", "r1", "SQ20261123-0001", "/requests/r1")
            to = [self.city.people[name] for name in people]
            notices.notify(session, event, message, to=to, about=about, dedupe=dedupe)
            session.commit()

    def turn(self) -> int:
        """Spread, and try every delivery that is due once; return how many tries."""
        with self.city.session() as session:
            deliveries.spread(session, self.settings)
            now = clock.now()
            taken = store.take_due(session, now=now, until=now + timedelta(hours=1), limit=100)
            session.commit()
        for delivery_id, number in taken:
            with self.city.session() as session:
                parcel = workflow.begin(session, str(delivery_id), number)
                session.commit()
            if parcel is not None:
                sent = orjson.loads(orjson.dumps(workflow._send(parcel, number)))
                with self.city.session() as session:
                    workflow.end(session, str(delivery_id), number, sent)
                    session.commit()
        return len(taken)

    def states(self) -> dict[str, str]:
        with self.city.session(write=False) as session:
            return {each.target: each.state for each in session.exec(select(Delivery))}

    def email(self, name: str, address: str, language: str = "zh_CN") -> None:
        with self.city.session() as session:
            store.set_email(session, self.city.people[name], address)
            session.get_one(User, self.city.people[name]).language = language
            session.commit()


@pytest.fixture
def post(any_world: world.World) -> Iterator[Callable[..., Post]]:
    """Return a maker of the city's post, with mail and webhook settings."""
    with clock.stepped(START) as advance:

        def get(mail: Any = None, told: Any = None, webhooks: tuple[Any, ...] = ()) -> Post:
            sections = {
                "mail": Mail.model_validate(mail or {}),
                "notices": Notices.model_validate(told or {}),
                "webhooks": tuple(Webhook.model_validate(each) for each in webhooks),
            }
            settings = any_world.settings.model_copy(update=sections)
            runtimes.install(Runtime(settings=settings, engine=any_world.engine, datasource=None))  # type: ignore[arg-type]
            return Post(any_world, settings, advance)

        yield get
    runtimes.install(None)


def _mail(port: int) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "tls": "none", "sender": "cloudmgr@changsha.example"}


def _hook(tmp_path: Path, port: int, **more: Any) -> dict[str, Any]:
    secret = tmp_path / "hook.secret"
    secret.write_text("k" * 40)
    url = f"http://127.0.0.1:{port}/in"
    return {"name": "oa", "url": url, "secret_file": str(secret), "networks": LOOPBACK} | more


def test_everybody_is_written_to_in_their_own_language(post: Callable[..., Post]) -> None:
    with mail_server() as box:
        office = post(mail=_mail(box.port), told={"console_url": "https://cloud.example"})
        office.email("requester", "wang@changsha.example")
        office.email("admin", "admin@changsha.example", "en")
        office.notify("requester", "admin", "stranger")
        assert office.turn() == 2
    letters = dict(zip(box.recipients, box.letters, strict=True))
    chinese, english = letters["wang@changsha.example"], letters["admin@changsha.example"]
    assert "您的申请已办结" in str(chinese["Subject"])
    assert "SQ20261123-0001" in str(chinese["Subject"])
    assert "Your request is done" in str(english["Subject"])
    plain = english.get_body(("plain",)).get_content()
    assert "SQ20261123-0001 is done." in plain
    assert "https://cloud.example/requests/r1" in plain
    assert 'href="https://cloud.example/requests/r1"' in english.get_body(("html",)).get_content()
    assert chinese["Auto-Submitted"] == "auto-generated"
    with office.city.session(write=False) as session:
        assert len(list(session.exec(select(Notice)))) == 3, "the inbox needs no address"


def test_who_does_not_want_to_hear_of_it_is_left_alone(post: Callable[..., Post]) -> None:
    with mail_server() as box:
        office = post(mail=_mail(box.port))
        office.email("requester", "wang@changsha.example")
        with office.city.session() as session:
            wanted = {NoticeEvent.REQUEST_FULFILLED: [], NoticeEvent.LEASE_REMINDER: [Channel.INBOX]}
            notices.set_preferences(session, office.city.actor("requester"), SetPreferences(wanted=wanted))
            session.commit()
        office.notify("requester")
        office.notify("requester", event=NoticeEvent.LEASE_REMINDER)
        office.notify("requester", event=NoticeEvent.REQUEST_RETURNED)
        office.turn()
    assert ["您的申请已退回" in str(letter["Subject"]) for letter in box.letters] == [True]
    with office.city.session(write=False) as session:
        rows, _ = store.inbox(session, office.city.people["requester"], unread=True, event=None, limit=10, cursor=None)
        assert {happening.event for _, happening in rows} == {"lease.reminder", "request.returned"}


def test_a_role_means_whoever_holds_it_there_or_above(post: Callable[..., Post]) -> None:
    office = post()
    people = office.city.people
    with office.city.session() as session:
        to = [RoleAt(Role.DISTRICT_ADMIN, office.city.minzheng.id), people["stranger"]]
        about = About("request", "r1")
        for _ in range(2):
            notices.notify(
                session,
                NoticeEvent.REQUEST_TO_DECIDE,
                Message("x"),
                to=to,
                about=about,
                dedupe="s1",
                without=[people["both"]],
            )
        session.get_one(User, people["stranger"]).disabled = True
        session.commit()
    office.turn()
    with office.city.session(write=False) as session:
        told = {row.user_id for row in session.exec(select(Notice))}
        assert told == {people["admin"], people["bureau-admin"], people["rooted"]}


def test_what_is_rolled_back_was_never_told(post: Callable[..., Post]) -> None:
    office = post()
    with office.city.session() as session:
        notices.notify(
            session, NoticeEvent.REQUEST_FULFILLED, Message("x"), to=[], about=About("request"), dedupe="gone"
        )
        session.rollback()
    with office.city.session(write=False) as session:
        assert list(session.exec(select(Happening))) == []


def test_a_receiver_that_fails_is_asked_again_ever_later_under_the_same_id(
    post: Callable[..., Post], tmp_path: Path
) -> None:
    with http_receiver(lambda number: 503 if number < 4 else 200) as receiver:
        office = post(webhooks=(_hook(tmp_path, receiver.port),), told={"first_retry_s": 60, "most_retry_s": 3600})
        office.notify()
        waits = []
        while office.states() != {"oa": "sent"}:
            tries = len(receiver.calls)
            waited = 0
            while len(receiver.calls) == tries:
                if office.turn() == 0:
                    office.advance(timedelta(seconds=30))
                    waited += 30
            waits.append(waited)
    assert waits == [0, 60, 120, 240]
    ids = {call.headers["Cloudmgr-Delivery"] for call in receiver.calls}
    assert len(ids) == 1
    assert [call.headers["Cloudmgr-Attempt"] for call in receiver.calls] == ["1", "2", "3", "4"]
    told = orjson.loads(receiver.calls[-1].body)
    assert (told["id"], told["event"]) == (ids.pop(), "request.fulfilled")
    assert told["text"] == {"zh_CN": "申请 SQ20261123-0001 已办结。", "en": "SQ20261123-0001 is done."}


def test_a_delivery_that_was_given_up_can_be_replayed_and_keeps_its_log(
    post: Callable[..., Post], tmp_path: Path
) -> None:
    with http_receiver(lambda number: 500 if number < 4 else 200) as receiver:
        office = post(webhooks=(_hook(tmp_path, receiver.port),), told={"first_retry_s": 1800, "give_up_hours": 2})
        office.notify()
        for _ in range(20):
            office.turn()
            office.advance(timedelta(minutes=10))
        assert office.states() == {"oa": "failed"}
        assert len(receiver.calls) == 3
        sysadmin = office.city.actor("sysadmin")
        with office.city.session() as session:
            [(delivery, _, _)], _ = deliveries.list_deliveries(session, sysadmin)
            deliveries.replay(session, sysadmin, delivery.id)
            session.commit()
        office.turn()
        assert office.states() == {"oa": "sent"}
    with office.city.session(write=False) as session:
        view = deliveries.get_delivery(session, sysadmin, delivery.id)
    assert [(each.number, each.is_sent, each.status) for each in view.attempts] == [
        (1, False, "500"),
        (2, False, "500"),
        (3, False, "500"),
        (4, True, "200"),
    ]


def test_a_mailbox_that_does_not_exist_is_not_tried_again_and_a_full_one_is(post: Callable[..., Post]) -> None:
    with mail_server() as box:
        office = post(mail=_mail(box.port))
        office.email("requester", "wang@changsha.example")
        office.email("admin", "nobody@changsha.example")
        box.refused.add("nobody@changsha.example")
        box.answers.append("452 mailbox full")
        office.notify("requester", "admin")
        office.turn()
        people = office.city.people
        assert office.states() == {str(people["requester"]): "waiting", str(people["admin"]): "failed"}
        office.advance(timedelta(minutes=5))
        office.turn()
        assert office.states() == {str(people["requester"]): "sent", str(people["admin"]): "failed"}
    assert box.recipients == ["wang@changsha.example"]


def test_a_mail_server_that_is_away_is_waited_for(post: Callable[..., Post]) -> None:
    with mail_server() as box:
        port = box.port
    office = post(mail=_mail(port))
    office.email("requester", "wang@changsha.example")
    office.notify("requester")
    office.turn()
    with office.city.session(write=False) as session:
        [delivery] = session.exec(select(Delivery))
        assert delivery.state == "waiting"
        assert Message.from_json(delivery.message or {}).template.startswith("The mail server could not be reached")


def test_a_webhook_hears_of_its_own_events_only(post: Callable[..., Post], tmp_path: Path) -> None:
    with http_receiver() as receiver:
        office = post(webhooks=(_hook(tmp_path, receiver.port, events=["lease.reminder"]),))
        office.notify()
        office.notify(event=NoticeEvent.LEASE_REMINDER)
        office.turn()
    assert [call.headers["Cloudmgr-Event"] for call in receiver.calls] == ["lease.reminder"]


POINTS = ("notice_begin:inside", "notice_send:inside", "notice_end:inside")


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_loses_no_notice_and_tells_no_inbox_twice(case: Callable[..., Case], tmp_path: Path, point: str) -> None:
    """A send whose worker is killed before it is noted is sent again, under the same Message-ID and delivery id."""
    one = case()
    engine = one.engine
    with Session(engine) as session:
        people = {user.username: user.id for user in session.exec(select(User))}
        for name in ("requester", "admin"):
            store.set_email(session, people[name], f"{name}@changsha.example")
        session.commit()
    with mail_server() as box, http_receiver() as receiver:
        one.settings["mail"] = _mail(box.port)
        one.settings["webhooks"] = [_hook(tmp_path, receiver.port)]
        one.settings["notices"] = {"spread_interval_s": 0.1, "first_retry_s": 0.1}
        killed = one.run(kill_at=point, occurrence=2, until_told=True)
        assert killed["died_by"] == 9, (killed, one.log())
        done = one.run(until_told=True)
        assert done["status"] == 0, (done, one.log())
    with Session(engine) as session:
        happenings = list(session.exec(select(Happening)))
        assert sorted(each.event for each in happenings) == [
            "request.approved",
            "request.fulfilled",
            "request.to_decide",
        ]
        assert all(each.state == "sent" for each in session.exec(select(Delivery)))
        inboxes = [(each.user_id, each.happening_id) for each in session.exec(select(Notice))]
        assert len(inboxes) == len(set(inboxes))
        told = {
            (row.user_id, each.event)
            for row in session.exec(select(Notice))
            for each in happenings
            if each.id == row.happening_id
        }
        assert {(people["requester"], "request.fulfilled"), (people["admin"], "request.to_decide")} <= told
    engine.dispose()
    hooks = [call.headers["Cloudmgr-Delivery"] for call in receiver.calls]
    assert len(set(hooks)) == 3
    letters = [str(letter["Message-ID"]) for letter in box.letters]
    assert len(set(letters)) == 3, "to_decide for the administrator, approved and fulfilled for the requester"
    doubled = len(hooks) - 3 + len(letters) - 3
    assert doubled <= engine_module.NOTICES_AT_ONCE, "only what was under way when the worker died is sent again"


def test_two_workers_spread_the_same_happening_once(post: Callable[..., Post]) -> None:
    office = post()
    office.notify("requester")
    with office.city.session() as session:
        assert deliveries.spread(session, office.settings) == 1
        session.commit()
    with office.city.session() as session:
        assert deliveries.spread(session, office.settings) == 0
        assert uuid.UUID(str(session.exec(select(Notice)).one().user_id)) == office.city.people["requester"]
