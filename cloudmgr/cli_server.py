"""`cloudmgr server`: servers over the API."""

from typing import Annotated

import typer

from cloudmgr.cli_http import Client
from cloudmgr.cli_support import CommandFailed, Place, place_of, show_json, show_table
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import ServerPhase

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

ServerRef = Annotated[str, typer.Argument(help="Id or name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_UUID_LENGTH = 36


@app.callback()
def server() -> None:
    """Show servers, start, stop and reboot them, at CLOUDMGR_URL with CLOUDMGR_TOKEN."""


@app.command("list", epilog="Example: cloudmgr server list --phase active --json")
def list_servers(
    ctx: typer.Context,
    phase: Annotated[list[ServerPhase] | None, typer.Option(help="Only in this phase; may be given again.")] = None,
    name: Annotated[str | None, typer.Option(help="Part of a name.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the servers you may read, newest first."""
    place = place_of(ctx)
    phases = [each.value for each in phase or []] or None
    found = list(Client(place).pages("/servers", limit, phase=phases, name=name))
    if as_json:
        show_json(found)
        return
    rows = [
        (
            each["name"],
            each["phase"],
            each["state"],
            each["arch"],
            each["flavor"],
            ", ".join(each["ipv4"]) or None,
            each["organization_name"],
        )
        for each in found
    ]
    headings = (N_("server"), N_("phase"), N_("state"), N_("arch"), N_("flavor"), N_("address"), N_("organization"))
    show_table(rows, [place.translate(heading) for heading in headings])


@app.command(epilog="Example: cloudmgr server show 430102-mzj-zhsq-prd-app01")
def show(ctx: typer.Context, server: ServerRef, as_json: AsJson = False) -> None:
    """Show everything about one server."""
    client = Client(place_of(ctx))
    found = client.get(f"/servers/{server_id(client, server)}")
    if as_json:
        show_json(found)
        return
    show_table([(name, value) for name, value in found.items() if value not in (None, "", [], {})], ("", ""))


@app.command(epilog="Example: cloudmgr server start 430102-mzj-zhsq-prd-app01")
def start(ctx: typer.Context, server: ServerRef, as_json: AsJson = False) -> None:
    """Power a server on."""
    _act(place_of(ctx), server, "start", as_json=as_json)


@app.command(epilog="Example: cloudmgr server stop 430102-mzj-zhsq-prd-app01")
def stop(ctx: typer.Context, server: ServerRef, as_json: AsJson = False) -> None:
    """Shut a server down."""
    _act(place_of(ctx), server, "stop", as_json=as_json)


@app.command(epilog="Example: cloudmgr server reboot 430102-mzj-zhsq-prd-app01")
def reboot(ctx: typer.Context, server: ServerRef, as_json: AsJson = False) -> None:
    """Reboot a server."""
    _act(place_of(ctx), server, "reboot", as_json=as_json)


def _act(place: Place, ref: str, action: str, *, as_json: bool) -> None:
    client = Client(place)
    asked = client.post(f"/servers/{server_id(client, ref)}/actions", {"action": action})
    if as_json:
        show_json(asked)
        return
    place.say(N_("{action} was asked of {server}."), action=action, server=ref)


def server_id(client: Client, ref: str) -> str:
    """Return the id of a server given by id or name."""
    if len(ref) == _UUID_LENGTH:
        return ref
    found = [each for each in client.pages("/servers", 200, name=ref) if each["name"] == ref]
    if not found:
        raise CommandFailed(N_("There is no server {ref} among those you may read."), ref=ref)
    if len(found) > 1:
        raise CommandFailed(
            N_("Several servers are called {ref}; give the id."), [each["id"] for each in found], ref=ref
        )
    return str(found[0]["id"])
