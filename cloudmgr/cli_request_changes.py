"""`cloudmgr request resize|renew|freeze|unfreeze|retire`: ask for changes of servers by name, over the API."""

from typing import Annotated, Any, Literal

import typer

from cloudmgr.cli_http import Client
from cloudmgr.cli_server import server_id
from cloudmgr.cli_support import place_of

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Servers = Annotated[list[str], typer.Argument(help="Ids or names of servers of one project.")]
Purpose = Annotated[str, typer.Option(help="Why; those who decide read it.")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Preview only; exit status 1 if it would be refused.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it until it has ended.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: cloudmgr request resize 430102-mzj-zhsq-prd-app01 --flavor 16C64G --purpose 业务增长")
def resize(
    ctx: typer.Context,
    servers: Servers,
    purpose: Purpose,
    flavor: Annotated[str | None, typer.Option(help="The new flavor.")] = None,
    add_disk: Annotated[int | None, typer.Option(help="A further data disk of so many GiB for each.", min=1)] = None,
    plan: PlanOnly = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Ask for another size, or a further data disk for each server."""
    body = {"flavor": flavor, "add_data_disk_gib": add_disk}
    _ask(ctx, "resize", servers, purpose, body, plan=plan, wait=wait, as_json=as_json)


@app.command(epilog="Example: cloudmgr request renew 430102-mzj-zhsq-prd-app01 --until 2028-11-22 --purpose 继续使用")
def renew(
    ctx: typer.Context,
    servers: Servers,
    purpose: Purpose,
    until: Annotated[str | None, typer.Option(help="The last day of the lease, e.g. 2028-11-22.")] = None,
    long_term: Annotated[str | None, typer.Option(help="No end; why.")] = None,
    plan: PlanOnly = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a later end of leases; what was frozen for its lease runs again."""
    body: dict[str, Any] = {"lease_end": until}
    if long_term is not None:
        body |= {"lease_long_term": True, "lease_reason": long_term}
    _ask(ctx, "renew", servers, purpose, body, plan=plan, wait=wait, as_json=as_json)


@app.command(epilog="Example: cloudmgr request freeze 430102-mzj-zhsq-prd-app01 --purpose 停用待查")
def freeze(
    ctx: typer.Context,
    servers: Servers,
    purpose: Purpose,
    plan: PlanOnly = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Ask that servers are switched off and kept."""
    _ask(ctx, "freeze", servers, purpose, {}, plan=plan, wait=wait, as_json=as_json)


@app.command(epilog="Example: cloudmgr request unfreeze 430102-mzj-zhsq-prd-app01 --purpose 恢复使用")
def unfreeze(
    ctx: typer.Context,
    servers: Servers,
    purpose: Purpose,
    plan: PlanOnly = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Ask that frozen servers run again."""
    _ask(ctx, "unfreeze", servers, purpose, {}, plan=plan, wait=wait, as_json=as_json)


@app.command(epilog="Example: cloudmgr request retire 430102-mzj-zhsq-prd-app01 --purpose 系统下线 --volumes detach")
def retire(
    ctx: typer.Context,
    servers: Servers,
    purpose: Purpose,
    volumes: Annotated[
        Literal["detach", "delete"] | None, typer.Option(help="What becomes of the volumes they have.")
    ] = None,
    plan: PlanOnly = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Ask for the end of servers."""
    _ask(ctx, "retire", servers, purpose, {"volumes": volumes}, plan=plan, wait=wait, as_json=as_json)


def _ask(
    ctx: typer.Context,
    kind: str,
    refs: list[str],
    purpose: str,
    more: dict[str, Any],
    *,
    plan: bool,
    wait: bool,
    as_json: bool,
) -> None:
    from cloudmgr import cli_request  # noqa: PLC0415 - that module adds these commands to its own

    place = place_of(ctx)
    client = Client(place)
    ids = [server_id(client, ref) for ref in refs]
    body = {
        "kind": kind,
        "project": client.get(f"/servers/{ids[0]}")["project"],
        "purpose": purpose,
        "servers": ids,
        **{name: value for name, value in more.items() if value is not None},
    }
    if plan:
        cli_request.show_plan(client.post("/plans", body), as_json=as_json)
        return
    made = client.post("/requests", body)
    if wait:
        made = cli_request.follow_to_its_end(client, made["id"], quiet=as_json)
    cli_request.show_request(place, made, as_json=as_json)
