"""`cloudmgr inventory`: the inventory as a file, taken from the database itself and recorded like every export."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from cloudmgr.cli_support import end_progress, place_of, progress, show_json, transaction
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.http.exports import Recording
from cloudmgr.services import inventory
from cloudmgr.services.inventory import InventoryExport

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def group() -> None:
    """Export the inventory as csv, json or jsonl."""


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
