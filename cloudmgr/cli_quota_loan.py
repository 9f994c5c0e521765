"""`cloudmgr quota loan`: who lends quota to whom, until when, and what is still in use."""

from typing import Annotated

import typer

from cloudmgr.cli_support import place_of, show_json, show_table, transaction
from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_
from cloudmgr.services import quota_loans

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
    if as_json:
        show_json(
            [
                {
                    "id": view.loan.loan_id,
                    "lender": view.loan.lender,
                    "borrower": view.loan.borrower,
                    "state": view.loan.state,
                    "until": view.loan.until,
                    "days_left": view.days_left,
                    "amounts": {
                        key: {
                            "amount": held.amount,
                            "outstanding": held.outstanding,
                            "owed": held.owed,
                            "returned": held.returned,
                        }
                        for key, held in view.loan.amounts.items()
                    },
                }
                for view in views
            ]
        )
        return
    rows = [
        (
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
