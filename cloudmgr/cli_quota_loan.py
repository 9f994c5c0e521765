"""`cloudmgr quota loan`: who lends quota to whom, until when, and what is still in use; offering, signing, giving back.

The local administrator signs for one side only: the other is signed for by somebody else, in the console or over the API.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from cloudmgr.cli_quota_moves import account_of, amounts_of
from cloudmgr.cli_support import Place, place_of, show_json, show_table, transaction
from cloudmgr.domain import clock
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import quota_loans
from cloudmgr.services.quota_loans import DecideLoan, LoanView, OfferLoan

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LoanId = Annotated[UUID, typer.Argument(metavar="LOAN", help="Id of the loan, as `quota loan list` tells it.")]
Comment = Annotated[str, typer.Option(help="What the other side is to read.")]
_ACCOUNT = "Code of the account, as `quota show --json` tells it."


@app.callback(epilog="Example: cloudmgr quota loan list")
def loan() -> None:
    """Loans of quota between organizations."""


@app.command("list", epilog="Example: cloudmgr quota loan list --state active --state overdue")
def list_loans(
    ctx: typer.Context,
    state: Annotated[
        list[str] | None,
        typer.Option(help="offered, active, overdue, returned, declined, cancelled, expired; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show loans, the newest first."""
    place = place_of(ctx)
    with transaction(place, commit=False) as (session, actor):
        views = quota_loans.list_loans(session, actor, states=state or ())
    _show(place, views, as_json=as_json)


@app.command(
    epilog="Example: cloudmgr quota loan offer 430102 430104 vcpus=64 memory_mib=262144 --until 2027-03-31 --reason 迎检期间借用"
)
def offer(
    ctx: typer.Context,
    lender: Annotated[str, typer.Argument(help=_ACCOUNT)],
    borrower: Annotated[str, typer.Argument(help=_ACCOUNT)],
    amounts: Annotated[list[str], typer.Argument(help="KEY=AMOUNT, such as vcpus=64.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Its last day.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the loan and in the audit log.")],
    basis_no: Annotated[str | None, typer.Option("--basis-no", help="Number of the document it rests on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a loan for the lender; nothing moves before the borrower has signed it too."""
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_LOAN) as (session, actor):
        command = OfferLoan(
            lender=account_of(session, lender),
            borrower=account_of(session, borrower),
            amounts=amounts_of(amounts),
            until=until.date(),
            reason=reason,
            basis_no=basis_no,
        )
        done = quota_loans.offer(session, actor, command)
    _show(place, [done], as_json=as_json)


@app.command(epilog="Example: cloudmgr quota loan accept 0199f3c2-… --comment 同意")
def accept(ctx: typer.Context, loan: LoanId, comment: Comment = "", as_json: AsJson = False) -> None:
    """Sign for the side that has not signed: the limits move."""
    _decide(ctx, loan, "accept", comment=comment, as_json=as_json)


@app.command(epilog="Example: cloudmgr quota loan decline 0199f3c2-… --comment 本区也不足")
def decline(ctx: typer.Context, loan: LoanId, comment: Comment = "", as_json: AsJson = False) -> None:
    """Refuse a loan that the other side has signed."""
    _decide(ctx, loan, "decline", comment=comment, as_json=as_json)


@app.command(epilog="Example: cloudmgr quota loan cancel 0199f3c2-…")
def cancel(ctx: typer.Context, loan: LoanId, comment: Comment = "", as_json: AsJson = False) -> None:
    """Take an offer back that nobody has answered."""
    _decide(ctx, loan, "cancel", comment=comment, as_json=as_json)


@app.command("return", epilog="Example: cloudmgr quota loan return 0199f3c2-… vcpus=32")
def give_back(
    ctx: typer.Context,
    loan: LoanId,
    amounts: Annotated[list[str] | None, typer.Argument(help="KEY=AMOUNT; all that is left, if none is named.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a loan back before its day, all or some of it, as far as it is free."""
    _decide(ctx, loan, "return", amounts=amounts, as_json=as_json)


def _decide(
    ctx: typer.Context,
    loan: UUID,
    decision: Literal["accept", "decline", "cancel", "return"],
    *,
    amounts: list[str] | None = None,
    comment: str = "",
    as_json: bool,
) -> None:
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_LOAN, object_name=str(loan)) as (session, actor):
        given = amounts_of(amounts) if amounts else None
        command = DecideLoan(decision=decision, amounts=given, comment=comment)
        done = quota_loans.decide(session, actor, loan, command)
    _show(place, [done], as_json=as_json)


def _show(place: Place, views: Sequence[LoanView], *, as_json: bool) -> None:
    if as_json:
        show_json([_told(view) for view in views])
        return
    rows = [
        (
            str(view.loan.loan_id),
            view.loan.lender,
            view.loan.borrower,
            view.loan.state,
            view.loan.until.astimezone(clock.SHANGHAI).date().isoformat(),
            key,
            held.amount,
            held.outstanding,
            held.owed,
        )
        for view in views
        for key, held in view.loan.amounts.items()
    ]
    headings = (
        N_("loan"),
        N_("lender"),
        N_("borrower"),
        N_("state"),
        N_("last day"),
        N_("key"),
        N_("lent"),
        N_("outstanding"),
        N_("still in use"),
    )
    show_table(rows, [place.translate(heading) for heading in headings])


def _told(view: LoanView) -> dict[str, Any]:
    loan = view.loan
    return {
        "id": loan.loan_id,
        "lender": loan.lender,
        "borrower": loan.borrower,
        "state": loan.state,
        "until": loan.until,
        "days_left": view.days_left,
        "amounts": {
            key: {
                "amount": held.amount,
                "outstanding": held.outstanding,
                "owed": held.owed,
                "returned": held.returned,
            }
            for key, held in loan.amounts.items()
        },
    }
