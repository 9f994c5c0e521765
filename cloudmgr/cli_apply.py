"""`cloudmgr apply`: organizations, projects, catalogue and quotas from one file."""

from pathlib import Path
from typing import Annotated

import typer

from cloudmgr.cli_support import place_of, show_json, show_table, transaction
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services.apply import apply_document, read_document

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: cloudmgr apply --dry-run city.yaml && cloudmgr apply city.yaml")
def apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="YAML, or JSON if its name ends so; docs/apply.md tells its form.")],
    dry_run: Annotated[bool, typer.Option(help="Do everything, tell it, and roll it back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Bring the database to what the file says. The same file twice changes nothing; nothing is ever removed.

    All of it or nothing: every entry that breaks a rule is told with its place in the file.
    """
    place = place_of(ctx)
    document = read_document(file)
    with transaction(place, event=Event.SYSTEM_APPLY, object_name=file.name, commit=not dry_run) as (session, actor):
        report = apply_document(session, actor, document, source=file.name)
    if as_json:
        changes = [{"kind": kind, "name": name, "change": what} for kind, name, what in report.changes]
        show_json({"dry_run": dry_run, "counts": report.as_json(), "changes": changes})
        return
    for kind, name, what in report.changes:
        typer.echo(f"{'+' if what == 'created' else '~'} {kind} {name}")
    told = [(kind, each.created, each.updated, each.unchanged) for kind, each in report.counts.items()]
    show_table(told, ("", *(place.translate(word) for word in (N_("created"), N_("updated"), N_("unchanged")))))
    if dry_run:
        place.say(N_("A rehearsal: nothing was written."))
