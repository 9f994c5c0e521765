"""Forms: what was typed, what was refused, and turning text fields into the command object the API builds too."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass
class Form:
    """A form as a page shows it. Names of fields are those of the command, dotted: `servers[0].count`."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)
    way_out: tuple[str, str] | None = None
    code: str = ""
    """The code of the refusal that is shown."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the refusal carries beside its words, such as a prefilled request for quota."""

    def value(self, name: str) -> str:
        """Return what stands in a field, empty when nothing does."""
        return self.values.get(name, "")

    def problems(self, name: str) -> list[str]:
        """Return what was refused about a field."""
        return self.errors.get(name, [])

    @property
    def failed(self) -> bool:
        """Whether anything was refused."""
        return bool(self.summary or self.errors)

    def take(self, findings: Iterable[tuple[str | None, str]], shown: Iterable[str]) -> None:
        """Sort findings onto their fields; what belongs to no field in `shown` goes on top."""
        known = set(shown)
        for name, text in findings:
            place = name if name in known else _enclosing(name, known)
            if place:
                self.errors.setdefault(place, []).append(text)
            elif text not in self.summary:
                self.summary.append(text)


def text_of(values: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Return the named fields that are not empty, trimmed: what is left out takes the command's default."""
    found = {name: str(values.get(name, "")).strip() for name in names}
    return {name: text for name, text in found.items() if text}


def whole(text: str) -> int | str:
    """Return the number a field holds; other text stays, for the command's own check to refuse by name."""
    return int(text) if _WHOLE.fullmatch(text.strip()) else text


def lines(text: str) -> list[str]:
    """Return the non-empty lines of a text area."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def row_indices(values: Mapping[str, Any], prefix: str) -> list[int]:
    """Return the rows `prefix[0]`, `prefix[1]` … that a form holds, in order, at most 50."""
    pattern = re.compile(re.escape(prefix) + r"\[([0-9]{1,3})\]\.")
    return sorted({int(found[1]) for name in values if (found := pattern.match(name))})[:50]


def _enclosing(name: str | None, known: set[str]) -> str | None:
    while name:
        name = name.rpartition("[" if name.endswith("]") else ".")[0]
        if name in known:
            return name
    return None
