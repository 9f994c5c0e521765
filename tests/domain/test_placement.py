"""Where a server may go: each objection, each preference, and that the order is one order."""

import dataclasses
import random
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmgr.domain.phases import Health, Spread, Tier
from cloudmgr.domain.placement import Wanted, ZoneFacts, judge, may_use

ZONE = "政务外网区"
FURONG, BUREAU, YUELU = "/cs/furong/", "/cs/furong/mzj/", "/cs/yuelu/"
AMOUNTS = {"vcpus": 8, "memory_mib": 32768, "disk_gib": 540}


def wanted(**changes: Any) -> Wanted:
    return dataclasses.replace(
        Wanted(arch="aarch64", amounts=AMOUNTS, network_zone=ZONE, image="kylin-v10", organization_path=BUREAU),
        **changes,
    )


def zone(name: str = "a", **changes: Any) -> ZoneFacts:
    room = {"vcpus": 64, "memory_mib": 262144, "disk_gib": 8000}
    facts = ZoneFacts(
        id=uuid.uuid5(uuid.NAMESPACE_DNS, name),
        name=name,
        title=name,
        backend_id=uuid.uuid4(),
        backend=f"cloud-{name}",
        tier=Tier.CITY,
        arch="aarch64",
        cpu_family="kunpeng",
        is_xinchuang=True,
        is_enabled=True,
        is_available=True,
        health=Health.OK,
        network_zones=frozenset({ZONE}),
        room=room,
        total=room,
        owner_path=None,
        image_archs=frozenset({"aarch64"}),
    )
    return dataclasses.replace(facts, **changes)


def order(asked: Wanted, *zones: ZoneFacts) -> list[str]:
    return [verdict.zone.name for verdict in judge(asked, zones) if verdict.is_candidate]


def test_a_zone_with_nothing_against_it_is_a_candidate_and_says_why_it_is_liked() -> None:
    (verdict,) = judge(wanted(), [zone()])
    assert (verdict.is_candidate, verdict.rank, verdict.against) == (True, 1, ())
    assert [str(note) for note in verdict.notes] == [
        "domestic (Xinchuang) pool, preferred",
        "municipal cloud, before district clouds",
    ]


@pytest.mark.parametrize(
    ("asked", "facts", "reason"),
    [
        ({"arch": "x86_64"}, {}, "its architecture is aarch64, asked is x86_64"),
        ({"backend": "other"}, {}, "it belongs to cloud-a, the request names other"),
        ({}, {"is_enabled": False}, "it is closed to new servers"),
        ({}, {"health": Health.DOWN}, "its backend does not answer"),
        ({}, {"health": Health.UNKNOWN}, "its backend has not been seen yet"),
        ({}, {"is_available": False}, "its backend reports it as not available"),
        ({"network_zone": "互联网区"}, {}, "it does not serve the network zone 互联网区"),
        ({}, {"tier": Tier.PUBLIC}, "it is a public cloud, which never carries 政务外网区"),
        ({}, {"owner_path": YUELU}, "it is not shared with your organization"),
        ({}, {"image_archs": frozenset({"x86_64"})}, "its backend has no kylin-v10 for aarch64"),
        ({"tried": frozenset({str(zone().id)})}, {}, "it was tried and had no room"),
        ({}, {"room": {**AMOUNTS, "vcpus": 7}}, "vCPU: 7 left, 8 asked"),
        ({}, {"room": {**AMOUNTS, "memory_mib": -5}}, "memory in MiB: 0 left, 32768 asked"),
        ({}, {"room": {**AMOUNTS, "disk_gib": 539}}, "disk in GiB: 539 left, 540 asked"),
    ],
)
def test_each_objection_is_told_alone(asked: dict[str, Any], facts: dict[str, Any], reason: str) -> None:
    (verdict,) = judge(wanted(**asked), [zone(**facts)])
    assert [str(message) for message in verdict.against] == [reason]
    assert verdict.rank is None


def test_the_dictionary_may_keep_other_network_zones_off_public_clouds() -> None:
    facts = {"tier": Tier.PUBLIC, "network_zones": frozenset({"互联网区", "管理区"})}
    private = frozenset({"管理区"})
    assert judge(wanted(network_zone="互联网区"), [zone(**facts, private_network_zones=private)])[0].is_candidate
    (verdict,) = judge(wanted(network_zone="管理区"), [zone(**facts, private_network_zones=private)])
    assert [str(message) for message in verdict.against] == ["it is a public cloud, which never carries 管理区"]


@pytest.mark.parametrize(
    ("facts", "is_unfit"),
    [
        ({"arch": "x86_64"}, True),
        ({"tier": Tier.PUBLIC}, True),
        ({"is_enabled": False}, False),
        ({"room": {"vcpus": 0}}, False),
        ({"health": Health.DOWN}, False),
        ({"health": Health.DOWN, "owner_path": YUELU}, True),
    ],
)
def test_what_time_may_mend_is_told_from_what_it_never_will(facts: dict[str, Any], is_unfit: bool) -> None:
    (verdict,) = judge(wanted(), [zone(**facts)])
    assert verdict.is_unfit is is_unfit


def test_every_objection_to_a_zone_is_told_not_only_the_first() -> None:
    (verdict,) = judge(
        wanted(), [zone(is_enabled=False, health=Health.DOWN, network_zones=frozenset(), owner_path=YUELU)]
    )
    assert len(verdict.against) == 4


def test_room_to_the_last_unit_is_room() -> None:
    assert order(wanted(), zone(room=dict(AMOUNTS))) == ["a"]


def test_a_resource_the_zone_does_not_count_is_no_obstacle() -> None:
    assert order(wanted(), zone(room={"vcpus": 8}, total={"vcpus": 8})) == ["a"]


@pytest.mark.parametrize(
    ("owner", "shared", "may"),
    [
        (None, (), True),
        (FURONG, (), True),
        (BUREAU, (), True),
        (YUELU, (), False),
        (YUELU, (FURONG,), True),
        (YUELU, ("/cs/tianxin/",), False),
        ("/cs/fur/", (), False),
    ],
)
def test_a_backend_serves_its_owners_subtree_and_those_it_is_shared_with(
    owner: str | None, shared: tuple[str, ...], may: bool
) -> None:
    assert may_use(BUREAU, owner, shared) is may


def test_domestic_pools_come_before_others_even_district_ones() -> None:
    asked = wanted(arch="x86_64")
    hygon = zone("hygon", arch="x86_64", image_archs=frozenset({"x86_64"}), tier=Tier.DISTRICT)
    intel = zone("intel", arch="x86_64", image_archs=frozenset({"x86_64"}), is_xinchuang=False)
    assert order(asked, intel, hygon) == ["hygon", "intel"]
    assert order(dataclasses.replace(asked, prefer_xinchuang=False), intel, hygon) == ["intel", "hygon"]


def test_municipal_comes_before_district_before_edge_before_public() -> None:
    open_to_all = frozenset({"互联网区"})
    zones = [
        zone(tier.value, tier=tier, network_zones=open_to_all)
        for tier in (Tier.PUBLIC, Tier.EDGE, Tier.DISTRICT, Tier.CITY)
    ]
    assert order(wanted(network_zone="互联网区"), *zones) == ["city", "district", "edge", "public"]


def test_a_healthy_pool_comes_before_a_slow_one_which_still_counts() -> None:
    slow = zone("slow", health=Health.DEGRADED)
    assert order(wanted(), slow, zone("well")) == ["well", "slow"]
    assert "slowly" in str(judge(wanted(), [slow])[0].notes[-1])


def test_spread_over_zones_takes_the_zone_with_fewer_siblings() -> None:
    full, empty = zone("a", siblings=3), zone("b", siblings=0, room={**AMOUNTS})
    assert order(wanted(), full, empty) == ["a", "b"], "without spread the emptier zone wins"
    assert order(wanted(spread=Spread.ZONE), full, empty) == ["b", "a"]


def test_the_emptiest_zone_is_filled_first_by_its_scarcest_resource() -> None:
    total = {"vcpus": 100, "memory_mib": 1_000_000}
    scarce = zone("a", total=total, room={"vcpus": 90, "memory_mib": 100_000})
    even = zone("b", total=total, room={"vcpus": 50, "memory_mib": 500_000})
    assert order(wanted(), scarce, even) == ["b", "a"]


def test_equals_go_by_name_and_the_refused_stand_last_by_name() -> None:
    verdicts = judge(wanted(), [zone("d", is_enabled=False), zone("b"), zone("c", is_enabled=False), zone("a")])
    assert [(verdict.zone.name, verdict.rank) for verdict in verdicts] == [("a", 1), ("b", 2), ("c", None), ("d", None)]


_zones = st.builds(
    lambda number, **fields: zone(f"z{number}", **fields),
    st.integers(0, 99),
    arch=st.sampled_from(["aarch64", "x86_64", "loongarch64"]),
    tier=st.sampled_from(Tier),
    health=st.sampled_from(Health),
    is_enabled=st.booleans(),
    is_available=st.booleans(),
    is_xinchuang=st.booleans(),
    siblings=st.integers(0, 4),
    owner_path=st.sampled_from([None, FURONG, YUELU]),
    image_archs=st.frozensets(st.sampled_from(["aarch64", "x86_64"])),
    room=st.fixed_dictionaries({"vcpus": st.integers(-5, 80), "memory_mib": st.integers(-5, 400_000)}),
    network_zones=st.frozensets(st.sampled_from([ZONE, "互联网区"])),
)
_wanted = st.builds(
    wanted,
    arch=st.sampled_from(["aarch64", "x86_64"]),
    spread=st.sampled_from(Spread),
    prefer_xinchuang=st.booleans(),
    amounts=st.fixed_dictionaries({"vcpus": st.integers(1, 64), "memory_mib": st.integers(1, 300_000)}),
)


@given(_wanted, st.lists(_zones, max_size=12, unique_by=lambda each: each.name))
def test_a_candidate_never_lacks_room_architecture_image_network_or_leave(
    asked: Wanted, zones: list[ZoneFacts]
) -> None:
    verdicts = judge(asked, zones)
    assert len(verdicts) == len(zones)
    for verdict in verdicts:
        found = verdict.zone
        is_fit = (
            found.arch == asked.arch
            and found.arch in found.image_archs
            and asked.network_zone in found.network_zones
            and all(found.room[key] >= amount for key, amount in asked.amounts.items())
            and found.is_enabled
            and found.is_available
            and found.health in (Health.OK, Health.DEGRADED)
            and found.owner_path != YUELU
            and found.tier is not Tier.PUBLIC  # the network zone asked for is 政务外网区
        )
        assert verdict.is_candidate is is_fit


@given(_wanted, st.lists(_zones, max_size=12, unique_by=lambda each: each.name), st.randoms())
def test_the_order_does_not_depend_on_the_order_of_asking(
    asked: Wanted, zones: list[ZoneFacts], dice: random.Random
) -> None:
    shuffled = list(zones)
    dice.shuffle(shuffled)
    assert [v.zone.name for v in judge(asked, zones)] == [v.zone.name for v in judge(asked, shuffled)]
    assert [v.rank for v in judge(asked, zones) if v.is_candidate] == list(range(1, len(order(asked, *zones)) + 1))
