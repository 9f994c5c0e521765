"""A file is one subject: about 100 lines, 500 at most."""

from pathlib import Path

import pytest

from tests.guards.tree import files, text

_CODE = {".py", ".html", ".js", ".css", ".sh", ".yml"}
_LIMIT = 500


def _is_code(name: str) -> bool:
    generated = name.startswith("cloudmgr/migrations/versions/")
    return Path(name).suffix in _CODE and not generated


def test_the_guard_sees_the_code() -> None:
    assert sum(_is_code(name) for name in files()) > 50


@pytest.mark.parametrize("folder", ["cloudmgr", "providers", "quotas", "web", "playbooks", "tests"])
def test_no_file_is_over_500_lines(folder: str) -> None:
    lengths = {name: text(name).count("\n") for name in files() if name.startswith(f"{folder}/") and _is_code(name)}
    assert {name: lines for name, lines in lengths.items() if lines > _LIMIT} == {}
