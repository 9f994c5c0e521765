"""Drills on a simulated cloud with nothing but its folder in hand: faults, foreign things, and what people do by hand.

For exercises and proofs in which another process runs the provider. Each function opens the state file and closes it.
Nothing here is journalled as a call of ours.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection

from cloudmgr.domain import clock
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.ids import new_id
from providers.base import ResourceKind, ServerObservation, ServerSpec, VolumeSpec
from providers.simulated import addresses as _addresses
from providers.simulated import changes, journal, servers, volumes
from providers.simulated import faults as _faults
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
    network: str | None = None,
    addresses: Sequence[str] = (),
) -> str:
    """Put a running server there that cloudmgr did not make; returns its reference.

    On a named host of a named zone it takes room from ours; its addresses are of the network, and may be ones of ours.
    """
    spec = ServerSpec(
        name=name, arch=arch, vcpus=vcpus, memory_mib=memory_mib, system_disk_gib=system_disk_gib, zone=zone, image=""
    )
    with _writing(state_dir) as db:
        on = () if network is None else (network,)
        ref = servers.add(db, spec, None, host=host, state=Native.ACTIVE, networks=on)
        for address in addresses:
            _addresses.add_foreign(db, network or "", address, server=ref, owner=name, mac=None)
        return ref


def vanish(state_dir: Path, ref: str) -> None:
    """Take a server away behind everybody's back; the absent succeeds."""
    with _writing(state_dir) as db:
        servers.remove(db, ref)


def revive(state_dir: Path, token: uuid.UUID) -> str:
    """Let a server of ours run that should not, be it stopped or deleted; returns its reference.

    Raises:
        NotFound: there never was one with this token.

    """
    with _writing(state_dir) as db:
        row = servers.find(db, token=token)
        if row is None:
            return servers.bring_back(db, token)
        servers.move(db, row["ref"], Native.ACTIVE)
        return str(row["ref"])


def change(
    state_dir: Path,
    ref: str,
    *,
    name: str | None = None,
    vcpus: int | None = None,
    memory_mib: int | None = None,
    system_disk_gib: int | None = None,
    data_disk_gib: int | None = None,
    image: str | None = None,
    networks: Sequence[str] | None = None,
    is_running: bool | None = None,
) -> None:
    """Change by hand what a server is; only what is given.

    Raises:
        NotFound: there is no such server.

    """
    given: dict[str, object] = {
        "name": name,
        "vcpus": vcpus,
        "memory_mib": memory_mib,
        "system_disk_gib": system_disk_gib,
        "data_disk_gib": data_disk_gib,
        "image": image,
        "networks": None if networks is None else json.dumps(list(networks)),
    }
    with _writing(state_dir) as db:
        servers.require(db, ref)
        for column, value in given.items():
            if value is not None:
                db.execute(f"UPDATE servers SET {column} = ? WHERE ref = ?", (value, ref))  # noqa: S608 - the names above
        if is_running is not None:
            servers.move(db, ref, Native.ACTIVE if is_running else Native.SHUTOFF)


def add_foreign_address(
    state_dir: Path, network: str, address: str, *, owner: str = "", mac: str | None = None, server: str | None = None
) -> None:
    """Let something that is not ours use an address of a network, even one that a server of ours has."""
    with _writing(state_dir) as db:
        _addresses.add_foreign(db, network, address, server=server, owner=owner, mac=mac)
        if server is not None:
            changes.touch(db, server)


def remove_foreign_address(state_dir: Path, network: str, address: str) -> None:
    """Undo `add_foreign_address`; the absent succeeds."""
    with _writing(state_dir) as db:
        db.execute("DELETE FROM foreign_addresses WHERE network = ? AND address = ?", (network, address))


def add_foreign_volume(state_dir: Path, name: str, size_gib: int, *, zone: str = "") -> str:
    """Put a volume there that cloudmgr did not make, attached to nothing; returns its reference."""
    with _writing(state_dir) as db:
        return volumes.add(db, VolumeSpec(name=name, size_gib=size_gib, zone=zone), None, after_s=0)


def add_leftover(
    state_dir: Path, kind: ResourceKind, name: str, *, size_gib: int | None = None, token: uuid.UUID | None = None
) -> str:
    """Leave a thing there that no server uses: a disk, a port, a snapshot; returns its reference."""
    ref = str(new_id())
    with _writing(state_dir) as db:
        db.execute(
            "INSERT INTO leftovers (ref, kind, name, size_gib, token, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (ref, kind, name, size_gib, None if token is None else str(token), clock.now().timestamp()),
        )
    return ref


def remove_leftover(state_dir: Path, ref: str) -> None:
    """Take such a thing away by hand, or what a `left_behind` delete left; the absent succeeds."""
    with _writing(state_dir) as db:
        db.execute("DELETE FROM leftovers WHERE ref = ?", (ref,))


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
