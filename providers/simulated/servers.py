"""Simulated servers as rows: their native states, what time does to them, and how they are observed.

Nothing ticks: a change of state is written with the moment at which it will be over, and whoever looks later sees it over.
"""

import json
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from cloudmgr.domain import clock
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from providers.base import PowerState, ServerObservation, ServerSpec, SnapshotObservation
from providers.errors import NotFound
from providers.simulated import volumes


class Native(StrEnum):
    """The simulated cloud's own words for what a server is doing."""

    BUILD = "BUILD"
    HALF_CREATED = "HALF_CREATED"
    STAGED = "STAGED"
    ACTIVE = "ACTIVE"
    REBOOT = "REBOOT"
    POWERING_OFF = "POWERING_OFF"
    SHUTOFF = "SHUTOFF"
    POWERING_ON = "POWERING_ON"
    PAUSED = "PAUSED"
    ERROR = "ERROR"


_POWER: Mapping[str, PowerState] = {
    Native.BUILD: PowerState.BUILDING,
    Native.HALF_CREATED: PowerState.ERROR,
    Native.STAGED: PowerState.BUILDING,
    Native.ACTIVE: PowerState.RUNNING,
    Native.REBOOT: PowerState.RUNNING,
    Native.POWERING_OFF: PowerState.RUNNING,
    Native.SHUTOFF: PowerState.STOPPED,
    Native.POWERING_ON: PowerState.STOPPED,
    Native.PAUSED: PowerState.PAUSED,
    Native.ERROR: PowerState.ERROR,
}
_ADDRESSES = """
    SELECT server, family, address FROM (
        SELECT server, nic, family, address FROM addresses
        UNION ALL SELECT server, 0, family, address FROM foreign_addresses)
"""
_REMOVED_KEPT = 1000
_WITHOUT_ADDRESSES = frozenset({Native.BUILD, Native.HALF_CREATED, Native.STAGED})


def power_of(native: str) -> PowerState:
    """Translate a native state; one never heard of is UNKNOWN (P6)."""
    return _POWER.get(native, PowerState.UNKNOWN)


def native_state(row: sqlite3.Row) -> str:
    """Return what the server is doing at this moment."""
    over = row["until"] is not None and clock.now().timestamp() >= row["until"]
    state: str = row["next_state"] if over else row["state"]
    return state


def find(db: sqlite3.Connection, *, ref: str | None = None, token: uuid.UUID | None = None) -> sqlite3.Row | None:
    """Return the row of a server by its reference or its token."""
    if token is not None:
        row: sqlite3.Row | None = db.execute("SELECT * FROM servers WHERE token = ?", (str(token),)).fetchone()
    else:
        row = db.execute("SELECT * FROM servers WHERE ref = ?", (ref,)).fetchone()
    return row


def require(db: sqlite3.Connection, ref: str) -> sqlite3.Row:
    """Return the row of a server.

    Raises:
        NotFound: there is none.

    """
    row = find(db, ref=ref)
    if row is None:
        raise NotFound(N_("There is no such server at the cloud."), detail=f"ref {ref!r}")
    return row


def add(
    db: sqlite3.Connection,
    spec: ServerSpec,
    token: uuid.UUID | None,
    *,
    host: str | None,
    state: str,
    next_state: str | None = None,
    after_s: float = 0.0,
    networks: Sequence[str] = (),
) -> str:
    """Write a new server down and return its reference; with `next_state` it reaches that state after `after_s`."""
    ref = str(new_id())
    now_s = clock.now().timestamp()
    db.execute(
        """
        INSERT INTO servers (ref, token, name, state, next_state, until, arch, vcpus, memory_mib, system_disk_gib,
                             data_disk_gib, zone, host, image, spread_group, created_at, networks)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            ref,
            _text(token),
            spec.name,
            state,
            next_state,
            None if next_state is None else now_s + after_s,
            spec.arch,
            spec.vcpus,
            spec.memory_mib,
            spec.system_disk_gib,
            spec.data_disk_gib,
            spec.zone,
            host,
            spec.image,
            _text(spec.spread_group),
            now_s,
            json.dumps(list(networks)),
        ),
    )
    return ref


def move(db: sqlite3.Connection, ref: str, state: str, next_state: str | None = None, after_s: float = 0.0) -> None:
    """Put a server into a state, on its way to `next_state` if given."""
    until = None if next_state is None else clock.now().timestamp() + after_s
    db.execute("UPDATE servers SET state = ?, next_state = ?, until = ? WHERE ref = ?", (state, next_state, until, ref))


def remove(db: sqlite3.Connection, ref: str) -> None:
    """Take a server away; its addresses and snapshots go with it, and its volumes are let go.

    What it was is kept for drills in which somebody brings a removed server back.
    """
    row = find(db, ref=ref)
    if row is None:
        return
    if row["token"] is not None:
        kept = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a sqlite3.Row iterates over its values
        db.execute("INSERT INTO removed (token, row) VALUES (?, ?)", (row["token"], json.dumps(kept)))
        db.execute("DELETE FROM removed WHERE id <= (SELECT max(id) FROM removed) - ?", (_REMOVED_KEPT,))
    volumes.free_from(db, ref)
    db.execute("DELETE FROM servers WHERE ref = ?", (ref,))


def bring_back(db: sqlite3.Connection, token: uuid.UUID) -> str:
    """Let a removed server stand and run again as it was, without its addresses; returns its reference.

    Raises:
        NotFound: no such server was ever removed.

    """
    kept = db.execute("SELECT row FROM removed WHERE token = ? ORDER BY id DESC LIMIT 1", (str(token),)).fetchone()
    if kept is None:
        raise NotFound(N_("There is no such server at the cloud."), detail=f"none was removed with token {token}")
    values = json.loads(kept["row"]) | {"state": Native.ACTIVE, "next_state": None, "until": None}
    columns = ", ".join(values)
    places = ", ".join("?" * len(values))
    db.execute(f"INSERT INTO servers ({columns}) VALUES ({places})", tuple(values.values()))  # noqa: S608 - our own columns
    return str(values["ref"])


def observe(db: sqlite3.Connection, row: sqlite3.Row) -> ServerObservation:
    """Return one server as the provider reports it."""
    rows = db.execute(f"{_ADDRESSES} WHERE server = ? ORDER BY nic", (row["ref"],))
    return _observation(row, _by_server(rows).get(row["ref"], []))


def observe_some(db: sqlite3.Connection, refs: Sequence[str]) -> list[ServerObservation]:
    """Return these servers, as far as they are there; SQLite takes some thousands of references at once."""
    places = ", ".join("?" * len(refs))
    addresses = _by_server(db.execute(f"{_ADDRESSES} WHERE server IN ({places}) ORDER BY server, nic", tuple(refs)))
    rows = db.execute(f"SELECT * FROM servers WHERE ref IN ({places}) ORDER BY created_at, ref", tuple(refs))  # noqa: S608 - question marks only
    return [_observation(row, addresses.get(row["ref"], [])) for row in rows]


def observe_all(db: sqlite3.Connection) -> list[ServerObservation]:
    """Return every server, oldest first, in two queries whatever their number."""
    addresses = _by_server(db.execute(f"{_ADDRESSES} WHERE server IS NOT NULL ORDER BY server, nic"))
    rows = db.execute("SELECT * FROM servers ORDER BY created_at, ref")
    return [_observation(row, addresses.get(row["ref"], [])) for row in rows]


def snapshot(row: sqlite3.Row) -> SnapshotObservation:
    """Return a snapshot as the provider reports it."""
    return SnapshotObservation(row["ref"], row["name"], datetime.fromtimestamp(row["created_at"], UTC))


def _observation(row: sqlite3.Row, addresses: list[tuple[int, str]]) -> ServerObservation:
    native = native_state(row)
    seen = [] if native in _WITHOUT_ADDRESSES else addresses
    return ServerObservation(
        ref=row["ref"],
        name=row["name"],
        power=power_of(native),
        native_state=native,
        token=uuid.UUID(row["token"]) if row["token"] else None,
        arch=Architecture(row["arch"]) if row["arch"] else None,
        vcpus=row["vcpus"],
        memory_mib=row["memory_mib"],
        system_disk_gib=row["system_disk_gib"],
        data_disk_gib=row["data_disk_gib"],
        zone=row["zone"],
        host=row["host"],
        image=row["image"],
        ipv4=tuple(address for family, address in seen if family == 4),  # noqa: PLR2004 - the protocol's number
        ipv6=tuple(address for family, address in seen if family == 6),  # noqa: PLR2004
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        networks=tuple(json.loads(row["networks"])),
        native_uuid=row["ref"],
        unfinished=native == Native.STAGED,
    )


def _by_server(rows: Iterable[sqlite3.Row]) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in rows:
        found[row["server"]].append((row["family"], row["address"]))
    return found


def _text(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)
