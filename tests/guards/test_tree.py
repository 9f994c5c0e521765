"""What no file of this repository may hold: addresses of package indexes, paths of one machine, unfinished places."""

import re

from tests.guards.tree import ROOT, files, text

_INDEXES = [  # written so that this file does not hold them either
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "registry.npmjs" + ".org",
    "deb.debian" + ".org",
    "security.debian" + ".org",
]
_MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.~$}/-])/(work|farm|root)/")
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")


def _holding(found: re.Pattern[str], *, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    return [
        f"{name}:{number}"
        for name in files()
        if name.endswith(suffixes) and name != "tests/guards/test_tree.py"
        for number, line in enumerate(text(name).splitlines(), 1)
        if found.search(line)
    ]


def test_no_file_names_a_package_index() -> None:
    assert _holding(re.compile("|".join(map(re.escape, _INDEXES)))) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert _holding(_MACHINE_PATH) == []


def test_nothing_is_left_unfinished() -> None:
    assert _holding(_UNFINISHED, suffixes=(".py", ".html", ".yml", ".js", ".css", ".sh", ".md")) == []


def test_the_top_level_is_as_given() -> None:
    given = {"cloudmgr", "providers", "quotas", "web", "playbooks", "tests", "docs", ".ci"}
    assert {name.split("/")[0] for name in files() if "/" in name} == given


def test_built_things_are_not_committed() -> None:
    assert [
        name for name in files() if "node_modules/" in name or "static/vendor/" in name or name.startswith(".demo")
    ] == []
    assert (ROOT / "web/package-lock.json").exists()
