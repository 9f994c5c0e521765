"""People and roles over the API: who may, what is refused, what is audited."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from httpx import Response
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import RoleGrant, User
from tests.http.town import Town
from tests.support import PASSWORD, unknown_id

NEW = {"username": "frq-new", "display_name": "新人"}


def _create(town: Town, by: str = "system-admin", **fields: Any) -> Response:
    body = {**NEW, "organization": str(town.tree.bureau.id), **fields}
    return town.client(by).post("/api/v1/users", json=body)


def test_a_new_person_has_a_password_shown_once_and_no_rights(any_town: Town) -> None:
    made = _create(any_town, phone="13800001111").json()
    assert made["roles"] == []
    assert made["must_change_password"] is True
    assert made["phone"] == "13800001111"
    again = any_town.client("system-admin").get(f"/api/v1/users/{made['id']}").json()
    assert "one_time_password" not in again
    login = any_town.login("frq-new", made["one_time_password"])
    assert (login.status_code, login.json()["must_change_password"]) == (201, True)
    assert [event.actor for event in any_town.events(event="user.create")] == ["system-admin"]


def test_a_name_is_given_once_whatever_its_case(town: Town) -> None:
    assert _create(town).status_code == 201
    answer = _create(town, username="FRQ-New")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["errors"][0]["field"] == "username"


def test_two_who_take_a_name_at_once_are_one_and_a_conflict(any_town: Town) -> None:
    clients = [any_town.client("system-admin") for _ in range(4)]
    body = {**NEW, "organization": str(any_town.tree.bureau.id)}
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(c.status_code for c in pool.map(lambda c: c.post("/api/v1/users", json=body), clients))
    assert codes == [201, 409, 409, 409]


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"username": "x"}, "username", "format"),
        ({"username": "has space"}, "username", "format"),
        ({"username": 7}, "username", "type"),
        ({"display_name": ""}, "display_name", "length"),
        ({"display_name": "  "}, "display_name", "length"),
        ({"display_name": "x" * 101}, "display_name", "length"),
        ({"display_name": "a\u0000b"}, "display_name", "format"),
        ({"display_name": None}, "display_name", "type"),
        ({"organization": "not-an-id"}, "organization", "format"),
        ({"organization": 1}, "organization", "type"),
        ({"phone": "call me"}, "phone", "format"),
        ({"expires_at": "tomorrow"}, "expires_at", "format"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "invalid"),
        ({"roles": ["system_admin"]}, "roles", "unknown"),
        ({"disabled": False}, "disabled", "unknown"),
    ],
)
def test_bad_fields_are_named_with_their_rule(town: Town, fields: dict[str, Any], field: str, rule: str) -> None:
    answer = _create(town, **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert [(error["field"], error["rule"]) for error in answer.json()["errors"]] == [(field, rule)]
    assert town.events(event="user.create", outcome="success") == []


def test_only_the_system_administrator_makes_people(town: Town) -> None:
    for name in ("security-admin", "district-admin", "requester", "audit-admin"):
        answer = _create(town, by=name)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    denied = town.events(event="user.create", outcome="denied")
    assert [event.reason for event in denied] == ["forbidden"] * 4


def test_another_districts_people_do_not_exist(town: Town) -> None:
    theirs = town.user("ylq-admin").id
    client = town.client("district-admin")
    hidden = client.get(f"/api/v1/users/{theirs}")
    absent = client.get(f"/api/v1/users/{unknown_id()}")

    def told(answer: Response) -> dict[str, Any]:
        return {k: v for k, v in answer.json().items() if k not in {"request_id", "instance"}}

    assert (hidden.status_code, absent.status_code) == (404, 404)
    assert told(hidden) == told(absent)
    assert client.patch(f"/api/v1/users/{theirs}", json={"phone": "1"}).status_code == 404
    assert client.get(f"/api/v1/users/{theirs}/roles").status_code == 404
    assert client.get("/api/v1/users", params={"organization": str(town.tree.yuelu.id)}).status_code == 404
    assert {event.object_id for event in town.events(event="access.deny")} >= {str(theirs)}


def test_a_list_shows_ones_own_subtree_in_pages(town: Town) -> None:
    client = town.client("district-admin")
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get("/api/v1/users", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [user["username"] for user in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == ["district-admin", "nobody", "requester", "unit-reviewer"]
    assert client.get("/api/v1/users", params={"q": "req"}).json()["items"][0]["username"] == "requester"
    assert client.get("/api/v1/users", params={"q": "%"}).json()["items"] == []


def test_phones_are_masked_for_those_who_only_read(town: Town) -> None:
    made = _create(town, phone="13812345678").json()
    seen = {
        name: town.client(name).get(f"/api/v1/users/{made['id']}").json()["phone"]
        for name in ("system-admin", "district-admin", "audit-admin")
    }
    assert seen == {"system-admin": "13812345678", "district-admin": "138****5678", "audit-admin": "138****5678"}


def test_disabling_ends_sessions_at_once(town: Town) -> None:
    theirs = town.client("requester")
    assert theirs.get("/api/v1/users/me").status_code == 200
    path = f"/api/v1/users/{town.user('requester').id}"
    assert town.client("system-admin").patch(path, json={"disabled": True}).json()["disabled"] is True
    assert theirs.get("/api/v1/users/me").status_code == 401
    town.client("system-admin").patch(path, json={"disabled": False})
    assert theirs.get("/api/v1/users/me").status_code == 401  # the old token stays dead
    assert town.login("requester").status_code == 201


def test_the_security_administrator_unlocks_and_the_system_administrator_does_not(town: Town) -> None:
    for _ in range(5):
        town.login("requester", "wrong")
    path = f"/api/v1/users/{town.user('requester').id}"
    assert town.client("system-admin").get(path).json()["locked"] is True
    assert town.client("system-admin").patch(path, json={"locked": False}).status_code == 403
    assert town.client("security-admin").patch(path, json={"locked": False}).json()["locked"] is False
    assert town.login("requester").status_code == 201
    assert len(town.events(event="user.unlock", outcome="success")) == 1


def test_an_account_locked_by_hand_stays_locked(town: Town) -> None:
    path = f"/api/v1/users/{town.user('requester').id}"
    theirs = town.client("requester")
    town.client("security-admin").patch(path, json={"locked": True})
    assert theirs.get("/api/v1/users/me").status_code == 401
    with clock.stepped(clock.now() + timedelta(days=60)):
        assert town.login("requester").status_code == 423


def test_a_reset_password_is_one_time_and_ends_sessions(town: Town) -> None:
    theirs = town.client("requester")
    path = f"/api/v1/users/{town.user('requester').id}"
    given = town.client("system-admin").patch(path, json={"reset_password": True}).json()["one_time_password"]
    assert theirs.get("/api/v1/users/me").status_code == 401
    assert town.login("requester").status_code == 401
    assert town.login("requester", given).json()["must_change_password"] is True


@pytest.mark.parametrize(
    "change", [{"disabled": True}, {"reset_password": True}, {"expires_at": "2099-01-01T00:00:00Z"}]
)
def test_administrators_do_not_shut_each_other_out(town: Town, change: dict[str, Any]) -> None:
    for name in ("security-admin", "audit-admin", "system-admin"):
        answer = town.client("system-admin").patch(f"/api/v1/users/{town.user(name).id}", json=change)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_patch_of_nothing_and_of_null_is_refused(town: Town) -> None:
    client = town.client("system-admin")
    path = f"/api/v1/users/{town.user('requester').id}"
    assert client.patch(path, json={}).json()["code"] == "invalid"
    assert client.patch(path, json={"display_name": None}).status_code == 422
    assert client.patch(path, json={"username": "other"}).json()["errors"][0]["rule"] == "unknown"


def test_a_role_holds_on_the_subtree_until_it_is_revoked(any_town: Town) -> None:
    town = any_town
    path = f"/api/v1/users/{town.user('nobody').id}/roles"
    theirs = town.client("nobody")
    assert theirs.get("/api/v1/users").status_code == 403
    grant = {"role": "district_admin", "organization": str(town.tree.furong.id)}
    answer = town.client("security-admin").post(path, json=grant)
    assert answer.status_code == 201
    assert answer.json()["organization_name"] == "芙蓉区"
    assert theirs.get("/api/v1/users").status_code == 200
    assert town.client("security-admin").post(path, json=grant).json()["code"] == "conflict"
    assert [item["role"] for item in theirs.get(path).json()["items"]] == ["district_admin"]
    revoked = town.client("security-admin").patch(path, json={**grant, "revoked": True})
    assert revoked.json()["revoked_at"] is not None
    assert theirs.get("/api/v1/users").status_code == 403
    assert town.client("security-admin").post(path, json=grant).status_code == 201  # and may be granted again
    assert len(town.events(event="role.grant", outcome="success")) == 2
    assert len(town.events(event="role.revoke", outcome="success")) == 1


def test_a_role_ends_with_its_date(town: Town) -> None:
    path = f"/api/v1/users/{town.user('nobody').id}/roles"
    until = (clock.now() + timedelta(days=1)).isoformat()
    grant = {"role": "external_auditor", "organization": str(town.tree.city.id), "valid_until": until}
    assert town.client("security-admin").post(path, json=grant).status_code == 201
    theirs = town.client("nobody")
    assert theirs.get("/api/v1/sessions/current").json()["roles"] == ["external_auditor"]
    with clock.stepped(clock.now() + timedelta(days=1, minutes=1)):
        assert town.client("nobody").get("/api/v1/sessions/current").json()["roles"] == []


def test_only_the_security_administrator_grants_and_never_to_themselves(town: Town) -> None:
    grant = {"role": "requester", "organization": str(town.tree.furong.id)}
    path = f"/api/v1/users/{town.user('nobody').id}/roles"
    for name in ("system-admin", "audit-admin", "district-admin"):
        assert town.client(name).post(path, json=grant).status_code == 403
    assert town.client("requester").post(path, json=grant).status_code == 404
    own = f"/api/v1/users/{town.user('security-admin').id}/roles"
    assert town.client("security-admin").post(own, json=grant).status_code == 403


@pytest.mark.parametrize("role", ["system_admin", "security_admin", "audit_admin"])
def test_nobody_holds_two_of_the_three_administrators_roles(town: Town, role: str) -> None:
    city = str(town.tree.city.id)
    for name in ("system-admin", "audit-admin"):
        if name == role.replace("_", "-"):
            continue
        path = f"/api/v1/users/{town.user(name).id}/roles"
        answer = town.client("security-admin").post(path, json={"role": role, "organization": city})
        assert (answer.status_code, answer.json()["code"]) == (409, "exclusive_role")
        # nor on another organization
        answer = town.client("security-admin").post(path, json={"role": role, "organization": str(town.tree.furong.id)})
        assert answer.json()["code"] == "exclusive_role"


def test_the_database_itself_refuses_a_second_exclusive_role(any_town: Town) -> None:
    path = f"/api/v1/users/{any_town.user('nobody').id}/roles"
    city = str(any_town.tree.city.id)
    clients = [any_town.client("security-admin") for _ in range(3)]
    roles = ["system_admin", "security_admin", "audit_admin"]

    def grant(number: int) -> Response:
        return clients[number].post(path, json={"role": roles[number], "organization": city})

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(grant, range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"exclusive_role"}
    with any_town.session() as session:
        assert len(session.exec(select(RoleGrant).where(RoleGrant.user_id == any_town.user("nobody").id)).all()) == 1


def test_unknown_roles_and_organizations_are_told(town: Town) -> None:
    path = f"/api/v1/users/{town.user('nobody').id}/roles"
    client = town.client("security-admin")
    city = str(town.tree.city.id)
    bad = client.post(path, json={"role": "emperor", "organization": city}, headers={"Accept-Language": "en"}).json()
    assert bad["errors"][0]["rule"] == "choice"
    assert "requester" in bad["errors"][0]["message"]
    absent = client.post(path, json={"role": "requester", "organization": str(unknown_id())})
    assert (absent.status_code, absent.json()["errors"][0]["field"]) == (404, "organization")
    past = client.post(path, json={"role": "requester", "organization": city, "valid_until": "2020-01-01T00:00:00Z"})
    assert past.json()["errors"][0]["field"] == "valid_until"
    both = {"role": "requester", "organization": city, "revoked": True}
    assert client.patch(path, json=both).status_code == 404


@pytest.mark.parametrize(
    "password",
    ["Sh0rt-", "alllowercase", "ALLUPPER123", "12345678901", "Admin@123", "P@ssw0rd", "Huawei@123", "Requester-1x"],
)
def test_weak_passwords_are_refused(town: Town, password: str) -> None:
    change = {"old_password": PASSWORD, "new_password": password}
    answer = town.client("requester").put("/api/v1/users/me/password", json=change)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "new_password")
    assert password not in answer.text


def test_administrators_need_longer_passwords(town: Town) -> None:
    change = {"old_password": PASSWORD, "new_password": "Good-Pw-11c"}
    assert town.client("requester").put("/api/v1/users/me/password", json=change).status_code == 204
    assert town.client("system-admin").put("/api/v1/users/me/password", json=change).status_code == 422


def test_changing_the_password_ends_the_other_sessions_only(town: Town) -> None:
    mine, other = town.client("requester"), town.client("requester")
    change = {"old_password": PASSWORD, "new_password": "Quite-New-Word-9"}
    assert mine.put("/api/v1/users/me/password", json=change).status_code == 204
    assert mine.get("/api/v1/users/me").status_code == 200
    assert other.get("/api/v1/users/me").status_code == 401
    assert len(town.events(event="user.password", outcome="success")) == 1


def test_guessing_the_old_password_locks_like_guessing_at_the_door(town: Town) -> None:
    client = town.client("requester")
    guess = {"old_password": "wrong", "new_password": "Quite-New-Word-9"}
    codes = [client.put("/api/v1/users/me/password", json=guess).json()["code"] for _ in range(6)]
    assert codes == ["wrong_password"] * 5 + ["unauthenticated"]
    assert town.login("requester").json()["code"] == "locked"


def test_the_old_password_is_no_new_one(town: Town) -> None:
    change = {"old_password": PASSWORD, "new_password": PASSWORD}
    assert town.client("requester").put("/api/v1/users/me/password", json=change).status_code == 422


def test_passwords_lie_in_the_database_as_argon2id(town: Town) -> None:
    with town.session() as session:
        hashes = session.exec(select(User.password_hash)).all()
    assert all(stored.startswith("$argon2id$") for stored in hashes)
