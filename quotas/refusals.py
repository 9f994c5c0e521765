"""What the ledger refuses, in words, numbers and a way out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from cloudmgr.domain.errors import InvalidInput, Refusal
from cloudmgr.domain.messages import N_, Message
from quotas.keys import Key

_TOLD = 3


@dataclass(frozen=True, slots=True)
class Binding:
    """One limit that stands in the way: at which account, for which key, with which numbers."""

    account_id: UUID
    name: str
    key: Key
    limit: int
    used: int
    reserved: int
    asked: int

    @property
    def left(self) -> int:
        """How much could still be asked for here."""
        return max(0, self.limit - self.used - self.reserved)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as the API shows it."""
        return {
            "account": str(self.account_id),
            "name": self.name,
            "key": str(self.key),
            "limit": self.limit,
            "used": self.used,
            "reserved": self.reserved,
            "asked": self.asked,
        }

    def describe(self) -> Message:
        """Return the finding as one clause."""
        return Message(
            N_(
                "{account} has {left} of {limit} {key} left ({used} used, {reserved} reserved) and {asked} more are asked for"
            ),
            {
                "account": self.name,
                "left": self.left,
                "limit": self.limit,
                "key": self.key.describe(),
                "used": self.used,
                "reserved": self.reserved,
                "asked": self.asked,
            },
        )


class QuotaExceeded(Refusal):
    """Some limit on the way to the root has too little left; `errors` and `bindings` list every one, root first."""

    code: ClassVar[str] = "quota_exceeded"

    def __init__(self, bindings: Sequence[Binding]) -> None:
        self.bindings = tuple(bindings)
        told = [binding.describe() for binding in self.bindings[:_TOLD]]
        detail = "; ".join(f"bound at account {b.account_id} ({b.name}), key {b.key}" for b in self.bindings)
        errors = [binding.as_json() for binding in self.bindings]
        extra = {"next": _change(self.bindings)}
        more = len(self.bindings) - len(told)
        if more:
            super().__init__(
                N_(
                    "Over quota: {bindings}; and {more} more limits bind. "
                    "Ask for less, retire what is no longer needed, or ask for a larger quota there."
                ),
                detail=detail,
                errors=errors,
                extra=extra,
                bindings=told,
                more=more,
            )
        else:
            super().__init__(
                N_(
                    "Over quota: {bindings}. "
                    "Ask for less, retire what is no longer needed, or ask for a larger quota there."
                ),
                detail=detail,
                errors=errors,
                extra=extra,
                bindings=told,
            )


def _change(bindings: Sequence[Binding]) -> dict[str, Any]:
    """Return a quota change, ready to be sent, that would lift what binds nearest to the asker."""
    nearest = bindings[-1].account_id
    wanted = {str(b.key): b.used + b.reserved + b.asked for b in bindings if b.account_id == nearest}
    return {"kind": "quota_change", "account": str(nearest), "limits": wanted}


class LimitOmitted(InvalidInput):
    """A replacement of all limits leaves out one that exists; `errors` lists the keys."""

    code: ClassVar[str] = "limit_omitted"


class RootLimitRequired(InvalidInput):
    """The root must keep a limit for a plain key: without one nothing bounds the whole tree."""

    code: ClassVar[str] = "root_limit_required"


class LedgerError(RuntimeError):
    """The books and the guard disagree: a defect or tampering, never an answer to a user. Roll the transaction back."""
