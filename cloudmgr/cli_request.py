"""`cloudmgr request`: plan, submit, follow and decide, over the API."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from cloudmgr import cli_request_changes, cli_request_sheet
from cloudmgr.cli_http import Client
from cloudmgr.cli_support import CommandFailed, Place, place_of, show_json, show_table
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Decision, RequestPhase

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
app.add_typer(cli_request_changes.app)
app.add_typer(cli_request_sheet.app)

RequestRef = Annotated[str, typer.Argument(help="Id, or number such as SQ20261122-0001.")]
BodyFile = Annotated[Path, typer.Argument(help="The request as JSON or YAML; - reads it from standard input.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_UUID_LENGTH = 36
_ENDED = {"fulfilled", "partly_fulfilled", "failed", "rejected", "withdrawn", "returned"}


@app.callback()
def request() -> None:
    """Plan, submit, follow and decide on requests, at CLOUDMGR_URL with CLOUDMGR_TOKEN."""


@app.command("list", epilog="Example: cloudmgr request list --phase in_review")
def list_requests(
    ctx: typer.Context,
    phase: Annotated[list[RequestPhase] | None, typer.Option(help="Only in this phase; may be given again.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only those you made.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the requests you may read, newest first."""
    place = place_of(ctx)
    phases = [each.value for each in phase or []] or None
    found = list(Client(place).pages("/requests", limit, phase=phases, mine="true" if mine else None))
    if as_json:
        show_json(found)
        return
    rows = [
        (each["number"], each["phase"], each["organization_name"], each["project_name"], each["purpose"], each["id"])
        for each in found
    ]
    headings = (N_("number"), N_("phase"), N_("organization"), N_("project"), N_("purpose"), N_("id"))
    show_table(rows, [place.translate(heading) for heading in headings])


@app.command(epilog="Example: cloudmgr request show SQ20261122-0001 --json")
def show(ctx: typer.Context, request: RequestRef, as_json: AsJson = False) -> None:
    """Show one request with its stages and servers."""
    place = place_of(ctx)
    client = Client(place)
    show_request(place, client.get(f"/requests/{_id(client, request)}"), as_json=as_json)


@app.command(epilog="Example: cloudmgr request plan request.yaml")
def plan(ctx: typer.Context, file: BodyFile, as_json: AsJson = False) -> None:
    """Preview a request: cost at every level, where it could go, what stands in the way; exit status 1 if it would be refused."""
    show_plan(Client(place_of(ctx)).post("/plans", _read(file)), as_json=as_json)


def show_plan(answer: Any, *, as_json: bool) -> None:
    """Print a plan; exit status 1 where it says that the request would be refused."""
    if as_json:
        show_json(answer)
    else:
        for name, amount in answer["totals"].items():
            typer.echo(f"{name}: {amount}")
        for warning in answer["warnings"]:
            typer.echo(f"! {warning}")
        for refusal in answer["refusals"]:
            typer.echo(f"x {refusal.get('message', refusal)}")
    if not answer["accepted"]:
        raise typer.Exit(1)


@app.command(epilog="Example: cloudmgr request submit request.yaml --wait")
def submit(
    ctx: typer.Context,
    file: BodyFile,
    draft: Annotated[bool, typer.Option("--draft", help="Keep it unsent.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a request (or, with --draft, keep it)."""
    place = place_of(ctx)
    client = Client(place)
    body = _read(file)
    made = client.post("/requests", {**body, "draft": True} if draft else body)
    if wait and not draft:
        made = follow_to_its_end(client, made["id"], quiet=as_json)
    show_request(place, made, as_json=as_json)


@app.command(epilog="Example: cloudmgr request approve SQ20261122-0001 --comment 同意")
def approve(
    ctx: typer.Context, request: RequestRef, comment: Annotated[str, typer.Option()] = "", as_json: AsJson = False
) -> None:
    """Approve a request that waits for you."""
    _decide(place_of(ctx), request, Decision.APPROVE, comment, as_json=as_json)


@app.command(epilog="Example: cloudmgr request reject SQ20261122-0001 --comment 与规划不符")
def reject(
    ctx: typer.Context, request: RequestRef, comment: Annotated[str, typer.Option()], as_json: AsJson = False
) -> None:
    """Reject a request for good; say why."""
    _decide(place_of(ctx), request, Decision.REJECT, comment, as_json=as_json)


@app.command("return", epilog="Example: cloudmgr request return SQ20261122-0001 --comment 请补充立项文号")
def send_back(
    ctx: typer.Context, request: RequestRef, comment: Annotated[str, typer.Option()], as_json: AsJson = False
) -> None:
    """Send a request back for mending; say what is missing."""
    _decide(place_of(ctx), request, Decision.RETURN, comment, as_json=as_json)


@app.command(epilog="Example: cloudmgr request withdraw SQ20261122-0001")
def withdraw(ctx: typer.Context, request: RequestRef, as_json: AsJson = False) -> None:
    """Withdraw your own request; what it held is free again."""
    _act(place_of(ctx), request, "withdraw", as_json=as_json)


@app.command(epilog="Example: cloudmgr request urge SQ20261122-0001")
def urge(ctx: typer.Context, request: RequestRef, as_json: AsJson = False) -> None:
    """Tell those who may decide on your request that you wait; once a working day."""
    place = place_of(ctx)
    client = Client(place)
    answer = client.post(f"/requests/{_id(client, request)}/urge")
    if as_json:
        show_json(answer)
    else:
        place.say(N_("Those who may decide are told; it can be urged again from {next}."), next=answer["next_at"])


@app.command(epilog="Example: cloudmgr request retry SQ20261122-0001")
def retry(ctx: typer.Context, request: RequestRef, as_json: AsJson = False) -> None:
    """Go on from the step that failed."""
    _act(place_of(ctx), request, "retry", as_json=as_json)


@app.command(epilog="Example: cloudmgr request follow SQ20261122-0001")
def follow(ctx: typer.Context, request: RequestRef) -> None:
    """Print progress as it happens, playbook tasks included; exit status 1 unless everything was fulfilled."""
    client = Client(place_of(ctx))
    ended = follow_to_its_end(client, _id(client, request), quiet=False)
    if ended["phase"] != "fulfilled":
        raise typer.Exit(1)


def follow_to_its_end(client: Client, request_id: str, *, quiet: bool) -> Any:
    """Print progress until the request has ended, looking again at each change of phase and each heartbeat."""
    seen = 0
    while (found := client.get(f"/requests/{request_id}"))["phase"] not in _ENDED:
        for _event, told in client.stream(f"/requests/{request_id}/events", after=seen):
            if isinstance(told, dict) and "id" in told:
                seen = max(seen, int(told["id"]))
                if not quiet:
                    typer.echo(f"{told.get('at', '')}  {told.get('text', '')}")
            if told is None or told.get("kind") == "phase":
                break
    return found


def _decide(place: Place, ref: str, decision: Decision, comment: str, *, as_json: bool) -> None:
    client = Client(place)
    answer = client.post(f"/requests/{_id(client, ref)}/decisions", {"decision": decision.value, "comment": comment})
    show_request(place, answer, as_json=as_json)


def _act(place: Place, ref: str, action: str, *, as_json: bool) -> None:
    client = Client(place)
    show_request(place, client.post(f"/requests/{_id(client, ref)}/{action}"), as_json=as_json)


def _id(client: Client, ref: str) -> str:
    if len(ref) == _UUID_LENGTH:
        return ref
    found = client.get("/requests", number=ref)["items"]
    if not found:
        raise CommandFailed(N_("There is no request {ref} among those you may read."), ref=ref)
    return str(found[0]["id"])


def _read(file: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        body = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CommandFailed(N_("{path} cannot be read: {error}"), path=str(file), error=str(error)) from error
    if not isinstance(body, dict):
        raise CommandFailed(N_("{path} holds no request."), path=str(file))
    return cast("dict[str, Any]", json.loads(json.dumps(body, default=str)))


def show_request(place: Place, found: Any, *, as_json: bool) -> None:
    """Print a request with its stages and servers."""
    if as_json:
        show_json(found)
        return
    typer.echo(f"{found['number'] or '-'}  {found['phase']}  {found['id']}")
    for stage in found.get("stages", ()):
        typer.echo(f"  {stage['name']}: {stage['state']}")
    rows = [(each["name"], each["phase"], each["state"], ", ".join(each["ipv4"])) for each in found.get("servers", ())]
    if rows:
        headings = (N_("server"), N_("phase"), N_("state"), N_("address"))
        show_table(rows, [place.translate(heading) for heading in headings])
