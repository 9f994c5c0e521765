"""The capability table in docs/providers.md is made from the drivers' classes; `python -m` this module rewrites it."""

import importlib.util
from pathlib import Path

from providers import registry
from providers.base import Provider
from providers.capabilities import CAPABILITIES, capabilities
from providers.errors import Unsupported

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
BEGIN, END = "<!-- capabilities: begin -->\n", "<!-- capabilities: end -->\n"
HEAD = ("provider", *CAPABILITIES, "rehearses 模拟执行")


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
    PAGE.write_text(before + BEGIN + table(rows_of(table_in(page))) + END + after)
