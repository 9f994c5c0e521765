"""Names of servers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmgr.domain.naming import MAX_LABEL, convention_warning, numbered

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


def test_one_keeps_its_name_and_several_are_numbered_from_one() -> None:
    assert numbered("app", 1) == ["app"]
    assert numbered("app", 3) == ["app01", "app02", "app03"]


def test_a_hundred_and_more_take_three_digits_all_alike() -> None:
    names = numbered("app", 100)
    assert (names[0], names[-1]) == ("app001", "app100")
    assert {len(name) for name in names} == {6}


@given(st.from_regex(_LABEL, fullmatch=True).filter(lambda name: len(name) < MAX_LABEL - 3), st.integers(1, 200))
def test_numbered_names_are_labels_distinct_and_sorted(name: str, count: int) -> None:
    names = numbered(name, count)
    assert len(set(names)) == count
    assert names == sorted(names)
    assert all(_LABEL.match(each) for each in names)


@pytest.mark.parametrize("name", ["430102-mzj-zhsq-prd-app01", "430102-mzj-zhsq-tst-db", "430104-x1-y2-dr-other0123"])
def test_a_name_of_the_convention_is_not_remarked_upon(name: str) -> None:
    assert convention_warning(name) is None


@pytest.mark.parametrize(
    "name", ["srv", "430102-mzj-prd-app01", "43010-mzj-zhsq-prd-app01", "430102-mzj-zhsq-qa-app01"]
)
def test_any_other_name_is_remarked_upon_and_kept(name: str) -> None:
    assert str(convention_warning(name)).startswith(f"{name} does not follow")
