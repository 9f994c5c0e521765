"""Finding what belongs to a token, and one server by its reference.

Nova lets a plain member list by name and not by metadata (that filter is silently ignored), so a server's name ends with
eight digits of its token and its metadata decides. A server whose name was changed by hand is found by its port.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from providers.openstack import errors, words
from providers.openstack.connection import Cloud

Row = Mapping[str, Any]
_GONE = {"DELETED", "SOFT_DELETED"}


def server(cloud: Cloud, ref: str) -> Row:
    """Return one server.

    Raises:
        NotFound: there is none.
    """
    found = find(cloud, ref)
    if found is None:
        raise errors.not_found(f"server {ref[:100]!r}")
    return found


def find(cloud: Cloud, ref: str) -> Row | None:
    """Return one server, None when there is none."""
    if not words.is_ref(ref):
        return None
    answer = cloud.find("compute", f"/servers/{ref}")
    row: Row | None = None if answer is None else answer["server"]
    return None if row is None or row.get("status") in _GONE else row


def servers_of(cloud: Cloud, token: uuid.UUID) -> list[Row]:
    """Return the servers made with a token: the one that has its port first, those of a lost race behind it."""
    return servers_and_ports(cloud, token)[0]


def servers_and_ports(cloud: Cloud, token: uuid.UUID) -> tuple[list[Row], list[Row]]:
    """Return the servers as `servers_of` does, and the ports made for the token."""
    ports = ports_of(cloud, token)
    rows = cloud.pages("compute", "/servers/detail", "servers", name=f"-{words.suffix(token)}$")
    found = {row["id"]: row for row in rows if _is_of(row, token)}
    owners = [port["device_id"] for port in ports if port.get("device_id")]
    for owner in owners:
        if owner not in found and (row := find(cloud, owner)) is not None and _is_of(row, token):
            found[owner] = row
    ranked = sorted(
        found.values(),
        key=lambda row: (row["id"] not in owners, row.get("status") == "ERROR", row.get("created") or "", row["id"]),
    )
    return ranked, ports


def ports_of(cloud: Cloud, token: uuid.UUID) -> list[Row]:
    """Return the ports made for a token, bound or not."""
    return list(cloud.pages("network", "/ports", "ports", name=words.thing_name(token)))


def data_disks_of(cloud: Cloud, token: uuid.UUID) -> list[Row]:
    """Return the data disks made for the server of a token."""
    return [row for row in volumes_of(cloud, token) if (row.get("metadata") or {}).get(words.ROLE) == words.DATA_DISK]


def volumes_of(cloud: Cloud, token: uuid.UUID) -> list[Row]:
    """Return every volume that carries a token, a server's or its own, by Cinder's exact filter and checked again."""
    wanted = str({words.TOKEN: str(token)})  # Cinder reads a Python literal here
    rows = cloud.pages("volume", "/volumes/detail", "volumes", metadata=wanted)
    return [row for row in rows if words.token_of(row.get("metadata")) == token and row.get("status") != "deleted"]


def snapshots_of(cloud: Cloud, token: uuid.UUID) -> list[Row]:
    """Return the snapshots made of the server of a token."""
    rows = cloud.pages("image", "/images", "images", **{words.TOKEN: str(token)})
    return [row for row in rows if words.token_of(row) == token]


def groups_named(cloud: Cloud, name: str) -> list[Row]:
    """Return security groups of exactly this name."""
    return [
        row for row in cloud.pages("network", "/security-groups", "security_groups", name=name) if row["name"] == name
    ]


def _is_of(row: Row, token: uuid.UUID) -> bool:
    return words.token_of(row.get("metadata")) == token and row.get("status") not in _GONE
