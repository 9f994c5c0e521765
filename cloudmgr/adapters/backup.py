"""Taking a backup of a running installation, and putting one back where nothing runs. Audits nothing: the commands do.

A backup holds the database with the engine's tables, the sealing key, the settings file, and the state of simulated clouds;
never logs, never the secrets that settings name by file or environment. The database is copied first: what a cloud did
after that moment is found again by its token.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import make_url
from sqlmodel import Session

import cloudmgr
from cloudmgr.adapters import archive, crypto, dumps, migrate, occupancy
from cloudmgr.adapters.archive import BackupRefused, Manifest
from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_
from cloudmgr.settings import Settings, load_settings
from cloudmgr.store.db import begin_immediate, make_engine, new_session

KEY, SETTINGS, ACCOUNTS, BACKENDS = "secret.key", "cloudmgr.toml", "demo-accounts.json", "backends"
_DATABASE = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
_PAUSE = """
INSERT INTO facts (name, value, updated_at) VALUES ('paused', '{"paused": true, "at": "%s"}', now())
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at;
"""
"""Committed together with the restored tables: no worker on another machine may begin in between."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A finished backup."""

    file: Path
    sha256: str
    size_bytes: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `aside` is where the replaced files lie; `settings_beside` where the backup's settings file
    lies if it was not put in place.
    """

    manifest: Manifest
    aside: Path | None
    settings_beside: Path | None


def take(settings: Settings, target: Path) -> Taken:
    """Write a backup of the running installation to `target`, which must not exist.

    Raises:
        BackupRefused: PostgreSQL's client is missing or too old, the file exists, or something cannot be copied.
        KeyFileRefused: the key is not here; without it a backup opens nothing.
        SchemaRefused: the schema is not this release's: the release that wrote it makes the backup.
    """
    state = migrate.check(settings)
    crypto.load_key_file(settings.key_file)
    target = target.absolute()
    if target.exists():
        raise BackupRefused(N_("{file} exists; a backup is never written over."), file=str(target))
    dialect = "sqlite" if settings.is_sqlite else "postgresql"
    with _folder(target.parent, ".cloudmgr-backup-") as folder:
        created_at = clock.now()
        server = _copy_database(settings, folder / _DATABASE[dialect])
        _copy(settings.key_file, folder / KEY)
        for name in (SETTINGS, ACCOUNTS):
            if (settings.data_dir / name).is_file():
                _copy(settings.data_dir / name, folder / name)
        for path in _cloud_states(settings):
            copy = folder / BACKENDS / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            dumps.copy_sqlite(path, copy)
        manifest = archive.write(
            target,
            folder,
            release=cloudmgr.__version__,
            schema=state.head,
            dialect=dialect,
            created_at=created_at.isoformat(),
            server=server,
        )
    return Taken(target, archive.digest(target), target.stat().st_size, manifest)


def put_back(settings: Settings, source: Path, *, force: bool, pause: Callable[[Session, Manifest], None]) -> Restored:
    """Make this installation what the backup says, with all work paused. Nothing is touched before everything is checked.

    `pause` runs in the restored database before anybody can use it. With `force` what stands here is replaced: files are
    put aside, tables of a PostgreSQL database are dropped.

    Raises:
        BackupRefused: damaged, of another database or a newer release; or something stands here and `force` is not given.
        Conflict: a process of cloudmgr uses the data directory.
    """
    with occupancy.alone(settings.data_dir), _folder(settings.data_dir, ".restore-") as folder:
        manifest = archive.unpack(source, folder)
        _refuse_unfit(settings, manifest, folder)
        standing = _standing(settings)
        if standing and not force:
            raise BackupRefused(
                N_(
                    "{data_dir} is not empty: {standing}. Restore into an empty place, or replace all of it with --force."
                ),
                data_dir=str(settings.data_dir),
                standing=", ".join(standing),
            )
        staged = folder / _DATABASE[manifest.dialect]
        if settings.is_sqlite:
            _finish(_at(settings, f"sqlite:///{staged}"), manifest, pause)
            dumps.settle_sqlite(staged)
        else:
            _load_postgresql(settings, staged, manifest, pause)
        aside = _put_aside(settings)
        beside = _put_files(settings, folder)
        os.sync()
        return Restored(manifest, aside, beside)


def _copy_database(settings: Settings, target: Path) -> str:
    if settings.is_sqlite:
        dumps.copy_sqlite(_sqlite_file(settings), target)
        return ""
    engine = make_engine(settings.database_url, pool_size=2, application_name="cloudmgr backup")
    try:
        return dumps.dump_postgresql(engine, settings.database_url, target)
    finally:
        engine.dispose()


def _refuse_unfit(settings: Settings, manifest: Manifest, folder: Path) -> None:
    mine = "sqlite" if settings.is_sqlite else "postgresql"
    if manifest.dialect != mine:
        raise BackupRefused(
            N_(
                "The backup is of {theirs} and this installation is on {mine}: set [database] url to where it shall go."
            ),
            theirs=manifest.dialect,
            mine=mine,
        )
    if manifest.schema not in migrate.history():
        raise BackupRefused(
            N_("The backup has schema {schema} of release {release}, which is newer than this one ({mine})."),
            schema=manifest.schema,
            release=manifest.release,
            mine=cloudmgr.__version__,
        )
    for name in (_DATABASE[mine], KEY):
        if name not in manifest.members:
            raise BackupRefused(N_("The backup has no {member}."), member=name)
    try:
        crypto.load_key_file(folder / KEY)
    except crypto.KeyFileRefused as error:
        raise BackupRefused(N_("The backup has no {member}."), member=KEY, detail=str(error)) from error
    for path in folder.rglob("*.sqlite3"):
        dumps.check_sqlite(path)


def _standing(settings: Settings) -> list[str]:
    """Return what a restore would replace, in words of the file system."""
    found = [str(path) for path in (settings.key_file,) if path.exists()]
    found += [str(path) for path in _cloud_states(settings)]
    if settings.is_sqlite:
        file = _sqlite_file(settings)
        return found + ([str(file)] if file.exists() and file.stat().st_size else [])
    engine = make_engine(settings.database_url, pool_size=2, application_name="cloudmgr restore")
    try:
        _refuse_connected(engine)
        tables = [*sa.inspect(engine).get_table_names(), *sa.inspect(engine).get_table_names(schema="dbos")]
    finally:
        engine.dispose()
    return found + ([f"{make_url(settings.database_url).database} ({len(tables)} tables)"] if tables else [])


def _refuse_connected(engine: sa.Engine) -> None:
    """Refuse while any other process of cloudmgr, on any machine, is connected to this database."""
    with engine.connect() as connection:
        others = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND application_name = 'cloudmgr'"
        ).scalar_one()
    if others:
        raise BackupRefused(
            N_("{count} connections of cloudmgr are open to this database: stop every serve and worker first."),
            count=others,
        )


def _load_postgresql(
    settings: Settings, dump: Path, manifest: Manifest, pause: Callable[[Session, Manifest], None]
) -> None:
    engine = make_engine(settings.database_url, pool_size=2, application_name="cloudmgr restore")
    try:
        dumps.load_postgresql(engine, settings.database_url, dump, then=_PAUSE % clock.now().isoformat())
    finally:
        engine.dispose()
    _finish(settings, manifest, pause)


def _finish(settings: Settings, manifest: Manifest, pause: Callable[[Session, Manifest], None]) -> None:
    """Bring restored tables to this release's schema and pause them."""
    migrate.upgrade(settings)
    engine = make_engine(settings.database_url, pool_size=2, application_name="cloudmgr restore")
    try:
        with new_session(engine) as session:
            begin_immediate(session)
            pause(session, manifest)
            session.commit()
    finally:
        engine.dispose()


def _put_aside(settings: Settings) -> Path | None:
    """Move every file that is about to be replaced into a folder of its own; None where there was none."""
    aside = settings.data_dir / f"before-restore-{clock.now():%Y%m%dT%H%M%SZ}"
    moved = [settings.key_file, settings.data_dir / BACKENDS, settings.data_dir / ACCOUNTS]
    if settings.is_sqlite:
        file = _sqlite_file(settings)
        moved += [file, *(file.with_name(file.name + suffix) for suffix in ("-wal", "-shm"))]
    for path in moved:
        if path.exists():
            aside.mkdir(mode=0o700, exist_ok=True)
            shutil.move(path, aside / path.name)
    return aside if aside.exists() else None


def _put_files(settings: Settings, folder: Path) -> Path | None:
    """Put the staged files in their places, the database last; return where the settings file lies if not in its place."""
    beside = None
    if (folder / SETTINGS).exists():
        place = settings.data_dir / SETTINGS
        if place.exists() or not _leads_here(settings, folder):
            beside = place = settings.data_dir / f"{SETTINGS}.from-backup"
        (folder / SETTINGS).replace(place)
    places = {KEY: settings.key_file, ACCOUNTS: settings.data_dir / ACCOUNTS, BACKENDS: settings.data_dir / BACKENDS}
    if settings.is_sqlite:
        places[_DATABASE["sqlite"]] = _sqlite_file(settings)
    for name, place in places.items():
        if (folder / name).exists():
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if name == BACKENDS and place.exists():
                _merge(folder / name, place)
            else:
                shutil.move(folder / name, place)
    return beside


def _merge(folder: Path, place: Path) -> None:
    for path in sorted(folder.rglob("*")):
        target = place / path.relative_to(folder)
        if path.is_dir():
            target.mkdir(exist_ok=True, mode=0o700)
        else:
            path.replace(target)


def _leads_here(settings: Settings, folder: Path) -> bool:
    """Whether the backup's settings file, put in place here, would name the database and key that were just restored.

    One that names another database would make this copy work on the original.
    """
    try:
        told = load_settings(folder).model_copy(update={"data_dir": settings.data_dir})
    except (ValidationError, ValueError):
        return False
    return told.database_url == settings.database_url and told.key_file == settings.key_file


def _cloud_states(settings: Settings) -> Iterator[Path]:
    for path in sorted((settings.data_dir / BACKENDS).glob("*/*")):
        if path.is_file() and not path.name.endswith(("-wal", "-shm")) and dumps.is_sqlite_file(path):
            yield path


def _sqlite_file(settings: Settings) -> Path:
    database = make_url(settings.database_url).database
    if not database or database == ":memory:":
        raise BackupRefused(N_("The database is not a file."))
    return Path(database)


def _at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o600)


@contextmanager
def _folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a private folder beside what it will become, so that moves are renames; it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as made:
        yield Path(made)
