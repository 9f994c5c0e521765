"""What is asked for: one part a server. Checks and fingerprints it; knows no balances."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from quotas.keys import Key, check_resource, normalise_dims, parse_key, stored_key

_Amount = TypeVar("_Amount", bound=int | None)
MAX_AMOUNT = 10**12
"""No city owns more of anything; sums of such amounts still fit 64 bits."""
MAX_PARTS = 10_000
"""Servers in one request: 50 entries of 200 each."""


@dataclass(frozen=True, slots=True)
class Part:
    """One server's share: amounts by resource (`{"servers": 1, "vcpus": 8, …}`) and the dimensions known at submit.

    `top` is the account at which the counting ends, where that is known at submit already (None: the root).
    """

    part_id: UUID
    amounts: Mapping[str, int]
    dims: Mapping[str, str] = field(default_factory=dict)
    top: UUID | None = None


def checked(parts: Sequence[Part]) -> list[Part]:
    """Return parts with canonical dimensions and without zero amounts.

    Raises:
        InvalidInput: no parts, too many, one twice, a negative or absurd amount, an unknown dimension.
    """
    if not parts:
        raise InvalidInput(N_("A reservation needs at least one part."), field="parts")
    if len(parts) > MAX_PARTS:
        raise InvalidInput(
            N_("{count} servers in one request are too many; ask for at most {most} at once."),
            field="parts",
            count=len(parts),
            most=MAX_PARTS,
        )
    if len({part.part_id for part in parts}) != len(parts):
        raise InvalidInput(N_("The same part stands twice in the reservation."), field="parts")
    return [Part(part.part_id, checked_amounts(part.amounts), normalise_dims(part.dims), part.top) for part in parts]


def checked_amounts(amounts: Mapping[str, int]) -> dict[str, int]:
    """Return amounts without zeros.

    Raises:
        InvalidInput: an amount is no whole number, negative, or above `MAX_AMOUNT`.
    """
    for resource, amount in amounts.items():
        check_amount(check_resource(resource), amount)
    return {resource: amount for resource, amount in amounts.items() if amount}


def by_key(amounts: Mapping[str, _Amount], *, within: str) -> dict[Key, _Amount]:
    """Return amounts by key; None is none. `within` is the field of the input that holds them.

    Raises:
        InvalidInput: a malformed or doubled key, or an impossible amount.
    """
    found: dict[Key, _Amount] = {}
    for text, amount in amounts.items():
        try:
            key = parse_key(text)
            if amount is not None:
                check_amount(str(key), amount)
        except InvalidInput as refusal:
            refusal.field = f"{within}.{text}"
            raise
        if key in found:
            raise InvalidInput(N_("Quota key {key} is given twice."), field=f"{within}.{text}", key=str(key))
        found[key] = amount
    return found


def check_amount(key: str, amount: int) -> None:
    """Refuse what cannot be a quantity.

    Raises:
        InvalidInput: not a whole number between 0 and `MAX_AMOUNT`.
    """
    if type(amount) is not int or not 0 <= amount <= MAX_AMOUNT:
        raise InvalidInput(
            N_("{key} cannot be {amount}; use a whole number from 0 to {most}."),
            key=stored_key(key).describe(),
            amount=repr(amount),
            most=MAX_AMOUNT,
        )


def fingerprint(account_id: UUID, parts: Sequence[Part]) -> str:
    """Return SHA-256 over account and parts, whatever order they are given in."""
    content = [
        account_id.hex,
        sorted(
            (
                part.part_id.hex,
                sorted(part.amounts.items()),
                sorted(part.dims.items()),
                *([part.top.hex] if part.top else []),
            )
            for part in parts
        ),
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()
