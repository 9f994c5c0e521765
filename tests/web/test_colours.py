"""WCAG 2.2 AA: every pair of colours that text is set in reaches 4.5 : 1, in the light and in the dark theme."""

import re

import pytest

from web.assets import ROOT

PAIRS = [
    ("ink", "paper"),
    ("ink", "ground"),
    ("ink", "sunken"),
    ("ink-soft", "paper"),
    ("ink-soft", "ground"),
    ("ink-soft", "sunken"),
    ("ink-faint", "paper"),
    ("ink-faint", "ground"),
    ("info", "paper"),
    ("info", "ground"),
    ("info", "info-soft"),
    ("ok", "ok-soft"),
    ("warn", "warn-soft"),
    ("bad", "bad-soft"),
    ("bad", "paper"),
    ("ink", "info-soft"),
    ("ink", "ok-soft"),
    ("ink", "warn-soft"),
    ("ink", "bad-soft"),
    ("ink", "brand-soft"),
    ("brand-ink", "brand"),
    ("side-ink", "side"),
    ("side-soft", "side"),
    ("side-ink", "side-hover"),
    ("brand-ink", "side-active"),
]


def themes() -> dict[str, dict[str, str]]:
    text = (ROOT / "css" / "base.css").read_text()
    light, dark = text.split("prefers-color-scheme: dark")
    tokens = re.compile(r"--([a-z-]+):\s*(#[0-9a-f]{6})")
    first = dict(tokens.findall(light))
    return {"light": first, "dark": first | dict(tokens.findall(dark))}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
def test_text_is_read_without_effort(theme: str, pair: tuple[str, str]) -> None:
    tokens = themes()[theme]
    bright, dark = sorted((luminance(tokens[name]) for name in pair), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.5
