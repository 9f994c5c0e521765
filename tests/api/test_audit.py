"""The audit log over the API: how far each role reads, filters, pages, and that nobody changes it."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.models import Organization
from cloudmgr.services import audit
from cloudmgr.services.quota_turns import SYSTEM
from tests.http.town import Town


def _record(town: Town, name: str, event: Event, place: Organization, outcome: Outcome = Outcome.SUCCESS) -> None:
    user = town.user(name)
    with town.session() as session:
        actor = Actor(user.id, user.username, user.display_name, user.organization_id, place.path, source="192.0.2.9")
        audit.record(session, actor, event, object_type="server", object_id="s-1", object_name="app01", outcome=outcome)
        session.commit()


def _seen(town: Town, name: str, **params: str) -> list[tuple[str, str]]:
    items = town.client(name).get("/api/v1/audit/events", params=params).json()["items"]
    return [(item["actor"], item["action"]) for item in items]


@pytest.fixture
def told(town: Town) -> Town:
    """A reboot in each district by its administrator, and a deletion at the city."""
    _record(town, "district-admin", Event.VM_REBOOT, town.tree.bureau)
    _record(town, "ylq-admin", Event.VM_REBOOT, town.tree.yuelu)
    _record(town, "system-admin", Event.VM_DELETE, town.tree.city)
    return town


def test_auditors_see_everything_and_districts_their_own(told: Town) -> None:
    everything = [("system-admin", "vm.delete"), ("ylq-admin", "vm.reboot"), ("district-admin", "vm.reboot")]
    assert _seen(told, "audit-admin") == everything
    assert _seen(told, "external-auditor") == everything
    assert _seen(told, "district-admin") == [("district-admin", "vm.reboot")]
    assert _seen(told, "unit-reviewer") == [("district-admin", "vm.reboot")]
    assert _seen(told, "ylq-admin") == [("ylq-admin", "vm.reboot")]


def test_everybody_else_sees_their_own_actions_only(told: Town) -> None:
    for name in ("requester", "quota-admin", "city-approver", "security-admin"):
        assert _seen(told, name) == []
    assert _seen(told, "system-admin") == [("system-admin", "vm.delete")]
    assert told.client("nobody").get("/api/v1/audit/events").status_code == 403


def test_a_tenant_sees_what_operators_did_to_its_servers(town: Town) -> None:
    _record(town, "system-admin", Event.VM_REBOOT, town.tree.bureau)
    assert _seen(town, "district-admin") == [("system-admin", "vm.reboot")]


def test_what_concerns_no_organization_is_read_by_who_audits_the_topmost_one(told: Town) -> None:
    with told.session() as session:
        audit.record(session, SYSTEM, Event.QUOTA_ALARM, object_type="quota", object_id="-", organization_path="/")
        session.commit()
    for name in ("audit-admin", "external-auditor"):
        assert _seen(told, name, action="quota.alarm") == [("system", "quota.alarm")]
    assert _seen(told, "district-admin", action="quota.alarm") == []


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"actor": "ylq-admin"}, 1),
        ({"action": "vm.reboot"}, 2),
        ({"action": "vm.delete", "object": "app01"}, 1),
        ({"object": "server"}, 3),
        ({"object": "s-1"}, 3),
        ({"object": "nothing"}, 0),
        ({"outcome": "success"}, 3),
        ({"outcome": "denied"}, 0),
        ({"from": "2020-01-01T00:00:00Z"}, 3),
        ({"to": "2020-01-01T00:00:00+08:00"}, 0),
        ({"from": "2020-01-01T00:00:00", "to": "2099-01-01T00:00:00"}, 3),
    ],
)
def test_filters_narrow(told: Town, params: dict[str, str], count: int) -> None:
    assert len(_seen(told, "audit-admin", **params)) == count


@pytest.mark.parametrize(
    "params", [{"action": "vm.explode"}, {"outcome": "maybe"}, {"from": "x"}, {"since": "2020"}, {"cursor": "AAAA"}]
)
def test_bad_filters_are_refused(town: Town, params: dict[str, str]) -> None:
    assert town.client("audit-admin").get("/api/v1/audit/events", params=params).status_code == 422


def test_pages_meet_without_overlap(town: Town) -> None:
    for _ in range(5):
        _record(town, "system-admin", Event.VM_START, town.tree.city)
    client = town.client("audit-admin")
    seen, cursor = [], None
    while True:
        page = client.get("/api/v1/audit/events", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["seq"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5


def test_records_tell_who_what_whence_and_which_request(town: Town) -> None:
    town.login("requester", **{"X-Request-ID": "my-request-0001"})
    item = town.client("audit-admin").get("/api/v1/audit/events").json()["items"][0]
    assert item["action"] == "session.login"
    assert item["request_id"] == "my-request-0001"
    assert item["source"] == "testclient"
    assert item["object_name"] == "requester"
    assert item["session_id"]
    assert item["at"].endswith("Z")


def test_nobody_changes_a_record(any_town: Town) -> None:
    _record(any_town, "system-admin", Event.VM_START, any_town.tree.city)
    for statement in ("UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events"):
        with any_town.session() as session, pytest.raises(DBAPIError, match="append-only"):
            session.connection().execute(sa.text(statement))


def test_order_is_kept_when_the_clock_goes_back(town: Town) -> None:
    _record(town, "system-admin", Event.VM_START, town.tree.city)
    with clock.stepped(clock.now() - timedelta(hours=1)):
        _record(town, "system-admin", Event.VM_STOP, town.tree.city)
    assert [action for _, action in _seen(town, "audit-admin")] == ["vm.stop", "vm.start"]
