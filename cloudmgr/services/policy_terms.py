"""Whether what an approval policy asks for can ever be: a rule with a misspelt word would never hold, and nobody would see it.

Asked when a file is checked or loaded, never of a version that was loaded before: that one stays readable.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import approval
from cloudmgr.domain.approval import Policy, SeatRule, When
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestKind
from cloudmgr.store import catalogue, organizations
from quotas.keys import RESOURCES, parse_key


def unmeant(session: Session, policy: Policy) -> list[dict[str, Any]]:
    """Return a finding for each word of a policy that no request and no seat can ever meet."""
    found: list[dict[str, Any]] = []
    for number, rule in enumerate(policy.rules):
        found += _conditions(session, rule.when, f"rules[{number}].when")
        for place, stage in enumerate(rule.stages):
            for each, seat in enumerate(stage.seats):
                found += _seat(seat, f"rules[{number}].stages[{place}].by[{each}].role")
    return found


def _conditions(session: Session, when: When, at: str) -> Iterator[dict[str, Any]]:
    yield from _strange(f"{at}.kinds", when.kinds, RequestKind)
    yield from _strange(f"{at}.archs", when.archs, Architecture)
    yield from _strange(f"{at}.at_least", (key for key in when.at_least if not _is_counted(key)), RESOURCES)
    for name in sorted(when.network_zones):
        if catalogue.network_zone(session, name) is None:
            yield _finding(f"{at}.network_zones", Message(N_("There is no network zone {name}."), {"name": name}))
    for code in sorted(when.organizations):
        if organizations.by_code(session, code) is None:
            told = Message(N_("There is no organization with the code {code}."), {"code": code})
            yield _finding(f"{at}.organizations", told)


def _is_counted(text: str) -> bool:
    try:
        key = parse_key(text)
    except InvalidInput:
        return False
    return key.resource in RESOURCES and str(key) == text


def _seat(seat: SeatRule, at: str) -> Iterator[dict[str, Any]]:
    return _strange(at, [seat.role] if seat.role else [], approval.ROLES.values())


def _strange(at: str, given: Iterable[str], known: Iterable[str]) -> Iterator[dict[str, Any]]:
    there = sorted(set(known))
    for word in sorted(set(given) - set(there)):
        told = Message(
            N_("{given} is never found here; use one of {known}."), {"given": str(word), "known": ", ".join(there)}
        )
        yield _finding(at, told)


def _finding(field: str, message: Message) -> dict[str, Any]:
    return {"field": field, "rule": "choice", "message": message}
