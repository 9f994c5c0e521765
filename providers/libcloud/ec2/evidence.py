"""What EC2 keeps for a server, or for nobody; each thing is asked for again by its own reference."""

import uuid
from collections.abc import Iterator, Sequence

from providers.base import ResourceKind, ResourceObservation
from providers.errors import NotFound
from providers.libcloud.ec2.addresses import elastic, token_of_address
from providers.libcloud.ec2.objects import (
    DISK,
    KIND,
    SERVER,
    TOKEN,
    Volume,
    get,
    groups,
    instances,
    interfaces,
    is_id,
    is_servers_own,
    moment,
    token_of,
    volumes,
)
from providers.libcloud.ec2.wire import Wire, tags, text


def of_token(wire: Wire, token: uuid.UUID) -> Iterator[ResourceObservation]:
    """Yield everything made with a token, and what hangs on its instance."""
    made = {f"tag:{TOKEN}": str(token)}
    servers = list(instances(wire, made))
    seen: set[tuple[ResourceKind, str]] = set()
    for one in servers:
        name = one.tags.get("Name") or one.ref
        yield ResourceObservation(ResourceKind.SERVER, one.ref, name, token=token, created_at=one.launched)
        for nic in interfaces(wire, {"attachment.instance-id": one.ref}):
            yield ResourceObservation(ResourceKind.NIC, nic.ref, nic.mac or nic.ref, token=token, server=one.ref)
    disks = [*volumes(wire, made), *(d for one in servers for d in volumes(wire, {"attachment.instance-id": one.ref}))]
    for disk in disks:
        found = _disk(disk, token)
        belongs = token_of(disk.tags) == token or is_servers_own(disk)
        if belongs and disk.state != "deleting" and (found.kind, found.ref) not in seen:
            seen.add((found.kind, found.ref))
            yield found
    for group in groups(wire, made):
        yield ResourceObservation(
            ResourceKind.PORT_RULES,
            group["ref"],
            group["name"],
            token=token,
            server=servers[0].ref if servers else None,
        )
    refs = {one.ref for one in servers}
    for element in elastic(wire):
        if token_of_address(element) == token or text(element, "instanceId") in refs:
            yield ResourceObservation(
                ResourceKind.ADDRESS,
                text(element, "allocationId") or "",
                text(element, "publicIp") or "",
                token=token,
                server=text(element, "instanceId"),
            )
    yield from _snapshots(wire, {f"tag:{TOKEN}": str(token)}, token)


def without_owner(wire: Wire) -> Iterator[ResourceObservation]:
    """Yield disks, volumes, interfaces, addresses and groups of ours that no server uses."""
    for disk in volumes(wire):
        if disk.server is None and disk.state != "deleting":
            yield _disk(disk, token_of(disk.tags))
    for nic in interfaces(wire, {"status": "available"}):
        yield ResourceObservation(ResourceKind.NIC, nic.ref, nic.mac or nic.ref, token=token_of(nic.tags))
    for element in elastic(wire):
        if text(element, "associationId") is None:
            yield ResourceObservation(
                ResourceKind.ADDRESS,
                text(element, "allocationId") or "",
                text(element, "publicIp") or "",
                token=token_of_address(element),
            )
    served = {one.token for one in instances(wire)}
    for group in groups(wire, {f"tag:{KIND}": SERVER}):
        token = token_of(group["tags"])
        if token not in served:
            yield ResourceObservation(ResourceKind.PORT_RULES, group["ref"], group["name"], token=token)
    there = {disk.ref for disk in volumes(wire)}
    mapped = wire.find("DescribeImages", "imagesSet/item/blockDeviceMapping/item", None, {"Owner.1": "self"})
    of_images = {text(one, "ebs/snapshotId") for one in mapped}
    yield from (one for one in _snapshots(wire, {}, None) if one.name not in there and one.ref not in of_images)


def still_there(wire: Wire, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
    """Return those that EC2 still has; an instance that was terminated is not there."""
    return [one for one in resources if _is_there(wire, one)]


def _is_there(wire: Wire, one: ResourceObservation) -> bool:
    if one.kind is ResourceKind.SERVER:
        try:
            get(wire, one.ref)
        except NotFound:
            return False
        return True
    asked = _BY_ID.get(one.kind)
    if asked is None or not is_id(one.ref, asked[0]):
        return False
    _, action, path, name = asked
    found = wire.find_by_id(action, path, name, one.ref)
    return found is not None and text(found, "status") not in ("deleting", "deleted")


_VOLUME = ("vol", "DescribeVolumes", "volumeSet/item", "VolumeId")
_BY_ID = {
    ResourceKind.DISK: _VOLUME,
    ResourceKind.VOLUME: _VOLUME,
    ResourceKind.NIC: ("eni", "DescribeNetworkInterfaces", "networkInterfaceSet/item", "NetworkInterfaceId"),
    ResourceKind.ADDRESS: ("eipalloc", "DescribeAddresses", "addressesSet/item", "AllocationId"),
    ResourceKind.PORT_RULES: ("sg", "DescribeSecurityGroups", "securityGroupInfo/item", "GroupId"),
    ResourceKind.SNAPSHOT: ("snap", "DescribeSnapshots", "snapshotSet/item", "SnapshotId"),
}


def _disk(disk: Volume, token: uuid.UUID | None) -> ResourceObservation:
    is_disk = disk.tags.get(KIND) == DISK or is_servers_own(disk)
    return ResourceObservation(
        ResourceKind.DISK if is_disk else ResourceKind.VOLUME,
        disk.ref,
        disk.tags.get("Name") or disk.ref,
        size_gib=disk.size_gib,
        token=token,
        server=disk.server,
        created_at=disk.created,
    )


def _snapshots(wire: Wire, filters: dict[str, str], token: uuid.UUID | None) -> Iterator[ResourceObservation]:
    for element in wire.find("DescribeSnapshots", "snapshotSet/item", filters, {"Owner.1": "self"}):
        yield ResourceObservation(
            ResourceKind.SNAPSHOT,
            text(element, "snapshotId") or "",
            text(element, "volumeId") or "",
            size_gib=int(text(element, "volumeSize") or 0),
            token=token or token_of(tags(element)),
            created_at=moment(text(element, "startTime")),
        )
