"""A loan over HTTP, by a stepped clock: offered, signed by the other side, too short for a lease, and back on its day."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.access import Role
from cloudmgr.models import Organization, Project
from tests.api.test_deadlines import MONDAY, Office
from tests.api.test_quota_time import turn
from tests.support import add_user
from tests.world import World


@pytest.fixture
def office(any_world: World) -> Iterator[Office]:
    with clock.stepped(MONDAY) as advance:
        made = Office(any_world, advance)
        with made.world.session() as session:
            root, yuelu = (session.merge(place) for place in (any_world.root, any_world.yuelu))
            for name, role, place in (
                ("quotas", Role.QUOTA_ADMIN, root),
                ("neighbour", Role.DISTRICT_ADMIN, yuelu),
            ):
                made.world.people[name] = add_user(session, name, place, [role]).id
            session.commit()
        yield made


def account_of(session: Session, code: str) -> str:
    return str(session.exec(select(Organization.account_id).where(Organization.code == code)).one())


def set_limit(office: Office, account: str, **limits: int) -> Any:
    answer = office.client("quotas").patch(f"/api/v1/quotas/{account}", json={"limits": limits, "reason": "核定"})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("transfers", b'{"from":"%s","to":"%s","amounts":{"vcpus":1,"vcpus":2},"reason":"x"}'),
        ("loans", b'{"lender":"%s","borrower":"%s","amounts":{"vcpus":1,"vcpus":2},"until":"2030-01-01","reason":"x"}'),
        ("what-if", b'{"account":"%s","limits":{"vcpus":1,"vcpus":2}}'),
    ],
)
def test_a_key_that_stands_twice_in_a_body_is_refused(office: Office, path: str, body: bytes) -> None:
    account = str(office.world.root.account_id).encode()
    answer = office.client("quotas").post(
        f"/api/v1/quotas/{path}",
        content=body.replace(b"%s", account),
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert [each["field"] for each in answer.json()["errors"]] == ["vcpus"]


def test_a_loan_from_its_offer_to_its_return(office: Office) -> None:
    with office.world.session() as session:
        furong, yuelu = (account_of(session, code) for code in (office.world.furong.code, office.world.yuelu.code))
        project = session.exec(select(Project)).first()
        assert project is not None
    with_asked = office.get("quotas", f"/quotas/{furong}")["used"].get("vcpus", 0)
    set_limit(office, furong, vcpus=with_asked + 1)
    set_limit(office, yuelu, vcpus=100)
    until = (clock.today() + timedelta(days=30)).isoformat()
    body = {"lender": yuelu, "borrower": furong, "amounts": {"vcpus": 50}, "until": until, "reason": "迎检"}
    offered = office.post("neighbour", "/quotas/loans", body, 201)
    assert (offered["state"], offered["offered_side"], offered["may_accept"]) == ("offered", "lender", False)
    office.post("requester", f"/quotas/loans/{offered['id']}/decisions", {"decision": "accept"}, 403)
    (seen,) = office.get("admin", "/quotas/loans")["items"]
    assert seen["may_accept"] is True
    signed = office.post("admin", f"/quotas/loans/{offered['id']}/decisions", {"decision": "accept"})
    assert (signed["state"], signed["days_left"], signed["amounts"][0]["outstanding"]) == ("active", 30, 50)
    assert office.get("admin", f"/quotas/{furong}")["borrowed"] == {"vcpus": 50}

    refused = office.post("requester", "/requests", office.world.body(), 409)
    assert (refused["code"], refused["errors"][0]["lender"]) == ("loan_ends_first", office.world.yuelu.name)
    plan = office.post("requester", "/plans", office.world.body())
    assert "loan_ends_first" in [each["code"] for each in plan["refusals"]]
    short = (clock.today() + timedelta(days=20)).isoformat()
    request = office.post("requester", "/requests", office.world.body(lease_end=short), 201)
    office.post("requester", f"/requests/{request['id']}/withdraw")

    with clock.stepped(clock.now() + timedelta(days=31)):
        turn(office)
        (back,) = office.get("neighbour", "/quotas/loans?state=returned")["items"]
        assert back["amounts"][0]["returned"] == 50
        assert office.get("admin", f"/quotas/{furong}")["limits"]["vcpus"] == with_asked + 1


def test_loans_come_by_pages_and_an_offer_has_returned_nothing(office: Office) -> None:
    with office.world.session() as session:
        furong, yuelu = (account_of(session, code) for code in (office.world.furong.code, office.world.yuelu.code))
    set_limit(office, furong, vcpus=100)
    set_limit(office, yuelu, vcpus=100)
    until = (clock.today() + timedelta(days=30)).isoformat()
    body = {"lender": yuelu, "borrower": furong, "amounts": {"vcpus": 10}, "until": until, "reason": "迎检"}
    offered = [office.post("neighbour", "/quotas/loans", body, 201)["id"] for _ in range(3)]
    first = office.get("admin", "/quotas/loans?limit=2")
    rest = office.get("admin", f"/quotas/loans?limit=2&cursor={first['next_cursor']}")
    assert [each["id"] for each in first["items"] + rest["items"]] == offered[::-1]
    assert rest["next_cursor"] is None
    assert office.get("admin", "/quotas/loans?limit=3")["next_cursor"] is None
    assert first["items"][0]["amounts"][0]["returned"] == 0
    refused = office.post("admin", f"/quotas/loans/{offered[0]}/decisions", {"decision": "cancel"}, 403)
    assert "takes it back" in refused["detail"]


@pytest.mark.parametrize(
    ("path", "changes", "status", "field"),
    [
        ("loans", {"borrower": "00000000-0000-0000-0000-000000000000"}, 404, "borrower"),
        ("loans", {"lender": "00000000-0000-0000-0000-000000000000"}, 404, "lender"),
        ("loans", {"borrower": "root"}, 422, "borrower"),
        ("loans", {"borrower": "furong"}, 422, "borrower"),
        ("loans", {"amounts": {"vcpu": 1}}, 422, "amounts.vcpu"),
        ("loans", {"amounts": {"vcpus": 10**15}}, 422, "amounts.vcpus"),
        ("loans", {"amounts": {"": 1}}, 422, "amounts"),
        ("transfers", {"amounts": {"vcpu": 1}}, 422, "amounts.vcpu"),
        ("transfers", {"amounts": {"vcpus": -1}}, 422, "amounts.vcpus"),
        ("what-if", {"limits": {"vcpus": -1}}, 422, "limits.vcpus"),
        ("moves", {"parent": "bureau"}, 422, "parent"),
    ],
)
def test_a_refusal_names_the_field_that_was_sent(
    office: Office, path: str, changes: dict[str, Any], status: int, field: str
) -> None:
    world = office.world
    places = {"root": world.root, "furong": world.furong, "bureau": world.minzheng, "yuelu": world.yuelu}
    furong, yuelu = str(world.furong.account_id), str(world.yuelu.account_id)
    for account in (furong, yuelu):
        set_limit(office, account, vcpus=100)
    bodies: dict[str, dict[str, Any]] = {
        "loans": {"lender": furong, "borrower": yuelu, "until": "2030-01-01", "amounts": {"vcpus": 1}},
        "transfers": {"from": furong, "to": yuelu, "amounts": {"vcpus": 1}},
        "what-if": {"account": furong},
        "moves": {"account": furong},
    }
    sent = {
        name: str(places[value].account_id) if isinstance(value, str) and value in places else value
        for name, value in changes.items()
    }
    reason = {} if path == "what-if" else {"reason": "x"}
    refused = office.post("quotas", f"/quotas/{path}", bodies[path] | sent | reason, status)
    assert [each["field"] for each in refused["errors"]] == [field]


def test_a_guarantee_names_its_own_field(office: Office) -> None:
    address = f"/api/v1/quotas/{office.world.furong.account_id}/guarantees"
    for key, amount in (("vcpu", 1), ("vcpus", 10**15)):
        answer = office.client("quotas").put(address, json={"guarantees": {key: amount}, "reason": "x"})
        assert [each["field"] for each in answer.json()["errors"]] == [f"guarantees.{key}"]
