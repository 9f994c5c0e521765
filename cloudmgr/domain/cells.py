"""What one value looks like in a cell of an exported table: no clouds, no database, no language but the two we speak."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from cloudmgr.domain import clock

LIST_SEPARATOR = ";"
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters that make a spreadsheet read a text as a formula (OWASP: CSV injection); it folds full-width forms too."""

_YES_NO = {"zh_CN": ("是", "否"), "en": ("Yes", "No")}


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: a leading = + - @ TAB CR LF gets an apostrophe before it."""
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def cell(value: Any, language: str, labels: Mapping[str, str] | None = None) -> str:
    """Return a value as people read it in a file: empty for what is not known, 0 for zero.

    Moments in Asia/Shanghai as `YYYY-MM-DD HH:MM:SS`, days as `YYYY-MM-DD`, booleans as words, lists with semicolons,
    numbers without thousands separators, codes by their label; text made harmless.
    """
    if isinstance(value, str):
        return harmless(labels.get(value, value) if labels else value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return _YES_NO[language][0 if value else 1]
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, datetime):
        return value.astimezone(clock.SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return harmless(LIST_SEPARATOR.join(str(item) for item in value))
    return harmless(str(value))


def number(value: float) -> str:
    """Return a number in digits: at most two decimals, none where they are zero."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def machine(value: Any) -> Any:
    """Return a value as programs read it in JSON: moments as UTC `…Z`, days as ISO 8601, the rest as it is."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat() if isinstance(value, date) else value
