"""A server that grows: what its request held turns into what the server holds, exactly, whatever happened meanwhile."""

import pytest

import quotas
from cloudmgr.domain.ids import new_id
from quotas import Part, QuotaExceeded
from tests.quotas.conftest import City, server


def standing(city: City, vcpus: int) -> Part:
    part = server(vcpus)
    quotas.reserve(city.session, reservation_id=part.part_id, account_id=city.community, parts=[part])
    quotas.post(city.session, reservation_id=part.part_id, part_id=part.part_id)
    return part


def hold(city: City, part: Part, vcpus: int):
    id_ = new_id()
    growth = Part(part.part_id, {"vcpus": vcpus, "memory_mib": 4096 * vcpus}, part.dims)
    quotas.reserve(city.session, reservation_id=id_, account_id=city.community, parts=[growth])
    return id_


def books(city: City) -> tuple[int, int]:
    usage = quotas.account_usage(city.session, city.root)
    assert quotas.verify(city.session).mismatches == []
    return usage.used.get("vcpus", 0), usage.reserved.get("vcpus", 0)


def test_what_was_held_becomes_what_is_used(city: City) -> None:
    part = standing(city, 8)
    held = hold(city, part, 8)
    assert books(city) == (8, 8)
    quotas.resize(
        city.session,
        reservation_id=part.part_id,
        part_id=part.part_id,
        amounts={"vcpus": 16, "memory_mib": 65536},
        held_by=held,
    )
    assert books(city) == (16, 0)


def test_a_limit_lowered_meanwhile_does_not_take_back_what_was_held(city: City) -> None:
    city.limit(city.furong, {"vcpus": 16})
    part = standing(city, 8)
    held = hold(city, part, 8)
    city.limit(city.furong, {"vcpus": 4})
    wanted = {"vcpus": 16, "memory_mib": 65536}
    quotas.resize(city.session, reservation_id=part.part_id, part_id=part.part_id, amounts=wanted, held_by=held)
    assert books(city) == (16, 0)
    with pytest.raises(QuotaExceeded):
        hold(city, part, 1)


def test_growth_that_nobody_held_is_asked_for(city: City) -> None:
    city.limit(city.furong, {"vcpus": 16})
    part = standing(city, 8)
    held = hold(city, part, 4)
    with pytest.raises(QuotaExceeded), city.session.begin_nested():
        quotas.resize(
            city.session, reservation_id=part.part_id, part_id=part.part_id, amounts={"vcpus": 24}, held_by=held
        )
    assert books(city) == (8, 4)


def test_a_smaller_server_gives_back(city: City) -> None:
    part = standing(city, 8)
    quotas.resize(city.session, reservation_id=part.part_id, part_id=part.part_id, amounts={"vcpus": 2})
    assert books(city) == (2, 0)
