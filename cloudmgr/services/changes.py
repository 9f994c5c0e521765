"""What every PATCH shares: which of the given fields differ from the row, and setting those."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlmodel import Session, SQLModel


@dataclass(frozen=True, slots=True)
class Changed:
    """What was and what is now, by field; JSON-able, for the audit event. Empty when nothing differed."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.after)


def set_changed(session: Session, row: SQLModel, wanted: Mapping[str, Any]) -> Changed:
    """Set the fields that differ, flush them, and tell which they were."""
    different = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    before = {name: _plain(getattr(row, name)) for name in different}
    if different:
        for name, value in different.items():
            setattr(row, name, value)
        session.add(row)
        session.flush()
    return Changed(before, {name: _plain(value) for name, value in different.items()})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID | date) else value
