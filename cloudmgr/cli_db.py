"""`cloudmgr db`: the database's schema; backup, restore and reconciliation stand in cli_backup."""

from typing import Annotated

import typer

from cloudmgr import cli_backup
from cloudmgr.adapters import migrate
from cloudmgr.cli_support import place_of, show_json
from cloudmgr.domain.messages import N_

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def db() -> None:
    """Upgrade and check the database, back it up and restore it."""


@app.command(epilog="Example: cloudmgr db upgrade --data-dir /var/lib/cloudmgr")
def upgrade(ctx: typer.Context) -> None:
    """Bring the schema to this release's: all of it or nothing. Twice is once."""
    place = place_of(ctx)
    settings = place.settings()
    before = migrate.upgrade(settings)
    if before.is_current:
        place.say(N_("The schema is current ({head})."), head=before.head)
    else:
        place.say(N_("The schema went from {current} to {head}."), current=before.current or "-", head=before.head)


@app.command(epilog="Example: cloudmgr db check --json")
def check(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say whether the schema is this release's; exit status 1 when it is not."""
    place = place_of(ctx)
    state = migrate.check(place.settings())
    if as_json:
        show_json({"current": state.current, "head": state.head, "is_current": state.is_current})
    else:
        place.say(N_("The schema is current ({head})."), head=state.head)


app.command(epilog="Example: cloudmgr db backup -o /backup/cloudmgr-$(date +%F).tar.gz")(cli_backup.backup)
app.command(epilog="Example: cloudmgr db restore /backup/cloudmgr-2026-11-22.tar.gz --data-dir /var/lib/cloudmgr")(
    cli_backup.restore
)
app.command(epilog="Example: cloudmgr db reconcile; cloudmgr db reconcile --resume")(cli_backup.reconcile)
