"""Which lists are believed, how old a word may be, and what differs: the pure rules."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmgr.domain import drift, freshness
from cloudmgr.domain.drift import Held, Seen
from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.freshness import Freshness, standing
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.phases import Health, ServerPhase

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("present", "lost", "believed"),
    [(0, 0, True), (1, 1, False), (3, 2, True), (3, 3, False), (4, 2, True), (4, 3, False), (1000, 501, False)],
)
def test_a_list_that_lost_too_much_is_not_believed(present: int, lost: int, believed: bool) -> None:
    assert drift.is_believable(present, lost) is believed


@given(present=st.integers(1, 10_000), lost=st.integers(0, 10_000))
def test_all_gone_is_never_believed(present: int, lost: int) -> None:
    if lost >= present:
        assert not drift.is_believable(present, lost)
    if lost == 0:
        assert drift.is_believable(present, lost)


@given(
    health=st.sampled_from(list(Health)),
    age_s=st.integers(0, 10**7),
    period_s=st.floats(0.1, 3600),
    hours=st.integers(0, 1000),
)
def test_what_is_old_is_never_shown_as_well(health: Health, age_s: int, period_s: float, hours: int) -> None:
    told = standing(health, NOW - timedelta(seconds=age_s), now=NOW, period_s=period_s, expected_offline_hours=hours)
    if age_s > max(3 * period_s, 120):
        assert told.health not in (Health.OK, Health.DEGRADED)
        assert told.freshness is not Freshness.FRESH
    if health is Health.DOWN:
        assert told.health is Health.DOWN
    assert (told.freshness is Freshness.AWAY) <= (age_s <= hours * 3600)


def test_what_was_never_seen_is_not_well() -> None:
    assert standing(Health.OK, None, now=NOW, period_s=30).health is Health.UNKNOWN


def test_a_failing_cloud_never_rests_longer_than_stated() -> None:
    rests = [freshness.rest_s(failures) for failures in range(100)]
    assert rests[:3] == [None] * 3
    assert max(rest for rest in rests if rest) == freshness.REST_MOST_S


def _held(**changes: object) -> Held:
    fields: dict = {
        "id": new_id(),
        "name": "srv",
        "phase": ServerPhase.ACTIVE,
        "source": ServerSource.BUILT,
        "vcpus": 2,
        "memory_mib": 4096,
        "addresses": frozenset({"10.0.0.2"}),
        "intended_power": None,
        "intended_since": None,
        "built_at": NOW - timedelta(days=1),
        "updated_at": NOW - timedelta(days=1),
    }
    return Held(**(fields | changes))


def _seen(**changes: object) -> Seen:
    fields: dict = {
        "ref": "r",
        "name": "srv",
        "power": "running",
        "vcpus": 2,
        "memory_mib": 4096,
        "image": "img",
        "networks": ("net",),
        "addresses": frozenset({"10.0.0.2"}),
        "first_seen_at": NOW - timedelta(days=1),
        "baseline": {"name": "srv", "image": "img", "networks": ["net"], "power": "running"},
    }
    return Seen(**(fields | changes))


def _fields(held: Held, seen: Seen) -> list[str]:
    return [each.field for each in drift.differences(held, seen, looked_at=NOW, known_since=None)]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, []),
        ({"vcpus": 4}, ["vcpus"]),
        ({"vcpus": None, "memory_mib": None, "image": None, "networks": None}, []),
        ({"power": "stopped"}, ["power"]),
        ({"power": "paused"}, []),
        ({"power": "unknown"}, []),
        ({"name": "other"}, ["name"]),
        ({"networks": ("net", "more")}, ["networks"]),
        ({"addresses": frozenset({"10.0.0.3"})}, ["addresses"]),
        ({"addresses": frozenset()}, []),
        ({"addresses": frozenset({"10.0.0.2", "fe80::1"})}, ["addresses"]),
    ],
)
def test_each_field_is_compared_and_what_is_not_said_is_no_difference(changes: dict, fields: list[str]) -> None:
    assert _fields(_held(), _seen(**changes)) == fields


def test_a_cloud_that_spells_names_its_own_way_is_no_drift() -> None:
    assert _fields(_held(), _seen(name="srv-1a2b", baseline={"name": "srv-1a2b"})) == []


def test_an_address_it_had_from_the_beginning_is_its_own() -> None:
    seen = _seen(addresses=frozenset({"10.0.0.2", "fe80::1"}), baseline={"addresses": ["10.0.0.2", "fe80::1"]})
    assert _fields(_held(), seen) == []


def test_for_a_while_after_a_power_action_of_ours_nothing_is_drift() -> None:
    moment_ago = _held(intended_power="stopped", intended_since=NOW - timedelta(minutes=1))
    assert _fields(moment_ago, _seen()) == []
    assert _fields(_held(intended_power="stopped", intended_since=NOW - timedelta(hours=1)), _seen()) == ["power"]


def test_a_server_on_its_way_is_never_a_finding() -> None:
    for phase in drift.MOVING:
        held = _held(phase=phase)
        assert list(drift.differences(held, _seen(vcpus=9), looked_at=NOW, known_since=NOW)) == []
        assert list(drift.differences(held, None, looked_at=NOW, known_since=NOW)) == []


def test_what_was_built_after_the_list_was_begun_cannot_be_in_it() -> None:
    assert list(drift.differences(_held(built_at=NOW), None, looked_at=NOW, known_since=NOW)) == []
    (orphan,) = drift.differences(_held(), None, looked_at=NOW, known_since=NOW)
    assert orphan.kind == "orphan"


def test_our_own_change_of_size_is_no_drift() -> None:
    away = {"vcpus": 4, "memory_mib": 8192, "power": "stopped"}
    before, after = NOW - timedelta(minutes=1), NOW + timedelta(minutes=1)
    assert _fields(_held(), _seen(**away)) == ["vcpus", "memory_mib", "power"]
    assert _fields(_held(resizing_since=before), _seen(**away)) == [], "it is under way"
    assert _fields(_held(resized_at=after), _seen(**away)) == [], "the look was begun before it ended"
    assert _fields(_held(resized_at=before), _seen(vcpus=4)) == ["vcpus"]
