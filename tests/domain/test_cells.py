"""What a value looks like in a cell."""

from datetime import UTC, date, datetime

import pytest

from cloudmgr.domain.cells import cell, harmless, machine


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_a_text_that_a_spreadsheet_would_compute_is_made_harmless(first: str) -> None:
    assert cell(f"{first}cmd|' /C calc'!A0", "zh_CN") == f"'{first}cmd|' /C calc'!A0"


def test_other_texts_stay_as_they_are() -> None:
    for text in ("91430100MA4L16JJ0X", "014301020000000001", "a=b", "王芳", "'quoted'", "3-2"):
        assert harmless(text) == text


@pytest.mark.parametrize(
    ("value", "chinese", "english"),
    [
        (None, "", ""),
        (0, "0", "0"),
        (True, "是", "Yes"),
        (False, "否", "No"),
        (32, "32", "32"),
        (0.5, "0.5", "0.5"),
        (1234567, "1234567", "1234567"),
        (12.3456, "12.35", "12.35"),
        (date(2026, 1, 20), "2026-01-20", "2026-01-20"),
        (datetime(2026, 11, 22, 16, 0, 5, tzinfo=UTC), "2026-11-23 00:00:05", "2026-11-23 00:00:05"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.1;10.0.0.2", "10.0.0.1;10.0.0.2"),
        ([], "", ""),
    ],
)
def test_values_read_as_people_write_them(value: object, chinese: str, english: str) -> None:
    assert (cell(value, "zh_CN"), cell(value, "en")) == (chinese, english)


def test_a_code_reads_as_its_word_and_an_unlisted_one_as_itself() -> None:
    assert cell("kunpeng", "zh_CN", {"kunpeng": "鲲鹏"}) == "鲲鹏"
    assert cell("=evil", "zh_CN", {"kunpeng": "鲲鹏"}) == "'=evil"


def test_programs_get_utc_moments_and_unchanged_values() -> None:
    assert machine(datetime(2026, 11, 22, 2, 15, 7, tzinfo=UTC)) == "2026-11-22T02:15:07Z"
    assert machine(date(2026, 11, 22)) == "2026-11-22"
    assert machine(None) is None
    assert machine(["a"]) == ["a"]
