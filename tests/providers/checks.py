"""What the contract suite asks of any error, text or thread, whatever the driver."""

import re
import string
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.pofile import read_po

from providers import registry
from providers.base import Provider
from providers.capabilities import capabilities
from providers.errors import ProviderError, Unsupported

ROOT = Path(__file__).parents[2]
_UNSAFE = re.compile(
    r"(?:^|[\s'\"(])/[\w.-]+/|://|Traceback|\bline \d+|\b\d{1,3}(?:\.\d{1,3}){3}\b|Error\b|Exception\b"
)


def claimed_by(driver: str | type[Provider]) -> set[str] | None:
    """Capabilities a driver's class inherits; None where its name is not given or its SDK is not installed."""
    if not driver:
        return None
    try:
        return set(capabilities(registry.load(driver) if isinstance(driver, str) else driver))
    except Unsupported:
        return None


def assert_safe(error: ProviderError, secrets: tuple[str, ...] = (), shows: tuple[str, ...] = ()) -> None:
    """Hold an error to P7 and P12: a tenant may read its message, in Chinese too, and nothing in it is secret.

    `shows` are addresses that the tenant asked for, and may therefore be told of.
    """
    text = seen = str(error.message)
    for shown in shows:
        seen = seen.replace(shown, "…")
    assert not _UNSAFE.search(seen), f"not for a tenant's eyes: {text}"
    assert text == str(error)
    chinese = chinese_of(error.message.template)
    assert chinese, f"no Chinese for {error.message.template!r}"
    assert fields_of(chinese) == fields_of(error.message.template)
    assert_no_secret(f"{text} {error!r} {error.detail} {error.__cause__!r}", secrets)


def assert_no_secret(text: str, secrets: tuple[str, ...]) -> None:
    for secret in secrets:
        assert secret not in text, "a secret came to light"


def chinese_of(template: str) -> str:
    """The Chinese line of a provider's message, empty where there is none."""
    message = _catalogue().get(template)
    return str(message.string) if message else ""


def fields_of(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@cache
def _catalogue() -> Any:
    with (ROOT / "cloudmgr/locale/zh_CN/providers.po").open("rb") as po:
        return read_po(po)


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make the calls at the same time and return their answers in order; a call that raises fails the test."""
    answers: list[Any] = [None] * len(calls)
    raised: list[BaseException] = []

    def run(place: int, call: Callable[[], Any]) -> None:
        try:
            answers[place] = call()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            raised.append(error)

    threads = [threading.Thread(target=run, args=(place, call)) for place, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if raised:
        raise raised[0]
    return answers
