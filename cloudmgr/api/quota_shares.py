"""Quota in time and beside limits: guarantees, targets, limits for a time, loans."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Response, status

from cloudmgr.api.quota_shapes import LoanShape, LoanTableShape, QuotaShape, loan_shape, quota_shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import OnceRoute, api_router, rule
from cloudmgr.services import quota_loans, quota_shares, quotas
from cloudmgr.services.quota_loans import DecideLoan, OfferLoan
from cloudmgr.services.quota_shares import SetGuarantees, SetTarget

router = api_router("/quotas", "quotas", OnceRoute)

State = Literal["offered", "active", "overdue", "returned", "declined", "cancelled", "expired"]


@router.get("/loans", response_model=LoanTableShape, openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account"))
def list_loans(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    account: Annotated[UUID | None, Query(description="Lender or borrower; any of yours where left out.")] = None,
    state: Annotated[list[State] | None, Query(description="May be given several times.")] = None,
) -> LoanTableShape:
    """List loans of which you see a side, the newest first."""
    found, following = quota_loans.page(
        session, actor, account=account, states=state or (), limit=page.limit, cursor=page.cursor
    )
    return LoanTableShape(items=[loan_shape(view) for view in found], next_cursor=encode_cursor(following))


@router.post(
    "/loans",
    status_code=status.HTTP_201_CREATED,
    response_model=LoanShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_LOAN, object_type="quota_account"),
)
def offer_loan(command: OfferLoan, actor: ActorDep, session: SessionDep) -> LoanShape:
    """Offer a loan of quota, or ask for one: you sign for the side you administer, and nothing moves before the other does.

    `until` is its last day; on it the quota goes back by itself.
    """
    return loan_shape(quota_loans.offer(session, actor, command))


@router.get(
    "/loans/{loan}", response_model=LoanShape, openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account")
)
def read_loan(loan: UUID, actor: ActorDep, session: SessionDep) -> LoanShape:
    """Show one loan."""
    return loan_shape(quota_loans.get(session, actor, loan))


@router.post(
    "/loans/{loan}/decisions",
    response_model=LoanShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_LOAN, object_type="quota_account"),
)
def decide_loan(loan: UUID, command: DecideLoan, actor: ActorDep, session: SessionDep) -> LoanShape:
    """Answer: the other side's `accept` or `decline`, one's own `cancel`, or the borrower's early `return`.

    409 `limit_in_use` where the lender (or, giving back, the borrower) has less free than is to move.
    """
    return loan_shape(quota_loans.decide(session, actor, loan, command))


@router.put(
    "/{account}/guarantees",
    response_model=QuotaShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_GUARANTEE, object_type="quota_account"),
)
def set_guarantees(account: UUID, command: SetGuarantees, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Guarantee an account amounts that those beside it keep free; 0 takes a guarantee away.

    409 `guarantee_refused` names every level that does not stand behind it.
    """
    quota_shares.set_guarantees(session, actor, account, command)
    return quota_shape(quotas.get_usage(session, actor, account))


@router.put(
    "/{account}/targets",
    response_model=QuotaShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_TARGET, object_type="quota_account"),
)
def set_target(account: UUID, command: SetTarget, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Set a share that an account is to reach, such as `xinchuang_share_pct`; null takes it away. It refuses nothing."""
    quota_shares.set_target(session, actor, account, command)
    return quota_shape(quotas.get_usage(session, actor, account))


@router.delete(
    "/{account}/terms/{term}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_TERM, object_type="quota_account"),
)
def cancel_term(account: UUID, term: UUID, actor: ActorDep, session: SessionDep) -> Response:
    """Take back a limit that holds for a time: before it begins, or from now on."""
    quota_shares.cancel_term(session, actor, account, term)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
