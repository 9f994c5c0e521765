"""What Nova says of a server, in the contract's words. States it does not list become UNKNOWN and are kept verbatim (P6)."""

import ipaddress
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cloudmgr.domain.architectures import Architecture, normalise
from cloudmgr.domain.errors import Refusal
from providers.base import PowerState, ServerObservation
from providers.openstack import words, zones
from providers.openstack.catalogue import Catalogue
from providers.openstack.connection import Cloud

_POWER: Mapping[str, PowerState] = {
    "ACTIVE": PowerState.RUNNING,
    "BUILD": PowerState.BUILDING,
    "ERROR": PowerState.ERROR,
    "HARD_REBOOT": PowerState.RUNNING,
    "MIGRATING": PowerState.RUNNING,
    "PASSWORD": PowerState.RUNNING,
    "PAUSED": PowerState.PAUSED,
    "REBOOT": PowerState.RUNNING,
    "REBUILD": PowerState.BUILDING,
    "RESCUE": PowerState.RUNNING,
    "RESIZE": PowerState.BUILDING,
    "REVERT_RESIZE": PowerState.BUILDING,
    "SHELVED": PowerState.STOPPED,
    "SHELVED_OFFLOADED": PowerState.STOPPED,
    "SHUTOFF": PowerState.STOPPED,
    "SUSPENDED": PowerState.PAUSED,
    "VERIFY_RESIZE": PowerState.BUILDING,
}
ROOT_DEVICES = ("/dev/vda", "/dev/sda", "/dev/xvda", "/dev/hda")
TASK = "OS-EXT-STS:task_state"


class Observer:
    """Turns rows of Nova into observations; reads Cinder once for all of them, and only where a server has a volume."""

    def __init__(self, cloud: Cloud, catalogue: Catalogue) -> None:
        self._cloud = cloud
        self._catalogue = catalogue
        self._disks: dict[str, list[Mapping[str, Any]]] | None = None

    def server(self, row: Mapping[str, Any]) -> ServerObservation:
        """Return one server."""
        metadata = row.get("metadata") or {}
        power, native = power_of(row)
        arch = self._arch(row, metadata)
        flavor = self._catalogue.flavor((row.get("flavor") or {}).get("id") or "")
        system_gib, data_gib = self._disk_sizes(row, metadata, flavor.disk_gib if flavor else None)
        v4, v6 = _addresses(row)
        image = (row.get("image") or {}).get("id") if isinstance(row.get("image"), dict) else None
        return ServerObservation(
            ref=row["id"],
            name=row.get("name") or row["id"],
            power=power,
            native_state=native,
            token=words.token_of(metadata),
            arch=arch,
            vcpus=flavor.vcpus if flavor else None,
            memory_mib=flavor.memory_mib if flavor else None,
            system_disk_gib=system_gib,
            data_disk_gib=data_gib,
            zone=zones.ref_of(self._cloud, row.get("OS-EXT-AZ:availability_zone"), arch) or metadata.get(words.ZONE),
            host=row.get("OS-EXT-SRV-ATTR:host"),
            image=self._image(image, metadata),
            ipv4=v4,
            ipv6=v6,
            created_at=when(row.get("created")),
            networks=self._networks(row),
            native_uuid=row["id"],
        )

    def _arch(self, row: Mapping[str, Any], metadata: Mapping[str, Any]) -> Architecture | None:
        image = row.get("image")
        if isinstance(image, dict) and (found := self._catalogue.image_arch(image.get("id"))) is not None:
            return found
        try:  # its image is gone, or it runs from a volume: what we asked for when we made it
            return normalise(str(metadata.get(words.ZONE_ARCH) or ""))
        except Refusal:
            return None

    def _image(self, ref: str | None, metadata: Mapping[str, Any]) -> str | None:
        known = self._catalogue.image_of(ref)
        if ref is not None and ref not in self._catalogue.images.get():
            return metadata.get(words.IMAGE) or known
        return known

    def _networks(self, row: Mapping[str, Any]) -> tuple[str, ...] | None:
        names = list(row.get("addresses") or ())
        if not names:
            return None
        refs = []
        for name in names:
            found = [n.ref for n in self._catalogue.networks.get().values() if n.name == name]
            if len(found) != 1:
                return None  # two networks of one name: Nova does not say which
            refs.append(found[0])
        return tuple(refs)

    def _disk_sizes(
        self, row: Mapping[str, Any], metadata: Mapping[str, Any], flavor_gib: int | None
    ) -> tuple[int | None, int | None]:
        """Return the system's and the data disk's GiB; volumes that live apart from the server are neither."""
        is_ours = words.token_of(metadata) is not None
        system_gib = flavor_gib
        if not row.get("os-extended-volumes:volumes_attached"):
            return system_gib, 0
        data_gib = 0
        for volume in self._volumes_of(row["id"]):
            told = volume.get("metadata") or {}
            device = next((a.get("device") for a in volume["attachments"] if a.get("server_id") == row["id"]), "")
            if not row.get("image") and device in ROOT_DEVICES:
                system_gib = int(volume["size"])
            elif told.get(words.ROLE) == words.DATA_DISK or (not is_ours and words.token_of(told) is None):
                data_gib += int(volume["size"])
        return system_gib, data_gib

    def _volumes_of(self, server: str) -> list[Mapping[str, Any]]:
        if self._disks is None:
            self._disks = {}
            for volume in self._cloud.pages("volume", "/volumes/detail", "volumes"):
                for attachment in volume.get("attachments") or ():
                    self._disks.setdefault(attachment.get("server_id") or "", []).append(volume)
        return self._disks.get(server, [])


def half_created(token: uuid.UUID) -> ServerObservation:
    """Return what a creation left that ended before there was a server: things made for it, found by its token."""
    ref = words.half_ref(token)
    return ServerObservation(ref=ref, name=ref, power=PowerState.ERROR, native_state="half-created", token=token)


def power_of(row: Mapping[str, Any]) -> tuple[PowerState, str]:
    """Return the state in our words and in Nova's own, with the task that is under way."""
    status = str(row.get("status") or "")
    task = row.get(TASK)
    native = f"{status} ({task})" if task else status
    if status == "ERROR" and (why := (row.get("fault") or {}).get("message")):
        native = f"{native}: {str(why)[:160]}"
    return _POWER.get(status, PowerState.UNKNOWN), native or "unknown"


def when(text: Any) -> datetime | None:
    """Return a time of the cloud, which is UTC where it does not say."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _addresses(row: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return fixed addresses by version; floating ones belong to the network's door, not to the server."""
    cards: Iterable[Any] = (row.get("addresses") or {}).values()
    found = [
        ipaddress.ip_address(one["addr"])
        for card in cards
        for one in card
        if one.get("OS-EXT-IPS:type", "fixed") == "fixed"
    ]
    distinct = list(dict.fromkeys(found))
    return tuple(str(a) for a in distinct if a.version == 4), tuple(str(a) for a in distinct if a.version == 6)  # noqa: PLR2004
