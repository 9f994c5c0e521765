"""The catalogues: English templates and their Chinese, merged from `locale/<language>/*.po`, read once and kept.

The msgid is the English template, so English needs no catalogue and a missing line is told in English, never as a key.
"""

from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po

from cloudmgr.domain.messages import Translator

DEFAULT_LANGUAGE = "zh_CN"
LANGUAGES = (DEFAULT_LANGUAGE, "en")
LOCALE_DIR = Path(__file__).parent / "locale"


@cache
def catalogue(language: str) -> dict[str, str]:
    """Return every translated line of a language, all areas together."""
    lines: dict[str, str] = {}
    for path in sorted((LOCALE_DIR / language).glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=language):
                if isinstance(message.id, str) and message.id and isinstance(message.string, str) and message.string:
                    lines[message.id] = message.string
    return lines


@cache
def translator(language: str) -> Translator:
    """Return the function that translates a template; the template itself where there is no line."""
    lines = catalogue(language) if language in LANGUAGES else {}

    def translate(template: str) -> str:
        return lines.get(template, template)

    return translate


def negotiate(accept_language: str | None) -> str | None:
    """Return the language an Accept-Language header prefers among ours (RFC 9110 §12.5.4), None when it names none."""
    best, best_weight = None, 0.0
    for part in (accept_language or "")[:500].split(","):
        tag, _, rest = part.strip().partition(";")
        try:
            weight = float(rest.strip().removeprefix("q=")) if rest else 1.0
        except ValueError:
            continue
        primary = tag.split("-")[0].split("_")[0].lower()
        language = {"zh": "zh_CN", "en": "en"}.get(primary)
        if language and best_weight < weight <= 1.0:
            best, best_weight = language, weight
    return best
