"""What a simulated cloud keeps: for a token, for nobody, and whether one thing is still there.

References of a server's own parts begin with the server's: `REF/system`, `REF/data`, `REF/nic0`, `REF/rules`.
"""

import sqlite3
import uuid
from datetime import UTC, datetime

from providers.base import ResourceKind, ResourceObservation
from providers.simulated import servers, volumes


def kept_for(db: sqlite3.Connection, token: uuid.UUID) -> list[ResourceObservation]:
    """Return everything that was made for a token, be it of a server, a volume or a public address."""
    found = _of_server(db, row, token) if (row := servers.find(db, token=token)) is not None else []
    if (volume := volumes.find(db, token=token)) is not None:
        found.append(_volume(volume))
    text = str(token)
    found += [_public(one) for one in db.execute("SELECT * FROM public_addresses WHERE token = ?", (text,))]
    return found + [_left(one) for one in db.execute("SELECT * FROM leftovers WHERE token = ?", (text,))]


def without_owner(db: sqlite3.Connection) -> list[ResourceObservation]:
    """Return every disk, volume, snapshot, port or public address that no server uses, ours or not."""
    rows = db.execute("SELECT * FROM volumes ORDER BY created_at, ref")
    found = [_volume(row) for row in rows if volumes.server_of(row) is None]
    found += [_public(row) for row in db.execute("SELECT * FROM public_addresses WHERE server IS NULL ORDER BY ref")]
    return found + [_left(row) for row in db.execute("SELECT * FROM leftovers ORDER BY created_at, ref")]


def is_there(db: sqlite3.Connection, one: ResourceObservation) -> bool:
    """Whether the cloud still has this very thing."""
    if db.execute("SELECT 1 FROM leftovers WHERE ref = ? AND kind = ?", (one.ref, one.kind)).fetchone():
        return True
    match one.kind:
        case ResourceKind.SERVER:
            return servers.find(db, ref=one.ref) is not None
        case ResourceKind.VOLUME:
            return volumes.find(db, ref=one.ref) is not None
        case ResourceKind.SNAPSHOT:
            return db.execute("SELECT 1 FROM snapshots WHERE ref = ?", (one.ref,)).fetchone() is not None
        case ResourceKind.ADDRESS if "/" not in one.ref:
            return db.execute("SELECT 1 FROM public_addresses WHERE ref = ?", (one.ref,)).fetchone() is not None
        case ResourceKind.DISK | ResourceKind.NIC | ResourceKind.PORT_RULES | ResourceKind.ADDRESS:
            row = servers.find(db, ref=one.ref.partition("/")[0])
            return row is not None and any(
                (kept.kind, kept.ref) == (one.kind, one.ref) for kept in _of_server(db, row, None)
            )
        case _:
            return False


def leave_disk(db: sqlite3.Connection, ref: str) -> None:
    """Keep a server's system disk for when the server has gone."""
    row = servers.find(db, ref=ref)
    if row is not None:
        db.execute(
            "INSERT OR REPLACE INTO leftovers (ref, kind, name, size_gib, token, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (
                f"{ref}/system",
                ResourceKind.DISK,
                f"{row['name']}-system",
                row["system_disk_gib"],
                row["token"],
                row["created_at"],
            ),
        )


def _of_server(db: sqlite3.Connection, row: sqlite3.Row, token: uuid.UUID | None) -> list[ResourceObservation]:
    ref, name = row["ref"], row["name"]
    made = datetime.fromtimestamp(row["created_at"], UTC)

    def part(kind: ResourceKind, suffix: str, size_gib: int | None = None) -> ResourceObservation:
        return ResourceObservation(kind, f"{ref}/{suffix}", f"{name}-{suffix}", size_gib, token, ref, made)

    found = [ResourceObservation(ResourceKind.SERVER, ref, name, None, token, ref, made)]
    found.append(part(ResourceKind.DISK, "system", row["system_disk_gib"]))
    if row["data_disk_gib"]:
        found.append(part(ResourceKind.DISK, "data", row["data_disk_gib"]))
    addresses = db.execute(
        "SELECT nic, address FROM addresses WHERE server = ? ORDER BY nic, family", (ref,)
    ).fetchall()
    found += [part(ResourceKind.NIC, f"nic{nic}") for nic in sorted({one["nic"] for one in addresses})]
    found += [
        ResourceObservation(ResourceKind.ADDRESS, f"{ref}/{one['address']}", one["address"], None, token, ref, made)
        for one in addresses
    ]
    if db.execute("SELECT 1 FROM port_rules WHERE server = ? LIMIT 1", (ref,)).fetchone():
        found.append(part(ResourceKind.PORT_RULES, "rules"))
    for one in db.execute("SELECT * FROM snapshots WHERE server = ? ORDER BY created_at, ref", (ref,)):
        at = datetime.fromtimestamp(one["created_at"], UTC)
        found.append(ResourceObservation(ResourceKind.SNAPSHOT, one["ref"], one["name"], None, token, ref, at))
    return found


def _volume(row: sqlite3.Row) -> ResourceObservation:
    seen = volumes.observe(row)
    return ResourceObservation(
        ResourceKind.VOLUME, seen.ref, seen.name, seen.size_gib, seen.token, seen.server, seen.created_at
    )


def _public(row: sqlite3.Row) -> ResourceObservation:
    made = datetime.fromtimestamp(row["created_at"], UTC)
    token = uuid.UUID(row["token"])
    return ResourceObservation(ResourceKind.ADDRESS, row["ref"], row["address"], None, token, row["server"], made)


def _left(row: sqlite3.Row) -> ResourceObservation:
    return ResourceObservation(
        ResourceKind(row["kind"]),
        row["ref"],
        row["name"],
        row["size_gib"],
        uuid.UUID(row["token"]) if row["token"] else None,
        None,
        datetime.fromtimestamp(row["created_at"], UTC),
    )
