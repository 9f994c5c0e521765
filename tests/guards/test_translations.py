"""Every sentence of ours has its Chinese line, with the same fields, and no line is left over or contradicts another."""

import re
import string
from functools import cache
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

from tests.guards.tree import ROOT, files

_KEYWORDS = {"N_": None, "_": None, "gettext": None, "ngettext": (1, 2)}
_PERCENT = re.compile(r"%\((\w+)\)")
AREAS = sorted((ROOT / "cloudmgr/locale/zh_CN").glob("*.po"))


@cache
def _templates() -> dict[str, str]:
    """Return every marked English template and the first place it stands."""
    found: dict[str, str] = {}
    for name in files():
        if name.startswith("tests/") or not name.endswith((".py", ".html", ".txt")):
            continue
        method = "python" if name.endswith(".py") else "jinja2.ext:babel_extract"
        if method != "python" and not name.startswith("web/templates/"):
            continue
        with (ROOT / name).open("rb"):
            for line, message, _comments, _context in extract_from_file(
                method,
                ROOT / name,
                _KEYWORDS,
                options={"encoding": "utf-8", "silent": "false", "newstyle_gettext": "true", "trimmed": "true"},
            ):
                for text in [message] if isinstance(message, str) else message:
                    found.setdefault(text, f"{name}:{line}")
    return found | _playbook_names()


def _playbook_names() -> dict[str, str]:
    """Return the names of plays, tasks, handlers and roles: people read them while a playbook runs."""
    found: dict[str, str] = {}
    for name in files():
        if name.startswith("playbooks/") and name.endswith(".yml") and not name.startswith("playbooks/catalog/"):
            for text in re.findall(r"^\s*- name: (.+)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE):
                found[text.strip("'\"")] = name
            if name.startswith("playbooks/roles/"):
                found[name.split("/")[2]] = name
    return found


@cache
def _chinese() -> dict[str, list[tuple[str, Path]]]:
    """Return every template that a catalogue translates: its Chinese lines and where they stand."""
    lines: dict[str, list[tuple[str, Path]]] = {}
    for area in AREAS:
        with area.open("rb") as file:
            for message in read_po(file, locale="zh_CN"):
                if message.id and not message.fuzzy:
                    texts = message.string if isinstance(message.string, (tuple, list)) else (message.string,)
                    ids = message.id if isinstance(message.id, (tuple, list)) else (message.id,)
                    for template in ids:
                        lines.setdefault(template, []).append((texts[0], area))
    return lines


def _fields(text: str) -> set[str]:
    try:
        braces = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:
        braces = {"<not a format>"}
    return braces | set(_PERCENT.findall(text))


def test_the_guard_sees_templates_and_catalogues() -> None:
    assert len(_templates()) > 50
    assert AREAS


def test_every_sentence_has_a_chinese_line() -> None:
    missing = {
        text: place for text, place in _templates().items() if not any(line for line, _ in _chinese().get(text, []))
    }
    assert not missing, "\n".join(
        f"{place}: {text}" for text, place in sorted(missing.items(), key=lambda item: item[1])
    )


def test_a_chinese_line_has_the_fields_of_its_template() -> None:
    wrong = [
        f"{area.name}: {template!r} -> {line!r}"
        for template, lines in _chinese().items()
        for line, area in lines
        if _fields(line) != _fields(template)
    ]
    assert wrong == []


def test_one_sentence_is_said_one_way() -> None:
    assert {template: lines for template, lines in _chinese().items() if len({line for line, _ in lines}) > 1} == {}


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.stem)
def test_no_line_is_left_over(area: Path) -> None:
    left_over = [
        template
        for template, lines in _chinese().items()
        if template not in _templates() and any(a == area for _, a in lines)
    ]
    assert left_over == []
