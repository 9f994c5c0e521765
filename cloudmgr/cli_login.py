"""`cloudmgr login`: a token for the commands that speak to a running server."""

import os
import sys
from typing import Annotated

import typer

from cloudmgr.cli_http import Client
from cloudmgr.cli_support import Place, place_of, show_json
from cloudmgr.domain.messages import N_

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: export CLOUDMGR_TOKEN=$(cloudmgr login frq-req1)")
def login(
    ctx: typer.Context,
    username: Annotated[str, typer.Argument(help="Login name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer.")] = False,
) -> None:
    """Print a token of CLOUDMGR_URL.

    The password is asked for, read from a pipe, or taken from CLOUDMGR_PASSWORD; never from an option.
    """
    place = place_of(ctx)
    password = os.environ.get("CLOUDMGR_PASSWORD") or _asked(place)
    answer = Client(place, needs_token=False).post("/sessions", {"username": username, "password": password})
    if as_json:
        show_json(answer)
    else:
        typer.echo(answer["token"])
    if answer.get("must_change_password"):
        place.say(N_("The password must be changed first, in the console."), error=True)


def _asked(place: Place) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt(place.translate(N_("Password")), hide_input=True, err=True))
