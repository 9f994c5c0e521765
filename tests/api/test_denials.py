"""What was refused is on record, and no more of it than may be."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select

from cloudmgr.main import create_app
from cloudmgr.models import AuditEvent, User
from cloudmgr.store.db import new_session
from tests.stocked import project_named
from tests.support import client_for
from tests.world import World


@pytest.fixture
def clients(any_world: World) -> dict[str, TestClient]:
    app = create_app(any_world.settings, engine=any_world.engine)
    with new_session(any_world.engine) as session:
        users = {name: session.get_one(User, id_) for name, id_ in any_world.people.items()}
    return {name: client_for(app, users[name]) for name in ("requester", "stranger", "both", "admin")}


def denied(world: World) -> list[AuditEvent]:
    with world.session(write=False) as session:
        return list(session.exec(select(AuditEvent).where(AuditEvent.outcome == "denied").order_by(AuditEvent.seq)))


def told(event: AuditEvent) -> tuple[str, str, str]:
    return event.actor, event.event, event.reason


def test_over_quota_is_recorded_as_an_attempt_to_submit(any_world: World, clients: dict[str, TestClient]) -> None:
    answer = clients["requester"].post("/api/v1/requests", json=any_world.body(count=25))
    assert answer.status_code == 409
    (event,) = denied(any_world)
    assert told(event) == ("requester", "request.submit", "quota_exceeded")
    assert event.request_id == answer.headers["x-request-id"]
    assert event.source


@pytest.mark.parametrize("draft", [False, True])
def test_of_a_classified_system_only_who_when_and_the_code_are_kept(
    any_world: World, clients: dict[str, TestClient], draft: bool
) -> None:
    with any_world.session(write=False) as session:
        project = project_named(session, "涉密项目")
    secret = "一个不该留下的用途"
    body: dict[str, Any] = any_world.body(project=str(project.id), purpose=secret, name="secret-name")
    answer = clients["requester"].post("/api/v1/requests", json=body | {"draft": draft})
    assert answer.json()["code"] == "classification_refused"
    (event,) = denied(any_world)
    assert told(event) == ("requester", "request.submit", "classification_refused")
    assert (event.object_id, event.object_name, event.detail) == ("", "", {})
    kept = repr(event.model_dump())
    assert not any(word in kept for word in (secret, "secret-name", str(project.id), project.name))


def test_an_own_decision_and_a_strangers_look_are_recorded(any_world: World, clients: dict[str, TestClient]) -> None:
    own = any_world.submit("both", name="own")
    assert clients["both"].post(f"/api/v1/requests/{own}/decisions", json={"decision": "approve"}).status_code == 403
    assert clients["stranger"].get(f"/api/v1/requests/{own}").status_code == 404
    assert clients["stranger"].get(f"/api/v1/requests/{own}/handover").status_code == 404
    found = denied(any_world)
    assert [told(event) for event in found] == [
        ("both", "request.approve", "own_request"),
        ("stranger", "access.deny", "not_found"),
        ("stranger", "access.deny", "not_found"),
    ]
    assert {event.object_id for event in found} == {str(own)}


def test_what_never_was_is_no_denial(any_world: World, clients: dict[str, TestClient]) -> None:
    assert clients["stranger"].get(f"/api/v1/requests/{any_world.project.id}").status_code == 404
    assert denied(any_world) == []


def test_a_plan_is_no_attempt(any_world: World, clients: dict[str, TestClient]) -> None:
    answer = clients["requester"].post("/api/v1/plans", json=any_world.body(count=25))
    assert (answer.status_code, answer.json()["accepted"]) == (200, False)
    assert denied(any_world) == []
