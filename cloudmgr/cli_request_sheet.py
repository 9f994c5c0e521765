"""`cloudmgr request sheet` and `sheet-template`: many servers asked for by one sheet, over the API."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudmgr.adapters import workbooks
from cloudmgr.cli_http import Client
from cloudmgr.cli_support import CommandFailed, place_of, show_json, show_table
from cloudmgr.domain.messages import N_

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: cloudmgr request sheet 申请.xlsx --dry-run")
def sheet(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Workbook (.xlsx) or CSV, with the headers of the template.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything, tell it, and roll it back.")] = False,
    good_only: Annotated[bool, typer.Option("--good-rows", help="Take the good rows, leave out the others.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Ask for many servers by a sheet; exit status 1 where a line could not be taken."""
    place = place_of(ctx)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CommandFailed(N_("Cannot read {file}: {reason}"), file=str(file), reason=error.strerror or "") from error
    media_type = workbooks.MEDIA_TYPE if workbooks.is_workbook(content) else "text/csv"
    report: Any = Client(place).send(
        "/requests/sheets",
        content,
        media_type,
        dry_run="true" if dry_run else None,
        accept="good" if good_only else None,
    )
    if as_json:
        show_json(report)
    else:
        rows = [
            (
                "-" if dry_run else each["number"],
                each["project_name"],
                each["network_zone"],
                len(each["rows"]),
                each["servers"],
            )
            for each in report["requests"]
        ]
        headings = (N_("number"), N_("project"), N_("network zone"), N_("lines"), N_("servers"))
        show_table(rows, [place.translate(heading) for heading in headings])
        for cell in report["errors"]:
            typer.echo(f"{cell['row']} {cell['header']}: {cell['message']} {cell['remedy']}", err=True)
        for refusal in report["refusals"]:
            typer.echo(f"{refusal['project']}: {refusal['message']}", err=True)
        place.say(
            N_("Tried only: {count} requests for {servers} servers would be submitted.")
            if dry_run
            else N_("{count} requests for {servers} servers were submitted."),
            count=len(report["requests"]),
            servers=report["servers"],
        )
    if not report["accepted"]:
        raise typer.Exit(1)


@app.command("sheet-template", epilog="Example: cloudmgr request sheet-template -o 申请.xlsx")
def sheet_template(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output if left out.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV (UTF-8) instead of a workbook.")] = False,
) -> None:
    """Write an empty sheet to fill in for `request sheet`."""
    content = Client(place_of(ctx)).fetch("/requests/sheet-template", format="csv" if as_csv else "xlsx")
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)
