"""The making and unmaking of one instance: first a security group of its own, then the instance with its disks.

The token is in a tag of everything made, put there by the call that makes it. Doubles are kept out three ways: we look by
the tag, EC2 itself by the client token, and after a launch we look again, for clouds that know no client tokens.
"""

import base64
import contextlib
import ipaddress
import uuid
from collections.abc import Mapping

from cloudmgr.domain.messages import N_
from providers.base import FixedAddress, ImageObservation, ServerSpec
from providers.errors import AddressTaken, Busy, InvalidSpec, NotFound, ProviderError, Remedy
from providers.libcloud.ec2.objects import (
    DISK,
    KIND,
    SERVER,
    TOKEN,
    Instance,
    Subnet,
    groups,
    instance,
    instances,
    interfaces,
    is_id,
    subnets,
    volumes,
)
from providers.libcloud.ec2.wire import Wire, items, tag_params, text
from providers.libcloud.options import LibcloudOptions, Zone
from providers.libcloud.sizes import Held
from providers.libcloud.userdata import cloud_config

LAUNCHES = 3
"""Client tokens tried in one call: EC2 answers a spent one with the instance it made, though that is long terminated."""
DATA_DEVICE = "/dev/sdb"
EC2_KEEPS = 4
"""Addresses at the beginning of each subnet that EC2 keeps for itself; the last one too."""


def of_token(token: uuid.UUID, kind: str) -> dict[str, str]:
    """Return the filter for what was made with a token."""
    return {f"tag:{TOKEN}": str(token), f"tag:{KIND}": kind}


def find(wire: Wire, token: uuid.UUID) -> Instance | None:
    """Return the instance of a token, the oldest where there are more."""
    found = sorted(instances(wire, of_token(token, SERVER)), key=lambda one: (str(one.launched), one.ref))
    return found[0] if found else None


def subnet_for(wire: Wire, spec: ServerSpec, zone: Zone, options: LibcloudOptions) -> Subnet:
    """Return the subnet a server goes on: the one asked for, the settings', or the zone's default one.

    Raises:
        InvalidSpec: there is no such subnet, or it is in another availability zone.
    """
    if len(spec.networks) > 1:
        raise InvalidSpec(N_("A server of this cloud goes on one network, not on {count}."), count=len(spec.networks))
    asked = next(iter(spec.networks), None) or options.default_network
    if asked and not is_id(asked, "subnet"):
        filters = None
    else:
        filters = {"subnet-id": asked} if asked else {"availability-zone": zone.location, "default-for-az": "true"}
    found = next(subnets(wire, filters), None) if filters else None
    if found is None or found.location != zone.location:
        raise InvalidSpec(
            N_("This cloud does not offer the network asked for in zone {zone}."), detail=f"{asked}", zone=zone.name
        )
    return found


def check_addresses(wire: Wire, subnet: Subnet, addresses: tuple[FixedAddress, ...]) -> None:
    """Refuse addresses that are not the subnet's, or in use.

    Raises:
        InvalidSpec, AddressTaken.
    """
    for given in addresses:
        try:
            address = ipaddress.ip_address(given.address)
            network = ipaddress.ip_network((subnet.cidr_v4 if address.version == 4 else subnet.cidr_v6) or "::/128")  # noqa: PLR2004 - IPv4
        except ValueError as error:
            raise InvalidSpec(
                N_("Address {address} is not one of network {network}."), address=given.address, network=subnet.name
            ) from error
        place = int(address) - int(network.network_address)
        if address not in network or place < EC2_KEEPS or place == network.num_addresses - 1:
            raise InvalidSpec(
                N_("Address {address} is not one of network {network}."), address=given.address, network=subnet.name
            )
        name = "addresses.private-ip-address" if address.version == 4 else "ipv6-addresses.ipv6-address"  # noqa: PLR2004
        if any(
            str(address) in one.addresses for one in interfaces(wire, {"subnet-id": subnet.ref, name: str(address)})
        ):
            raise AddressTaken(N_("Address {address} is in use in the cloud."), address=given.address)


def own_group(wire: Wire, token: uuid.UUID, vpc: str) -> str:
    """Return the server's security group, made where there is none; closed until ports are opened."""
    name = group_name(token)
    filters = {"group-name": name, "vpc-id": vpc}
    if found := groups(wire, filters):
        return str(found[0]["ref"])
    params = {"GroupName": name, "GroupDescription": f"Ports opened for {token}", "VpcId": vpc}
    try:
        made = wire.ask("CreateSecurityGroup", params | tag_params("security-group", _tags(token, SERVER, name)))
        return text(made, "groupId") or ""
    except Busy:  # a rival has made it meanwhile
        if found := groups(wire, filters):
            return str(found[0]["ref"])
        raise


def group_name(token: uuid.UUID) -> str:
    """Return the name of a server's security group; names are unique in a VPC."""
    return f"cloudmgr-{token}"


def launch(
    wire: Wire,
    spec: ServerSpec,
    token: uuid.UUID,
    *,
    zone: Zone,
    image: ImageObservation,
    root_device: str,
    size: Held,
    subnet: Subnet,
    options: LibcloudOptions,
) -> Instance:
    """Build the security group and the instance; whatever was made by a call that is refused is taken away again.

    Raises:
        ProviderError: NoCapacity, AddressTaken, Busy (a rival built it at the same moment), UnknownOutcome …
    """
    group = own_group(wire, token, subnet.vpc)
    params = _run_params(
        spec, token, zone, image, root_device, size, subnet, (group, *options.security_groups), options
    )
    try:
        made = _run(wire, token, params)
    except ProviderError as error:
        if error.remedy in (Remedy.FAIL, Remedy.NEXT_ZONE, Remedy.NEXT_ADDRESS) and find(wire, token) is None:
            with contextlib.suppress(ProviderError):
                wire.ask("DeleteSecurityGroup", {"GroupId": group})
        raise
    _yield_to_rivals(wire, token, made)
    return made


def _run(wire: Wire, token: uuid.UUID, params: Mapping[str, str | int]) -> Instance:
    for number in range(LAUNCHES):
        client_token = str(token) if number == 0 else f"{token}-{number}"
        answer = wire.ask("RunInstances", {**params, "ClientToken": client_token})
        made = instance(items(answer, "instancesSet/item")[0])
        if made.state not in ("terminated", "shutting-down"):
            return made
    raise Busy(N_("An earlier server of this request is still being removed; try again shortly."), detail=str(token))


def _yield_to_rivals(wire: Wire, token: uuid.UUID, mine: Instance) -> None:
    """Take my instance away unless it is older than every other of the token: they may be known to somebody already."""
    others = [one for one in instances(wire, of_token(token, SERVER)) if one.ref != mine.ref]
    if any(mine.launched is None or one.launched is None or one.launched <= mine.launched for one in others):
        wire.ask("TerminateInstances", {"InstanceId.1": mine.ref})
        raise Busy(
            N_("Another call is building the same server; try again shortly."),
            detail=f"{mine.ref} gives way to {', '.join(one.ref for one in others)}",
        )


def _run_params(
    spec: ServerSpec,
    token: uuid.UUID,
    zone: Zone,
    image: ImageObservation,
    root_device: str,
    size: Held,
    subnet: Subnet,
    groups_of_it: tuple[str, ...],
    options: LibcloudOptions,
) -> dict[str, str | int]:
    params: dict[str, str | int] = {
        "ImageId": image.ref,
        "InstanceType": size.ref,
        "MinCount": 1,
        "MaxCount": 1,
        "Placement.AvailabilityZone": zone.location,
        "InstanceInitiatedShutdownBehavior": "stop",
        "MetadataOptions.HttpTokens": "required",
        "NetworkInterface.1.DeviceIndex": 0,
        "NetworkInterface.1.SubnetId": subnet.ref,
        "NetworkInterface.1.DeleteOnTermination": "true",
        "NetworkInterface.1.AssociatePublicIpAddress": "false",  # public addresses are asked for, and counted
        "UserData": base64.b64encode(cloud_config(spec).encode()).decode(),
    }
    disks = [(root_device, spec.system_disk_gib)]
    if spec.data_disk_gib:
        disks.append((DATA_DEVICE, spec.data_disk_gib))
    for number, (device, size_gib) in enumerate(disks, 1):
        root = f"BlockDeviceMapping.{number}"
        params |= {
            f"{root}.DeviceName": device,
            f"{root}.Ebs.VolumeSize": size_gib,
            f"{root}.Ebs.VolumeType": options.volume_type,
            f"{root}.Ebs.DeleteOnTermination": "true",
        }
    for number, group in enumerate(groups_of_it, 1):
        params[f"NetworkInterface.1.SecurityGroupId.{number}"] = group
    for given in spec.addresses:
        address = ipaddress.ip_address(given.address)
        if address.version == 4:  # noqa: PLR2004 - IPv4
            params["NetworkInterface.1.PrivateIpAddress"] = str(address)
        else:
            params["NetworkInterface.1.Ipv6Addresses.1.Ipv6Address"] = str(address)
    labels = {f"cloudmgr:{key}": value for key, value in spec.labels.items()}
    made = (("instance", SERVER), ("volume", DISK), ("network-interface", SERVER))
    for number, (what, kind) in enumerate(made, 1):
        params |= tag_params(what, _tags(token, kind, spec.name) | labels, number)
    return params


def _tags(token: uuid.UUID, kind: str, name: str) -> dict[str, str]:
    return {"Name": name, TOKEN: str(token), KIND: kind}


def remove(wire: Wire, ref: str) -> None:
    """Terminate an instance and clear what it leaves; the absent succeeds, what is still in use is left for the next call."""
    if ref.startswith(LEFT):
        with contextlib.suppress(ValueError):
            clear(wire, uuid.UUID(ref.removeprefix(LEFT)))
        return
    path = "reservationSet/item/instancesSet/item"
    element = wire.find_by_id("DescribeInstances", path, "InstanceId", ref) if is_id(ref, "i") else None
    if element is None:
        return
    found = instance(element)
    if found.state not in ("terminated", "shutting-down"):
        with contextlib.suppress(NotFound):
            wire.ask("TerminateInstances", {"InstanceId.1": ref})
    if found.token is not None:
        clear(wire, found.token)


LEFT = "left:"
"""Begins the reference of what a server left behind, or of what was made before it; the token follows."""


def left(wire: Wire, token: uuid.UUID) -> list[str]:
    """Return what there is of a token beside its instance."""
    disks = [one.ref for one in volumes(wire, of_token(token, DISK)) if one.server is None and one.state != "deleting"]
    return [*disks, *(str(group["ref"]) for group in groups(wire, of_token(token, SERVER)))]


def clear(wire: Wire, token: uuid.UUID) -> None:
    """Delete what there is of a token beside its instance, as far as nothing uses it."""
    for ref in left(wire, token):
        with contextlib.suppress(Busy, NotFound):
            if is_id(ref, "vol"):
                wire.ask("DeleteVolume", {"VolumeId": ref})
            else:
                wire.ask("DeleteSecurityGroup", {"GroupId": ref})
