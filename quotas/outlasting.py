"""Whether what is asked for would outlive a loan it needs: a lease must end before the quota under it goes back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_, Message
from quotas.accounts import no_such_account
from quotas.admission import EMPTY, Level, charged
from quotas.books import read_levels
from quotas.keys import Key
from quotas.loan_books import Loan, loans_in
from quotas.parts import Part, checked
from quotas.refusals import Binding

_TOLD = 3


@dataclass(frozen=True, slots=True)
class Outlived:
    """A limit that has room only thanks to a loan which ends first; the binding's `limit` is without the loan."""

    binding: Binding
    loan: Loan

    def as_json(self) -> dict[str, Any]:
        """Return the finding as the API shows it."""
        ends = self.loan.until.astimezone(clock.SHANGHAI).date().isoformat()
        return {
            **self.binding.as_json(),
            "loan": str(self.loan.loan_id),
            "lender": self.loan.lender,
            "loan_ends": ends,
        }

    def describe(self) -> Message:
        """Return the finding as one clause."""
        return Message(
            N_(
                "{account} has {limit} {key} of its own, {taken} taken and {asked} more asked for; "
                "what {lender} lends goes back on {until}"
            ),
            {
                "account": self.binding.name,
                **self.binding.key.told(
                    limit=self.binding.limit,
                    taken=self.binding.used + self.binding.reserved,
                    asked=self.binding.asked,
                ),
                "lender": self.loan.lender,
                "until": self.loan.until.astimezone(clock.SHANGHAI).date().isoformat(),
            },
        )


class LoanEndsFirst(Refusal):
    """A lease would outlive a loan that it needs; `errors` names every account, key and loan."""

    code: ClassVar[str] = "loan_ends_first"

    def __init__(self, found: Sequence[Outlived]) -> None:
        self.found = tuple(found)
        super().__init__(
            N_(
                "The lease would outlive quota that is only on loan: {findings}. "
                "Ask for a shorter lease, or have the limit raised for good."
            ),
            errors=[each.as_json() for each in found],
            findings=[each.describe() for each in found[:_TOLD]],
        )


def outlived(
    session: Session, levels: Sequence[Level], growth: Mapping[tuple[UUID, Key], int], until: datetime
) -> list[Outlived]:
    """Return every limit under which the growth fits only while a loan lasts that ends before `until`, root first.

    Growth 0 asks about what is held already. Costs nothing where nothing is borrowed. Strict: whatever is in use is
    taken to stay, also what has a shorter lease.
    """
    borrowed = [
        (level, key)
        for level in levels
        for key, balance in level.balances.items()
        if balance.borrowed and balance.limit is not None and (level.account_id, key) in growth
    ]
    if not borrowed:
        return []
    loans = loans_in(session, [(level.account_id, key) for level, key in borrowed], before=until)
    found = []
    for level, key in borrowed:
        ending = loans.get((level.account_id, key), [])
        held, asked = level.balances[key], growth[level.account_id, key]
        lasting = (held.limit or 0) - sum(amount for _, amount in ending)
        if ending and held.used + held.reserved + asked > lasting:
            binding = Binding(level.account_id, level.name, key, max(0, lasting), held.used, held.reserved, asked)
            found.append(Outlived(binding, ending[0][0]))
    return found


def outliving(
    session: Session, *, account_id: UUID, parts: Sequence[Part], until: datetime, is_held: bool = False
) -> list[Outlived]:
    """Return what stands against keeping these parts until then; `is_held` where they are counted already.

    Raises:
        NotFound: no such account. InvalidInput: impossible amounts or dimensions.
    """
    levels = read_levels(session, account_id)
    if not levels:
        raise no_such_account(account_id)
    growth: dict[tuple[UUID, Key], int] = {}
    for at, key, amount in _asked(levels, checked(parts)):
        growth[at, key] = growth.get((at, key), 0) + (0 if is_held else amount)
    return outlived(session, levels, growth, until)


def require_outlasting(
    session: Session, *, account_id: UUID, parts: Sequence[Part], until: datetime, is_held: bool = False
) -> None:
    """Refuse a lease until then that would need a loan which ends before it.

    Call it in the transaction that holds the tree's lock (after `reserve`, with `is_held`), or as a preview without.

    Raises:
        LoanEndsFirst: naming every account, key and loan. NotFound, InvalidInput: see `outliving`.
    """
    found = outliving(session, account_id=account_id, parts=parts, until=until, is_held=is_held)
    if found:
        raise LoanEndsFirst(found)


def _asked(levels: Sequence[Level], parts: Iterable[Part]) -> Iterable[tuple[UUID, Key, int]]:
    known = {level.account_id: level for level in levels}
    for part in parts:
        for at, key, amount in charged(levels, part.amounts, part.dims, part.top):
            if known[at].balances.get(key, EMPTY).borrowed:
                yield at, key, amount
