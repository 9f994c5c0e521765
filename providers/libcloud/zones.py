"""Zones of a cloud: what the settings name, or each architecture at each location; and what may be built in one."""

from collections.abc import Collection

from cloudmgr.domain.architectures import Architecture, Cpu, CpuFamily
from cloudmgr.domain.messages import N_
from providers.base import ImageObservation, ServerSpec, ZoneObservation
from providers.errors import InvalidSpec
from providers.libcloud.options import LibcloudOptions, Zone


def zones_of(options: LibcloudOptions, locations: Collection[str]) -> list[Zone]:
    """Return the zones the settings name, or one of each architecture at each location."""
    if options.zones or options.room is None:
        return list(options.zones)
    return [
        Zone(
            ref=f"{location}/{arch.value}",
            name=f"{location} {arch.value}",
            location=location,
            arch=arch,
            **options.room.model_dump(),
        )
        for location in locations
        for arch in options.archs
    ]


def observe(options: LibcloudOptions, locations: Collection[str]) -> list[ZoneObservation]:
    """Return the zones as a backend's; one whose location the cloud does not list now is not available."""
    return [
        ZoneObservation(
            ref=zone.ref,
            name=zone.name,
            arch=zone.arch,
            cpu=Cpu(
                arch=zone.arch,
                family=zone.cpu_family,
                model="unknown" if zone.cpu_family is CpuFamily.UNKNOWN else zone.cpu_family.value,
                raw=f"libcloud {options.driver}, {zone.location}, as configured",
            ),
            vcpus=zone.vcpus,
            memory_mib=zone.memory_mib,
            disk_gib=zone.disk_gib,
            hosts=zone.hosts,
            available=zone.location in locations,
        )
        for zone in zones_of(options, locations)
    ]


def zone_ref(zones: list[Zone], location: str | None, arch: Architecture | None) -> str | None:
    """Return the zone a server at a location is counted in."""
    return next((zone.ref for zone in zones if zone.location == location and zone.arch is arch), None)


def check(spec: ServerSpec, zones: list[Zone], images: list[ImageObservation]) -> tuple[Zone, ImageObservation]:
    """Return the zone and image of a spec that can be built as it stands.

    Raises:
        InvalidSpec: a size is not positive, the zone or image is not known, or an architecture is another (P4, P13).
    """
    if min(spec.vcpus, spec.memory_mib, spec.system_disk_gib) < 1 or spec.data_disk_gib < 0:
        raise InvalidSpec(N_("A server needs at least 1 vCPU, 1 MiB of memory and 1 GiB of system disk."))
    zone = next((zone for zone in zones if zone.ref == spec.zone), None)
    image = next((image for image in images if image.ref == spec.image), None)
    if zone is None or image is None:
        raise InvalidSpec(
            N_("This cloud does not offer the zone or the image asked for."), detail=f"{spec.zone}, {spec.image}"
        )
    if not zone.arch is spec.arch is image.arch:
        raise InvalidSpec(
            N_("Zone {zone} and the image must both be of architecture {arch}."), zone=zone.name, arch=spec.arch.value
        )
    if spec.image_digest and image.digest and spec.image_digest != image.digest:
        raise InvalidSpec(N_("The cloud's image is not the one that was approved."), detail=f"{image.digest}")
    if spec.system_disk_gib < image.min_disk_gib:
        raise InvalidSpec(
            N_("The image needs a system disk of at least {min_disk_gib} GiB."), min_disk_gib=image.min_disk_gib
        )
    return zone, image
