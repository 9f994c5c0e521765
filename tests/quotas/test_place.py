"""Keys that only placement can tell: charged, moved and taken back."""

import pytest

from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from quotas import (
    Part,
    QuotaExceeded,
    account_usage,
    get_reservation,
    place,
    post,
    preview,
    release,
    reserve,
    unplace,
    verify,
    void,
)
from tests.quotas.conftest import server

KUNPENG = {"backend": "cs-hcs-kp", "tier": "city", "cpu_family": "kunpeng", "is_xinchuang": "true"}
PHYTIUM = {"backend": "yh-kvm-ft", "tier": "district", "cpu_family": "phytium", "is_xinchuang": "true"}


@pytest.fixture
def held(city):
    """One server reserved where three placement keys are limited."""
    city.limit(city.root, {"vcpus": 100, "vcpus{backend=cs-hcs-kp}": 8, "vcpus{is_xinchuang=true}": 50})
    city.limit(city.furong, {"vcpus{backend=yh-kvm-ft}": 10})
    part = server(8)
    reservation_id = new_id()
    reserve(city.session, reservation_id=reservation_id, account_id=city.community, parts=[part])
    city.session.commit()
    return {"reservation_id": reservation_id, "part_id": part.part_id}


def reserved(city, account_id, key):
    return account_usage(city.session, account_id).reserved[key]


def test_submit_charges_no_placement_key(city, held):
    assert reserved(city, city.root, "vcpus") == 8
    assert reserved(city, city.root, "vcpus{backend=cs-hcs-kp}") == 0


def test_place_charges_what_placement_fixed_once(city, held):
    for _ in range(2):
        place(city.session, **held, dims=KUNPENG)
    assert reserved(city, city.root, "vcpus{backend=cs-hcs-kp}") == 8
    assert reserved(city, city.root, "vcpus{is_xinchuang=true}") == 8
    assert reserved(city, city.root, "vcpus") == 8


def test_another_place_moves_the_charge(city, held):
    place(city.session, **held, dims=KUNPENG)
    place(city.session, **held, dims=PHYTIUM)
    assert reserved(city, city.root, "vcpus{backend=cs-hcs-kp}") == 0
    assert reserved(city, city.root, "vcpus{is_xinchuang=true}") == 8
    assert reserved(city, city.furong, "vcpus{backend=yh-kvm-ft}") == 8
    assert verify(city.session).ok


def test_a_refused_move_leaves_the_old_charge(city, held):
    city.limit(city.furong, {"vcpus{backend=yh-kvm-ft}": 7})
    place(city.session, **held, dims=KUNPENG)
    with pytest.raises(QuotaExceeded) as refused:
        place(city.session, **held, dims=PHYTIUM)
    assert [error["key"] for error in refused.value.errors] == ["vcpus{backend=yh-kvm-ft}"]
    assert reserved(city, city.root, "vcpus{backend=cs-hcs-kp}") == 8
    assert get_reservation(city.session, held["reservation_id"]).parts[0].placed_dims == KUNPENG
    assert verify(city.session).ok


def test_a_place_that_is_full_refuses_and_another_takes_it(city, held):
    place(city.session, **held, dims=KUNPENG)
    second = server(8)
    reservation_id = new_id()
    reserve(city.session, reservation_id=reservation_id, account_id=city.grid, parts=[second])
    with pytest.raises(QuotaExceeded):
        place(city.session, reservation_id=reservation_id, part_id=second.part_id, dims=KUNPENG)
    place(city.session, reservation_id=reservation_id, part_id=second.part_id, dims=PHYTIUM)
    assert reserved(city, city.root, "vcpus{is_xinchuang=true}") == 16


def test_unplace_takes_it_back_once(city, held):
    place(city.session, **held, dims=KUNPENG)
    for _ in range(2):
        unplace(city.session, **held)
    assert reserved(city, city.root, "vcpus{backend=cs-hcs-kp}") == 0
    assert reserved(city, city.root, "vcpus") == 8


def test_what_was_placed_is_posted_and_released_with_the_rest(city, held):
    place(city.session, **held, dims=KUNPENG)
    post(city.session, **held)
    assert account_usage(city.session, city.root).used["vcpus{backend=cs-hcs-kp}"] == 8
    release(city.session, **held, amounts={"vcpus": 3})
    assert account_usage(city.session, city.root).used["vcpus{backend=cs-hcs-kp}"] == 5
    release(city.session, **held)
    assert account_usage(city.session, city.root).used["vcpus{backend=cs-hcs-kp}"] == 0
    unplace(city.session, **held)
    assert verify(city.session).ok


def test_a_running_server_can_be_moved(city, held):
    place(city.session, **held, dims=KUNPENG)
    post(city.session, **held)
    place(city.session, **held, dims=PHYTIUM)
    usage = account_usage(city.session, city.furong)
    assert (usage.used["vcpus{backend=yh-kvm-ft}"], usage.reserved["vcpus{backend=yh-kvm-ft}"]) == (8, 0)


def test_what_was_given_back_cannot_be_placed(city, held):
    void(city.session, reservation_id=held["reservation_id"])
    with pytest.raises(Conflict):
        place(city.session, **held, dims=KUNPENG)
    unplace(city.session, **held)


def test_a_backend_named_at_submit_is_charged_then_and_binds_placement(city):
    city.limit(city.root, {"vcpus{backend=cs-hcs-kp}": 8})
    part = server(8, backend="cs-hcs-kp")
    held = {"reservation_id": new_id(), "part_id": part.part_id}
    reserve(city.session, reservation_id=held["reservation_id"], account_id=city.community, parts=[part])
    place(city.session, **held, dims=KUNPENG)
    assert reserved(city, city.root, "vcpus{backend=cs-hcs-kp}") == 8
    with pytest.raises(Conflict, match="yh-kvm-ft"):
        place(city.session, **held, dims=PHYTIUM)
    unplace(city.session, **held)
    assert reserved(city, city.root, "vcpus{backend=cs-hcs-kp}") == 8


@pytest.mark.parametrize("dims", [{"arch": "aarch64"}, {"network_zone": "互联网区"}, {"colour": "red"}])
def test_placement_decides_only_its_own_dimensions(city, held, dims):
    with pytest.raises(InvalidInput):
        place(city.session, **held, dims=dims)


def test_placing_what_does_not_exist_is_not_found(city, held):
    with pytest.raises(NotFound):
        place(city.session, reservation_id=new_id(), part_id=new_id(), dims=KUNPENG)
    with pytest.raises(NotFound):
        unplace(city.session, reservation_id=held["reservation_id"], part_id=new_id())


def test_counting_ends_at_the_top_that_was_given(city, held):
    place(city.session, **held, dims=PHYTIUM, top=city.furong)
    assert reserved(city, city.furong, "vcpus") == 8
    assert reserved(city, city.furong, "vcpus{backend=yh-kvm-ft}") == 8
    assert reserved(city, city.root, "vcpus") == 0
    assert reserved(city, city.root, "vcpus{is_xinchuang=true}") == 0
    post(city.session, **held)
    assert account_usage(city.session, city.root).used["vcpus"] == 0
    assert verify(city.session).ok
    release(city.session, **held)
    assert account_usage(city.session, city.furong).used["vcpus"] == 0
    assert verify(city.session).ok


def test_above_the_top_a_limit_on_just_that_place_still_counts(city, held):
    city.limit(city.root, {"vcpus{tier=district}": 10})
    place(city.session, **held, dims=PHYTIUM, top=city.furong)
    assert reserved(city, city.root, "vcpus{tier=district}") == 8
    assert reserved(city, city.root, "vcpus") == 0
    city.limit(city.root, {"vcpus{arch=aarch64}": 10, "vcpus{arch=aarch64,tier=district}": 10})
    assert reserved(city, city.root, "vcpus{arch=aarch64}") == 0, "a key limited later is recounted by the same rule"
    assert reserved(city, city.root, "vcpus{arch=aarch64,tier=district}") == 8
    assert verify(city.session).ok


def test_back_from_a_place_of_its_own_the_whole_tree_is_asked_again(city, held):
    city.limit(city.root, {"vcpus": 8})
    place(city.session, **held, dims=PHYTIUM, top=city.furong)
    other = server(8)
    reserve(city.session, reservation_id=new_id(), account_id=city.grid, parts=[other])
    unplace(city.session, **held)
    assert reserved(city, city.root, "vcpus") == 8, "taking back is never refused"
    with pytest.raises(QuotaExceeded) as refused:
        place(city.session, **held, dims=KUNPENG)
    assert refused.value.errors[0]["key"] == "vcpus"
    place(city.session, **held, dims=PHYTIUM, top=city.furong)
    assert verify(city.session).ok


def test_a_place_named_at_submit_is_counted_so_from_the_start(city):
    city.limit(city.root, {"vcpus": 4})
    city.limit(city.furong, {"vcpus": 8})
    part = Part(new_id(), {"vcpus": 8}, {"backend": "yh-kvm-ft"}, city.furong)
    assert not preview(city.session, account_id=city.community, parts=[part]).bindings
    reserve(city.session, reservation_id=new_id(), account_id=city.community, parts=[part])
    assert reserved(city, city.furong, "vcpus") == 8
    assert account_usage(city.session, city.root).reserved.get("vcpus", 0) == 0
    assert verify(city.session).ok
