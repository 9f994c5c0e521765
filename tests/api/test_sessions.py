"""Logging in by API: what it answers, how failures lock, how sessions end."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import AuditEvent, User, UserSession
from tests.http.town import Town
from tests.support import PASSWORD, open_token


def test_login_answers_with_a_token_that_works(any_town: Town) -> None:
    answer = any_town.login("requester")
    assert answer.status_code == 201
    told = answer.json()
    assert told["roles"] == ["requester"]
    assert told["organization"] == {
        "id": str(any_town.tree.bureau.id),
        "code": "430102-mzj",
        "name": "芙蓉区民政局",
    }
    assert told["must_change_password"] is False
    assert told["last_login_at"] is None
    headers = {"Authorization": f"Bearer {told['token']}"}
    assert any_town.client().get("/api/v1/sessions/current", headers=headers).json()["username"] == "requester"
    assert [event.outcome for event in any_town.events(event="session.login")] == ["success"]


def test_login_tells_of_the_login_before(town: Town) -> None:
    town.login("requester")
    told = town.login("requester").json()
    assert told["last_login_at"] is not None
    assert told["last_login_source"] == "testclient"


def test_names_are_compared_without_case(town: Town) -> None:
    assert town.login("REQUESTER").status_code == 201


def test_only_the_digest_of_a_token_is_kept(town: Town) -> None:
    token = town.login("requester").json()["token"]
    with town.session() as session:
        rows = session.exec(select(UserSession)).all()
    assert len(rows) == 1
    assert token not in repr(rows[0])
    assert len(rows[0].token_hash) == 64


def test_logout_ends_the_token_on_the_server(town: Town) -> None:
    token = town.login("requester").json()["token"]
    client = town.client(Authorization=f"Bearer {token}")
    assert client.delete("/api/v1/sessions/current").status_code == 204
    answer = client.get("/api/v1/sessions/current")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert len(town.events(event="session.logout")) == 1


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic eDp5", "Bearer " + "x" * 5000])
def test_anything_but_a_valid_token_is_401(town: Town, header: str) -> None:
    answer = town.client(Authorization=header).get("/api/v1/users/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_five_failures_lock_even_for_the_right_password(any_town: Town) -> None:
    answers = [any_town.login("requester", "wrong") for _ in range(5)]
    assert {answer.json()["code"] for answer in answers} == {"bad_credentials"}
    locked = any_town.login("requester")
    assert (locked.status_code, locked.json()["code"]) == (423, "locked")
    assert int(locked.headers["Retry-After"]) > 0
    assert len(any_town.events(event="user.lock")) == 1
    assert len(any_town.events(event="session.login", outcome="failure")) == 5
    assert len(any_town.events(event="session.login", outcome="denied")) == 1


def test_lock_survives_a_restart_and_ends_by_time(town: Town) -> None:
    with clock.stepped(datetime(2026, 11, 22, 8, 0, tzinfo=UTC)) as advance:
        for _ in range(5):
            town.login("requester", "wrong")
        with town.again() as restarted:
            assert restarted.login("requester").status_code == 423
            advance(timedelta(minutes=31))
            assert restarted.login("requester").status_code == 201
            # and the count began anew
            assert restarted.login("requester", "wrong").json()["code"] == "bad_credentials"
            assert restarted.login("requester").status_code == 201


def test_a_success_forgets_the_failures_before(town: Town) -> None:
    for _ in range(2):
        for _ in range(4):
            assert town.login("requester", "wrong").status_code == 401
        assert town.login("requester").status_code == 201


def test_unknown_users_answer_like_known_ones(town: Town) -> None:
    known = [town.login("requester", "wrong") for _ in range(6)]
    unknown = [town.login("no-such-person", "wrong") for _ in range(6)]

    def told(answer: object) -> object:
        document = answer.json()  # type: ignore[attr-defined]
        document.pop("request_id")
        return answer.status_code, document  # type: ignore[attr-defined]

    assert [told(answer) for answer in known] == [told(answer) for answer in unknown]


def test_unknown_users_take_as_long_as_known_ones(town: Town) -> None:
    relaxed = town.again(security={"rate_limits": False})

    def seconds(name: str) -> float:
        started = time.process_time()
        relaxed.login(name, "wrong")
        return time.process_time() - started

    seconds("requester")
    known = statistics.median(seconds("requester") for _ in range(9))
    unknown = statistics.median(seconds("no-such-person") for _ in range(9))
    assert 0.5 < known / unknown < 2


def test_what_was_typed_as_an_unknown_name_is_kept_nowhere(town: Town) -> None:
    town.login("My-Secret-Typed-In-The-Wrong-Field", "x")
    with town.session() as session:
        rows = session.exec(select(AuditEvent)).all()
    assert rows
    assert all("My-Secret" not in repr(row.model_dump()) for row in rows)


def test_many_failures_from_one_address_lock_the_address(town: Town) -> None:
    few = town.again(security={"source_lock_after_failures": 6})
    for number in range(6):
        assert few.login(f"user-{number}", "wrong").status_code == 401
    assert few.login("requester").status_code == 423
    assert few.events(event="user.lock", object_type="source")


def test_rate_limits_can_be_off_for_the_demo(town: Town) -> None:
    relaxed = town.again(security={"rate_limits": False})
    for _ in range(7):
        assert relaxed.login("requester", "wrong").status_code == 401
    assert relaxed.login("requester").status_code == 201


def test_parallel_guesses_are_counted_one_by_one(any_town: Town) -> None:
    with ThreadPoolExecutor(12) as pool:
        codes = [a.json()["code"] for a in pool.map(lambda _: any_town.login("requester", "wrong"), range(12))]
    assert codes.count("bad_credentials") == 5
    assert codes.count("locked") == 7
    assert len(any_town.events(event="session.login", outcome="failure")) == 5


@pytest.mark.parametrize("change", [{"disabled": True}, {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}])
def test_disabled_and_expired_accounts_are_out_at_once(town: Town, change: dict[str, object]) -> None:
    client = town.client("requester")
    assert client.get("/api/v1/users/me").status_code == 200
    with town.session() as session:
        user = session.exec(select(User).where(User.username == "requester")).one()
        for name, value in change.items():
            setattr(user, name, value)
        session.add(user)
        session.commit()
    assert client.get("/api/v1/users/me").status_code == 401
    assert town.login("requester").json()["code"] == "bad_credentials"


def test_a_token_ends_at_its_end(town: Town) -> None:
    with clock.stepped(clock.now()) as advance:
        token = town.login("requester").json()["token"]
        client = town.client(Authorization=f"Bearer {token}")
        advance(timedelta(hours=11))
        assert client.get("/api/v1/users/me").status_code == 200
        advance(timedelta(hours=2))
        answer = client.get("/api/v1/users/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "session_expired")
        assert client.get("/api/v1/users/me").json()["code"] == "unauthenticated"
    assert [event.reason for event in town.events(event="session.expire")] == ["expired"]


def test_a_console_session_ends_when_idle_and_in_any_case_after_its_hours(town: Town) -> None:
    with clock.stepped(clock.now()) as advance:
        with town.session() as session:
            secret = open_token(session, town.user("requester"), kind="console")
            session.commit()
        client = town.client(Cookie=f"cloudmgr_session={secret}")
        for _ in range(15):
            advance(timedelta(minutes=29))
            assert client.get("/api/v1/users/me").status_code == 200
        advance(timedelta(minutes=31))
        assert client.get("/api/v1/users/me").json()["code"] == "session_expired"
        with town.session() as session:
            secret = open_token(session, town.user("requester"), kind="console")
            session.commit()
        client = town.client(Cookie=f"cloudmgr_session={secret}")
        for _ in range(16):
            advance(timedelta(minutes=29))
            assert client.get("/api/v1/users/me").status_code == 200
        advance(timedelta(minutes=29))
        assert client.get("/api/v1/users/me").status_code == 401
    assert [event.reason for event in town.events(event="session.expire")] == ["idle", "expired"]


def test_the_last_use_is_noted_at_most_once_a_minute(town: Town) -> None:
    with clock.stepped(clock.now()) as advance:
        token = town.login("requester").json()["token"]
        client = town.client(Authorization=f"Bearer {token}")

        def seen() -> datetime:
            with town.session() as session:
                return session.exec(select(UserSession.last_seen_at)).one()

        first = seen()
        advance(timedelta(seconds=30))
        client.get("/api/v1/users/me")
        assert seen() == first
        advance(timedelta(seconds=31))
        client.get("/api/v1/users/me")
        assert seen() == first + timedelta(seconds=61)


def test_a_password_given_by_somebody_else_must_be_changed_first(town: Town) -> None:
    with town.session() as session:
        user = session.exec(select(User).where(User.username == "requester")).one()
        user.must_change_password = True
        session.add(user)
        session.commit()
    told = town.login("requester").json()
    assert told["must_change_password"] is True
    client = town.client(Authorization=f"Bearer {told['token']}")
    refused = client.get("/api/v1/audit/events")
    assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")
    change = {"old_password": PASSWORD, "new_password": "Brand-New-Horse-8"}
    assert client.put("/api/v1/users/me/password", json=change).status_code == 204
    assert client.get("/api/v1/audit/events").status_code == 200
    assert town.login("requester").status_code == 401
    assert town.login("requester", "Brand-New-Horse-8").status_code == 201


def test_a_password_too_old_must_be_changed(town: Town) -> None:
    with clock.stepped(clock.now()) as advance:
        advance(timedelta(days=91))
        assert town.login("requester").json()["must_change_password"] is True


def test_otp_is_accepted_and_unknown_fields_are_not(town: Town) -> None:
    body = {"username": "requester", "password": PASSWORD, "otp": "123456"}
    assert town.client().post("/api/v1/sessions", json=body).status_code == 201
    answer = town.client().post("/api/v1/sessions", json={**body, "remember": True})
    assert answer.json()["errors"][0] == {
        "field": "remember",
        "rule": "unknown",
        "message": "没有这个字段，请去掉或检查拼写。",
    }


def test_the_password_appears_in_no_answer_and_no_log(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = "Ver1-Secret-Thing"
    texts = [
        town.login("requester", secret).text,
        town.client().post("/api/v1/sessions", json={"username": "x", "password": [secret]}).text,
        town.client().post("/api/v1/sessions", content=f'{{"password":"{secret}"').text,
    ]
    assert secret not in "".join(texts)
    assert secret not in caplog.text
