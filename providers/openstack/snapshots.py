"""Points in time of a server: images of its system disk.

Reverting rebuilds the server from the image: identity, addresses and attached volumes stay, the system disk becomes what
it was, and what was on it since is lost. The data disk and other volumes are in no snapshot and are not changed by one.
"""

from collections.abc import Mapping
from typing import Any

from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_
from providers.base import SnapshotObservation
from providers.errors import Unsupported
from providers.openstack import errors, lookup, servers, words
from providers.openstack.connection import Cloud
from providers.openstack.observe import TASK, when

_GONE = {"deleted", "pending_delete"}
_BROKEN = {"killed"}


def create(cloud: Cloud, ref: str, name: str) -> SnapshotObservation:
    """Begin to take a snapshot; the same name on the same server is the one that stands."""
    row = lookup.server(cloud, ref)
    for image in _images(cloud, row["id"]):
        if image[words.SNAPSHOT] == name and image["status"] not in _BROKEN:
            return _observe(image)
    if row.get(TASK) is not None:
        raise errors.busy(f"server {ref} is {row.get('status')} ({row.get(TASK)})")
    metadata = {words.SNAPSHOT_OF: row["id"], words.SNAPSHOT: name[:255]}
    if (token := words.token_of(row.get("metadata"))) is not None:
        metadata[words.TOKEN] = str(token)
    answer = cloud.call(
        "compute",
        "POST",
        f"/servers/{row['id']}/action",
        body={"createImage": {"name": f"{row['name']}-{name}"[:255], "metadata": metadata}},
        write=True,
    )
    made = str((answer.body or {}).get("image_id") or answer.headers.get("location", "").rpartition("/")[2])
    found = cloud.find("image", f"/images/{made}") if words.is_ref(made) else None
    if found is None:
        raise errors.unknown_outcome("createImage named no image that is there")
    return _observe({**metadata, **found})


def list_all(cloud: Cloud, ref: str) -> list[SnapshotObservation]:
    """Return a server's snapshots, oldest first."""
    row = lookup.server(cloud, ref)
    return sorted((_observe(image) for image in _images(cloud, row["id"])), key=lambda one: (one.created_at, one.ref))


def revert(cloud: Cloud, ref: str, snapshot: str) -> None:
    """Begin to rebuild the server from its snapshot.

    Raises:
        NotFound: it has no such snapshot. Unsupported: its state does not allow it. Busy: the snapshot is being written.
    """
    row = lookup.server(cloud, ref)
    image = next((one for one in _images(cloud, row["id"]) if one["id"] == snapshot), None)
    if image is None:
        raise errors.not_found(f"snapshot {snapshot[:100]!r} of {ref}")
    if image["status"] != "active" or row.get(TASK) is not None:
        raise errors.busy(f"snapshot is {image['status']}, server is {row.get('status')} ({row.get(TASK)})")
    if not row.get("image"):
        raise Unsupported(N_("This server runs from a volume; OpenStack cannot bring it back from a snapshot."))
    servers.act(cloud, row["id"], "rebuild", {"imageRef": image["id"]})


def delete(cloud: Cloud, ref: str, snapshot: str) -> None:
    """Remove a snapshot; the absent succeeds (P3). One the server is being rebuilt from is not taken away under it."""
    row = lookup.find(cloud, ref)
    if row is None or all(one["id"] != snapshot for one in _images(cloud, row["id"])):
        return
    if row.get("status") == "REBUILD" or str(row.get(TASK) or "").startswith(("rebuild", "image_")):
        raise errors.busy(f"server {ref} is {row.get('status')} ({row.get(TASK)})")
    cloud.remove("image", f"/images/{snapshot}")


def _images(cloud: Cloud, server: str) -> list[Mapping[str, Any]]:
    rows = cloud.pages("image", "/images", "images", **{words.SNAPSHOT_OF: server})
    return [row for row in rows if row.get(words.SNAPSHOT_OF) == server and row.get("status") not in _GONE]


def _observe(image: Mapping[str, Any]) -> SnapshotObservation:
    return SnapshotObservation(image["id"], image[words.SNAPSHOT], when(image.get("created_at")) or clock.now())
