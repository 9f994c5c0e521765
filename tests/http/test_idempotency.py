"""Idempotency-Key: the same call twice is one deed, across processes, crashes and races."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from httpx import Response
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.http.idempotency import REPLAYED, TAKEOVER_AFTER
from cloudmgr.models import IdempotencyKey, User
from cloudmgr.services import users
from tests.http.town import Town

KEY = {"Idempotency-Key": "key-1"}


def _body(town: Town, name: str = "frq-new") -> dict[str, Any]:
    return {"username": name, "display_name": "新人", "organization": str(town.tree.bureau.id)}


def _post(town: Town, name: str = "frq-new", by: str = "system-admin", **headers: str) -> Response:
    return town.client(by).post("/api/v1/users", json=_body(town, name), headers=headers or KEY)


def _rows(town: Town) -> list[IdempotencyKey]:
    with town.session() as session:
        return list(session.exec(select(IdempotencyKey)).all())


def _made(town: Town) -> int:
    return len(town.events(event="user.create", outcome="success"))


def test_a_repeated_call_gets_the_first_answer_and_no_second_deed(any_town: Town) -> None:
    first = _post(any_town)
    with any_town.again() as other:
        second = _post(other)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["id"] == first.json()["id"]
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert _made(any_town) == 1


def test_a_remembered_answer_holds_no_password(town: Town) -> None:
    password = _post(town).json()["one_time_password"]
    assert password
    assert _post(town).json()["one_time_password"] is None
    assert password not in repr(_rows(town))


def test_the_same_key_with_another_body_is_refused(town: Town) -> None:
    _post(town)
    answer = _post(town, "somebody-else")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_keys_are_each_users_own(town: Town) -> None:
    assert _post(town).status_code == 201
    answer = _post(town, by="requester")
    assert answer.json()["code"] == "forbidden"


def test_only_success_is_remembered(any_town: Town) -> None:
    bad = any_town.client("system-admin").post("/api/v1/users", json={"username": 1}, headers=KEY)
    assert bad.status_code == 422
    assert _rows(any_town) == []
    assert _post(any_town).status_code == 201
    taken = _post(any_town, **{"Idempotency-Key": "key-2"})
    assert taken.status_code == 409
    assert len(_rows(any_town)) == 1


def test_a_call_still_running_is_told(any_town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    create_user = users.create_user

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(20)
        return create_user(*arguments)

    second = any_town.client("system-admin")
    monkeypatch.setattr(users, "create_user", slow)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(_post, any_town)
        assert entered.wait(10)
        told = second.post("/api/v1/users", json=_body(any_town), headers=KEY)
        go_on.set()
        assert running.result().status_code == 201
    assert (told.status_code, told.json()["code"]) == (409, "in_progress")
    assert [row.status for row in _rows(any_town)] == [201]


def test_a_claim_without_an_answer_blocks_for_a_minute_only(any_town: Town) -> None:
    _post(any_town)
    with any_town.session() as session:  # as a process leaves it that died before its deed
        row = session.exec(select(IdempotencyKey)).one()
        row.status, row.answer = None, None
        session.add(row)
        user = session.exec(select(User).where(User.username == "frq-new")).one()
        user.username_key = "gone"
        session.add(user)
        session.commit()
    told = _post(any_town)
    assert (told.status_code, told.json()["code"]) == (409, "in_progress")
    with clock.stepped(clock.now() + TAKEOVER_AFTER + timedelta(seconds=1)):
        assert _post(any_town).status_code == 201


def test_a_deed_whose_claim_was_taken_over_rolls_back(any_town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    create_user = users.create_user

    def overtaken(session: Any, *arguments: Any) -> Any:
        row = session.exec(select(IdempotencyKey)).one()
        session.delete(row)
        session.flush()
        session.add(IdempotencyKey(user_id=row.user_id, key=row.key, route=row.route, body_digest=row.body_digest))
        return create_user(session, *arguments)

    monkeypatch.setattr(users, "create_user", overtaken)
    answer = _post(any_town)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_progress")
    assert _made(any_town) == 0


def test_many_at_once_are_one_deed(any_town: Town) -> None:
    others = [any_town.again() for _ in range(2)]
    clients = [town.client("system-admin") for town in (any_town, *others) for _ in range(4)]
    body = _body(any_town)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda client: client.post("/api/v1/users", json=body, headers=KEY), clients))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"in_progress"}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert _made(any_town) == 1
    for town in others:
        town.app.state.engine.dispose()


def test_an_answer_is_forgotten_after_a_day(town: Town) -> None:
    _post(town)
    with clock.stepped(clock.now() + timedelta(hours=25)):
        answer = _post(town, "frq-next-day")
        assert answer.status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_odd_keys_are_refused(town: Town, key: str) -> None:
    answer = _post(town, **{"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


def test_logins_ignore_the_key(town: Town) -> None:
    tokens = {town.login("requester", **KEY).json()["token"] for _ in range(2)}
    assert len(tokens) == 2
    assert _rows(town) == []


def test_a_key_without_a_login_claims_nothing(town: Town) -> None:
    answer = town.client().post("/api/v1/users", json={}, headers={"Idempotency-Key": str(uuid.uuid4())})
    assert answer.status_code == 401
    assert _rows(town) == []
