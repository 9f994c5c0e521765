"""The tables in docs/providers.md are made from the drivers' classes and their quality.toml; `python -m` this module rewrites them."""

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

from providers import registry
from providers.base import Provider
from providers.capabilities import CAPABILITIES, capabilities
from providers.errors import Unsupported

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
BEGIN, END = "<!-- capabilities: begin -->\n", "<!-- capabilities: end -->\n"
HEAD = ("provider", *CAPABILITIES, "rehearses 模拟执行")
QUALITY_BEGIN, QUALITY_END = "<!-- quality: begin -->\n", "<!-- quality: end -->\n"
RULES = [f"P{number}" for number in range(1, 14)]


def test_capability_table_equals_the_classes():
    written = rows_of(table_in(PAGE.read_text()))
    assert list(written) == [name for name in registry.DRIVERS if exists(name)], "one row for each driver, in order"
    for name, row in written.items():
        driver = loaded(name)
        if driver is not None:  # a driver whose SDK is not installed here keeps the row it was written with
            assert row == row_of(name, driver), f"run: python -m {__spec__.name}"


def test_every_driver_has_its_options_described():
    page = PAGE.read_text()
    for name in registry.DRIVERS:
        driver = loaded(name) if exists(name) else None
        if driver is None:
            continue
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        missing = [option for option in driver.Options.model_fields if f"`{option}`" not in section]
        assert not missing, f"docs/providers.md, section {name}, does not describe {missing}"


def test_quality_names_every_rule_and_capability_and_nothing_else():
    for name in filter(exists, registry.DRIVERS):
        told = quality_of(name)
        assert set(told) == {"peer", "rules", "capabilities"}, name
        assert told["peer"].strip(), name
        assert list(told["rules"]) == RULES, f"{name}: every rule, in order"
        driver = loaded(name)
        if driver is not None:
            assert set(told["capabilities"]) == set(capabilities(driver)), f"{name}: every capability it inherits"
        for rule, state in {**told["rules"], **told["capabilities"]}.items():
            is_exempt = isinstance(state, dict) and set(state) == {"exempt"} and len(state["exempt"].strip()) > 10
            assert state == "done" or is_exempt, f'{name}, {rule}: "done" or {{ exempt = "the reason" }}'


def test_quality_table_equals_the_files():
    written = PAGE.read_text().split(QUALITY_BEGIN)[1].split(QUALITY_END, maxsplit=1)[0]
    assert written == quality_table(), f"run: python -m {__spec__.name}"


def quality_table() -> str:
    lines = ["| provider | proved against | rules | capabilities | exempt |", "|---|---|---|---|---|"]
    for name in filter(has_quality, filter(exists, registry.DRIVERS)):
        told = quality_of(name)
        parts = []
        for part in ("rules", "capabilities"):
            done = [rule for rule, state in told[part].items() if state == "done"]
            parts.append(f"{len(done)} of {len(told[part])}")
        exempt = [
            f"{rule}: {state['exempt'].strip()}"
            for rule, state in {**told["rules"], **told["capabilities"]}.items()
            if state != "done"
        ]
        lines.append(f"| `{name}` | {told['peer']} | {' | '.join(parts)} | {'<br>'.join(exempt) or '–'} |")
    return "\n".join(lines) + "\n"


def quality_of(name: str) -> dict[str, Any]:
    return tomllib.loads(quality_file(name).read_text())


def has_quality(name: str) -> bool:
    return quality_file(name).exists()


def quality_file(name: str) -> Path:
    folder = registry.DRIVERS[name].partition(":")[0].rpartition(".")[0].replace(".", "/")
    return PAGE.parents[1] / folder / "quality.toml"


def table(previous: dict[str, str]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---|" + ":-:|" * (len(HEAD) - 1)]
    for name in filter(exists, registry.DRIVERS):
        driver = loaded(name)
        lines.append(previous[name] if driver is None else row_of(name, driver))
    return "\n".join(lines) + "\n"


def row_of(name: str, driver: type[Provider]) -> str:
    can = capabilities(driver)
    marks = ["✔" if capability in can else "–" for capability in CAPABILITIES]
    return f"| {' | '.join([f'`{name}`', *marks, '✔' if driver.rehearses else '–'])} |"


def rows_of(text: str) -> dict[str, str]:
    return {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}


def table_in(page: str) -> str:
    return page.split(BEGIN)[1].split(END, maxsplit=1)[0]


def exists(name: str) -> bool:
    """Whether the driver is part of this tree."""
    module = registry.DRIVERS[name].partition(":")[0]
    return (
        importlib.util.find_spec(module.rpartition(".")[0]) is not None and importlib.util.find_spec(module) is not None
    )


def loaded(name: str) -> type[Provider] | None:
    """The driver's class, None where its SDK is not installed."""
    try:
        return registry.load(name)
    except Unsupported:
        return None


if __name__ == "__main__":
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    page = before + BEGIN + table(rows_of(table_in(page))) + END + after
    before, rest = page.split(QUALITY_BEGIN)
    after = rest.split(QUALITY_END)[1]
    PAGE.write_text(before + QUALITY_BEGIN + quality_table() + QUALITY_END + after)
