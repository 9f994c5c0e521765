"""Copies of a running database, and databases made from such copies: SQLite by its online backup, PostgreSQL by pg_dump.

A copy is one moment's state, the engine's tables included; writers go on meanwhile. Passwords never stand in a command line.
"""

import itertools
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url

from cloudmgr.adapters.archive import BackupRefused
from cloudmgr.domain.messages import N_

SQLITE_HEADER = b"SQLite format 3\0"
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
"""Where Debian's and PostgreSQL's own packages put the clients of several versions beside each other."""
_PATIENCE_S = 4 * 3600
_HEAD_LINES, _NEWER_SETTINGS = 40, b"SET transaction_timeout"
"""Servers before PostgreSQL 17 refuse this line of newer clients' dumps; it stands among the first."""


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database that others are writing, at one moment; they do not wait.

    Raises:
        BackupRefused: it cannot be read, or the copy is not sound.
    """
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=30)) as live,
            closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupRefused(N_("{file} cannot be copied: {error}"), file=str(source), error=str(error)) from error
    if found != "ok":
        raise BackupRefused(N_("{file} cannot be copied: {error}"), file=str(source), error=found)
    target.chmod(0o600)


def check_sqlite(path: Path) -> None:
    """Refuse a file that is not a sound SQLite database."""
    try:
        with closing(sqlite3.connect(path)) as copy:
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise BackupRefused(N_("{file} is not a sound database: {error}"), file=path.name, error=found)


def settle_sqlite(path: Path) -> None:
    """Bring everything into the one file, so that it can be moved without its log."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=DELETE")


def is_sqlite_file(path: Path) -> bool:
    """Whether a file is a SQLite database, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER


@dataclass(frozen=True, slots=True)
class Clients:
    """PostgreSQL's own client programs, of one version that fits the server."""

    folder: Path
    version: str

    def run(self, program: str, arguments: Sequence[str], url: str) -> None:
        """Run one to its end on the database of `url`.

        Raises:
            BackupRefused: it failed; its own words are in the message.
        """
        where = make_url(url)
        options = {key: value for key, value in where.query.items() if isinstance(value, str)}
        target = make_conninfo(
            host=where.host or options.pop("host", None),
            port=where.port or options.pop("port", None),
            user=where.username,
            dbname=where.database,
            **options,
        )
        environment = os.environ | ({"PGPASSWORD": str(where.password)} if where.password else {})
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            [self.folder / program, *arguments, f"--dbname={target}"],
            env=environment | {"LC_MESSAGES": "C"},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode != 0:
            raise BackupRefused(
                N_("{program} failed: {error}"),
                program=program,
                error=done.stderr.strip()[-800:] or str(done.returncode),
            )


def clients_for(server_version: int, told: str) -> Clients:
    """Return the oldest installed client programs that can read a server of this major version.

    Raises:
        BackupRefused: there are none, or only older ones; the message names the package.
    """
    found = sorted(_installed())
    fitting = [clients for version, clients in found if version >= server_version]
    if fitting:
        return fitting[0]
    if not found:
        raise BackupRefused(
            N_(
                "The database is PostgreSQL {server} and pg_dump is not installed on this machine. Install the package "
                "postgresql-client-{version} (or newer), or run this where it is installed."
            ),
            server=told,
            version=server_version,
        )
    raise BackupRefused(
        N_(
            "The database is PostgreSQL {server}, and pg_dump here is {client}, which cannot read it. Install the package "
            "postgresql-client-{version} (or newer)."
        ),
        server=told,
        client=", ".join(clients.version for _, clients in found),
        version=server_version,
    )


def _installed() -> Iterator[tuple[int, Clients]]:
    """Yield the major version and place of every set of client programs."""
    on_path = shutil.which("pg_dump")
    folders = [Path(on_path).parent] if on_path else []
    for pattern in _FOLDERS:
        folders += Path("/").glob(pattern.lstrip("/"))
    for folder in dict.fromkeys(folders):
        if not all((folder / program).exists() for program in ("pg_dump", "pg_restore", "psql")):
            continue
        told = subprocess.run(  # noqa: S603 - found on our own PATH
            [folder / "pg_dump", "--version"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
        if version := re.search(r"(\d+)(?:\.\d+)*", told):
            yield int(version.group(1)), Clients(folder, version.group())


def dump_postgresql(engine: sa.Engine, url: str, target: Path) -> str:
    """Write one moment's state of the database to a custom-format dump; return the server's version."""
    major, told = _server(engine)
    clients_for(major, told).run(
        "pg_dump", ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"], url
    )
    return told


def load_postgresql(engine: sa.Engine, url: str, dump: Path, *, then: str) -> None:
    """Make the database what the dump says, and run `then` on it: all in one transaction. What stood there is dropped."""
    clients = clients_for(*_server(engine))
    script, before, after = (dump.with_suffix(suffix) for suffix in (".sql", ".before.sql", ".after.sql"))
    _as_script(clients, dump, script)
    before.write_text(_drops(engine), encoding="utf-8")
    after.write_text(f"SET search_path = {_schema(engine)};\n{then}", encoding="utf-8")  # the dump leaves it empty
    files = [f"--file={path}" for path in (before, script, after)]
    clients.run("psql", ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", *files], url)


def _as_script(clients: Clients, dump: Path, script: Path) -> None:
    """Write the dump as SQL, without what a client newer than its server sets and that server does not know."""
    arguments: list[str | Path] = [clients.folder / "pg_restore", "--no-owner", "--no-privileges", "--file=-", dump]
    with script.open("wb") as file, subprocess.Popen(arguments, stdout=PIPE, stderr=PIPE) as running:  # noqa: S603 - our own arguments, no shell
        assert running.stdout is not None  # noqa: S101 - it is a pipe
        assert running.stderr is not None  # noqa: S101 - it is a pipe
        for line in itertools.islice(running.stdout, _HEAD_LINES):
            if not line.startswith(_NEWER_SETTINGS):
                file.write(line)
        shutil.copyfileobj(running.stdout, file)
        said = running.stderr.read().decode(errors="replace").strip()
    if running.returncode != 0:
        raise BackupRefused(N_("{program} failed: {error}"), program="pg_restore", error=said[-800:])


def _drops(engine: sa.Engine) -> str:
    """Return the statements that remove every table of ours and the engine's whole schema."""
    quote = engine.dialect.identifier_preparer.quote
    lines = ["DROP SCHEMA IF EXISTS dbos CASCADE;", "DROP FUNCTION IF EXISTS cloudmgr_append_only() CASCADE;"]
    return "\n".join(lines + [f"DROP TABLE {quote(name)} CASCADE;" for name in sa.inspect(engine).get_table_names()])


def _schema(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        name = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
    return engine.dialect.identifier_preparer.quote(str(name))


def _server(engine: sa.Engine) -> tuple[int, str]:
    with engine.connect() as connection:
        number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
        told = str(connection.exec_driver_sql("SHOW server_version").scalar_one())
    return number // 10000, told.split(maxsplit=1)[0]
