"""From a virtual machine's properties to what the contract wants to know of a server."""

import ipaddress
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pyVmomi import vim

from providers.base import PowerState, ServerObservation
from providers.vsphere.collector import Row
from providers.vsphere.inventory import Inventory, Place, arch_of, id_of
from providers.vsphere.options import VSphereOptions

PATHS = (
    "name",
    "config.instanceUuid",
    "config.uuid",
    "config.template",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "config.hardware.device",
    "config.extraConfig",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "resourcePool",
    "network",
    "guest.net",
    "guest.ipAddress",
)
TOKEN, NAME, IMAGE, STAGE, MADE, ADDRESSES, VOLUMES = (
    f"cloudmgr.{word}" for word in ("token", "name", "image", "stage", "made", "addresses", "volumes")
)
"""Our notes on a server, in its extraConfig. Not under guestinfo: a guest may write there."""
_KIB_PER_GIB = 1024 * 1024
_POWER = {
    "poweredOn": PowerState.RUNNING,
    "poweredOff": PowerState.STOPPED,
    "suspended": PowerState.PAUSED,
}
_CONNECTED = "connected"


class Stage(StrEnum):
    """How far a server's making is."""

    CLONED = "cloned"
    EQUIPPED = "equipped"
    """Sizes, disks and cards are what was asked for."""
    CONFIGURED = "configured"
    BUILT = "built"
    """It has been on: from now on its power is its owner's business."""


@dataclass(frozen=True, slots=True)
class World:
    """What a server is seen against."""

    inventory: Inventory
    places: list[Place]
    options: VSphereOptions


def observe(row: Row, world: World) -> ServerObservation | None:
    """Return a server; None for a template."""
    if row.get("config.template"):
        return None
    notes = notes_of(row)
    token = token_of(row)
    host = world.inventory.hosts.get(id_of(row.get("runtime.host")) or "")
    power, native = power_of(row.get("runtime.powerState"), row.get("runtime.connectionState"))
    stage = stage_of(row)
    unfinished = token is not None and stage is not Stage.BUILT
    if unfinished and power is PowerState.STOPPED:
        power, native = PowerState.BUILDING, f"{native}, {stage}"
    system, data = disk_sizes(row)
    ipv4, ipv6 = addresses_of(row)
    instance = row.get("config.instanceUuid")
    return ServerObservation(
        ref=str(instance or row.moid),
        name=name_of(row),
        power=power,
        native_state=native,
        token=token,
        arch=None if host is None else arch_of(host),
        vcpus=row.get("config.hardware.numCPU"),
        memory_mib=row.get("config.hardware.memoryMB"),
        system_disk_gib=system,
        data_disk_gib=data,
        zone=world.inventory.zone_of(
            world.options, world.places, id_of(row.get("runtime.host")), id_of(row.get("resourcePool"))
        ),
        host=None if host is None else host.get("name"),
        image=notes.get(IMAGE) if token is not None else None,
        ipv4=ipv4,
        ipv6=ipv6,
        created_at=_moment(notes.get(MADE)) if token is not None else None,
        networks=tuple(dict.fromkeys(one for one in map(id_of, row.get("network") or []) if one)),
        native_uuid=row.get("config.uuid"),
        unfinished=unfinished,
    )


def power_of(power: Any, connection: Any) -> tuple[PowerState, str]:
    """Translate vSphere's power and connection states; a host out of reach means that nobody knows (P6)."""
    if connection is not None and connection != _CONNECTED:
        return PowerState.UNKNOWN, str(connection)
    return _POWER.get(str(power), PowerState.UNKNOWN), str(power)


def notes_of(row: Row) -> dict[str, str]:
    """Return our notes; where a key stands twice the last one counts."""
    options = row.get("config.extraConfig") or []
    return {option.key: str(option.value) for option in options if option.key.startswith("cloudmgr.")}


def token_of(row: Row) -> uuid.UUID | None:
    """Return the token of a server of ours.

    The note has to agree with the instance UUID: a clone that somebody makes of our server takes the note along, and gets
    another UUID.
    """
    noted = notes_of(row).get(TOKEN)
    if noted is None or noted != str(row.get("config.instanceUuid", "")).lower():
        return None
    try:
        return uuid.UUID(noted)
    except ValueError:
        return None


def stage_of(row: Row) -> Stage:
    """Return how far our making of it is."""
    try:
        return Stage(notes_of(row).get(STAGE, Stage.CLONED))
    except ValueError:
        return Stage.CLONED


def native_name(name: str, token: uuid.UUID) -> str:
    """Return the name in the vCenter: two projects may use one name, and a folder holds each once."""
    return f"{name}-{token.hex[-8:]}"


def name_of(row: Row) -> str:
    """Return the name we gave it, or the one that somebody has given it since."""
    name, token = str(row.get("name", row.moid)), token_of(row)
    ours = notes_of(row).get(NAME)
    return ours if token is not None and ours is not None and name == native_name(ours, token) else name


def disks_of(row: Row) -> list[Any]:
    """Return a machine's own disks, in their order; attached volumes are not its own."""
    volumes = volume_files_of(row)
    disks = [device for device in devices_of(row) if isinstance(device, vim.vm.device.VirtualDisk)]
    own = [disk for disk in disks if getattr(disk.backing, "fileName", None) not in volumes]
    return sorted(own, key=lambda disk: (disk.controllerKey or 0, disk.unitNumber or 0, disk.key))


def devices_of(row: Row) -> list[Any]:
    """Return a machine's virtual hardware."""
    return list(row.get("config.hardware.device") or [])


def cards_of(row: Row) -> list[Any]:
    """Return a machine's network cards."""
    return [device for device in devices_of(row) if isinstance(device, vim.vm.device.VirtualEthernetCard)]


def volume_files_of(row: Row) -> set[str]:
    """Return the files of the volumes we attached."""
    noted = notes_of(row).get(VOLUMES, "")
    return {name for name in noted.split("\n") if name}


def disk_sizes(row: Row) -> tuple[int | None, int | None]:
    """Return the sizes of the first disk and of all others together, in whole GiB rounded up."""
    if row.get("config.hardware.device") is None:
        return None, None
    sizes = [-(-int(disk.capacityInKB) // _KIB_PER_GIB) for disk in disks_of(row)]
    return (sizes[0], sum(sizes[1:])) if sizes else (None, None)


def addresses_of(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the addresses the guest tells, those of its own link left out."""
    told = [address for card in row.get("guest.net") or [] for address in card.ipAddress or []]
    if not told and row.get("guest.ipAddress"):
        told = [row.get("guest.ipAddress")]
    found = sorted(
        {one for one in map(parsed_address, told) if one is not None}, key=lambda one: (one.version, int(one))
    )
    return tuple(str(one) for one in found if one.version == 4), tuple(str(one) for one in found if one.version == 6)  # noqa: PLR2004 - IP versions


def parsed_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address others can reach; none for one of the link or of the machine itself."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return None if found.is_link_local or found.is_loopback or found.is_unspecified else found


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def observe_all(rows: Iterable[Row], world: World) -> Iterable[ServerObservation]:
    """Translate one after another; none is kept."""
    for row in rows:
        seen = observe(row, world)
        if seen is not None:
            yield seen
