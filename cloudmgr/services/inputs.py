"""Base of every command object: strict types, unknown fields refused, text trimmed and free of control characters."""

import math
import unicodedata
import uuid
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from cloudmgr.domain.messages import N_

MAX_CODE, MAX_NAME = 64, 200
_FIRST_YEAR, _LAST_YEAR = 1900, 9998
MAX_DEPTH, MAX_INTEGER = 16, 2**53
"""Of JSON that is kept as it came: numbers beyond are not the same in every reader."""


def _plain(text: str) -> str:
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t":
            raise PydanticCustomError("control_character", "Text must not hold control characters.")
    return text


def _storable(value: Any, depth: int = 0) -> Any:
    """Refuse what JSON may hold and a database or an answer cannot: control characters, NaN, numbers beyond 64 bits."""
    if depth > MAX_DEPTH:
        raise PydanticCustomError("recursion_loop", "The input is nested too deeply.")
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, dict):
        for key, item in value.items():
            _storable(key, depth + 1)
            _storable(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _storable(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "Give a finite number.")
    elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise PydanticCustomError("int_parsing_size", "The number is too large.")
    return value


def _in_reach(moment: datetime) -> datetime:
    """Refuse a moment at the very ends of the calendar, which in another time zone would lie beyond them."""
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise PydanticCustomError("datetime_object_invalid", "Give a moment like 2026-11-22T08:00:00+08:00.")
    return moment


def _text(value: Any) -> Any:
    if isinstance(value, str | uuid.UUID | date):
        return value
    raise PydanticCustomError("string_type", "Input should be a valid string")


Id = Annotated[uuid.UUID, Strict(strict=False), BeforeValidator(_text)]
"""A UUID as text: strict everywhere else, JSON has no other spelling for it."""
Day = Annotated[date, Strict(strict=False), BeforeValidator(_text)]
"""A calendar day as YYYY-MM-DD."""
Moment = Annotated[datetime, Strict(strict=False), BeforeValidator(_text), AfterValidator(_in_reach)]
"""A moment as ISO 8601 text."""
Closed = Strict(strict=False)
"""Annotate a StrEnum with it: `Annotated[Environment, Closed]` takes the enum's text."""

Plain = Annotated[str, AfterValidator(_plain)]
"""Text as it came, without control characters."""
Text = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_plain)]
"""Trimmed text without control characters."""
Loose = Annotated[Any, AfterValidator(_storable)]
"""JSON whose shape is checked later; only what could not be kept is refused."""
FORMS: dict[str, str] = {}
"""What each pattern asks for, in words: people are told these and never the pattern."""


def formed(pattern: str, words: str, **more: Any) -> StringConstraints:
    """Return a constraint to a pattern, and keep the words in which its breach is told."""
    FORMS[pattern] = words
    return StringConstraints(pattern=pattern, **more)


Name = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_NAME)]
Code = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_CODE)]
DnsLabel = Annotated[
    str,
    formed(
        r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        N_("Use small letters a to z, digits and hyphens, 63 at most, with no hyphen at the beginning or the end."),
    ),
]
Phone = Annotated[
    Text, formed(r"^[0-9+() -]{0,32}$", N_("Use digits, spaces, hyphens, brackets and a plus sign, 32 at most."))
]


class Input(BaseModel):
    """A command as it came in. JSON numbers are not strings and strings are not numbers; UUIDs and dates are text."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def changes(self) -> dict[str, Any]:
        """Return only what was given, for PATCH."""
        return self.model_dump(exclude_unset=True)


def unset() -> Any:
    """Return the default of a PATCH field that may be left out but, where its type has no None, not be null.

    Read such fields through `changes()` only.
    """
    return Field(default=None, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)
