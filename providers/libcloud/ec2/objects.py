"""EC2's objects as we read them: instances with their disks, images, subnets, volumes, interfaces, security groups."""

import ipaddress
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element

from cloudmgr.domain.architectures import Architecture, normalise
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_
from providers.base import PowerState, ServerObservation, SubnetObservation
from providers.errors import NotFound
from providers.libcloud.ec2.wire import Wire, items, tags, text
from providers.libcloud.options import Zone
from providers.libcloud.sizes import Held
from providers.libcloud.zones import zone_ref

TOKEN, KIND = "cloudmgr-token", "cloudmgr-kind"
SERVER, DISK, VOLUME, ADDRESS = "server", "disk", "volume", "address"
"""What a token was given for, in the tag KIND: volumes of their own and the disks of servers are one kind of object there."""

GONE = frozenset({"terminated"})
_POWER = {
    "pending": PowerState.BUILDING,
    "running": PowerState.RUNNING,
    "stopping": PowerState.RUNNING,
    "stopped": PowerState.STOPPED,
    "shutting-down": PowerState.ERROR,  # on its way out, whatever it was
}
_ID = re.compile(r"^(i|vol|subnet|sg|eni|eipalloc|snap|ami)-[0-9a-f]{8,17}$")


def is_id(ref: str, prefix: str) -> bool:
    """Whether a reference can be one of EC2's, so that a strange one is never sent."""
    return _ID.match(ref) is not None and ref.startswith(f"{prefix}-")


def token_of(given: Mapping[str, str]) -> uuid.UUID | None:
    """Return the token among an object's tags."""
    try:
        return uuid.UUID(given.get(TOKEN, ""))
    except ValueError:
        return None


def architecture(said: str | None) -> Architecture | None:
    """Return our word for EC2's; i386 and mac are none of ours."""
    try:
        return normalise(said or "")
    except Refusal:
        return None


def moment(said: str | None) -> datetime | None:
    """Return a time of EC2's."""
    try:
        return datetime.fromisoformat(said or "").astimezone(UTC)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as EC2 describes it."""

    ref: str
    state: str
    tags: Mapping[str, str]
    type: str
    image: str | None
    subnet: str | None
    vpc: str | None
    location: str | None
    arch: Architecture | None
    root_device: str | None
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]
    launched: datetime | None

    @property
    def token(self) -> uuid.UUID | None:
        """The token it was made with."""
        return token_of(self.tags)


def instance(element: Element) -> Instance:
    """Read one instance."""
    private = [text(nic, "privateIpAddress") for nic in items(element, "networkInterfaceSet/item")]
    ipv4 = (text(element, "privateIpAddress"), *private, text(element, "ipAddress"))
    ipv6 = [
        text(item, "ipv6Address")
        for nic in items(element, "networkInterfaceSet/item")
        for item in items(nic, "ipv6AddressesSet/item")
    ]
    return Instance(
        ref=text(element, "instanceId") or "",
        state=text(element, "instanceState/name") or "unknown",
        tags=tags(element),
        type=text(element, "instanceType") or "",
        image=text(element, "imageId"),
        subnet=text(element, "subnetId"),
        vpc=text(element, "vpcId"),
        location=text(element, "placement/availabilityZone"),
        arch=architecture(text(element, "architecture")),
        root_device=text(element, "rootDeviceName"),
        ipv4=tuple(dict.fromkeys(one for one in ipv4 if one)),
        ipv6=tuple(dict.fromkeys(str(ipaddress.ip_address(one)) for one in ipv6 if one)),
        launched=moment(text(element, "launchTime")),
    )


def instances(wire: Wire, filters: Mapping[str, str] | None = None) -> Iterator[Instance]:
    """Yield the instances that are not gone."""
    for element in wire.find("DescribeInstances", "reservationSet/item/instancesSet/item", filters):
        found = instance(element)
        if found.state not in GONE:
            yield found


def get(wire: Wire, ref: str) -> Instance:
    """Return one instance.

    Raises:
        NotFound: there is none, or it was terminated.
    """
    path = "reservationSet/item/instancesSet/item"
    element = wire.find_by_id("DescribeInstances", path, "InstanceId", ref) if is_id(ref, "i") else None
    found = None if element is None else instance(element)
    if found is None or found.state in GONE:
        raise NotFound(N_("There is no such object in this cloud."), detail=f"instance {ref[:100]}")
    return found


@dataclass(frozen=True, slots=True)
class Volume:
    """One EBS volume; `is_own` means that it goes when the server goes."""

    ref: str
    size_gib: int
    state: str
    tags: Mapping[str, str]
    location: str | None
    server: str | None
    device: str | None
    attachment: str | None
    is_own: bool
    created: datetime | None


def volume(element: Element) -> Volume:
    """Read one volume."""
    return Volume(
        ref=text(element, "volumeId") or "",
        size_gib=int(text(element, "size") or 0),
        state=text(element, "status") or "unknown",
        tags=tags(element),
        location=text(element, "availabilityZone"),
        server=text(element, "attachmentSet/item/instanceId"),
        device=text(element, "attachmentSet/item/device"),
        attachment=text(element, "attachmentSet/item/status"),
        is_own=(text(element, "attachmentSet/item/deleteOnTermination") or "").lower() == "true",
        created=moment(text(element, "createTime")),
    )


def volumes(wire: Wire, filters: Mapping[str, str] | None = None) -> Iterator[Volume]:
    """Yield volumes."""
    return (volume(element) for element in wire.find("DescribeVolumes", "volumeSet/item", filters))


def is_servers_own(seen: Volume) -> bool:
    """Whether a volume is a server's own disk, not one that outlives it."""
    return seen.tags.get(KIND) == DISK or (seen.server is not None and seen.is_own and seen.tags.get(KIND) != VOLUME)


def observe(
    found: Iterable[Instance], disks: Iterable[Volume], zones: list[Zone], sizes: Mapping[str, Held]
) -> Iterator[ServerObservation]:
    """Yield instances as servers, with the sizes of their disks."""
    of: dict[str, list[Volume]] = {}
    for disk in disks:
        if disk.server is not None and is_servers_own(disk):
            of.setdefault(disk.server, []).append(disk)
    for one in found:
        system = [disk.size_gib for disk in of.get(one.ref, []) if disk.device == one.root_device]
        data = [disk.size_gib for disk in of.get(one.ref, []) if disk.device != one.root_device]
        size = sizes.get(one.type)
        yield ServerObservation(
            ref=one.ref,
            name=one.tags.get("Name") or one.ref,
            power=_POWER.get(one.state, PowerState.UNKNOWN),
            native_state=one.state,
            token=one.token,
            arch=one.arch,
            vcpus=size.vcpus if size else None,
            memory_mib=size.memory_mib if size else None,
            system_disk_gib=sum(system) if system else None,
            data_disk_gib=sum(data) if system else None,
            zone=zone_ref(zones, one.location, one.arch),
            image=one.image,
            ipv4=one.ipv4,
            ipv6=one.ipv6,
            created_at=one.launched,
            networks=(one.subnet,) if one.subnet else (),
        )


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet: what a server is attached to, in one availability zone."""

    ref: str
    name: str
    vpc: str
    location: str
    cidr_v4: str
    cidr_v6: str | None
    is_default: bool

    @property
    def gateway_v4(self) -> str:
        """The first address, by EC2's rule."""
        return str(ipaddress.ip_network(self.cidr_v4)[1])

    def as_observed(self) -> tuple[SubnetObservation, ...]:
        """Return its ranges, one of each family."""
        v4 = SubnetObservation(self.ref, self.name, self.cidr_v4, self.gateway_v4)
        return (v4, SubnetObservation(self.ref, self.name, self.cidr_v6)) if self.cidr_v6 else (v4,)


def subnets(wire: Wire, filters: Mapping[str, str] | None = None) -> Iterator[Subnet]:
    """Yield subnets."""
    for element in wire.find("DescribeSubnets", "subnetSet/item", filters):
        ref = text(element, "subnetId") or ""
        v6 = [text(item, "ipv6CidrBlock") for item in items(element, "ipv6CidrBlockAssociationSet/item")]
        yield Subnet(
            ref=ref,
            name=tags(element).get("Name") or ref,
            vpc=text(element, "vpcId") or "",
            location=text(element, "availabilityZone") or "",
            cidr_v4=text(element, "cidrBlock") or "",
            cidr_v6=next((str(ipaddress.ip_network(one)) for one in v6 if one), None),
            is_default=text(element, "defaultForAz") == "true",
        )


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface and every address it has."""

    ref: str
    subnet: str
    server: str | None
    mac: str | None
    description: str
    tags: Mapping[str, str]
    addresses: tuple[str, ...]


def interfaces(wire: Wire, filters: Mapping[str, str] | None = None) -> Iterator[Interface]:
    """Yield network interfaces."""
    for element in wire.find("DescribeNetworkInterfaces", "networkInterfaceSet/item", filters):
        v4 = [text(item, "privateIpAddress") for item in items(element, "privateIpAddressesSet/item")]
        v6 = [text(item, "ipv6Address") for item in items(element, "ipv6AddressesSet/item")]
        told = [text(element, "privateIpAddress"), *v4, *v6]
        yield Interface(
            ref=text(element, "networkInterfaceId") or "",
            subnet=text(element, "subnetId") or "",
            server=text(element, "attachment/instanceId"),
            mac=text(element, "macAddress"),
            description=text(element, "description") or "",
            tags=tags(element),
            addresses=tuple(dict.fromkeys(str(ipaddress.ip_address(one)) for one in told if one)),
        )


def groups(wire: Wire, filters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return security groups: id, VPC, tags and the element their rules are read from."""
    return [
        {
            "ref": text(element, "groupId") or "",
            "name": text(element, "groupName") or "",
            "vpc": text(element, "vpcId") or "",
            "tags": tags(element),
            "element": element,
        }
        for element in wire.find("DescribeSecurityGroups", "securityGroupInfo/item", filters)
    ]
