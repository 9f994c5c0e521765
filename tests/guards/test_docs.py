"""The documents keep up with the code: settings, error codes, audit events, links and decisions."""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

import cloudmgr
import providers
import quotas
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.events import Event
from cloudmgr.settings import Settings
from providers.errors import ProviderError
from tests.guards.tree import ROOT, files, text

_DOCUMENTS = sorted(name for name in files() if name.endswith(".md") and (name.startswith("docs/") or "/" not in name))
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_DECISION = re.compile(r"docs/decisions/(\d{4})")


def _headings(*names: str) -> str:
    """Return the heading lines, and the first cells of tables, of some documents."""
    lines = [line for name in names if (ROOT / name).exists() for line in text(name).splitlines()]
    return "\n".join(
        line if line.startswith("#") else line.split("|")[1] for line in lines if line.startswith(("#", "| `"))
    )


def _settings(model: type[BaseModel], section: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _settings(inner, name)
        else:
            found.append((section, name))
    return found


def _told_settings() -> set[str]:
    """Return what headings and first cells name: `web.port`, `[web] port`, or `port` under a heading that names `[web]`."""
    told, section = set(), ""
    for line in _headings("docs/operating.md").splitlines():
        named = re.search(r"`\[(\w+)\]`", line)
        if line.startswith("#"):
            section = named.group(1) if named else section if line.startswith("####") else ""
        for name in re.findall(r"`(?:\[\[)?([\[\]\w. ]+?)(?:\]\])?`", line):
            plain = name.replace("[", "").replace("] ", ".").replace("]", "")
            told |= {plain, f"{section}.{plain}"}
    return told


def test_every_setting_has_a_heading_in_operating() -> None:
    wanted = {f"{section}.{name}".lstrip(".") for section, name in _settings(Settings)}
    assert sorted(wanted - _told_settings()) == []


def _import_all(*packages: ModuleType) -> None:
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("providers.libvirt.", "cloudmgr.migrations.")):
                importlib.import_module(module.name)


def _subclasses(kind: type[Refusal]) -> set[type[Refusal]]:
    return {kind}.union(*(_subclasses(child) for child in kind.__subclasses__()))


def test_every_error_code_has_a_heading() -> None:
    _import_all(cloudmgr, quotas, providers)
    codes = {kind.code for kind in _subclasses(Refusal)} - {Refusal.code}  # the base itself is never raised
    headings = _headings("docs/errors.md")
    assert {code for code in codes if f"`{code}`" not in headings} == set()


def test_every_provider_error_is_told_with_its_remedy() -> None:
    kinds = {kind.__name__ for kind in ProviderError.__subclasses__()}
    told = text("docs/errors.md") + text("docs/providers.md")
    assert {kind for kind in kinds if f"`{kind}`" not in told} == set()


def test_every_audit_event_is_listed() -> None:
    told = "".join(text(name) for name in ("docs/operating.md", "docs/audit.md") if (ROOT / name).exists())
    assert [event.value for event in Event if f"`{event.value}`" not in told] == []


@pytest.mark.parametrize("name", _DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    targets = [target for target in _LINK.findall(text(name)) if "://" not in target]
    assert [target for target in targets if not (ROOT / Path(name).parent / target).exists()] == []


def test_decisions_are_numbered_once_and_those_named_exist() -> None:
    numbers = [Path(name).name[:4] for name in files() if re.match(r"docs/decisions/\d{4}-.+\.md$", name)]
    assert len(numbers) == len(set(numbers))
    named = {
        number
        for name in files()
        if name.endswith((".py", ".toml", ".md", ".yml"))
        for number in _DECISION.findall(text(name))
    }
    assert named <= set(numbers)


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## {cloudmgr.__version__}" in text("docs/changelog.md")
