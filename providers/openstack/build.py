"""Building a server: its ports, its data disk, then Nova's one call. Called again, it goes on where it stopped.

The first port is the claim (`claim`), the data disk a volume named by the token that Nova removes with the server. A disk
takes its time to be made, and nothing waits here: the caller is told to come again (Busy) and finds the disk ready.
"""

import base64
import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudmgr.domain.messages import N_
from providers.base import FixedAddress, ImageObservation, NetworkObservation, ServerSpec
from providers.errors import Busy, InvalidSpec, NoCapacity, UnknownOutcome
from providers.openstack import claim, errors, lookup, spread, words, zones
from providers.openstack.catalogue import Catalogue, Flavor
from providers.openstack.connection import Cloud

_NO_HOST = re.compile(r"no valid host|not enough|insufficient|exceeded .*retries|out of memory", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9_:. -]{1,200}")
LABEL_PREFIX = "cloudmgr."
TEXT_MOST = 255


def build(
    cloud: Cloud,
    catalogue: Catalogue,
    spec: ServerSpec,
    token: uuid.UUID,
    claimant: str,
    unanswered: Callable[[], None],
) -> str:
    """Return the reference of the server of a token, made now or before; tell when Nova did not answer the creation.

    Raises:
        InvalidSpec, NoCapacity, AddressTaken, Busy, UnknownOutcome.
    """
    if standing := lookup.servers_of(cloud, token):
        return _standing(cloud, standing[0])
    place = zones.choose(cloud, spec.zone, spec.arch)
    image = catalogue.choose_image(spec.image, spec.arch, spec.system_disk_gib, spec.image_digest)
    flavor = catalogue.choose_flavor(vcpus=spec.vcpus, memory_mib=spec.memory_mib, disk_gib=spec.system_disk_gib)
    if spec.data_disk_gib < 0:
        raise InvalidSpec(N_("A data disk cannot be smaller than nothing."))
    networks = catalogue.choose_networks(spec.networks)
    check_addresses(networks[0], spec.addresses)
    ports = _ports(cloud, spec, token, claimant, networks)
    disk = _data_disk(cloud, spec, token) if spec.data_disk_gib else None
    server = _description(cloud, spec, token, place, image, flavor, ports, disk)
    if spec.spread_group is not None:
        group = spread.group_for(cloud, spec.spread_group)
        server["server"]["metadata"][words.GROUP] = group
        server["os:scheduler_hints"] = {"group": group}
    try:
        return str(cloud.change("compute", "POST", "/servers", server)["server"]["id"])
    except InvalidSpec as error:
        if spread.is_missing(error):
            raise errors.busy(error.detail) from error
        raise
    except UnknownOutcome:
        unanswered()
        raise


def check_addresses(network: NetworkObservation, addresses: Sequence[FixedAddress]) -> None:
    """Refuse addresses that are none, or of no subnet of the network.

    Raises:
        InvalidSpec.
    """
    for one in addresses:
        try:
            address = ipaddress.ip_address(one.address)
            is_inside = any(address in ipaddress.ip_network(subnet.cidr) for subnet in network.subnets)
        except ValueError:
            is_inside = False
        if not is_inside:
            raise InvalidSpec(
                N_("Address {address} is not one of network {network}."), address=one.address, network=network.name
            )


def _standing(cloud: Cloud, row: Mapping[str, Any]) -> str:
    """Return the server that stands; one that never came up is removed, and the caller told why."""
    if row.get("status") != "ERROR" or row.get("OS-SRV-USG:launched_at"):
        return str(row["id"])
    why = str((row.get("fault") or lookup.server(cloud, row["id"]).get("fault") or {}).get("message") or "")
    cloud.remove("compute", f"/servers/{row['id']}")
    if _NO_HOST.search(why):
        raise NoCapacity(N_("The cloud found no host with room for this server."), detail=why)
    raise Busy(N_("What an earlier attempt left is being removed; try again shortly."), detail=why)


def _ports(
    cloud: Cloud, spec: ServerSpec, token: uuid.UUID, claimant: str, networks: Sequence[NetworkObservation]
) -> list[str]:
    groups = _groups(cloud)
    ports = [claim.take(cloud, token, claimant, networks[0], spec.addresses, groups)]
    if len(networks) > 1:
        others = [port for port in lookup.ports_of(cloud, token) if not claim.is_claim(port)]
        for network in networks[1:]:
            found = next((p for p in others if p["network_id"] == network.ref and not p.get("device_id")), None)
            if found is not None:
                others.remove(found)
            ports.append(found["id"] if found else claim.make_port(cloud, token, network, (), groups, "card"))
    return ports


def _groups(cloud: Cloud) -> list[str] | None:
    """Return the configured security groups' references; None leaves the choice to the cloud (its group `default`)."""
    if not cloud.options.security_groups:
        return None
    known = list(cloud.pages("network", "/security-groups", "security_groups"))
    refs = []
    for wanted in cloud.options.security_groups:
        found = [group["id"] for group in known if wanted in {group["id"], group["name"]}]
        if len(found) != 1:
            raise InvalidSpec(N_("The cloud has not just one security group {group}."), group=wanted)
        refs.append(found[0])
    return refs


def _data_disk(cloud: Cloud, spec: ServerSpec, token: uuid.UUID) -> str:
    """Return the data disk, ready to be attached.

    Raises:
        Busy: it is still being made, or one of another size is being removed.
    """
    disks = lookup.data_disks_of(cloud, token)
    fitting = [disk for disk in disks if int(disk["size"]) == spec.data_disk_gib and disk["status"] != "error"]
    if not fitting:
        for disk in disks:
            if disk["status"] in {"available", "error"}:
                cloud.remove("volume", f"/volumes/{disk['id']}")
        if disks:
            raise Busy(N_("What an earlier attempt left is being removed; try again shortly."))
        volume: dict[str, Any] = {
            "size": spec.data_disk_gib,
            "name": words.thing_name(token, words.DATA_DISK),
            "metadata": {words.TOKEN: str(token), words.ROLE: words.DATA_DISK},
        }
        volume |= placed(cloud)
        fitting = [cloud.change("volume", "POST", "/volumes", {"volume": volume})["volume"]]
    if fitting[0]["status"] != "available":
        raise Busy(N_("The server's data disk is being made; try again shortly."))
    return str(fitting[0]["id"])


def placed(cloud: Cloud) -> dict[str, str]:
    """Return what the settings say of where volumes are made."""
    options = cloud.options
    told = {"volume_type": options.volume_type, "availability_zone": options.volume_availability_zone}
    return {key: value for key, value in told.items() if value is not None}


def _description(
    cloud: Cloud,
    spec: ServerSpec,
    token: uuid.UUID,
    place: zones.Place,
    image: ImageObservation,
    flavor: Flavor,
    ports: Sequence[str],
    disk: str | None,
) -> dict[str, Any]:
    metadata = {
        f"{LABEL_PREFIX}{key}": str(value)[:TEXT_MOST] for key, value in spec.labels.items() if _LABEL.fullmatch(key)
    }
    metadata |= {
        words.TOKEN: str(token),
        words.ZONE: place.ref[:TEXT_MOST],
        words.ZONE_ARCH: place.arch.value,
        words.IMAGE: image.ref,
    }
    server: dict[str, Any] = {
        "name": words.server_name(spec.name, token),
        "imageRef": image.ref,
        "flavorRef": flavor.ref,
        "availability_zone": place.availability_zone,
        "networks": [{"port": port} for port in ports],
        "metadata": metadata,
        "user_data": base64.b64encode(user_data(spec).encode()).decode(),
    }
    if cloud.options.config_drive:
        server["config_drive"] = True
    if disk is not None:
        server["block_device_mapping_v2"] = [
            _device(0, "image", image.ref, "local"),
            _device(-1, "volume", disk, "volume"),
        ]
    return {"server": server}


def _device(order: int, source: str, ref: str, destination: str) -> dict[str, Any]:
    return {
        "boot_index": order,
        "source_type": source,
        "uuid": ref,
        "destination_type": destination,
        "delete_on_termination": True,
    }


def user_data(spec: ServerSpec) -> str:
    """Return cloud-init's user-data: a login user with keys and sudo, no password anywhere. JSON is YAML too."""
    told = {
        "hostname": spec.name,
        "preserve_hostname": False,
        "ssh_pwauth": False,
        "users": [
            {
                "name": spec.login_user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": list(spec.ssh_keys),
            }
        ],
    }
    return "#cloud-config\n" + json.dumps(told)
