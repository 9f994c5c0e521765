"""Names of what is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmgr.domain.errors import InvalidInput
from quotas import DIMENSIONS, Key, format_key, parse_key
from quotas.keys import stored_key
from quotas.tables import BalanceRow, PartRow


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("vcpus", "vcpus"),
        (" memory_mib ", "memory_mib"),
        ("vcpus{arch=arm64}", "vcpus{arch=aarch64}"),
        ("vcpus{ arch = AMD64 }", "vcpus{arch=x86_64}"),
        ("public_ips{network_zone=互联网区}", "public_ips{network_zone=互联网区}"),
        ("gpus{tier=city,arch=aarch64}", "gpus{arch=aarch64,tier=city}"),
        ("vcpus{is_xinchuang=True}", "vcpus{is_xinchuang=true}"),
        ("vcpus{cpu_family=Kunpeng}", "vcpus{cpu_family=kunpeng}"),
    ],
)
def test_a_key_has_one_spelling(written, canonical):
    assert format_key(parse_key(written)) == canonical
    assert stored_key(canonical) == parse_key(written)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "{}",
        "vcpus{}",
        "vcpus{arch}",
        "vcpus{arch=}",
        "vcpus{arch=aarch64,arch=x86_64}",
        "vcpus{arch=z80}",
        "vcpus{arch=aarch64",
        "vcpus}arch=aarch64{",
        "vcpus{arch=aarch64}x",
        "VCPUs",
        "9lives",
        "v cpus",
        "vcpus{is_xinchuang=maybe}",
        "vcpus{cpu_family=abacus}",
        "vcpus{backend=a\nb}",
        "vcpus{backend=" + "x" * 65 + "}",
        "x" * 64,
    ],
)
def test_what_cannot_be_a_key_is_refused(written):
    with pytest.raises(InvalidInput):
        parse_key(written)


def test_an_unknown_dimension_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput) as refused:
        parse_key("vcpus{colour=red}")
    assert "colour" in str(refused.value)
    assert all(name in str(refused.value) for name in DIMENSIONS)


def test_a_key_counts_what_has_all_its_dimensions():
    key = parse_key("vcpus{arch=aarch64,tier=city}")
    assert key.matches({"arch": "aarch64", "tier": "city", "backend": "kp"})
    assert not key.matches({"arch": "aarch64"})
    assert Key("vcpus").contains(key)
    assert not key.contains(Key("vcpus"))
    assert not Key("disk_gib").contains(key)


def test_a_key_can_be_told_in_words():
    assert str(parse_key("vcpus{arch=arm64}").describe()) == "vCPUs (architecture aarch64)"
    assert str(parse_key("licences").describe()) == "licences"


def test_every_dimension_is_a_column_of_balances_and_parts():
    for table in (BalanceRow, PartRow):
        columns = set(table.__table__.columns.keys())
        assert set(DIMENSIONS) <= columns
    assert list(DIMENSIONS) == sorted(DIMENSIONS)


_values = st.text(
    min_size=1,
    max_size=20,
    alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='{}=,"'),
)


@given(dims=st.dictionaries(st.sampled_from(["backend", "network_zone", "tier", "environment"]), _values))
def test_every_key_survives_being_written_and_read(dims):
    key = Key("vcpus", tuple(sorted(dims.items())))
    assert parse_key(format_key(key)) == key == stored_key(format_key(key))
