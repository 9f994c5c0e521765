"""`cloudmgr backend check` and `cloudmgr sync`: ask a worker to look at cloud platforms, and wait for what it saw."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from sqlmodel import Session, select

from cloudmgr.adapters import queue
from cloudmgr.cli_support import (
    CommandFailed,
    Place,
    end_progress,
    local_actor,
    open_engine,
    place_of,
    progress,
    show_json,
    show_table,
)
from cloudmgr.domain import clock
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Health
from cloudmgr.models import Backend
from cloudmgr.services import audit, maintenance
from cloudmgr.services.health import WORKER_SILENCE
from cloudmgr.store import discovery, health
from cloudmgr.store.db import begin_immediate, new_session

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
sync = typer.Typer(add_completion=False, rich_markup_mode=None)

_POLL_S = 0.5
Timeout = Annotated[float, typer.Option(help="Seconds to wait for a worker.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    health: str
    version: str | None
    message: Message | None
    checked_at: datetime | None


@app.callback()
def backend() -> None:
    """Ask one cloud platform whether it answers."""


@app.command(epilog="Example: cloudmgr backend check yl-kvm --timeout 30")
def check(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the backend.")],
    timeout: Timeout = 60,
    as_json: AsJson = False,
) -> None:
    """Let a worker ask a backend now; exit status 1 when it does not answer."""
    _show(place_of(ctx), [name], timeout, "check", as_json=as_json)


@sync.command(epilog="Example: cloudmgr sync   # all of them; or: cloudmgr sync yl-kvm")
def run_sync(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of one backend; all that are configured if left out.")] = "",
    timeout: Timeout = 60,
    as_json: AsJson = False,
) -> None:
    """Let a worker read zones, networks, images and servers anew; exit status 1 when a backend does not answer."""
    _show(place_of(ctx), [name] if name else [], timeout, "full", as_json=as_json)


def _show(place: Place, names: Sequence[str], timeout_s: float, kind: str, *, as_json: bool) -> None:
    with open_engine(place.settings()) as engine:
        seen = _ask(engine, names, timeout_s, kind)
    if as_json:
        show_json(
            [
                {
                    "name": each.name,
                    "health": each.health,
                    "version": each.version,
                    "message": each.message.render(place.translate) if each.message else None,
                    "checked_at": each.checked_at,
                }
                for each in seen
            ]
        )
    else:
        rows = [(e.name, e.health, e.version, e.message.render(place.translate) if e.message else "") for e in seen]
        headings = (N_("backend"), N_("health"), N_("version"), N_("message"))
        show_table(rows, [place.translate(heading) for heading in headings])
    if any(each.health not in {Health.OK.value, Health.DEGRADED.value} for each in seen):
        raise typer.Exit(1)


def _ask(engine: sa.Engine, names: Sequence[str], timeout_s: float, kind: str) -> list[_Seen]:
    asked_at = clock.now()
    with new_session(engine) as session:
        begin_immediate(session)
        backends = _configured(session, names)
        _require_worker(session)
        for row in backends:
            id_ = f"sync:{row.name}:{uuid.uuid4()}"
            queue.enqueue(session, "sync_backend", id_, row.name, asked_at.isoformat(), kind, False)
            audit.record(
                session,
                local_actor(),
                Event.BACKEND_CHECK,
                object_type="backend",
                object_id=row.id,
                object_name=row.name,
            )
        session.commit()
    deadline = time.monotonic() + timeout_s
    while True:
        with new_session(engine) as session:
            rows = _configured(session, names)
            waiting = [row.name for row in rows if not _is_seen(session, row, asked_at, kind)]
            seen = [_seen(row) for row in rows]
        if not waiting:
            end_progress()
            return seen
        if time.monotonic() > deadline:
            end_progress()
            raise CommandFailed(
                N_("No worker has asked {names} within {seconds} s. Is one running, and do its settings have them?"),
                names=", ".join(waiting),
                seconds=round(timeout_s),
            )
        progress(f"{len(seen) - len(waiting)}/{len(seen)} …")
        time.sleep(_POLL_S)


def _is_seen(session: Session, row: Backend, asked_at: datetime, kind: str) -> bool:
    if kind == "check":
        return row.checked_at is not None and row.checked_at >= asked_at
    return any(run.finished_at >= asked_at for run in discovery.last_runs(session, row.id, 1))


def _require_worker(session: Session) -> None:
    """Refuse at once when nobody would answer, rather than wait."""
    since = maintenance.paused_since(session)
    if since is not None:
        raise CommandFailed(
            N_("Work is paused since {at}: see `cloudmgr db reconcile`."),
            at=since.astimezone(clock.SHANGHAI).isoformat(timespec="seconds"),
        )
    seen = health.worker_seen_at(session)
    if seen is None or clock.now() - seen > WORKER_SILENCE:
        raise CommandFailed(
            N_("No worker is running (last seen: {seen}). Start `cloudmgr serve` or `cloudmgr worker` first."),
            seen=seen.astimezone(clock.SHANGHAI).isoformat(timespec="seconds") if seen else "-",
        )


def _configured(session: Session, names: Sequence[str]) -> list[Any]:
    query = select(Backend).where(Backend.is_configured).order_by(Backend.name)
    if names:
        query = select(Backend).where(sa.column("name").in_(names))
    found = list(session.exec(query))
    if not found:
        raise CommandFailed(
            N_("There is no backend {names}; backends stand in the settings of the workers."),
            names=", ".join(names) or "-",
        )
    return found


def _seen(row: Backend) -> _Seen:
    message = Message.from_json(row.health_message) if row.health_message else None
    return _Seen(row.name, row.health, row.version, message, row.checked_at)
