"""The arithmetic of addresses, held against a plain model of sets."""

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmgr.domain import addresses
from cloudmgr.domain.addresses import Span
from cloudmgr.domain.errors import InvalidInput

NUMBERS = st.integers(0, 400)
SPANS = st.tuples(NUMBERS, NUMBERS).map(lambda ends: Span(min(ends), max(ends)))
V4 = st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
V6 = st.integers(0, 2**128 - 1).map(lambda number: str(ipaddress.IPv6Address(number)))
NETWORK = ipaddress.ip_network("198.51.0.0/23")
BASE = int(NETWORK.network_address)


def members(spans: list[Span]) -> list[int]:
    return [number for span in spans for number in range(span.first, span.last + 1)]


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6)))
def test_keys_sort_as_the_addresses_do_and_lead_back(pair: tuple[str, str]) -> None:
    one, other = map(ipaddress.ip_address, pair)
    assert (addresses.key_of(pair[0]) < addresses.key_of(pair[1])) == (int(one) < int(other))
    assert addresses.text_of(int(addresses.key_of(pair[0]), 16), one.version) == pair[0]


@given(V6)
def test_every_spelling_of_an_address_becomes_the_one_of_rfc_5952(text: str) -> None:
    exploded = ipaddress.ip_address(text).exploded
    assert addresses.parse_address(exploded) == addresses.parse_address(exploded.upper()) == text
    assert addresses.parse_address(text) == text


@given(SPANS, SPANS)
def test_cutting_leaves_what_only_the_first_has(one: Span, other: Span) -> None:
    left = set(members([one])) - set(members([other]))
    assert sorted(members(one.cut(other))) == sorted(left)


@given(st.lists(SPANS, max_size=4), st.lists(SPANS, max_size=4), st.one_of(st.none(), st.integers(1, 510)))
def test_what_is_handed_out_is_the_pools_without_holes(
    pools: list[Span], holes: list[Span], gateway: int | None
) -> None:
    def shifted(spans: list[Span]) -> list[Span]:
        return [Span(BASE + span.first, BASE + span.last) for span in spans]

    router = str(ipaddress.IPv4Address(BASE + gateway)) if gateway else None
    spans = addresses.allowed(NETWORK, pools=shifted(pools), excluded=shifted(holes), gateway=router)
    usable = set(range(BASE + 1, BASE + 511))
    wanted = (usable & set(members(shifted(pools)))) if pools and usable & set(members(shifted(pools))) else usable
    wanted -= set(members(shifted(holes))) | ({BASE + gateway} if gateway else set())
    if pools and not usable & set(members(shifted(pools))):
        return  # a pool that holds nothing of the subnet cannot be written
    assert members(spans) == sorted(wanted)


@given(st.lists(SPANS, max_size=4), st.one_of(st.none(), NUMBERS))
def test_a_walk_meets_each_address_once_beginning_behind_the_hint(raw: list[Span], behind: int | None) -> None:
    spans = addresses._merged(raw)
    met = members(list(addresses.walk(spans, behind)))
    assert sorted(met) == members(spans)
    if behind is not None:
        assert met == sorted(met, key=lambda number: (number <= behind, number))


@given(st.integers(0, 2**128 - 1), st.integers(0, 200_000))
def test_windows_cover_a_span_in_order(first: int, length: int) -> None:
    span = Span(first, min(first + length, 2**128 - 1))
    cut = list(addresses.windows(span))
    assert cut[0].first == span.first
    assert cut[-1].last == span.last
    assert all(one.last + 1 == other.first for one, other in itertools.pairwise(cut))
    assert max(map(len, cut)) <= addresses.LAST_WINDOW


def test_a_link_of_two_uses_both_and_a_single_address_itself() -> None:
    assert len(addresses.usable(ipaddress.ip_network("198.51.100.0/31"))) == 2
    assert len(addresses.usable(ipaddress.ip_network("198.51.100.7/32"))) == 1
    assert len(addresses.usable(ipaddress.ip_network("2001:db8::/127"))) == 2
    assert addresses.usable(ipaddress.ip_network("2001:db8::/64")).first == int(ipaddress.ip_address("2001:db8::1"))


@pytest.mark.parametrize("text", ["198.51.100.0/24", "22.168.0.0/16", "203.0.113.0/30", "fd00:8::/64", "2001:db8::/48"])
def test_ranges_outside_of_rfc_1918_are_as_good_as_others(text: str) -> None:
    assert str(addresses.parse_subnet(text)) == text


@pytest.mark.parametrize(
    "text",
    ["198.51.100.1/24", "127.0.0.0/24", "224.0.0.0/24", "169.254.0.0/24", "0.0.0.0/8", "fe80::/64", "10.0.0.0/7", "x"],
)
def test_what_no_server_can_be_in_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        addresses.parse_subnet(text)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "198.51.100", "198.51.100.007", "", "::ffff:1.2.3.4.5"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        addresses.parse_address(text)


def test_networks_of_two_families_never_overlap() -> None:
    four, six = ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")
    assert not addresses.overlap(four, six)
    assert addresses.overlap(four, ipaddress.ip_network("198.51.100.0/24"))
