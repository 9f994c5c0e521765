"""`cloudmgr inventory`: the inventory as a file, taken from the database itself and recorded like every export.

Importing is done by a person with an account, over the API.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from cloudmgr.cli_http import Client
from cloudmgr.cli_support import CommandFailed, Place, end_progress, place_of, progress, show_json, transaction
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.http.exports import Recording
from cloudmgr.services import import_template, inventory
from cloudmgr.services.import_sheet import MAX_ROWS
from cloudmgr.services.inventory import InventoryExport

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def group() -> None:
    """Export the inventory as csv, json or jsonl; import what stands already."""


@app.command(epilog="Example: cloudmgr inventory export --format csv --include retired -o 资源台账.csv")
def export(
    ctx: typer.Context,
    file_format: Annotated[str, typer.Option("--format", help="csv, json or jsonl.")] = "csv",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output if left out.")
    ] = None,
    view: Annotated[
        str, typer.Option(help="audit (all 64 columns), short or public (no persons, no hosts).")
    ] = "audit",
    encoding: Annotated[str, typer.Option(help="Of csv: utf-8-sig or gb18030.")] = "utf-8-sig",
    include: Annotated[str, typer.Option(help="retired, unmanaged; separated by commas.")] = "",
    as_of: Annotated[str | None, typer.Option(help="A past moment; this release has the present only.")] = None,
    reveal: Annotated[str | None, typer.Option(help="personal: show names and phone numbers; needs --reason.")] = None,
    reason: Annotated[str, typer.Option(help="Why personal data must be shown; recorded.")] = "",
    headers: Annotated[str, typer.Option(help="Language of headers and words: zh_CN or en.")] = "zh_CN",
    as_json: Annotated[bool, typer.Option("--json", help="With -o: print rows, size and digest as JSON.")] = False,
) -> None:
    """Write the inventory of the whole installation to a file or to standard output.

    Names and phone numbers are masked. A file appears under its name only when it is whole.
    """
    place = place_of(ctx)
    asked: dict[str, Any] = {"as_of": as_of, "reveal": reveal}
    command = InventoryExport.model_validate(
        {name: value for name, value in asked.items() if value is not None}
        | {"format": file_format, "view": view, "encoding": encoding, "include": include, "reason": reason}
        | {"lang": headers}
    )
    with transaction(place, event=Event.INVENTORY_EXPORT, object_name="inventory export") as (session, actor):
        job = inventory.begin(session, actor, command, language=headers)
    with contextlib.closing(Recording(place.settings().database_url, job)) as recording:
        with _opened(output) as file:
            for chunk in recording:
                file.write(chunk)
                file.flush()  # a pipe that broke is known before the next chunk, hence before the export counts as done
                progress(Message(N_("{rows} servers"), {"rows": recording.tally.rows}).render(place.translate))
        end_progress()
    tally = recording.tally
    told = {"export": str(job.export_id), "rows": tally.rows, "size_bytes": tally.size_bytes, "sha256": tally.sha256}
    if as_json and output is not None:
        show_json(told | {"file": str(output)})
    else:
        place.say(
            N_("{rows} servers, {size} bytes, SHA-256 {sha256}"),
            error=True,
            rows=tally.rows,
            size=tally.size_bytes,
            sha256=tally.sha256,
        )
    for name in job.not_collected:
        place.say(N_("{name} servers are not collected by this release: the file holds none."), error=True, name=name)


@app.command(epilog="Example: cloudmgr inventory template -o 纳管.csv")
def template(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output if left out.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Only what this cloud shows.")] = None,
    encoding: Annotated[str, typer.Option(help="utf-8-sig or gb18030.")] = "utf-8-sig",
    headers: Annotated[str, typer.Option(help="Language of headers: zh_CN or en.")] = "zh_CN",
) -> None:
    """Write a sheet to fill in for `inventory import`: what clouds show and nobody owns, one server a line.

    Asks CLOUDMGR_URL with CLOUDMGR_TOKEN, and leaves empty what only people know.
    """
    place = place_of(ctx)
    if encoding not in ("utf-8-sig", "gb18030") or headers not in ("zh_CN", "en"):
        raise CommandFailed(N_("Give --encoding utf-8-sig or gb18030, and --headers zh_CN or en."))
    seen = list(Client(place).pages("/observed-servers", MAX_ROWS, managed="false", backend=backend))
    with _opened(output) as file:
        file.write(import_template.template(seen, language=headers).encode(encoding))
    place.say(N_("{count} servers that nobody owns"), error=True, count=len(seen))


@app.command("import", epilog="Example: cloudmgr inventory import 纳管.csv --dry-run")
def import_file(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8 or GB 18030, with the headers of an exported inventory.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything, tell it, and roll it back.")] = False,
    good_only: Annotated[bool, typer.Option("--good-rows", help="Take the good rows, leave out the others.")] = False,
    opening_balance: Annotated[
        bool,
        typer.Option("--opening-balance", help="Count even above the limits; quota administrators, with --reason."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Recorded with the import.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Take servers that stand already into the ledger, at CLOUDMGR_URL with CLOUDMGR_TOKEN.

    All rows or none, unless --good-rows; exit status 1 if a row was, or would be, left out.
    """
    place = place_of(ctx)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CommandFailed(
            N_("The file {path} cannot be read: {reason}"), path=str(file), reason=error.strerror or ""
        ) from error
    report = Client(place).send(
        "/inventory/imports",
        content,
        "text/csv",
        dry_run="true" if dry_run else None,
        accept="good" if good_only else None,
        opening_balance="true" if opening_balance else None,
        reason=reason or None,
    )
    if as_json:
        show_json(report)
    else:
        _tell_import(place, report)
    if not report["accepted"]:
        raise typer.Exit(1)


def _tell_import(place: Place, report: dict[str, Any]) -> None:
    for each in report["errors"]:
        told = {name: each[name] for name in ("row", "value", "message", "remedy")}
        place.say(N_("Row {row}, {column} “{value}”: {message} {remedy}"), column=each["header"], **told)
    for each in report["refusals"]:
        place.say(N_("{project}: {message}"), project=each["project"], message=each["message"])
    for each in report["requests"]:
        place.say(
            N_("{number}: {count} servers into {project} ({organization})"),
            number=each["number"],
            count=each["servers"],
            project=each["project"],
            organization=each["organization"],
        )
    if report["known_count"]:
        place.say(N_("{count} rows are in the ledger already and stay as they are."), count=report["known_count"])
    told = {"taken": report["taken"], "rows": report["rows"]}
    if report["dry_run"]:
        place.say(N_("A rehearsal: nothing was written. {taken} of {rows} rows would be taken."), **told)
    else:
        place.say(N_("{taken} of {rows} rows were taken."), **told)


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Yield where to write: standard output, or a file that gets its name when it is whole and vanishes when it is not."""
    if output is None:
        yield sys.stdout.buffer
        return
    partial = output.with_name(f".{output.name}.part")
    try:
        with partial.open("wb") as file:
            yield file
            os.fsync(file.fileno())
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
