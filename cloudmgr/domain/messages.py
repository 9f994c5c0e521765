"""Messages that can be told in the reader's language: a template and its parameters, translated at the edge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Translator = Callable[[str], str]


def N_(template: str) -> str:  # noqa: N802 - gettext's own name for "mark, do not translate"
    """Mark an English template with {named} fields for the catalogues; returns it unchanged."""
    return template


LIST_COMMA, LIST_SEMICOLON = N_(", "), N_("; ")
"""Between the entries of a list: names, and whole sentences."""


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence for a person: `template` is the catalogue key (English), `params` fill its fields."""

    template: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def render(self, translate: Translator | None = None) -> str:
        """Return the sentence in the translator's language, English without one."""
        text = translate(self.template) if translate else self.template
        return text.format(**{key: _render(value, translate) for key, value in self.params.items()})

    def __str__(self) -> str:
        return self.render()

    def as_json(self) -> dict[str, Any]:
        """Return `{"template", "params"}` for storage; nested messages are kept translatable."""
        return {"template": self.template, "params": {key: _stored(value) for key, value in self.params.items()}}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Message":
        """Rebuild what `as_json` gave."""
        return cls(stored["template"], {key: _rebuilt(value) for key, value in stored.get("params", {}).items()})


def _render(value: Any, translate: Translator | None) -> Any:
    if isinstance(value, Message):
        return value.render(translate)
    if isinstance(value, list | tuple):
        between = LIST_SEMICOLON if any(isinstance(item, Message) for item in value) else LIST_COMMA
        return (translate(between) if translate else between).join(str(_render(item, translate)) for item in value)
    return value


def _stored(value: Any) -> Any:
    if isinstance(value, Message):
        return value.as_json()
    return [_stored(item) for item in value] if isinstance(value, list | tuple) else value


def _rebuilt(value: Any) -> Any:
    if isinstance(value, dict) and "template" in value:
        return Message.from_json(value)
    return [_rebuilt(item) for item in value] if isinstance(value, list) else value
