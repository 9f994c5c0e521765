"""The inventory's columns are a promise: 64, in this order."""

import re
from pathlib import Path

import pytest

from cloudmgr.domain.architectures import CpuFamily
from cloudmgr.domain.inventory_columns import BY_KEY, COLUMNS, VIEWS
from cloudmgr.domain.masking import mask_name
from cloudmgr.domain.phases import Environment, MlpsLevel, PurposeKind


def test_there_are_64_columns_each_once() -> None:
    assert len(COLUMNS) == len(BY_KEY) == 64
    assert len({column.header_zh for column in COLUMNS}) == len({column.header_en for column in COLUMNS}) == 64
    assert (COLUMNS[0].key, COLUMNS[-1].key) == ("resource_id", "remark")


def test_views_show_what_their_readers_may_see() -> None:
    assert VIEWS["audit"] == COLUMNS
    assert len(VIEWS["short"]) == 16
    hidden = {column.key for column in COLUMNS} - {column.key for column in VIEWS["public"]}
    assert hidden == {"owner_name", "owner_phone", "host"}


@pytest.mark.parametrize(
    ("key", "codes"),
    [
        ("env", set(Environment)),
        ("purpose", set(PurposeKind)),
        ("mlps_level", set(MlpsLevel)),
        ("cpu_family", set(CpuFamily) - {CpuFamily.UNKNOWN}),
    ],
)
def test_every_code_of_ours_has_a_word(key: str, codes: set[str]) -> None:
    assert set(BY_KEY[key].words("zh_CN")) == {str(code) for code in codes}
    assert all(BY_KEY[key].words("en").values())


@pytest.mark.parametrize(("name", "masked"), [("王芳", "王*"), ("欧阳娜娜", "欧***"), ("王", "*"), (" ", "")])
def test_a_name_keeps_its_first_character_only(name: str, masked: str) -> None:
    assert mask_name(name) == masked


def test_the_document_tells_every_column_as_it_is() -> None:
    lines = (Path(__file__).parents[2] / "docs/inventory.md").read_text().splitlines()
    told = [[cell.strip() for cell in line.split("|")[2:7]] for line in lines if re.match(r"\| \d+ \|", line)]
    assert told == [
        [f"`{each.key}`", each.header_zh, each.header_en, each.kind, "✔" * each.required] for each in COLUMNS
    ]
