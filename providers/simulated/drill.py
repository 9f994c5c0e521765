"""Drills on a simulated cloud with nothing but its folder in hand: faults, foreign servers, servers that vanish.

For exercises and proofs in which another process runs the provider. Each function opens the state file and closes it.
"""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection

from cloudmgr.domain.architectures import Architecture
from providers.base import ServerObservation, ServerSpec
from providers.simulated import faults as _faults
from providers.simulated import journal, servers
from providers.simulated.faults import Fault
from providers.simulated.servers import Native
from providers.simulated.state import StateFile


def inject(state_dir: Path, fault: Fault) -> None:
    """Let a later call meet this fault, whichever process makes it."""
    with _writing(state_dir) as db:
        _faults.inject(db, fault)


def faults(state_dir: Path) -> list[Fault]:
    """Return the faults that have still to strike, the oldest first."""
    with _reading(state_dir) as db:
        return _faults.remaining(db)


def clear_faults(state_dir: Path) -> None:
    """Forget every fault."""
    with _writing(state_dir) as db:
        _faults.clear(db)


def calls(state_dir: Path, call: str | None = None, token: uuid.UUID | None = None) -> list[journal.Call]:
    """Return the changing calls made so far, in order, all or of one kind or for one token."""
    with _reading(state_dir) as db:
        return journal.calls(db, call, token)


def list_servers(state_dir: Path) -> list[ServerObservation]:
    """Return every server there is, past any fault."""
    with _reading(state_dir) as db:
        return servers.observe_all(db)


def add_foreign_server(
    state_dir: Path,
    name: str,
    *,
    arch: Architecture = Architecture.X86_64,
    vcpus: int = 2,
    memory_mib: int = 4096,
    system_disk_gib: int = 40,
    zone: str = "",
    host: str | None = None,
) -> str:
    """Put a running server there that cloudmgr did not make; returns its reference.

    On a named host of a named zone it takes room from ours.
    """
    spec = ServerSpec(
        name=name, arch=arch, vcpus=vcpus, memory_mib=memory_mib, system_disk_gib=system_disk_gib, zone=zone, image=""
    )
    with _writing(state_dir) as db:
        return servers.add(db, spec, None, host=host, state=Native.ACTIVE)


def vanish(state_dir: Path, ref: str) -> None:
    """Take a server away behind everybody's back, unjournalled; the absent succeeds."""
    with _writing(state_dir) as db:
        servers.remove(db, ref)


def set_native_state(state_dir: Path, ref: str, state: str) -> None:
    """Put a server into any native state, even one that no driver knows.

    Raises:
        NotFound: there is no such server.

    """
    with _writing(state_dir) as db:
        servers.require(db, ref)
        servers.move(db, ref, state)


def close_zone(state_dir: Path, zone: str) -> None:
    """Let a zone take no new servers, as in maintenance."""
    with _writing(state_dir) as db:
        db.execute("INSERT OR IGNORE INTO closed_zones (zone) VALUES (?)", (zone,))


def open_zone(state_dir: Path, zone: str) -> None:
    """Undo `close_zone`."""
    with _writing(state_dir) as db:
        db.execute("DELETE FROM closed_zones WHERE zone = ?", (zone,))


@contextmanager
def _reading(state_dir: Path) -> Iterator[Connection]:
    with closing(StateFile(state_dir)) as state, state.reading() as db:
        yield db


@contextmanager
def _writing(state_dir: Path) -> Iterator[Connection]:
    with closing(StateFile(state_dir)) as state, state.writing() as db:
        yield db
