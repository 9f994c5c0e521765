"""`cloudmgr policy`: check, load and show the approval policy (审批办法)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cloudmgr.cli_support import Place, place_of, show_json, show_table, transaction
from cloudmgr.domain.approval import Policy
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import approval_policy

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="TOML; docs/approvals.md tells its form.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def policy() -> None:
    """Check, load and show the approval policy."""


@app.command(epilog="Example: cloudmgr policy check approval.toml   # exit status 1 when something is wrong with it")
def check(ctx: typer.Context, file: File, as_json: AsJson = False) -> None:
    """Read a policy file against the database, and change nothing."""
    place = place_of(ctx)
    with transaction(place, event=Event.POLICY_LOAD, object_name=file.name, commit=False) as (session, _):
        found, unknown = approval_policy.check(session, _read(file))
    if as_json:
        show_json({**_told(found), "unknown_people": unknown})
    else:
        _show(place, found)
        for name in unknown:
            place.say(N_("There is no account {name}."), name=name)
    if unknown:
        raise typer.Exit(1)


@app.command(epilog="Example: cloudmgr policy check approval.toml && cloudmgr policy load approval.toml")
def load(ctx: typer.Context, file: File, as_json: AsJson = False) -> None:
    """Load a policy file as a version. It holds from its first day on; requests under review keep their stages."""
    place = place_of(ctx)
    text = _read(file)
    with transaction(place, event=Event.POLICY_LOAD, object_name=file.name) as (session, actor):
        row = approval_policy.load(session, actor, text)
        version, begin = row.version, row.valid_from.isoformat()
    if as_json:
        show_json({"version": version, "valid_from": begin})
    else:
        place.say(N_("Version {version} is loaded and holds from {begin} on."), version=version, begin=begin)


@app.command(epilog="Example: cloudmgr policy show --json")
def show(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="A file; the policy in force if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the policy in force, or that of a file, rule by rule. Exit status 1 when the one in force has expired."""
    place = place_of(ctx)
    with transaction(place, event=Event.POLICY_LOAD, commit=False) as (session, _):
        now = approval_policy.in_force(session)
    found = approval_policy.parse(_read(file)) if file else now.policy
    expired = file is None and now.is_expired
    if as_json:
        show_json({**_told(found), "expired": expired})
    else:
        _show(place, found)
        if expired:
            place.say(N_("It expired on {day} and stays in force: load the next one."), day=str(found.valid_until))
    if expired:
        raise typer.Exit(1)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(N_("{file} cannot be read: {reason}"), file=str(file), reason=str(error)) from error


def _told(policy: Policy) -> dict[str, Any]:
    return {
        "version": policy.version,
        "title": policy.title,
        "valid_from": policy.valid_from.isoformat(),
        "valid_until": policy.valid_until.isoformat() if policy.valid_until else None,
        "rules": [
            {
                "name": rule.name,
                "when": rule.when.told(),
                "stages": [
                    {
                        "name": stage.name,
                        "mode": stage.mode.value,
                        "by": [seat.person or f"{seat.level}:{seat.role}" for seat in stage.seats],
                        "sla_working_days": stage.sla_working_days,
                    }
                    for stage in rule.stages
                ],
            }
            for rule in policy.rules
        ],
    }


def _show(place: Place, policy: Policy) -> None:
    typer.echo(f"{policy.version}  {policy.title}  {policy.valid_from} – {policy.valid_until or ''}")
    rows = [
        (
            rule.name,
            "; ".join(f"{key}={value}" for key, value in rule.when.told().items()),
            " → ".join(place.translate(stage.name) for stage in rule.stages),
        )
        for rule in policy.rules
    ]
    show_table(rows, (place.translate(N_("Rule")), place.translate(N_("Conditions")), place.translate(N_("Stages"))))
