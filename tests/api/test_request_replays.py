"""POST /requests with an Idempotency-Key, by many clients of two processes at once: one request, one reservation."""

from concurrent.futures import ThreadPoolExecutor

from sqlmodel import select

import quotas
from cloudmgr.main import create_app
from cloudmgr.models import ResourceRequest, User
from cloudmgr.store.db import make_engine, new_session
from tests.support import client_for
from tests.world import World

KEY = {"Idempotency-Key": "a-key-of-the-requester"}


def test_the_same_call_at_two_processes_makes_one_request(any_world: World) -> None:
    engines = [make_engine(any_world.settings.database_url, synchronous="NORMAL") for _ in range(2)]
    apps = [create_app(any_world.settings, engine=engine) for engine in engines]
    with new_session(engines[0]) as session:
        user = session.get_one(User, any_world.people["requester"])
    clients = [client_for(apps[number % 2], user) for number in range(8)]
    body = any_world.body(count=3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda client: client.post("/api/v1/requests", json=body, headers=KEY), clients))
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"in_progress"}
    again = clients[1].post("/api/v1/requests", json=body, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (201, next(iter(made)))
    other = clients[0].post("/api/v1/requests", json=any_world.body(count=4), headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    with any_world.session(write=False) as session:
        assert len(session.exec(select(ResourceRequest)).all()) == 1
        assert quotas.account_usage(session, any_world.project.account_id).reserved["servers"] == 3
    for engine in engines:
        engine.dispose()


def test_a_refused_request_may_be_sent_again_with_its_key_once_there_is_room(any_world: World) -> None:
    app = create_app(any_world.settings, engine=any_world.engine)
    with new_session(any_world.engine) as session:
        user = session.get_one(User, any_world.people["requester"])
    client = client_for(app, user)
    body = any_world.body(count=21)
    assert client.post("/api/v1/requests", json=body, headers=KEY).json()["code"] == "quota_exceeded"
    with any_world.session() as session:
        quotas.set_limits(
            session,
            account_id=any_world.project.account_id,
            limits={"servers": 21},
            replace=False,
            reason="扩容",
            actor="test",
        )
        session.commit()
    assert client.post("/api/v1/requests", json=body, headers=KEY).status_code == 201
