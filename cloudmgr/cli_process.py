"""`cloudmgr serve`, `worker` and `demo`: the processes that stay."""

from typing import Annotated

import typer

import cloudmgr.main
import cloudmgr.seed.demo as demonstration
import cloudmgr.worker
from cloudmgr.cli_support import place_of
from cloudmgr.domain.messages import N_
from cloudmgr.http import logging

serve = typer.Typer(add_completion=False, rich_markup_mode=None)
worker = typer.Typer(add_completion=False, rich_markup_mode=None)
demo = typer.Typer(add_completion=False, rich_markup_mode=None)


@serve.command(epilog="Example: cloudmgr serve --data-dir /var/lib/cloudmgr --no-worker")
def run_serve(
    ctx: typer.Context,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Serve only; workers run elsewhere.")] = False,
) -> None:
    """Answer HTTP until told to stop. `[web]` says where; off loopback it wants TLS or a named proxy."""
    cloudmgr.main.serve(place_of(ctx).settings(), with_worker=not no_worker)


@worker.command(epilog="Example: cloudmgr worker --drain   # before an upgrade: finish what runs, then stop")
def run_worker(
    ctx: typer.Context,
    drain: Annotated[bool, typer.Option("--drain", help="Stop when nothing runs or waits any more.")] = False,
) -> None:
    """Run a worker until told to stop. On SQLite there is one; on PostgreSQL as many as you like."""
    settings = place_of(ctx).settings()
    logging.configure(settings.log)
    cloudmgr.worker.run(settings, drain=drain)


@demo.command(epilog="Example: cloudmgr demo --port 8000 --data-dir .demo")
def run_demo(
    ctx: typer.Context,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 8000,
) -> None:
    """Start the sample city on simulated clouds. The accounts and their passwords are in DIR/demo-accounts.json.

    A second start with the same data directory keeps everything. Not for real work: rate limits are off.
    """
    place = place_of(ctx)
    settings = place.settings(**demonstration.overrides(port))
    with demonstration.only_one(settings.data_dir):
        accounts = demonstration.prepare(settings)
        place.say(N_("The sample city: http://127.0.0.1:{port}/"), port=port)
        place.say(
            N_("{count} accounts with their passwords: {path}"),
            count=len(accounts),
            path=str(demonstration.accounts_file(settings)),
        )
        cloudmgr.main.serve(settings, alongside=lambda: demonstration.populate(settings))
