"""`cloudmgr audit verify`: is the log whole?"""

from typing import Annotated

import typer

from cloudmgr.cli_support import place_of, show_json, transaction
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import audit_verification

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Check the audit log."""


@app.command(epilog="Example: cloudmgr audit verify --json   # exit status 1 when something speaks against the log")
def verify(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Count the records, look for gaps in their numbers, and for the triggers that keep them from being changed.

    Records are not chained yet: whoever owns the database could alter one unseen.
    """
    place = place_of(ctx)
    with transaction(place, event=Event.AUDIT_VERIFY) as (session, actor):
        found = audit_verification.verify_and_record(session, actor)
    if as_json:
        show_json(found.as_json())
    else:
        place.say(
            N_("{events} records, numbered {first} to {last}; {missing} numbers are missing."),
            events=found.events,
            first=found.first_seq or "-",
            last=found.last_seq or "-",
            missing=found.missing,
        )
        for after, before in found.gaps:
            place.say(N_("Missing between {after} and {before}."), after=after, before=before)
        if found.gaps and found.gaps_explained:
            place.say(
                N_("PostgreSQL leaves such gaps where a transaction was rolled back: a gap alone proves nothing.")
            )
        for name in found.triggers_missing:
            place.say(N_("The trigger {name} is missing: its table can be changed."), name=name)
        place.say(N_("Records are protected by triggers and not chained yet: an altered record is not found."))
    if not found.ok:
        raise typer.Exit(1)
