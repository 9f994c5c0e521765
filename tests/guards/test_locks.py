"""The locks: hashes for every package, no address of any index, and everything that is declared is locked."""

import json
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.guards.tree import ROOT

_LOCKS = (
    "constraints.txt",
    "constraints-dev.txt",
    "constraints-labs.txt",
    "constraints-moto.txt",
    "constraints-node.txt",
)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;]+)", re.MULTILINE)


def _pins(lock: str) -> dict[str, list[str]]:
    pins: dict[str, list[str]] = {}
    for name, version in _PIN.findall((ROOT / lock).read_text()):
        pins.setdefault(canonicalize_name(name), []).append(version)
    return pins


def _declared(group: str | None) -> list[Requirement]:
    pyproject: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = pyproject["project"]["dependencies"] if group is None else pyproject["dependency-groups"][group]
    return [Requirement(entry) for entry in listed if isinstance(entry, str)]


@pytest.mark.parametrize("lock", _LOCKS)
def test_a_lock_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert _PIN.match(block), block[:80]
        assert "--hash=sha256:" in block, block[:80]


@pytest.mark.parametrize(
    ("group", "lock"),
    [
        (None, "constraints.txt"),
        ("build", "constraints.txt"),
        (None, "constraints-dev.txt"),
        ("dev", "constraints-dev.txt"),
        ("labs", "constraints-labs.txt"),
        ("moto", "constraints-moto.txt"),
        ("node", "constraints-node.txt"),
    ],
)
def test_everything_declared_is_locked_at_a_version_that_fits(group: str | None, lock: str) -> None:
    pins = _pins(lock)
    for requirement in _declared(group):
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert any(requirement.specifier.contains(version) for version in versions), f"{requirement}: run `make lock`"


def test_tests_run_on_what_is_shipped() -> None:
    runtime, dev = _pins("constraints.txt"), _pins("constraints-dev.txt")
    assert {name: dev.get(name) for name in runtime} == runtime


def test_the_front_end_lock_has_digests_and_no_address() -> None:
    text = (ROOT / "web/package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert packages
    assert "://" not in text
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())


def test_the_vendored_files_are_those_of_the_lock_and_a_second_run_does_nothing() -> None:
    made = ROOT / "web/static/vendor/versions.json"
    assert made.exists(), "run `make vendor`"
    before = made.stat().st_mtime_ns
    subprocess.run([sys.executable, ROOT / "web/vendor.py"], check=True, timeout=120)
    assert made.stat().st_mtime_ns == before, "static/vendor was not what package-lock.json says"
