"""`cloudmgr config check`: everything that can be found wrong before a start."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer
from pydantic import ValidationError

import quotas
from cloudmgr.adapters import crypto, migrate
from cloudmgr.cli_support import CommandFailed, Place, open_engine, place_of, show_json
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.working_days import MalformedCalendar
from cloudmgr.http import validation
from cloudmgr.main import ListenerRefused, check_listener
from cloudmgr.services import working_calendar
from cloudmgr.settings import Settings
from cloudmgr.store.db import new_session
from cloudmgr.workflows import sections
from providers import registry
from providers.errors import ProviderError

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Check the settings."""


@app.command(epilog="Example: cloudmgr config check --data-dir /etc/cloudmgr")
def check(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check settings file and environment, each backend by its driver's own model, listener, key file and schema.

    Opens no connection to a backend: `cloudmgr backend check NAME` does.
    """
    place = place_of(ctx)
    if as_json:
        _check_for_programs(place)
        return
    settings = place.settings()
    found = [*_backends(settings), *_process(settings)]
    if found:
        raise CommandFailed(N_("The settings are not acceptable:"), found)
    place.say(N_("The settings are good: {count} backends."), count=len(settings.backends))


def _check_for_programs(place: Place) -> None:
    """Print what is wrong as JSON, settings that cannot even be read included."""
    names: list[Any] = []
    found: list[str | Message]
    try:
        settings = place.settings()
        names = [section.get("name") for section in settings.backends]
        found = [*_backends(settings), *_process(settings)]
    except CommandFailed as error:
        found = error.lines or [error.message]
    faults = [each.render(place.translate) if isinstance(each, Message) else each for each in found]
    show_json({"ok": not faults, "backends": names, "faults": faults})
    if faults:
        raise typer.Exit(1)


def _process(settings: Settings) -> Iterator[str | Message]:
    try:
        check_listener(settings)
    except ListenerRefused as error:
        yield str(error)
    try:
        crypto.load_key_file(settings.key_file)
    except crypto.KeyFileRefused as error:
        yield str(error)
    try:
        migrate.check(settings)
    except Refusal as refusal:
        yield refusal.message
    else:
        yield from _names(settings)
    try:
        working_calendar.calendar_for(settings.policy)
    except MalformedCalendar as error:
        yield Message(N_("[policy] working_hours or holidays_file: {reason}"), {"reason": str(error)})
    for key in settings.policy.emergency_allowance:
        try:
            quotas.parse_key(key)
        except Refusal as refusal:
            yield Message(N_("[policy] emergency_allowance: {reason}"), {"reason": refusal.message})
    for folder in settings.playbooks_dirs:
        if not (folder / "catalog").is_dir():
            yield Message(N_("playbooks_dirs: {folder} has no folder catalog/."), {"folder": str(folder)})


def _backends(settings: Settings) -> Iterator[str | Message]:
    names: set[Any] = set()
    for index, section in enumerate(settings.backends):
        at = f"backends[{index}]"
        name = section.get("name")
        missing = [key for key in ("name", "provider", "datacenter") if not section.get(key)]
        if missing:
            yield Message(N_("{at}: {keys} missing."), {"at": at, "keys": ", ".join(missing)})
        if name in names:
            yield Message(N_("{at}: the name {name} stands twice."), {"at": at, "name": name})
        names.add(name)
        yield from _shared(at, section)
        if "provider" in section:
            yield from _options(at, section)


def _shared(at: str, section: Any) -> Iterator[Message]:
    try:
        sections.shared_of(section)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        yield from _told(at, [each for each in faults if each["type"] != "missing"])


def _names(settings: Settings) -> Iterator[Message]:
    """Tell codes and names in sections that the database does not know."""
    with open_engine(settings) as engine, new_session(engine) as session:
        for index, section in enumerate(settings.backends):
            try:
                options = sections.shared_of(section)
            except ValidationError:
                continue
            at = f"backends[{index}]"
            for code in sections.unknown_organizations(session, options):
                yield Message(
                    N_("{at}: There is no organization {code}; load it with `cloudmgr apply`."),
                    {"at": at, "code": code},
                )
            for name in sections.unknown_network_zones(session, options):
                yield Message(N_("{at}.network_zones: There is no network zone {name}."), {"at": at, "name": name})


def _options(at: str, section: Any) -> Iterator[str | Message]:
    try:
        driver = registry.load(str(section["provider"]))
    except ProviderError as error:
        yield Message("{at}: {message}", {"at": at, "message": error.message})
        return
    try:
        driver.Options.model_validate({key: value for key, value in section.items() if key not in sections.SHARED_KEYS})
    except ValidationError as error:
        yield from _told(at, error.errors(include_url=False, include_input=False))


def _told(at: str, faults: Iterable[Any]) -> Iterator[Message]:
    for each in validation.findings(faults):
        field = f"{at}.{each['field']}" if each["field"] else at
        yield Message("{at}: {message}", {"at": field, "message": each["message"]})
