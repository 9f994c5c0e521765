"""What an apply did or would do, and what stood in its way: told entry by entry, by the place in the file."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from pydantic import ValidationError
from sqlmodel import SQLModel

from cloudmgr.domain.errors import InvalidInput, Refusal
from cloudmgr.domain.messages import N_
from cloudmgr.services.apply_file import SYNONYMS

_TOO_MANY = 100


class ApplyRefused(InvalidInput):
    """The file cannot be applied; nothing of it was. `errors` and `invalid` name each place and the rule it breaks.

    `errors` hold translatable messages; `invalid` are pydantic's own error records, told by whoever tells them elsewhere.
    """

    def __init__(self, errors: list[Mapping[str, Any]], invalid: list[Mapping[str, Any]]) -> None:
        count = len(errors) + len(invalid)
        super().__init__(
            N_("The file cannot be applied: {count} places need mending. Nothing was changed."),
            errors=errors,
            count=count,
        )
        self.invalid = invalid


@dataclass(slots=True)
class Counts:
    """How many of a kind were made, changed, or stood already as the file has them."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(slots=True)
class ApplyReport:
    """Counts by kind, and what was made or changed, in order."""

    counts: dict[str, Counts] = field(default_factory=dict)
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    """(kind, name, created or updated)"""

    def add(self, kind: str, name: str, what: str) -> None:
        """Count one entry."""
        counts = self.counts.setdefault(kind, Counts())
        setattr(counts, what, getattr(counts, what) + 1)
        if what != "unchanged":
            self.changes.append((kind, name, what))

    def as_json(self) -> dict[str, Any]:
        """Return the report as `--json` prints it and the audit event keeps it."""
        return {
            kind: {"created": each.created, "updated": each.updated, "unchanged": each.unchanged}
            for kind, each in self.counts.items()
        }


@dataclass(slots=True)
class Findings:
    """Everything found wrong, collected so that a file is mended in one go."""

    document: Mapping[str, Any] = field(default_factory=dict)
    errors: list[Mapping[str, Any]] = field(default_factory=list)
    invalid: list[Mapping[str, Any]] = field(default_factory=list)

    @contextmanager
    def at(self, section: str, index: int) -> Iterator[None]:
        """Collect what the entry at this place breaks, and go on with the next."""
        try:
            yield
        except Refusal as refusal:
            place = f"{section}[{index}]"
            self.errors.append(
                {
                    "field": f"{place}.{self._spelled(section, index, refusal.field)}" if refusal.field else place,
                    "rule": refusal.code,
                    "message": refusal.message,
                }
            )
        except ValidationError as error:
            for found in error.errors(include_url=False, include_input=False):
                self.invalid.append({**found, "loc": (section, index, *found["loc"])})

    def _spelled(self, section: str, index: int, field_name: str) -> str:
        """Return a field as this entry of the file spells it: `zone` where it has that for our `network_zone`."""
        entry = self.document.get(section, ())[index]
        head = re.split(r"[.\[]", field_name, maxsplit=1)[0]
        if isinstance(entry, Mapping) and head not in entry:
            other = next((word for word in SYNONYMS.get(head, ()) if word in entry), head)
            return other + field_name[len(head) :]
        return field_name

    def raise_if_any(self) -> None:
        """Refuse the file if anything was found.

        Raises:
            ApplyRefused: with every finding, the first hundred of each kind.
        """
        if self.errors or self.invalid:
            raise ApplyRefused(self.errors[:_TOO_MANY], self.invalid[:_TOO_MANY])


def upsert(
    report: ApplyReport, kind: str, name: str, *, exists: bool, create: Callable[[], Any], update: Callable[[bool], Any]
) -> None:
    """Make what is not there, else bring it to what the file says; `update(False)` changes nothing and shows it."""
    if not exists:
        create()
        report.add(kind, name, "created")
        return
    before = snapshot(update(False))
    report.add(kind, name, "unchanged" if snapshot(update(True)) == before else "updated")


def snapshot(value: Any) -> Any:
    """Return a comparable copy of a row, a view, or lists of them."""
    if isinstance(value, SQLModel):
        return value.model_dump(exclude={"generation"})
    if is_dataclass(value) and not isinstance(value, type):
        return [snapshot(getattr(value, each.name)) for each in dataclass_fields(value)]
    if isinstance(value, list | tuple):
        return [snapshot(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value
