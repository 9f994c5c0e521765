"""Turning a template and plain values into a page: one Jinja environment a language, nothing computed in templates."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cloudmgr import i18n
from cloudmgr.domain.messages import LIST_COMMA, N_, Message
from web import formats, labels
from web.assets import asset

DEFAULT_LANGUAGE = "zh_CN"
LANGUAGES: Mapping[str, str] = {"zh_CN": "中文", "en": "English"}
HTML_LANGUAGES: Mapping[str, str] = {"zh_CN": "zh-CN", "en": "en"}


@lru_cache
def environment(language: str) -> Environment:
    """Return the templates in one language; `_`, `label` and friends are bound to it."""
    made = Environment(
        loader=PackageLoader("web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    words = Words(language)
    made.globals.update(
        _=words.translate,
        label=words.label,
        key_label=words.key_label,
        tone=labels.tone,
        asset=asset,
        languages=LANGUAGES,
    )
    made.filters.update(
        moment=formats.moment,
        full_moment=formats.full_moment,
        second=formats.second,
        day=formats.day,
        number=formats.number,
        amount=formats.amount,
        days_left=formats.days_left,
        told=words.told,
        known=words.known,
    )
    return made


def render(language: str, template: str, /, **context: Any) -> str:
    """Return a page or a fragment as text."""
    return environment(language).get_template(template).render(context)


class Words:
    """Everything said in one language."""

    def __init__(self, language: str) -> None:
        self._translate = i18n.translator(language)

    def translate(self, template: str, /, **params: Any) -> str:
        """Return a template in this language with its {named} fields filled."""
        return Message(template, params).render(self._translate)

    def label(self, vocabulary: str, value: object) -> str:
        """Return the word for a value of a closed set."""
        return self._translate(labels.label(vocabulary, value))

    def joined(self, values: Iterable[str]) -> str:
        """Return a list as people of this language write it."""
        return self._translate(LIST_COMMA).join(values)

    def told(self, message: Message | Mapping[str, Any] | str | None) -> str:
        """Return a message, live or as it was stored; empty for None."""
        if not message:
            return ""
        if isinstance(message, str):
            return self._translate(message)
        if not isinstance(message, Message):
            message = Message.from_json(message)
        return message.render(self._translate)

    def field(self, path: str) -> str:
        """Return a form field in words: `servers[0].count` is `Group 1, how many`."""
        row = _ROW.match(path)
        name = self.label("field", row[2] if row else path)
        return self.translate(N_("Group {number}, {field}"), number=int(row[1]) + 1, field=name) if row else name

    def known(self, value: object) -> object:
        """Return the value, or the word for what is not known: never a zero, never nothing."""
        return self._translate(labels.NOT_COLLECTED) if value is None or value in ("", [], ()) else value

    def key_label(self, key: str) -> str:
        """Return a quota key in words: `vcpus{arch=aarch64}` is `vCPUs (architecture: Arm (aarch64))`."""
        resource, _, rest = key.partition("{")
        word = self.label("resource", resource)
        if not rest:
            return word
        parts = []
        for pair in rest.rstrip("}").split(","):
            name, _, value = pair.partition("=")
            vocabulary = _DIMENSION_WORDS.get(name)
            parts.append(f"{self.label('dimension', name)}: {self.label(vocabulary, value) if vocabulary else value}")
        return self.translate(N_("{resource} ({conditions})"), resource=word, conditions=", ".join(parts))


_ROW = re.compile(r"servers\[([0-9]+)\]\.(.+)")

_DIMENSION_WORDS = {
    "arch": "architecture",
    "cpu_family": "cpu_family",
    "tier": "tier",
    "is_xinchuang": "yes_no",
    "environment": "environment",
}
