"""Simulated volumes as rows: what time does to them, and how they are observed."""

import sqlite3
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from providers.base import VolumeObservation, VolumeSpec, VolumeState
from providers.errors import NotFound


class NativeVolume(StrEnum):
    """The simulated cloud's own words for what a volume is doing."""

    CREATING = "creating"
    AVAILABLE = "available"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    ERROR = "error"


_STATE: Mapping[str, VolumeState] = {
    NativeVolume.CREATING: VolumeState.BUILDING,
    NativeVolume.AVAILABLE: VolumeState.AVAILABLE,
    NativeVolume.ATTACHING: VolumeState.BUILDING,
    NativeVolume.IN_USE: VolumeState.ATTACHED,
    NativeVolume.DETACHING: VolumeState.BUILDING,
    NativeVolume.ERROR: VolumeState.ERROR,
}


def native_state(row: sqlite3.Row) -> str:
    """Return what the volume is doing at this moment."""
    over = row["until"] is not None and clock.now().timestamp() >= row["until"]
    state: str = row["next_state"] if over else row["state"]
    return state


def server_of(row: sqlite3.Row) -> str | None:
    """Return the reference of the server that has it; one that is detached lets go when the time is over."""
    server: str | None = row["server"]
    return None if native_state(row) == NativeVolume.AVAILABLE else server


def find(db: sqlite3.Connection, *, ref: str | None = None, token: uuid.UUID | None = None) -> sqlite3.Row | None:
    """Return the row of a volume by its reference or its token."""
    if token is not None:
        row: sqlite3.Row | None = db.execute("SELECT * FROM volumes WHERE token = ?", (str(token),)).fetchone()
    else:
        row = db.execute("SELECT * FROM volumes WHERE ref = ?", (ref,)).fetchone()
    return row


def require(db: sqlite3.Connection, ref: str) -> sqlite3.Row:
    """Return the row of a volume.

    Raises:
        NotFound: there is none.

    """
    row = find(db, ref=ref)
    if row is None:
        raise NotFound(N_("There is no such volume at the cloud."), detail=f"ref {ref!r}")
    return row


def add(db: sqlite3.Connection, spec: VolumeSpec, token: uuid.UUID | None, *, after_s: float) -> str:
    """Write a new volume down, whole after `after_s`, and return its reference."""
    ref = str(new_id())
    now_s = clock.now().timestamp()
    db.execute(
        """
        INSERT INTO volumes (ref, token, name, size_gib, zone, state, next_state, until, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            ref,
            None if token is None else str(token),
            spec.name,
            spec.size_gib,
            spec.zone,
            NativeVolume.CREATING,
            NativeVolume.AVAILABLE,
            now_s + after_s,
            now_s,
        ),
    )
    return ref


def move(db: sqlite3.Connection, ref: str, state: str, next_state: str, after_s: float, *, server: str | None) -> None:
    """Put a volume on its way to another state, with the server it is given to or taken from."""
    db.execute(
        "UPDATE volumes SET state = ?, next_state = ?, until = ?, server = ? WHERE ref = ?",
        (state, next_state, clock.now().timestamp() + after_s, server, ref),
    )


def free_from(db: sqlite3.Connection, server: str) -> None:
    """Let go of every volume a server has, because it goes away."""
    db.execute(
        "UPDATE volumes SET state = ?, next_state = NULL, until = NULL, server = NULL WHERE server = ?",
        (NativeVolume.AVAILABLE, server),
    )


def observe(row: sqlite3.Row) -> VolumeObservation:
    """Return a volume as the provider reports it."""
    native = native_state(row)
    return VolumeObservation(
        ref=row["ref"],
        name=row["name"],
        size_gib=row["size_gib"],
        state=_STATE.get(native, VolumeState.UNKNOWN),
        native_state=native,
        token=uuid.UUID(row["token"]) if row["token"] else None,
        server=server_of(row),
        zone=row["zone"] or None,
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
    )
