"""The command `cloudmgr`: its list of commands, each loaded when it is called, and what a refusal looks like on a terminal.

Exit status: 0 done, 1 refused or found wrong, 2 wrong usage.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import cloudmgr

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("cloudmgr.cli_process:demo", "Start the sample city on 127.0.0.1, with simulated clouds."),
    "init": ("cloudmgr.cli_init:app", "Make an empty installation with its three administrators."),
    "serve": ("cloudmgr.cli_process:serve", "Answer HTTP: console and API, with a worker inside."),
    "worker": ("cloudmgr.cli_process:worker", "Run a worker of its own."),
    "db": ("cloudmgr.cli_db:app", "Upgrade, check, back up and restore the database."),
    "config": ("cloudmgr.cli_config:app", "Check the settings."),
    "apply": ("cloudmgr.cli_apply:app", "Load organizations, projects, catalogue and quotas from a file."),
    "user": ("cloudmgr.cli_user:app", "Add and lock people, grant and revoke roles."),
    "backend": ("cloudmgr.cli_backend:app", "Ask one cloud platform whether it answers."),
    "sync": ("cloudmgr.cli_backend:sync", "Read zones, networks and images from the cloud platforms."),
    "quota": ("cloudmgr.cli_quota:app", "Show the quota tree, and prove the ledger."),
    "policy": ("cloudmgr.cli_policy:app", "Check, load and show the approval policy."),
    "audit": ("cloudmgr.cli_audit:app", "Check the audit log."),
    "inventory": (
        "cloudmgr.cli_inventory:app",
        "Export the inventory as csv, json or jsonl; import what stands already.",
    ),
    "login": ("cloudmgr.cli_login:app", "Get a token for the commands that speak to a running server."),
    "request": ("cloudmgr.cli_request:app", "Plan, submit, follow and decide on requests."),
    "server": ("cloudmgr.cli_server:app", "Show servers, start, stop and reboot them."),
}
"""Each command's Typer application and its one line of help; the module is imported when the command is called."""

DEFAULT_DATA_DIR = Path("cloudmgr-data")
_ANYWHERE = ("--data-dir", "--lang")
"""Options of the whole command that may also stand behind the subcommand."""


class _LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, so that help is quick and a worker loads no web."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = typer.main.get_command(getattr(importlib.import_module(module), name))
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Typer's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])


app = typer.Typer(
    cls=_LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"cloudmgr {cloudmgr.__version__}")
        raise typer.Exit


@app.callback(
    epilog="Example: cloudmgr init --data-dir /var/lib/cloudmgr && cloudmgr serve --data-dir /var/lib/cloudmgr"
)
def root(
    ctx: typer.Context,
    data_dir: Annotated[
        Path, typer.Option(envvar="CLOUDMGR_DATA_DIR", help="Where settings, key and the embedded database lie.")
    ] = DEFAULT_DATA_DIR,
    lang: Annotated[str, typer.Option(envvar="CLOUDMGR_LANG", help="zh_CN or en; by the locale if not given.")] = "",
    _asked: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(asked=value), is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """One management plane over many unlike clouds (统一云管平台)."""
    ctx.obj = (data_dir, lang or _language_of_locale())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    os.umask(0o077)  # whatever a command writes holds keys, passwords or people's data
    given = _hoisted(list(sys.argv[1:] if arguments is None else arguments))
    try:
        app(given, prog_name="cloudmgr")
    except BrokenPipeError:  # `cloudmgr … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # the command's edge: what is a refusal is told in words, everything else is a defect
        support = importlib.import_module("cloudmgr.cli_support")
        if not support.tell_refusal(error):
            raise
        sys.exit(1)


def _hoisted(arguments: list[str]) -> list[str]:
    """Move the options of the whole command to the front, wherever they stand before a `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    front: list[str] = []
    rest: list[str] = []
    at = 0
    while at < end:
        word = arguments[at]
        if word in _ANYWHERE and at + 1 < end:
            front += arguments[at : at + 2]
            at += 2
            continue
        (front if word.startswith(tuple(f"{name}=" for name in _ANYWHERE)) else rest).append(word)
        at += 1
    return front + rest + arguments[end:]


def _language_of_locale() -> str:
    """Return Chinese for a Chinese locale, English otherwise: a terminal without one may not even show Chinese."""
    spoken = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh_CN" if spoken.startswith("zh") else "en"
