"""What commands share: their place, a transaction as the local actor, words and tables on the terminal."""

import contextlib
import getpass
import json
import sys
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import typer
from pydantic import ValidationError
from sqlalchemy.engine import make_url
from sqlmodel import Session

from cloudmgr.adapters import migrate
from cloudmgr.adapters.crypto import KeyFileRefused
from cloudmgr.domain.access import LOCAL, Actor
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message, Translator
from cloudmgr.http import validation
from cloudmgr.i18n import translator
from cloudmgr.services import audit, policy
from cloudmgr.settings import Settings, load_settings
from cloudmgr.store.db import begin_immediate, make_engine, new_session

SETTINGS_FILE = "cloudmgr.toml"


class CommandFailed(Exception):  # noqa: N818 - says what happened
    """The command cannot do what was asked; `lines` say more. Not a refusal by a rule, so nothing is audited."""

    def __init__(self, template: str, lines: Sequence[str | Message] = (), **params: Any) -> None:
        self.message = Message(template, params)
        self.lines = list(lines)
        super().__init__(str(self.message))


@dataclass(frozen=True, slots=True)
class Place:
    """Where this command works, and in which language it talks."""

    data_dir: Path
    language: str

    def settings(self, **overrides: Any) -> Settings:
        """Read the settings of the data directory and the environment.

        Raises:
            CommandFailed: a key is unknown or malformed; each is named.
        """
        try:
            return load_settings(self.data_dir, **overrides)
        except tomllib.TOMLDecodeError as error:
            raise CommandFailed(
                N_("{path} is not valid TOML: {error}"), path=str(self.data_dir / SETTINGS_FILE), error=str(error)
            ) from error
        except ValidationError as error:
            raise CommandFailed(N_("The settings are not acceptable:"), _findings(error)) from error

    @property
    def translate(self) -> Translator:
        """Return the translator into this command's language."""
        return translator(self.language)

    def say(self, template: str, *, error: bool = False, **params: Any) -> None:
        """Print one sentence."""
        typer.echo(Message(template, params).render(self.translate), err=error)


def place_of(ctx: typer.Context) -> Place:
    """Return the place that the root command found."""
    global _spoken  # noqa: PLW0603 - refusals are told after the context is gone
    data_dir, language = ctx.find_root().obj
    _spoken = language
    return Place(data_dir, language)


_spoken = "en"


def local_actor() -> Actor:
    """Return whoever sits at this machine: may do everything, and is audited as `local:<unix user>`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # an unknown uid in a container
        name = "unknown"
    return Actor(None, f"{LOCAL}{name}", name, None, "/")


@contextlib.contextmanager
def open_engine(settings: Settings) -> Iterator[sa.Engine]:
    """Yield the engine of an installation that exists and has this release's schema.

    Raises:
        CommandFailed: there is no installation here. SchemaRefused: of another release.
    """
    if settings.is_sqlite:
        file = make_url(settings.database_url).database
        if file is None or not Path(file).exists():
            raise CommandFailed(
                N_(
                    "There is no installation in {data_dir}. Make one with `cloudmgr init`, or name it with --data-dir."
                ),
                data_dir=str(settings.data_dir),
            )
    migrate.check(settings)
    engine = make_engine(settings.database_url, pool_size=2, synchronous=settings.database.synchronous)
    try:
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def transaction(
    place: Place, *, event: Event = Event.ACCESS_DENIED, object_name: str = "", commit: bool = True
) -> Iterator[tuple[Session, Actor]]:
    """Yield a session and the local actor; commit at the end (or, with `commit` False, roll back: a rehearsal).

    A refusal rolls back, and is then audited as a denied `event` in a transaction of its own.
    """
    settings = place.settings()
    with open_engine(settings) as engine:
        actor = local_actor()
        try:
            with policy.attach(new_session(engine), settings) as session:
                begin_immediate(session)
                yield session, actor
                if commit:
                    session.commit()
                else:
                    session.rollback()
        except Refusal as refusal:
            with new_session(engine) as session:
                audit.record(
                    session,
                    actor,
                    event,
                    object_type="command",
                    object_name=object_name[:200],
                    outcome=Outcome.DENIED,
                    reason=refusal.code,
                )
                session.commit()
            raise


def tell_refusal(error: Exception) -> bool:
    """Print what a refusal says, to stderr; False for what is no refusal."""
    translate = translator(_spoken)
    if isinstance(error, CommandFailed):
        _tell(error.message.render(translate), [_line(each, translate) for each in error.lines])
    elif isinstance(error, Refusal):
        lines = [_finding_line(each, translate) for each in error.errors]
        invalid = getattr(error, "invalid", ())
        lines += [_finding_line(each, translate) for each in validation.findings(invalid)]
        if error.field and not lines:
            lines = [error.field]
        _tell(error.message.render(translate), lines)
    elif isinstance(error, KeyFileRefused) or type(error).__name__ == "ListenerRefused":
        _tell(str(error), [])
    elif isinstance(error, ValidationError):
        _tell(translate(N_("The input is not acceptable:")), [_line(each, translate) for each in _findings(error)])
    elif isinstance(error, sa.exc.OperationalError):
        _tell(translate(N_("The database does not answer:")), [str(error.orig)])
    else:
        return False
    return True


def show_json(value: Any) -> None:
    """Print a value as JSON for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def show_table(rows: Sequence[Sequence[Any]], headings: Sequence[str]) -> None:
    """Print aligned columns; a Chinese character takes two cells of a terminal."""
    cells = [list(headings), *([("-" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(_width(row[at]) for row in cells) for at in range(len(headings))]
    for row in cells:
        padded = (cell + " " * (widths[at] - _width(cell)) for at, cell in enumerate(row))
        typer.echo("  ".join(padded).rstrip())


def progress(text: str) -> None:
    """Show that long work goes on: on a terminal only, on one line of stderr."""
    if sys.stderr.isatty():
        typer.echo(f"\r\033[K{text}", err=True, nl=False)


def end_progress() -> None:
    """Clear the line of `progress`."""
    if sys.stderr.isatty():
        typer.echo("\r\033[K", err=True, nl=False)


def _findings(error: ValidationError) -> list[Message]:
    found = validation.findings(error.errors(include_url=False, include_input=False))
    return [
        Message("{field}: {message}", {"field": each["field"] or "-", "message": each["message"]}) for each in found
    ]


def _finding_line(finding: Mapping[str, Any], translate: Translator) -> str:
    message = finding.get("message")
    told = message.render(translate) if isinstance(message, Message) else str(message or "")
    if not told:
        told = ", ".join(f"{name}={value}" for name, value in finding.items() if name != "field")
    field = finding.get("field")
    return f"{field}: {told}" if field else told


def _line(line: str | Message, translate: Translator) -> str:
    return line.render(translate) if isinstance(line, Message) else line


def _tell(sentence: str, lines: Sequence[str]) -> None:
    typer.echo(sentence, err=True)
    for line in lines:
        typer.echo(f"  {line}", err=True)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
