"""The file a simulated cloud lives in: SQLite, shared by any number of threads and processes, surviving restarts.

It holds the imagined installation's own state and nothing of cloudmgr's database. `synchronous=NORMAL` in WAL mode loses
nothing when a process is killed; a power cut may cost the last moments, which a simulation can bear.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudmgr.domain.messages import N_
from providers.errors import Busy, ProviderError, Unavailable, Unsupported, translated

FILE_NAME = "simulated.sqlite3"
_BUSY_TIMEOUT_S = 10.0
_MAX_IDLE = 16
_FIRST = """
CREATE TABLE servers (
    ref TEXT PRIMARY KEY, token TEXT UNIQUE, name TEXT NOT NULL,
    state TEXT NOT NULL, next_state TEXT, until REAL,
    arch TEXT, vcpus INTEGER, memory_mib INTEGER, system_disk_gib INTEGER, data_disk_gib INTEGER,
    zone TEXT, host TEXT, image TEXT, spread_group TEXT, created_at REAL NOT NULL,
    CHECK ((next_state IS NULL) = (until IS NULL))
);
CREATE INDEX servers_load ON servers (zone, host, vcpus, memory_mib, system_disk_gib, data_disk_gib, spread_group);
CREATE TABLE addresses (
    network TEXT NOT NULL, cidr TEXT NOT NULL, position INTEGER NOT NULL, family INTEGER NOT NULL CHECK (family IN (4, 6)),
    address TEXT, server TEXT REFERENCES servers (ref) ON DELETE CASCADE, nic INTEGER,
    PRIMARY KEY (network, cidr, position)
) WITHOUT ROWID;
CREATE UNIQUE INDEX addresses_once ON addresses (network, address);
CREATE INDEX addresses_server ON addresses (server, nic) WHERE server IS NOT NULL;
CREATE TABLE snapshots (
    ref TEXT PRIMARY KEY, server TEXT NOT NULL REFERENCES servers (ref) ON DELETE CASCADE,
    name TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL, UNIQUE (server, name)
);
CREATE TABLE closed_zones (zone TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, call TEXT NOT NULL, kind TEXT NOT NULL,
    times INTEGER CHECK (times > 0), match_name TEXT, zone TEXT
);
CREATE TABLE calls (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, call TEXT NOT NULL, token TEXT, ref TEXT, outcome TEXT
);
CREATE INDEX calls_by_token ON calls (call, token);
"""
_SECOND = """
ALTER TABLE servers ADD COLUMN networks TEXT NOT NULL DEFAULT '[]';
ALTER TABLE faults ADD COLUMN seconds REAL NOT NULL DEFAULT 0;
CREATE TABLE foreign_addresses (
    network TEXT NOT NULL, address TEXT NOT NULL, family INTEGER NOT NULL CHECK (family IN (4, 6)),
    server TEXT REFERENCES servers (ref) ON DELETE CASCADE, owner TEXT NOT NULL, mac TEXT, PRIMARY KEY (network, address)
) WITHOUT ROWID;
CREATE TABLE volumes (
    ref TEXT PRIMARY KEY, token TEXT UNIQUE, name TEXT NOT NULL, size_gib INTEGER NOT NULL, zone TEXT NOT NULL,
    state TEXT NOT NULL, next_state TEXT, until REAL, server TEXT REFERENCES servers (ref) ON DELETE SET NULL,
    created_at REAL NOT NULL, CHECK ((next_state IS NULL) = (until IS NULL))
);
CREATE INDEX volumes_zone ON volumes (zone, size_gib);
CREATE INDEX volumes_server ON volumes (server) WHERE server IS NOT NULL;
CREATE TABLE port_rules (
    server TEXT NOT NULL REFERENCES servers (ref) ON DELETE CASCADE, place INTEGER NOT NULL, key TEXT NOT NULL,
    source TEXT NOT NULL, protocol TEXT NOT NULL, port_from INTEGER, port_to INTEGER, PRIMARY KEY (server, place)
) WITHOUT ROWID;
CREATE TABLE public_addresses (
    ref TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, network TEXT NOT NULL, address TEXT NOT NULL UNIQUE,
    server TEXT REFERENCES servers (ref) ON DELETE SET NULL, created_at REAL NOT NULL
);
CREATE TABLE leftovers (
    ref TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, size_gib INTEGER, token TEXT, created_at REAL NOT NULL
);
CREATE TABLE removed (id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL, row TEXT NOT NULL);
CREATE TABLE installation (id TEXT NOT NULL);
INSERT INTO installation VALUES (lower(hex(randomblob(8))));
CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL UNIQUE, gone INTEGER NOT NULL);
INSERT INTO changes (ref, gone) SELECT ref, 0 FROM servers;
CREATE TRIGGER server_came AFTER INSERT ON servers BEGIN
    INSERT OR REPLACE INTO changes (ref, gone) VALUES (NEW.ref, 0);
END;
CREATE TRIGGER server_changed AFTER UPDATE ON servers BEGIN
    INSERT OR REPLACE INTO changes (ref, gone) VALUES (NEW.ref, 0);
END;
CREATE TRIGGER server_went AFTER DELETE ON servers BEGIN
    INSERT OR REPLACE INTO changes (ref, gone) VALUES (OLD.ref, 1);
END;
"""
_SCRIPTS = (_FIRST, _SECOND)
"""What makes a file of each version from one of the version before."""
_VERSION = len(_SCRIPTS)


class StateFile:
    """A pool of connections to one state file. Opens on first use; `close` may be called twice."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._path = state_dir / FILE_NAME
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._turn = threading.Lock()  # SQLite's own waiting is unfair between threads; order still comes from the file
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give one consistent view of the file.

        Raises:
            Unavailable: the file cannot be opened or read.

        """
        with self._translated(), self._connection() as db, _transaction(db, "BEGIN"):
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the file to one writer; commit at the end, roll back on any exception.

        Raises:
            Busy: another process held the file for longer than the time-out; nothing happened.
            Unavailable: the file cannot be opened or written.

        """
        with self._translated(), self._connection() as db, self._turn, _transaction(db, "BEGIN IMMEDIATE"):
            yield db

    def close(self) -> None:
        """Close idle connections; those in use close themselves when they are given back."""
        with self._guard:
            idle, self._idle, self._ready = self._idle, [], False
        for db in idle:
            db.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            if not self._ready:
                self._prepare()
                self._ready = True
            db = self._idle.pop() if self._idle else None
        db = db or self._connect()
        try:
            yield db
        finally:
            with self._guard:
                keep = self._ready and len(self._idle) < _MAX_IDLE
                if keep:
                    self._idle.append(db)
            if not keep:
                db.close()

    def _prepare(self) -> None:
        """Make the file once, whichever process comes first: switching to WAL does not wait for others by itself."""
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._dir / f"{FILE_NAME}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            db = self._connect()
            try:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > _VERSION:
                    raise Unsupported(
                        N_("The simulated cloud's state was written by a newer version."),
                        detail=f"{self._path} is at version {version}, this program knows {_VERSION}",
                    )
                if version < _VERSION:
                    db.execute("PRAGMA journal_mode = WAL")
                    script = " ".join(_SCRIPTS[version:])
                    db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {_VERSION}; COMMIT;")
            finally:
                db.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(self._classify, (sqlite3.Error, OSError)):
            yield

    def _classify(self, error: Exception) -> ProviderError | None:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
            return None  # a defect of ours, not of the file
        detail = f"{self._path}: {type(error).__name__}: {error}"
        if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return Busy(N_("The simulated cloud is busy; nothing was changed."), detail=detail)
        return Unavailable(N_("The simulated cloud does not answer."), detail=detail)


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
