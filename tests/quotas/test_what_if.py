"""What a limit would mean before it is set: who would be over, and at which level."""

import pytest

from cloudmgr.domain.errors import InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from quotas import reserve, verify, what_if
from tests.quotas.conftest import server


@pytest.fixture
def planned(city):
    """The city has 20 vCPUs, 12 of them promised to 芙蓉区, of which 8 are held."""
    city.limit(city.root, {"vcpus": 20, "vcpus{arch=aarch64}": 16})
    city.limit(city.furong, {"vcpus": 12})
    city.limit(city.community, {"vcpus": 10})
    reserve(city.session, reservation_id=new_id(), account_id=city.community, parts=[server(8)])
    return city


def told(city, account_id, limits):
    return [
        (each.name, each.key, each.consequence.value, each.limit, each.amount, each.over, each.before)
        for each in what_if(city.session, account_id, limits)
    ]


def test_what_fits_everywhere_makes_nobody_over(planned):
    assert told(planned, planned.yuelu, {"vcpus": 8}) == []


def test_more_than_the_city_has_is_promised_and_some_of_it_is_not_there(planned):
    assert told(planned, planned.yuelu, {"vcpus": 13}) == [
        ("长沙市", "vcpus", "promised_above", 20, 25, 5, 0),
        ("长沙市", "vcpus", "room_missing", 12, 13, 1, 0),
    ]


def test_a_narrowed_limit_is_held_against_the_wider_ones(planned):
    assert told(planned, planned.yuelu, {"vcpus{arch=aarch64}": 9}) == [
        ("长沙市", "vcpus{arch=aarch64}", "room_missing", 8, 9, 1, 0)
    ]


def test_less_than_is_in_use_and_less_than_is_promised_below(planned):
    assert told(planned, planned.furong, {"vcpus": 6}) == [
        ("芙蓉区", "vcpus", "children_above", 6, 10, 4, 0),
        ("芙蓉区", "vcpus", "use_above", 6, 8, 2, 0),
    ]


def test_a_deeper_account_is_held_against_every_level(planned):
    found = told(planned, planned.community, {"vcpus": 40})
    assert {(name, what) for name, _, what, *_ in found} == {
        ("长沙市", "room_missing"),
        ("芙蓉区", "promised_above"),
        ("芙蓉区", "room_missing"),
    }


def test_it_changes_nothing(planned):
    before = verify(planned.session).checked_entries
    what_if(planned.session, planned.furong, {"vcpus": 1, "servers": None})
    assert verify(planned.session).checked_entries == before


def test_nonsense_is_refused(planned):
    with pytest.raises(NotFound):
        what_if(planned.session, new_id(), {"vcpus": 1})
    with pytest.raises(InvalidInput):
        what_if(planned.session, planned.furong, {"vcpus{colour=red}": 1})
