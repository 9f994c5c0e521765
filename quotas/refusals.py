"""What the ledger refuses, in words, numbers and a way out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from cloudmgr.domain.errors import InvalidInput, Refusal
from cloudmgr.domain.messages import N_, Message
from quotas.keys import Key, stored_key

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
    kept_free: int = 0
    """How much of the limit has been guaranteed to accounts beside the asker and not been taken by them yet."""

    @property
    def left(self) -> int:
        """How much could still be asked for here."""
        return max(0, self.limit - self.used - self.reserved - self.kept_free)

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
            **({"kept_free": self.kept_free} if self.kept_free else {}),
        }

    def describe(self) -> Message:
        """Return the finding as one clause."""
        if self.kept_free:
            return Message(
                N_(
                    "{account} has {left} of {limit} {key} left ({used} used, {reserved} reserved, {kept} kept free as "
                    "guaranteed to others) and {asked} more are asked for"
                ),
                {"account": self.name, **self.key.told(**self._amounts, kept=self.kept_free)},
            )
        return Message(
            N_(
                "{account} has {left} of {limit} {key} left ({used} used, {reserved} reserved) and {asked} more are asked for"
            ),
            {"account": self.name, **self.key.told(**self._amounts)},
        )

    def describe_giving(self) -> Message:
        """Return the finding as one clause, where what is asked for is to leave this account."""
        return Message(
            N_("{account} has {left} of {limit} {key} free and {asked} are to go"),
            {"account": self.name, **self.key.told(left=self.left, limit=self.limit, asked=self.asked)},
        )

    @property
    def _amounts(self) -> dict[str, int]:
        numbers = {"left": self.left, "limit": self.limit, "used": self.used, "reserved": self.reserved}
        return {**numbers, "asked": self.asked}


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


class LimitInUse(Refusal):
    """More is to leave an account than is free there; `errors` and `bindings` list every account and key."""

    code: ClassVar[str] = "limit_in_use"

    def __init__(self, bindings: Sequence[Binding]) -> None:
        self.bindings = tuple(bindings)
        super().__init__(
            N_("Not enough is free to give: {bindings}. Give less, or free something there first."),
            errors=[binding.as_json() for binding in self.bindings],
            bindings=[binding.describe_giving() for binding in self.bindings],
        )


def _change(bindings: Sequence[Binding]) -> dict[str, Any]:
    """Return a quota change, ready to be sent, that would lift what binds nearest to the asker."""
    nearest = bindings[-1].account_id
    wanted = {str(b.key): b.used + b.reserved + b.kept_free + b.asked for b in bindings if b.account_id == nearest}
    return {"kind": "quota_change", "account": str(nearest), "limits": wanted}


class GuaranteeRefused(Refusal):
    """What was to be guaranteed is not backed, or a limit would fall below what is guaranteed; `errors` tells where."""

    code: ClassVar[str] = "guarantee_refused"

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        told = [
            Message(
                N_("{account}: {promised} {key} would be guaranteed, and the limit is {limit}"),
                {
                    "account": each["name"],
                    **stored_key(str(each["key"])).told(
                        promised=each["guaranteed"],
                        limit=Message(N_("not set")) if each["limit"] is None else each["limit"],
                    ),
                },
            )
            for each in problems[:_TOLD]
        ]
        super().__init__(
            N_(
                "Not every level stands behind this guarantee: {problems}. "
                "Each level above must be guaranteed as much, except the topmost, and have room for it."
            ),
            errors=problems,
            problems=told,
        )


class LimitOmitted(InvalidInput):
    """A replacement of all limits leaves out one that exists; `errors` lists the keys."""

    code: ClassVar[str] = "limit_omitted"


class RootLimitRequired(InvalidInput):
    """The root must keep a limit for a plain key: without one nothing bounds the whole tree."""

    code: ClassVar[str] = "root_limit_required"


class LedgerError(RuntimeError):
    """The books and the guard disagree: a defect or tampering, never an answer to a user. Roll the transaction back."""
