"""What may be given back while pieces of a server are still there, and how long the next look waits."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmgr.domain.certificates import freed, wait_before

HELD = {"servers": 1, "vcpus": 8, "memory_mib": 32768, "disk_gib": 540, "volumes": 1, "ip_addresses": 1}


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ({"server"}, set(HELD)),
        ({"disk"}, {"disk_gib", "volumes"}),
        ({"snapshot"}, {"disk_gib"}),
        ({"volume"}, {"disk_gib", "volumes"}),
        ({"nic"}, {"ip_addresses"}),
        ({"address", "disk"}, {"ip_addresses", "disk_gib", "volumes"}),
        ({"seed"}, set()),
        ({"port_rules", "other"}, set()),
        (set(), set()),
    ],
)
def test_what_is_left_keeps_what_it_stands_for(left: set[str], kept: set[str]) -> None:
    assert set(HELD) - set(freed(HELD, left)) == kept


def test_a_resource_nothing_stands_for_is_given_back_with_the_last_piece() -> None:
    assert freed({"gpus": 2}, {"seed"}) == {}
    assert freed({"gpus": 2}, ()) == {"gpus": 2}


@given(st.sets(st.sampled_from(["server", "disk", "volume", "snapshot", "nic", "address", "seed", "other"])))
def test_fewer_pieces_never_free_less(left: set[str]) -> None:
    for piece in left:
        assert freed(HELD, left).items() <= freed(HELD, left - {piece}).items()


@given(st.integers(0, 10_000))
def test_the_wait_grows_and_is_never_above_an_hour(check: int) -> None:
    first = timedelta(seconds=60)
    assert first <= wait_before(check, first) <= timedelta(hours=1)
    assert wait_before(check, first) <= wait_before(check + 1, first)
