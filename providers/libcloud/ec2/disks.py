"""EBS volumes that outlive servers. EC2 does not tell a volume to wait: what is not ready answers Busy, and is asked again."""

import uuid
from collections.abc import Iterator

from cloudmgr.domain.messages import N_
from providers.base import VolumeObservation, VolumeSpec, VolumeState
from providers.errors import Busy, InvalidSpec, NoCapacity, NotFound
from providers.libcloud.ec2.objects import (
    KIND,
    TOKEN,
    VOLUME,
    Volume,
    get,
    is_id,
    is_servers_own,
    token_of,
    volume,
    volumes,
)
from providers.libcloud.ec2.servers import DATA_DEVICE, of_token
from providers.libcloud.ec2.wire import Wire, tag_params, text
from providers.libcloud.options import LibcloudOptions, Zone
from providers.libcloud.zones import zone_ref

DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")
"""EC2's recommended names for attached volumes."""
LIMIT_GIB = 16384
_STATE = {
    "creating": VolumeState.BUILDING,
    "available": VolumeState.AVAILABLE,
    "in-use": VolumeState.ATTACHED,
    "deleting": VolumeState.BUILDING,
    "error": VolumeState.ERROR,
}


def create(wire: Wire, spec: VolumeSpec, token: uuid.UUID, zones: list[Zone], options: LibcloudOptions) -> Volume:
    """Begin to make an empty volume in a zone's availability zone.

    Raises:
        InvalidSpec: no such zone, or a size no volume can have.
    """
    zone = next((zone for zone in zones if zone.ref == spec.zone), None)
    if zone is None or not 1 <= spec.size_gib <= LIMIT_GIB:
        raise InvalidSpec(
            N_("The cloud has no such zone, or no volume of {size_gib} GiB."), detail=spec.zone, size_gib=spec.size_gib
        )
    if (found := find(wire, token)) is not None:
        return found
    given = {"Name": spec.name, TOKEN: str(token), KIND: VOLUME}
    given |= {f"cloudmgr:{key}": value for key, value in spec.labels.items()}
    params = {
        "Size": spec.size_gib,
        "AvailabilityZone": zone.location,
        "VolumeType": options.volume_type,
        "ClientToken": str(token),
    }
    made = volume(wire.ask("CreateVolume", params | tag_params("volume", given)))
    others = [one for one in volumes(wire, of_token(token, VOLUME)) if one.ref != made.ref]
    if any(made.created is None or one.created is None or one.created <= made.created for one in others):
        wire.ask("DeleteVolume", {"VolumeId": made.ref})
        raise Busy(N_("Something else is being done to this object; try again shortly."), detail=f"token {token}")
    return made


def find(wire: Wire, token: uuid.UUID) -> Volume | None:
    """Return the volume of a token, the oldest where there are more."""
    found = sorted(volumes(wire, of_token(token, VOLUME)), key=lambda one: (str(one.created), one.ref))
    return found[0] if found else None


def standing(wire: Wire) -> Iterator[Volume]:
    """Yield every volume that is not a server's own disk."""
    return (one for one in volumes(wire) if not is_servers_own(one))


def observe(seen: Volume, zones: list[Zone]) -> VolumeObservation:
    """Return a volume as a backend's; one that is being attached or detached is building."""
    state = _STATE.get(seen.state, VolumeState.UNKNOWN)
    if state is VolumeState.ATTACHED and seen.attachment in ("attaching", "detaching"):
        state = VolumeState.BUILDING
    arch = next((zone.arch for zone in zones if zone.location == seen.location), None)
    return VolumeObservation(
        ref=seen.ref,
        name=seen.tags.get("Name") or seen.ref,
        size_gib=seen.size_gib,
        state=state,
        native_state=seen.state if not seen.attachment else f"{seen.state}, {seen.attachment}",
        token=token_of(seen.tags) if seen.tags.get(KIND) == VOLUME else None,
        server=seen.server,
        zone=zone_ref(zones, seen.location, arch),
        created_at=seen.created,
    )


def attach(wire: Wire, ref: str, server: str) -> None:
    """Begin to give a volume to a server, under the first free device name.

    Raises:
        Busy: another server has it, or it is not made yet. NotFound. NoCapacity: no device name is left.
    """
    seen, owner = _get(wire, ref), get(wire, server)
    if seen.server == server:
        return
    if seen.server is not None or seen.state != "available":
        raise Busy(N_("The volume is in use by another server, or not ready; try again shortly."), detail=seen.state)
    taken = {one.device for one in volumes(wire, {"attachment.instance-id": server})} | {owner.root_device, DATA_DEVICE}
    device = next((one for one in DEVICES if one not in taken), None)
    if device is None:
        raise NoCapacity(N_("The cloud has no room left for this, or its own limit is reached."), detail="device names")
    wire.ask("AttachVolume", {"VolumeId": ref, "InstanceId": server, "Device": device})


def detach(wire: Wire, ref: str) -> None:
    """Begin to take a volume from the server that has it."""
    seen = _get(wire, ref)
    if seen.server is not None and seen.attachment != "detaching":
        wire.ask("DetachVolume", {"VolumeId": ref, "InstanceId": seen.server, "Device": seen.device})


def delete(wire: Wire, ref: str) -> None:
    """Remove a volume, its snapshots first.

    Raises:
        Busy: a server has it.
    """
    element = wire.find_by_id("DescribeVolumes", "volumeSet/item", "VolumeId", ref) if is_id(ref, "vol") else None
    if element is None:
        return
    seen = volume(element)
    if seen.state in ("deleting", "deleted"):
        return
    if seen.server is not None:
        raise Busy(N_("The volume is in use by a server; detach it first."), detail=seen.server)
    for snapshot in wire.find("DescribeSnapshots", "snapshotSet/item", {"volume-id": ref}):
        wire.ask("DeleteSnapshot", {"SnapshotId": text(snapshot, "snapshotId")})
    wire.ask("DeleteVolume", {"VolumeId": ref})


def _get(wire: Wire, ref: str) -> Volume:
    element = wire.find_by_id("DescribeVolumes", "volumeSet/item", "VolumeId", ref) if is_id(ref, "vol") else None
    if element is None:
        raise NotFound(N_("There is no such object in this cloud."), detail=f"volume {ref[:100]}")
    return volume(element)
