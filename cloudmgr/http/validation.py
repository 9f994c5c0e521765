"""What pydantic found wrong with an input, told as field, rule and way out, in the reader's language.

Never repeats the value that was sent: it may be a password.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestKind
from cloudmgr.services.inputs import FORMS

_REQUIRED, _UNKNOWN, _TYPE, _FORMAT, _MIN, _MAX, _LENGTH, _CHOICE = (
    "required",
    "unknown",
    "type",
    "format",
    "min",
    "max",
    "length",
    "choice",
)

_TOLD: Mapping[str, tuple[str, str]] = {
    "missing": (_REQUIRED, N_("This field is required.")),
    "extra_forbidden": (_UNKNOWN, N_("There is no such field. Leave it out, or check its spelling.")),
    "string_type": (_TYPE, N_("Give a text.")),
    "string_too_short": (_LENGTH, N_("Give at least {min_length} characters.")),
    "string_too_long": (_LENGTH, N_("Give at most {max_length} characters.")),
    "string_pattern_mismatch": (_FORMAT, N_("The text does not have the required form.")),
    "string_unicode": (_FORMAT, N_("Give text in valid UTF-8.")),
    "control_character": (_FORMAT, N_("Text must not hold control characters.")),
    "int_type": (_TYPE, N_("Give a whole number, without quotes.")),
    "int_parsing": (_TYPE, N_("Give a whole number.")),
    "int_parsing_size": (_MAX, N_("The number is too large.")),
    "int_from_float": (_TYPE, N_("Give a whole number.")),
    "float_type": (_TYPE, N_("Give a number, without quotes.")),
    "float_parsing": (_TYPE, N_("Give a number.")),
    "finite_number": (_TYPE, N_("Give a finite number.")),
    "bool_type": (_TYPE, N_("Give true or false, without quotes.")),
    "bool_parsing": (_TYPE, N_("Give true or false.")),
    "none_required": (_TYPE, N_("Give null here.")),
    "greater_than": (_MIN, N_("Give more than {gt}.")),
    "greater_than_equal": (_MIN, N_("Give at least {ge}.")),
    "less_than": (_MAX, N_("Give less than {lt}.")),
    "less_than_equal": (_MAX, N_("Give at most {le}.")),
    "too_short": (_LENGTH, N_("Give at least {min_length} entries.")),
    "too_long": (_LENGTH, N_("Give at most {max_length} entries.")),
    "list_type": (_TYPE, N_("Give a list.")),
    "tuple_type": (_TYPE, N_("Give a list.")),
    "set_type": (_TYPE, N_("Give a list.")),
    "dict_type": (_TYPE, N_("Give an object.")),
    "model_type": (_TYPE, N_("Give an object.")),
    "model_attributes_type": (_TYPE, N_("Give an object.")),
    "enum": (_CHOICE, N_("Give one of: {expected}.")),
    "literal_error": (_CHOICE, N_("Give one of: {expected}.")),
    "union_tag_invalid": (_CHOICE, N_("Give one of: {expected}.")),
    "union_tag_not_found": (_REQUIRED, N_("The field {discriminator} is required: it says what kind this is.")),
    "uuid_type": (_TYPE, N_("Give an id as text.")),
    "uuid_parsing": (_FORMAT, N_("This is not an id.")),
    "date_type": (_TYPE, N_("Give a day as YYYY-MM-DD.")),
    "date_parsing": (_FORMAT, N_("Give a day as YYYY-MM-DD.")),
    "date_from_datetime_parsing": (_FORMAT, N_("Give a day as YYYY-MM-DD.")),
    "date_from_datetime_inexact": (_FORMAT, N_("Give a day as YYYY-MM-DD.")),
    "datetime_type": (_TYPE, N_("Give a moment like 2026-11-22T08:00:00+08:00.")),
    "datetime_parsing": (_FORMAT, N_("Give a moment like 2026-11-22T08:00:00+08:00.")),
    "datetime_from_date_parsing": (_FORMAT, N_("Give a moment like 2026-11-22T08:00:00+08:00.")),
    "datetime_object_invalid": (_FORMAT, N_("Give a moment like 2026-11-22T08:00:00+08:00.")),
    "json_invalid": (_FORMAT, N_("The body is not valid JSON (near character {position}).")),
    "recursion_loop": (_FORMAT, N_("The input is nested too deeply.")),
}

_COUNTED = frozenset({"too_short", "too_long"})
_OTHERWISE = ("value", N_("The value is not acceptable."))

_PLACES = frozenset({"body", "query", "path", "header", "cookie"})
_KEY = "[key]"
"""What pydantic puts behind a member of an object whose name, not its value, it found wrong."""
_KINDS = frozenset({*RequestKind, "draft"})
"""Kinds of a body that is one of several: pydantic puts the kind into the location of what it found."""
_MOST_TOLD = 300
"""Longest list of choices that is told whole."""


def findings(errors: Iterable[Mapping[str, Any]], *, placed: bool = False) -> list[dict[str, Any]]:
    """Return one `{"field", "rule", "message"}` for each pydantic error; `message` is a Message.

    `placed`: the framework says first where it stands (body, query …), and the kind of a body that is one of several.
    """
    return [_finding({**error, "loc": _within(error.get("loc") or ())} if placed else error) for error in errors]


def _within(position: Sequence[Any]) -> Sequence[Any]:
    if not position or position[0] not in _PLACES:
        return position
    return position[2 if position[0] == "body" and len(position) > 1 and position[1] in _KINDS else 1 :]


def _finding(error: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(error.get("type", ""))
    context = dict(error.get("ctx") or {})
    position = error.get("loc") or ()
    if kind == "json_invalid":
        context["position"] = position[-1] if position and isinstance(position[-1], int) else 0
        position = ()
    if "expected_tags" in context:  # a draft is no kind: it is asked for with "draft": true
        context["expected"] = str(context["expected_tags"]).removesuffix(", 'draft'")
        position = (*position, "kind")
    if kind == "literal_error" and context.get("expected") in {"True", "False"}:
        kind = "bool_type"
    if kind in _COUNTED and context.get("field_type") == "Value":  # a text behind a validator of ours, not a list
        kind = f"string_{kind}"
    own = context.get("message")
    if isinstance(own, Message):  # a validator of ours that brought its own words
        return {"field": field_path(position), "rule": str(context.get("rule", kind)), "message": own}
    if kind == "string_pattern_mismatch" and (words := FORMS.get(str(context.get("pattern")))):
        return {"field": field_path(position), "rule": _FORMAT, "message": Message(words)}
    if kind not in _TOLD and error.get("msg"):  # a custom error: its words are a template without fields, or English
        said = str(error["msg"]).replace("{", "{{").replace("}", "}}")
        return {"field": field_path(position), "rule": kind, "message": Message(said)}
    rule, template = _TOLD.get(kind, _OTHERWISE)
    try:
        message = Message(template, {key: _short(value) for key, value in context.items()})
        str(message)
    except (KeyError, IndexError, ValueError):
        message = Message(_OTHERWISE[1])
    return {"field": field_path(position), "rule": rule, "message": message}


def field_path(position: Iterable[Any]) -> str:
    """Return pydantic's location as people write it: `servers[0].count`."""
    parts = list(position)
    if parts and parts[-1] == _KEY:
        del parts[-1]
    path = ""
    for part in parts:
        if part == "":  # the name of a member, which is empty: the object that holds it is at fault
            continue
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else str(part)
    return path


def _short(value: Any) -> str:
    told = str(value).replace("'", "").replace(" or ", ", ")
    if len(told) > _MOST_TOLD:
        told = told[:_MOST_TOLD].rpartition(", ")[0] + ", …" if ", " in told[:_MOST_TOLD] else told[:_MOST_TOLD] + "…"
    return told
