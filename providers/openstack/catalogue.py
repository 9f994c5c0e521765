"""What the cloud offers: flavors, images, networks, and which of them a spec asks for. Sizes are exact or refused (P4)."""

import ipaddress
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from cloudmgr.domain.architectures import Architecture, normalise
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_
from providers.base import ImageObservation, NetworkObservation, SubnetObservation
from providers.errors import InvalidSpec
from providers.openstack import words
from providers.openstack.connection import Cloud

T = TypeVar("T")
KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Flavor:
    """A named size."""

    ref: str
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    ephemeral_gib: int


class _Kept(Generic[T]):
    """A list read from the cloud and kept for a minute, so that reading a thousand servers does not read it again."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._guard = Lock()
        self._known: tuple[float, T] | None = None

    def get(self, *, anew: bool = False) -> T:
        with self._guard:
            known = self._known
        if not anew and known is not None and time.monotonic() - known[0] < KEPT_S:
            return known[1]
        found = self._read()
        with self._guard:
            self._known = (time.monotonic(), found)
        return found


class Catalogue:
    """Flavors, images and networks of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.flavors = _Kept(self._read_flavors)
        self.images = _Kept(self._read_images)
        self.networks = _Kept(self._read_networks)

    def flavor(self, ref: str) -> Flavor | None:
        """Return the flavor of a server, also one that is no longer offered; None when it is gone altogether."""
        known = self.flavors.get()
        if ref not in known:
            found = self._cloud.find("compute", f"/flavors/{ref}") if words.is_ref(ref) else None
            known[ref] = None if found is None else _flavor(found["flavor"])
        return known[ref]

    def image_arch(self, ref: str | None) -> Architecture | None:
        """Return the architecture an image says it is of."""
        image = self.images.get().get(ref or "")
        return None if image is None else arch_of(image)

    def image_of(self, ref: str | None) -> str | None:
        """Return the template a server's image stems from: a server that was reverted runs from its snapshot."""
        image = self.images.get().get(ref or "")
        return ref if image is None else image.get("base_image_ref") or ref

    def offered_images(self) -> list[ImageObservation]:
        """Return the bootable templates; snapshots and images that are not whole are none."""
        found = self.images.get(anew=True).values()
        return [observe_image(image) for image in found if is_template(image)]

    def offered_networks(self) -> list[NetworkObservation]:
        """Return the networks our project may use."""
        return list(self.networks.get(anew=True).values())

    def choose_flavor(self, *, vcpus: int, memory_mib: int, disk_gib: int) -> Flavor:
        """Return the flavor of exactly this size.

        Raises:
            InvalidSpec: there is none; the message tells the nearest.
        """
        if vcpus < 1 or memory_mib < 1 or disk_gib < 1:
            raise InvalidSpec(N_("A server needs at least one vCPU, some memory and a system disk."))
        known = [flavor for flavor in self.flavors.get(anew=True).values() if flavor and not flavor.ephemeral_gib]
        wanted = (vcpus, memory_mib, disk_gib)
        exact = [f for f in known if (f.vcpus, f.memory_mib, f.disk_gib) == wanted]
        if exact:
            return min(exact, key=lambda flavor: flavor.name)
        raise InvalidSpec(
            N_(
                "The cloud has no flavor of {vcpus} vCPUs, {memory_mib} MiB and {disk_gib} GiB; nearest are: {nearest}."
            ),
            vcpus=vcpus,
            memory_mib=memory_mib,
            disk_gib=disk_gib,
            nearest=", ".join(_nearest(known, wanted)) or "-",
        )

    def choose_image(self, ref: str, arch: Architecture, disk_gib: int, digest: str | None) -> ImageObservation:
        """Return the image of a spec.

        Raises:
            InvalidSpec: it is not there, of another or no architecture, too large for the disk (P13), or was changed.
        """
        found = next((image for image in self.offered_images() if image.ref == ref), None)
        if found is None:
            raise InvalidSpec(N_("The cloud has no image {image}."), image=ref)
        if found.arch is None:
            raise InvalidSpec(
                N_("Image {image} does not say its architecture (hw_architecture); it is not used."), image=found.name
            )
        if found.arch is not arch:
            raise InvalidSpec(
                N_("Image {image} is of the architecture {has}, not {arch}."),
                image=found.name,
                has=found.arch.value,
                arch=arch.value,
            )
        if disk_gib < found.min_disk_gib:
            raise InvalidSpec(
                N_("Image {image} needs a system disk of {min_disk_gib} GiB or more."),
                image=found.name,
                min_disk_gib=found.min_disk_gib,
            )
        if digest and found.digest and digest.removeprefix("sha256:") != found.digest:
            raise InvalidSpec(
                N_("Image {image} is not the one that was approved: its digest differs."), image=found.name
            )
        return found

    def choose_networks(self, refs: Iterable[str]) -> list[NetworkObservation]:
        """Return the networks of a spec, in its order; without any, the configured one or the only one.

        Raises:
            InvalidSpec: one is not there or leads outside, or none was named and there is not just one.
        """
        known = self.networks.get(anew=True)
        inner = {ref: network for ref, network in known.items() if not network.is_external}
        asked = list(refs)
        if not asked:
            default = self._cloud.options.default_network
            asked = [ref for ref, n in inner.items() if default in {ref, n.name}] if default else list(inner)
            if len(asked) != 1:
                raise InvalidSpec(N_("Name a network: the cloud has not just one, and none is set as the default."))
        for ref in asked:
            if ref not in inner:
                raise InvalidSpec(N_("The cloud has no network {network} for servers."), network=ref)
        return [inner[ref] for ref in asked]

    def _read_flavors(self) -> dict[str, Flavor | None]:
        rows = self._cloud.pages("compute", "/flavors/detail", "flavors")
        return {row["id"]: _flavor(row) for row in rows}

    def _read_images(self) -> dict[str, Mapping[str, Any]]:
        return {row["id"]: row for row in self._cloud.pages("image", "/images", "images")}

    def _read_networks(self) -> dict[str, NetworkObservation]:
        subnets: dict[str, list[SubnetObservation]] = {}
        for row in self._cloud.pages("network", "/subnets", "subnets"):
            subnets.setdefault(row["network_id"], []).append(_subnet(row))
        rows = self._cloud.pages("network", "/networks", "networks")
        return {row["id"]: _network(row, subnets.get(row["id"], [])) for row in rows}


def arch_of(image: Mapping[str, Any]) -> Architecture | None:
    """Return what an image says of its architecture: Nova's own property, or the one some vendors write instead."""
    for key in ("hw_architecture", "architecture", "__support_arch"):
        if isinstance(value := image.get(key), str) and value:
            try:
                return normalise(value)
            except Refusal:
                return None
    return None


def is_template(image: Mapping[str, Any]) -> bool:
    """Tell whether servers may be built from an image."""
    return image.get("status") == "active" and image.get("image_type") != "snapshot" and words.SNAPSHOT_OF not in image


def observe_image(image: Mapping[str, Any]) -> ImageObservation:
    """Return an image as the contract tells it; its digest is Glance's own."""
    digest = image.get("os_hash_value") if image.get("os_hash_algo") == "sha256" else None
    return ImageObservation(
        ref=image["id"],
        name=image.get("name") or image["id"],
        arch=arch_of(image),
        min_disk_gib=int(image.get("min_disk") or 0),
        digest=digest,
    )


def _flavor(row: Mapping[str, Any]) -> Flavor:
    ephemeral = int(row.get("OS-FLV-EXT-DATA:ephemeral") or 0)
    return Flavor(row["id"], row["name"], int(row["vcpus"]), int(row["ram"]), int(row["disk"]), ephemeral)


def _nearest(known: Iterable[Flavor], wanted: tuple[int, int, int]) -> list[str]:
    def distance(flavor: Flavor) -> float:
        has = (flavor.vcpus, flavor.memory_mib, max(flavor.disk_gib, 1))
        return sum(max(a, b) / max(min(a, b), 1) for a, b in zip(has, wanted, strict=True))

    near = sorted(known, key=distance)[:3]
    return [f"{f.name} ({f.vcpus} vCPUs, {f.memory_mib} MiB, {f.disk_gib} GiB)" for f in near]


def _subnet(row: Mapping[str, Any]) -> SubnetObservation:
    gateway = row.get("gateway_ip")
    return SubnetObservation(
        ref=row["id"],
        name=row.get("name") or "",
        cidr=str(ipaddress.ip_network(row["cidr"], strict=False)),
        gateway=None if not gateway else str(ipaddress.ip_address(gateway)),
        dns=tuple(str(ipaddress.ip_address(one)) for one in row.get("dns_nameservers") or ()),
    )


def _network(row: Mapping[str, Any], subnets: list[SubnetObservation]) -> NetworkObservation:
    by_version = {ipaddress.ip_network(one.cidr).version: one for one in reversed(subnets)}
    v4, v6 = by_version.get(4), by_version.get(6)
    return NetworkObservation(
        ref=row["id"],
        name=row.get("name") or row["id"],
        cidr_v4=v4.cidr if v4 else None,
        cidr_v6=v6.cidr if v6 else None,
        gateway_v4=v4.gateway if v4 else None,
        subnets=tuple(subnets),
        is_external=bool(row.get("router:external")),
    )
