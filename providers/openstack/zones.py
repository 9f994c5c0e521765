"""Placement targets: availability zones by architecture, from the settings or from the hypervisors where we may read them.

OpenStack places by the image's architecture inside an availability zone, so each pair of the two is a zone of ours.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudmgr.domain.architectures import Architecture, Cpu, CpuFamily, normalise, recognise_x86
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_
from providers.base import ZoneObservation
from providers.errors import AuthFailed, InvalidSpec, Unsupported
from providers.openstack.connection import Cloud
from providers.openstack.options import zone_ref

_X86_VENDORS = {"Intel": "GenuineIntel", "AMD": "AuthenticAMD", "Hygon": "HygonGenuine", "Zhaoxin": "  Shanghai  "}
_ARM_VENDORS = {"HiSilicon": CpuFamily.KUNPENG, "Huawei": CpuFamily.KUNPENG, "Phytium": CpuFamily.PHYTIUM}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a zone is: what Nova is asked for."""

    ref: str
    availability_zone: str
    arch: Architecture


def list_zones(cloud: Cloud) -> list[ZoneObservation]:
    """Return every zone with its room.

    Raises:
        Unsupported: none is configured, and the account may not read the hypervisors.
    """
    if cloud.options.zones:
        return _configured(cloud)
    hosts, available = _read_hosts(cloud)
    by_zone: dict[tuple[str, Architecture], list[Mapping[str, Any]]] = {}
    for row in cloud.get("compute", "/os-hypervisors/detail")["hypervisors"]:
        place = hosts.get((row.get("service") or {}).get("host", ""))
        arch = _arch(row)
        if place is not None and arch is not None:
            by_zone.setdefault((place, arch), []).append(row)
    return [_observe(place, arch, rows, place in available) for (place, arch), rows in sorted(by_zone.items())]


def choose(cloud: Cloud, ref: str, arch: Architecture) -> Place:
    """Return the zone of a spec.

    Raises:
        InvalidSpec: there is no such zone, or it is of another architecture (P13).
    """
    for place in places(cloud):
        if place.ref == ref:
            if place.arch is not arch:
                raise InvalidSpec(
                    N_("Zone {zone} is of the architecture {has}, not {arch}."),
                    zone=ref,
                    has=place.arch.value,
                    arch=arch.value,
                )
            return place
    raise InvalidSpec(N_("The cloud has no zone {zone}."), zone=ref)


def places(cloud: Cloud) -> list[Place]:
    """Return where each zone is."""
    if cloud.options.zones:
        return [Place(zone.key, zone.availability_zone, zone.arch) for zone in cloud.options.zones]
    return [Place(zone.ref, zone.ref.rpartition("/")[0], zone.arch) for zone in list_zones(cloud)]


def ref_of(cloud: Cloud, availability_zone: str | None, arch: Architecture | None) -> str | None:
    """Return the reference of the zone a server is in; None where its architecture is not known."""
    if not availability_zone or arch is None:
        return None
    for zone in cloud.options.zones:
        if (zone.availability_zone, zone.arch) == (availability_zone, arch):
            return zone.key
    return zone_ref(availability_zone, arch)


def _configured(cloud: Cloud) -> list[ZoneObservation]:
    told = cloud.get("compute", "/os-availability-zone")["availabilityZoneInfo"]
    available = {row["zoneName"] for row in told if (row.get("zoneState") or {}).get("available")}
    return [
        ZoneObservation(
            ref=zone.key,
            name=zone.name or zone.key,
            arch=zone.arch,
            cpu=Cpu(zone.arch, zone.cpu_family, "unknown", "as configured"),
            vcpus=zone.vcpus,
            memory_mib=zone.memory_mib,
            disk_gib=zone.disk_gib,
            hosts=zone.hosts,
            available=zone.availability_zone in available,
        )
        for zone in cloud.options.zones
    ]


def _read_hosts(cloud: Cloud) -> tuple[dict[str, str], set[str]]:
    try:
        rows = cloud.get("compute", "/os-availability-zone/detail")["availabilityZoneInfo"]
    except AuthFailed as error:
        raise Unsupported(
            N_("This account may not read the cloud's hypervisors: write its zones into the settings."),
            detail=error.detail,
        ) from error
    hosts, available = {}, set()
    for row in rows:
        if (row.get("zoneState") or {}).get("available"):
            available.add(row["zoneName"])
        for host, services in (row.get("hosts") or {}).items():
            if "nova-compute" in services:
                hosts[host] = row["zoneName"]
    return hosts, available


def _observe(place: str, arch: Architecture, rows: Iterable[Mapping[str, Any]], available: bool) -> ZoneObservation:
    hosts = list(rows)
    cpus = [_cpu(arch, _cpu_info(row)) for row in hosts]
    is_one_kind = len({cpu.family for cpu in cpus}) == 1
    ref = zone_ref(place, arch)
    return ZoneObservation(
        ref=ref,
        name=ref,
        arch=arch,
        cpu=cpus[0]
        if is_one_kind
        else Cpu(arch, CpuFamily.UNKNOWN, "several", "; ".join(sorted({c.raw for c in cpus}))),
        vcpus=sum(int(row.get("vcpus") or 0) for row in hosts),
        memory_mib=sum(int(row.get("memory_mb") or 0) for row in hosts),
        disk_gib=sum(int(row.get("local_gb") or 0) for row in hosts),
        hosts=len(hosts),
        available=available and any((row.get("state"), row.get("status")) == ("up", "enabled") for row in hosts),
    )


def _cpu_info(row: Mapping[str, Any]) -> Mapping[str, Any]:
    told = row.get("cpu_info")
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except ValueError:
            told = None
    return told if isinstance(told, Mapping) else {}


def _arch(row: Mapping[str, Any]) -> Architecture | None:
    try:
        return normalise(str(_cpu_info(row).get("arch") or ""))
    except Refusal:
        return None


def _cpu(arch: Architecture, told: Mapping[str, Any]) -> Cpu:
    """Recognise a processor by what libvirt told Nova: a vendor and a model, no part numbers."""
    vendor, model = str(told.get("vendor") or ""), str(told.get("model") or "unknown")
    raw = f"vendor={vendor!r} model={model!r}"
    if arch is Architecture.X86_64:
        seen = recognise_x86(_X86_VENDORS.get(vendor, vendor), model)
        return Cpu(arch, seen.family, model, raw)
    return Cpu(arch, _ARM_VENDORS.get(vendor, CpuFamily.UNKNOWN), model, raw)
