"""`cloudmgr db backup|restore|reconcile`: keep a copy of a running installation, put it back, and let work go on."""

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from cloudmgr.adapters import backup as backups
from cloudmgr.adapters.archive import Manifest
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
    transaction,
)
from cloudmgr.domain import clock
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.seed.backends import demo_backends
from cloudmgr.services import maintenance
from cloudmgr.store.db import new_session
from cloudmgr.workflows import reconcile as reconciliation
from cloudmgr.workflows.reconcile import Report

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backup(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; it must not exist.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write database, key, settings and simulated clouds to one file, while everything runs.

    The file holds the sealing key: keep it as you keep the key. On PostgreSQL it takes pg_dump of the server's version.
    """
    place = place_of(ctx)
    settings = place.settings()
    target = output or Path(f"cloudmgr-backup-{clock.now():%Y%m%dT%H%M%SZ}.tar.gz")
    with open_engine(settings) as engine:
        progress(place.translate(N_("Copying …")))
        try:
            taken = backups.take(settings, target)
        finally:
            end_progress()
        with new_session(engine) as session:
            maintenance.record_backup(
                session, local_actor(), file=taken.file.name, sha256=taken.sha256, size_bytes=taken.size_bytes
            )
            session.commit()
    if as_json:
        told = {"file": str(taken.file), "sha256": taken.sha256, "bytes": taken.size_bytes}
        show_json(told | {"schema": taken.manifest.schema, "members": dict(taken.manifest.members)})
        return
    place.say(
        N_("{file}: {members} members, {bytes} bytes, sha256 {sha256}"),
        file=str(taken.file),
        members=len(taken.manifest.members),
        bytes=taken.size_bytes,
        sha256=taken.sha256,
    )


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `cloudmgr db backup` wrote.", exists=True, dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace what stands here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, with all work paused and everybody logged out. Nothing may run on this data directory.

    Everything is checked before anything is touched. Replaced files are put aside in the data directory; the tables of a
    PostgreSQL database are dropped. Then: `cloudmgr db reconcile`.
    """
    place = place_of(ctx)
    ended: list[int] = []

    def pause(session: Session, manifest: Manifest) -> None:
        about: dict[str, Any] = {"backup_of": manifest.created_at, "release": manifest.release, "file": file.name}
        ended.append(maintenance.pause_after_restore(session, local_actor(), **about))

    done = backups.put_back(place.settings(), file, force=force, pause=pause)
    if as_json:
        told = {"backup_of": done.manifest.created_at, "release": done.manifest.release, "sessions_ended": ended[-1]}
        paths = {"aside": done.aside, "settings_beside": done.settings_beside}
        show_json(told | {name: str(path) if path else None for name, path in paths.items()})
        return
    place.say(
        N_("Restored what stood at {at}. Work is paused; {count} sessions were ended."),
        at=done.manifest.created_at,
        count=ended[-1],
    )
    if done.aside:
        place.say(N_("What was replaced lies in {path}."), path=str(done.aside))
    if done.settings_beside:
        place.say(N_("The backup's settings file is {path}; this place keeps its own."), path=str(done.settings_beside))
    place.say(N_("Next: `cloudmgr db reconcile`, look at what it finds, then `cloudmgr db reconcile --resume`."))


def reconcile(
    ctx: typer.Context,
    resume: Annotated[bool, typer.Option("--resume", help="Let work go on, with what was found on record.")] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out a cloud that does not answer; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare every server with its cloud, by token; exit status 1 when they disagree.

    It mends nothing. What stands there and not here is removed at the cloud by hand; what is gone there is retired here by
    a request, which finds nothing to delete and frees the quota. With --resume work goes on, whatever was found.
    """
    place = place_of(ctx)
    settings = place.settings()
    if not settings.backends and (settings.data_dir / backups.ACCOUNTS).exists():
        settings = place.settings(backends=demo_backends())  # the demonstration's clouds stand in no settings file
    with open_engine(settings) as engine, new_session(engine) as session:
        since = maintenance.paused_since(session)
        report = reconciliation.compare(session, settings, without=without or ())
    _show(place, report, since, as_json=as_json)
    if not resume:
        if not report.is_clean:
            raise typer.Exit(1)
        return
    if report.unreachable:
        raise CommandFailed(
            N_("Work stays paused: {names} could not be asked. Mend it, or leave it out with --without NAME."),
            names=", ".join(report.unreachable),
        )
    with transaction(place, event=Event.SYSTEM_RESTORE) as (session, actor):
        maintenance.resume(session, actor, report.counts())
    place.say(N_("Work goes on; running workers begin within seconds."), error=as_json)


def _show(place: Place, report: Report, since: Any, *, as_json: bool) -> None:
    found = [
        (kind, each)
        for kind, rows in (("missing", report.missing), ("unknown", report.unknown), ("unheld", report.unheld))
        for each in rows
    ]
    if as_json:
        findings = [
            {
                "kind": kind,
                "backend": each.backend,
                "server": each.name,
                "token": each.token,
                "phase": each.phase,
                "detail": each.detail.render(place.translate),
            }
            for kind, each in found
        ]
        unreachable = {name: message.render(place.translate) for name, message in report.unreachable.items()}
        pending = [{"id": each.id, "workflow": each.workflow, "status": each.status} for each in report.pending]
        head = {"paused_since": since, "clean": report.is_clean, "counts": report.counts()}
        show_json(head | {"findings": findings, "unreachable": unreachable, "pending": pending})
        return
    if since is not None:
        place.say(N_("Work is paused since {at}."), at=since.astimezone(clock.SHANGHAI).isoformat(timespec="seconds"))
    place.say(
        N_(
            "{equal} servers are as recorded, {moving} are on their way, {foreign} at the clouds are not ours; "
            "{pending} workflows go on when work is resumed."
        ),
        equal=report.equal,
        moving=report.moving,
        foreign=report.foreign,
        pending=len(report.pending),
    )
    for name, message in report.unreachable.items():
        place.say("{name}: {message}", name=name, message=message)
    if found:
        titles = {
            "missing": N_("here and not there"),
            "unknown": N_("there and not here"),
            "unheld": N_("capacity is wrong"),
        }
        rows = [
            (
                place.translate(titles[kind]),
                each.backend,
                each.name,
                each.phase,
                each.detail.render(place.translate),
                each.token,
            )
            for kind, each in found
        ]
        headings = (N_("what"), N_("backend"), N_("server"), N_("phase"), N_("why"), N_("token"))
        show_table(rows, [place.translate(heading) for heading in headings])
