"""How quota accounts and loans look in JSON."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from cloudmgr.api.shapes import Shape
from cloudmgr.services.quota_loans import LoanView
from cloudmgr.services.quotas import AccountView

_KEYS = ["vcpus", "vcpus{arch=aarch64}"]
Amounts = Annotated[dict[str, int], Field(examples=[dict(zip(_KEYS, (96, 64), strict=True))])]
Limits = Annotated[dict[str, int | None], Field(examples=[dict(zip(_KEYS, (480, None), strict=True))])]


class AncestorShape(Shape):
    """An account above."""

    account: UUID
    name: str = Field(examples=["长沙市"])


class TermShape(Shape):
    """A limit that holds for a time: `waiting` for its first moment or `in_force` until its last."""

    id: UUID
    key: str = Field(examples=["vcpus"])
    amount: int | None
    valid_from: datetime
    valid_until: datetime | None
    state: str = Field(examples=["waiting"])
    reason: str
    basis_no: str | None


class TargetShape(Shape):
    """A share to be reached, and what is: `part` of `whole` of the base in use at the account and below."""

    name: str = Field(examples=["xinchuang_share_pct"])
    base: str = Field(examples=["vcpus"])
    pct: int
    actual_pct: int | None = Field(description="Rounded down; null while nothing is in use.")
    part: int
    whole: int
    is_met: bool
    basis_no: str | None


class WarningShape(Shape):
    """A threshold of use that is crossed since `at`."""

    key: str = Field(examples=["vcpus"])
    threshold_pct: int = Field(examples=[80])
    at: datetime


class HoldShape(Shape):
    """What one request holds and nobody uses yet."""

    account: UUID
    name: str
    since: datetime
    days: int
    amounts: Amounts


class QuotaShape(Shape):
    """One account. By key: `available` is what its own limit still lets in (null: no limit here), `room` what can really
    still be granted, bound by every account above as well; `children_limits` adds up the limits right below, which may
    be more than the own limit (over-allocation, in percent under `allotted_pct`). `guaranteed` is kept free for the account by
    those beside it, `set_aside` what it keeps free for those below, `borrowed` the part of the limit that is on loan.
    `may_set` says whether you may change its limits. `terms` and `holds` are told of one account only.
    """

    account: UUID
    parent: UUID | None
    code: str = Field(examples=["430102"])
    name: str = Field(examples=["芙蓉区"])
    kind: str = Field(examples=["organization"], description="organization or project")
    owner: UUID = Field(description="Id of the organization or project.")
    depth: int
    ancestors: list[AncestorShape]
    limits: Limits
    used: Amounts
    reserved: Amounts
    available: Limits
    room: Limits
    overhang: Amounts
    children_limits: Amounts
    allotted_pct: Amounts
    guaranteed: Amounts
    set_aside: Amounts
    borrowed: Amounts
    targets: list[TargetShape]
    warnings: list[WarningShape]
    held_since: datetime | None
    held_days: int | None
    terms: list[TermShape]
    holds: list[HoldShape]
    may_set: bool
    is_closed: bool = Field(default=False, description="It takes no charges any more.")


class LoanAmountShape(Shape):
    """How much of a key is lent; `outstanding` is in the borrower's limit, `owed` left it and is still in use there."""

    key: str = Field(examples=["vcpus"])
    amount: int
    outstanding: int
    owed: int
    returned: int


class LoanShape(Shape):
    """A loan of quota."""

    id: UUID
    lender: UUID
    lender_name: str = Field(examples=["芙蓉区"])
    borrower: UUID
    borrower_name: str = Field(examples=["岳麓区"])
    state: str = Field(
        examples=["active"], description="offered, active, overdue, returned, declined, cancelled, expired"
    )
    until: datetime
    days_left: int | None
    extensions: int
    offered_side: str = Field(examples=["lender"])
    lender_signed_by: str | None
    borrower_signed_by: str | None
    amounts: list[LoanAmountShape]
    reason: str
    basis_no: str | None
    note: str
    created_at: datetime
    began_at: datetime | None
    ended_at: datetime | None
    may_accept: bool
    may_cancel: bool
    may_return: bool


class LoanTableShape(Shape):
    """Loans, the newest first."""

    items: list[LoanShape]
    next_cursor: str | None = None


def quota_shape(view: AccountView) -> QuotaShape:
    """Return an account as the API shows it."""
    usage = view.usage
    return QuotaShape(
        account=usage.account_id,
        parent=usage.parent_id,
        code=usage.code,
        name=usage.name,
        kind=view.kind,
        owner=view.owner_id,
        depth=usage.depth,
        ancestors=[AncestorShape(account=account, name=name) for account, name in usage.ancestors],
        limits=dict(usage.limits),
        used=dict(usage.used),
        reserved=dict(usage.reserved),
        available=dict(usage.available),
        room=dict(usage.room),
        overhang=dict(usage.overhang),
        children_limits=dict(usage.children_limit_sum),
        allotted_pct=view.allotted_pct,
        guaranteed=dict(usage.guaranteed),
        set_aside=dict(usage.set_aside),
        borrowed=dict(usage.borrowed),
        targets=[
            TargetShape(
                name=each.name,
                base=each.base,
                pct=each.pct,
                actual_pct=each.actual_pct,
                part=each.part,
                whole=each.whole,
                is_met=each.is_met,
                basis_no=each.basis_no,
            )
            for each in view.targets
        ],
        warnings=[WarningShape(key=each.key, threshold_pct=each.threshold_pct, at=each.at) for each in view.warnings],
        held_since=view.held_since,
        held_days=view.held_days,
        terms=[
            TermShape(
                id=each.term_id,
                key=each.key,
                amount=each.amount,
                valid_from=each.valid_from,
                valid_until=each.valid_until,
                state=each.state,
                reason=each.reason,
                basis_no=each.basis_no,
            )
            for each in view.terms
        ],
        holds=[
            HoldShape(
                account=each.account_id,
                name=each.account,
                since=each.since,
                days=each.days,
                amounts=dict(each.amounts),
            )
            for each in view.holds
        ],
        may_set=view.may_set,
        is_closed=usage.is_closed,
    )


def loan_shape(view: LoanView) -> LoanShape:
    """Return a loan as the API shows it."""
    loan = view.loan
    return LoanShape(
        id=loan.loan_id,
        lender=loan.lender_id,
        lender_name=loan.lender,
        borrower=loan.borrower_id,
        borrower_name=loan.borrower,
        state=loan.state,
        until=loan.until,
        days_left=view.days_left,
        extensions=loan.extensions,
        offered_side=loan.offered_side,
        lender_signed_by=loan.lender_signed_by,
        borrower_signed_by=loan.borrower_signed_by,
        amounts=[
            LoanAmountShape(
                key=key, amount=held.amount, outstanding=held.outstanding, owed=held.owed, returned=held.returned
            )
            for key, held in loan.amounts.items()
        ],
        reason=loan.reason,
        basis_no=loan.basis_no,
        note=loan.note,
        created_at=loan.created_at,
        began_at=loan.began_at,
        ended_at=loan.ended_at,
        may_accept=view.may_accept,
        may_cancel=view.may_cancel,
        may_return=view.may_return,
    )
