"""Disks that outlive servers: Cinder's volumes, found by the token in their metadata.

Cinder has no key that makes a create happen once: the call looks before and after, and keeps the oldest of its token.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from cloudmgr.domain.messages import N_
from providers.base import VolumeObservation, VolumeSpec, VolumeState
from providers.errors import Busy, InvalidSpec
from providers.openstack import build, errors, lookup, words, zones
from providers.openstack.connection import Cloud
from providers.openstack.observe import ROOT_DEVICES, when

_STATES: Mapping[str, VolumeState] = {
    "available": VolumeState.AVAILABLE,
    "in-use": VolumeState.ATTACHED,
    "detaching": VolumeState.BUILDING,
    "attaching": VolumeState.BUILDING,
    "reserved": VolumeState.BUILDING,
    "creating": VolumeState.BUILDING,
    "downloading": VolumeState.BUILDING,
    "extending": VolumeState.BUILDING,
    "retyping": VolumeState.BUILDING,
    "deleting": VolumeState.BUILDING,
    "error": VolumeState.ERROR,
    "error_deleting": VolumeState.ERROR,
    "error_extending": VolumeState.ERROR,
    "error_restoring": VolumeState.ERROR,
    "error_backing-up": VolumeState.ERROR,
}
_REMOVABLE = {"available", "error", "error_deleting", "error_extending", "error_restoring"}


def create(cloud: Cloud, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
    """Begin to make an empty volume, or return the one the token made."""
    if (found := find(cloud, token)) is not None:
        return found
    if spec.size_gib < 1:
        raise InvalidSpec(N_("A volume needs at least one GiB."))
    if spec.zone not in {place.ref for place in zones.places(cloud)}:
        raise InvalidSpec(N_("The cloud has no zone {zone}."), zone=spec.zone)
    metadata = {
        f"{build.LABEL_PREFIX}{key}"[: build.TEXT_MOST]: str(value)[: build.TEXT_MOST]
        for key, value in spec.labels.items()
        if key.isascii()
    }
    volume = {
        "size": spec.size_gib,
        "name": spec.name[: build.TEXT_MOST],
        "metadata": {**metadata, words.TOKEN: str(token), words.ZONE: spec.zone},
        **build.placed(cloud),
    }
    made = cloud.change("volume", "POST", "/volumes", {"volume": volume})["volume"]
    first = min(_rows(cloud, token) or [made], key=lambda row: (row.get("created_at") or "", row["id"]))
    if first["id"] != made["id"]:
        cloud.remove("volume", f"/volumes/{made['id']}")
    return _observe(first)


def find(cloud: Cloud, token: uuid.UUID) -> VolumeObservation | None:
    """Return the volume of a token."""
    rows = sorted(_rows(cloud, token), key=lambda row: (row.get("created_at") or "", row["id"]))
    return _observe(rows[0]) if rows else None


def list_all(cloud: Cloud) -> Iterator[VolumeObservation]:
    """Yield every volume that is not a server's own disk."""
    for row in cloud.pages("volume", "/volumes/detail", "volumes"):
        if not _is_own_disk(row):
            yield _observe(row)


def attach(cloud: Cloud, ref: str, server: str) -> None:
    """Begin to give a volume to a server.

    Raises:
        Busy: another server has it, or it is on its way. NotFound: one of them is not there.
    """
    row = _get(cloud, ref)
    holder = lookup.server(cloud, server)
    has = _server_of(row)
    if has == holder["id"] and row["status"] == "in-use":
        return
    if has is not None or row["status"] != "available":
        raise Busy(N_("Volume {name} is in use or changing; detach it first."), name=_name(row), detail=row["status"])
    body = {"volumeAttachment": {"volumeId": row["id"]}}
    cloud.change("compute", "POST", f"/servers/{holder['id']}/os-volume_attachments", body)


def detach(cloud: Cloud, ref: str) -> None:
    """Begin to take a volume from the server that has it."""
    row = _get(cloud, ref)
    has = _server_of(row)
    if row["status"] == "detaching" or (has is None and row["status"] in _REMOVABLE | {"deleting"}):
        return
    if has is None:
        raise errors.busy(f"volume {ref} is {row['status']}")
    cloud.remove("compute", f"/servers/{has}/os-volume_attachments/{row['id']}")


def delete(cloud: Cloud, ref: str) -> None:
    """Remove a volume and its snapshots; the absent succeeds (P3).

    Raises:
        Busy: a server has it, or it is on its way.
    """
    answer = cloud.find("volume", f"/volumes/{ref}") if words.is_ref(ref) else None
    if answer is None or answer["volume"]["status"] == "deleting":
        return
    row = answer["volume"]
    if _server_of(row) is not None or row["status"] not in _REMOVABLE:
        raise Busy(N_("Volume {name} is in use or changing; detach it first."), name=_name(row), detail=row["status"])
    cloud.remove("volume", f"/volumes/{row['id']}?cascade=true")


def _rows(cloud: Cloud, token: uuid.UUID) -> list[Mapping[str, Any]]:
    return [row for row in lookup.volumes_of(cloud, token) if not _is_own_disk(row)]


def _get(cloud: Cloud, ref: str) -> Mapping[str, Any]:
    answer = cloud.find("volume", f"/volumes/{ref}") if words.is_ref(ref) else None
    if answer is None:
        raise errors.not_found(f"volume {ref[:100]!r}")
    row: Mapping[str, Any] = answer["volume"]
    return row


def _is_own_disk(row: Mapping[str, Any]) -> bool:
    """Tell whether a volume is a server's system or data disk."""
    if (row.get("metadata") or {}).get(words.ROLE) == words.DATA_DISK:
        return True
    is_bootable = str(row.get("bootable")).lower() == "true"
    return is_bootable and any(one.get("device") in ROOT_DEVICES for one in row.get("attachments") or ())


def _server_of(row: Mapping[str, Any]) -> str | None:
    return next((str(one["server_id"]) for one in row.get("attachments") or () if one.get("server_id")), None)


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("name") or row["id"])


def _observe(row: Mapping[str, Any]) -> VolumeObservation:
    metadata = row.get("metadata") or {}
    status = str(row.get("status") or "")
    return VolumeObservation(
        ref=row["id"],
        name=_name(row),
        size_gib=int(row["size"]),
        state=_STATES.get(status, VolumeState.UNKNOWN),
        native_state=status or "unknown",
        token=words.token_of(metadata),
        server=_server_of(row),
        zone=metadata.get(words.ZONE) or row.get("availability_zone"),
        created_at=when(row.get("created_at")),
    )
