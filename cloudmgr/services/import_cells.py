"""What a cell of a sheet may say, column by column: from text as spreadsheets write it to a value, or a fault with a way out.

Excel's ways are understood: `2026/1/20`, full-width digits, `/` for what does not apply. Knows no database.
"""

import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cloudmgr.domain import addresses
from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.inventory_columns import BY_KEY, LONG_TERM, UNMANAGED
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Environment, PurposeKind

MAX_CELL = 500
_MAX_PERSON, _MAX_PHONE = 64, 32
_LONG_TERM_WORDS = frozenset({*(word.lower() for word in LONG_TERM), "长期", "long term", "longterm"})
_NOT_APPLICABLE = frozenset({"/", "／", "-", "—", "无", "n/a"})
_YES = {"是": True, "yes": True, "true": True, "1": True, "否": False, "no": False, "false": False, "0": False}
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S")
_TOP_GIB = 10**6


class WrongCellError(Exception):
    """A cell breaks a rule; `column` is empty where the caller knows which cell it asked for."""

    def __init__(self, rule: str, template: str, remedy: str, *, column: str = "", **params: Any) -> None:
        self.rule, self.column = rule, column
        self.message, self.remedy = Message(template, params), Message(remedy, params)
        super().__init__(rule)


def value(key: str, text: str) -> Any:
    """Return what a cell says; None: it is empty, does not apply, or is a column that is read past.

    Raises:
        WrongCellError: it says what its column cannot.
    """
    rule = RULES.get(key)
    if rule is None or not text:
        return None
    if len(text) > MAX_CELL:
        raise WrongCellError(
            "max_length",
            N_("The cell is longer than {most} characters."),
            N_("Shorten it to at most {most} characters."),
            most=MAX_CELL,
        )
    if any(unicodedata.category(character) == "Cc" and character != "\n" for character in text):
        raise WrongCellError(
            "control_character", N_("The cell holds control characters."), N_("Type it anew, as plain text.")
        )
    if text.lower() in _NOT_APPLICABLE and key != "lease_end":
        return None
    return rule(text)


def _one_of(labels: Mapping[str, Iterable[str]]) -> Callable[[str], str]:
    by_word = {word.lower(): code for code, words in labels.items() for word in (code, *words)}

    def rule(text: str) -> str:
        code = by_word.get(unicodedata.normalize("NFKC", text).lower())
        if code is None:
            raise WrongCellError(
                "one_of",
                N_("{value} is none of the words of this column."),
                N_("Use one of: {known}."),
                value=text[:50],
                known=", ".join(next(iter(words), code) for code, words in labels.items()),
            )
        return code

    return rule


def _integer(text: str) -> int:
    number = _decimal(text)
    if number != int(number):
        raise WrongCellError(
            "integer", N_("{value} is no whole number."), N_("Write a whole number in digits."), value=text[:50]
        )
    return int(number)


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(unicodedata.normalize("NFKC", text).replace(",", ""))
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or not 0 <= number <= _TOP_GIB:
        raise WrongCellError(
            "number",
            N_("{value} is no number from 0 to {most}."),
            N_("Write digits only; the unit stands in the header."),
            value=text[:50],
            most=_TOP_GIB,
        )
    return number


def _memory(text: str) -> int:
    """Return whole MiB; an export writes GiB with two decimals."""
    return round(_decimal(text) * 1024)


def _day(text: str) -> date:
    for form in _DAYS:
        try:
            return datetime.strptime(unicodedata.normalize("NFKC", text), form).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            continue
    raise WrongCellError("date", N_("{value} is no day."), N_("Write it as 2026-01-20 or 2026/1/20."), value=text[:50])


def _lease_end(text: str) -> date | str:
    """Return a day, or "" for a lease without an end."""
    if text.lower() in _LONG_TERM_WORDS or text in _NOT_APPLICABLE or text.startswith("9999"):
        return ""
    return _day(text)


def _yes_no(text: str) -> bool:
    answer = _YES.get(text.lower())
    if answer is None:
        raise WrongCellError("boolean", N_("{value} is neither yes nor no."), N_("Write 是 or 否."), value=text[:50])
    return answer


def _addresses(text: str) -> list[str]:
    found = []
    for each in unicodedata.normalize("NFKC", text).replace(",", ";").replace("、", ";").split(";"):
        if each.strip():
            try:
                found.append(addresses.parse_address(each.strip()))
            except InvalidInput:
                raise WrongCellError(
                    "address",
                    N_("{value} is no IP address."),
                    N_("Write addresses separated by semicolons, without a prefix length."),
                    value=each.strip()[:50],
                ) from None
    return found


def _uuid(text: str) -> str:
    """Return a UUID in its written form; what a cloud names otherwise stays as it is."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text


def _person(text: str) -> str:
    if "*" in text:
        raise WrongCellError(
            "masked",
            N_("{value} is masked."),
            N_("Write it in full, or leave it empty to use the information system's."),
            value=text[:50],
        )
    if len(text) > _MAX_PERSON:
        raise WrongCellError(
            "max_length",
            N_("The cell is longer than {most} characters."),
            N_("Shorten it to at most {most} characters."),
            most=_MAX_PERSON,
        )
    return text


def _phone(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _person(text))
    if len(plain) > _MAX_PHONE or not set(plain) <= set("0123456789+() -"):
        raise WrongCellError(
            "phone", N_("{value} is no telephone number."), N_("Write digits, +, spaces and hyphens."), value=text[:50]
        )
    return plain


def _remark(text: str) -> str | None:
    """Return a remark; an export's word for what nobody owns is none of the ledger's."""
    return None if text in UNMANAGED else text


def _words(key: str) -> Mapping[str, Iterable[str]]:
    return BY_KEY[key].labels


RULES: Mapping[str, Callable[[str], Any]] = {
    "uuid": _uuid,
    "counts_quota": _yes_no,
    "resource_type": _one_of({code: _words("resource_type")[code] for code in ("vm", "baremetal")}),
    "name": str,
    "org_name": str,
    "org_code": str,
    "system_name": str,
    "system_code": str,
    "env": _one_of({each.value: _words("env")[each.value] for each in Environment}),
    "purpose": _one_of({each.value: _words("purpose")[each.value] for each in PurposeKind}),
    "cloud_platform": str,
    "datacenter": str,
    "host": str,
    "network_zone": str,
    "ipv4": _addresses,
    "ipv6": _addresses,
    "arch": _one_of({each.value: () for each in Architecture}),
    "cpu_family": _one_of({each.value: _words("cpu_family").get(each.value, ()) for each in CpuFamily}),
    "cpu_model": str,
    "vcpu": _integer,
    "memory_gib": _memory,
    "system_disk_gib": _integer,
    "data_disk_gib": _integer,
    "os_name": str,
    "os_version": str,
    "lease_start": _day,
    "lease_end": _lease_end,
    "owner_name": _person,
    "owner_phone": _phone,
    "source": _one_of(
        {"collected": (*_words("source")["collected"], "imported"), "entered": (*_words("source")["entered"], "manual")}
    ),
    "remark": _remark,
}
"""Column → how its cells are understood. Other columns of an export are known, and read past."""
