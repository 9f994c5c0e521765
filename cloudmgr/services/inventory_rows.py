"""From a row of the inventory's query to the 64 values of a line: what is not known is None, what is personal is masked."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudmgr.domain import clock, units
from cloudmgr.domain.architectures import CpuFamily
from cloudmgr.domain.cells import LIST_SEPARATOR
from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.inventory_columns import BY_KEY, CONFIRMED, LONG_TERM, REHEARSED, UNMANAGED, word
from cloudmgr.domain.masking import mask_name, mask_phone
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.port_rules import port_text
from cloudmgr.models import Backend, ObservedServer

_STATES: Mapping[str, str] = {
    "running": "running",
    "building": "running",
    "stopped": "stopped",
    "paused": "stopped",
}
_PHASES: Mapping[str, str] = {
    ServerPhase.REQUESTED: "pending",
    ServerPhase.PLACED: "pending",
    ServerPhase.CREATING: "pending",
    ServerPhase.CONFIGURING: "pending",
    ServerPhase.SUSPENDED: "frozen",
    ServerPhase.RETIRED: "released",
    ServerPhase.FAILED: "abnormal",
}
_UNKNOWN = ("", "unknown")


@dataclass(frozen=True, slots=True)
class Sight:
    """What one reader sees: hosts and personal data in the subtrees at these paths; the words of remarks."""

    language: str
    host_paths: tuple[str, ...] = ()
    personal_paths: tuple[str, ...] = ()
    municipal: tuple[str, str] | None = None
    """Code and name of the city's own level: the division of what belongs to no district."""
    sees_all_hosts: bool = False
    """Whether hosts show of what belongs to no organization."""


def values(row: Any, sight: Sight) -> dict[str, Any]:
    """Return the 64 values of one line by key, as machines read them: codes, numbers, lists, moments, None."""
    code, district = _division(row, sight)
    is_revealed = row.path.startswith(sight.personal_paths)
    owner_name = row.owner_name or row.project_owner_name
    owner_phone = row.owner_phone or row.project_owner_phone
    return {
        "resource_id": row.resource_no,
        "resource_type": row.resource_type,
        "name": row.name,
        "status": _status(row),
        "org_code": row.uscc or row.organization_code,
        "org_name": row.organization_name,
        "district_code": code,
        "district_name": district,
        "tenant": row.district_name or row.organization_name,
        "system_name": row.project_name,
        "system_code": row.system_code,
        "project_no": row.project_no,
        "mlps_level": row.mlps_level,
        "mlps_record_no": row.mlps_record_no,
        "is_classified": row.is_classified,
        "env": row.env,
        "purpose": row.purpose_kind,
        "cloud_platform": row.backend or row.stated.get("platform"),
        "cloud_vendor": row.vendor,
        "datacenter": row.datacenter or row.stated.get("datacenter"),
        "az": row.zone,
        "resource_pool": _pool(row),
        "host": row.host if row.path.startswith(sight.host_paths) else None,
        "network_zone": row.network_zone,
        "vpc_subnet": LIST_SEPARATOR.join(filter(None, (row.cidr_v4, row.cidr_v6))) or None,
        "ipv4": _addresses(row.ipv4),
        "ipv6": _addresses(row.ipv6),
        "public_ip": row.public_ips.split(",") if row.public_ips else [],
        "bandwidth_mbps": row.bandwidth_mbps,
        "open_ports": _ports(row.ports),
        "arch": row.arch,
        "cpu_family": _known(row.cpu_family),
        "cpu_model": _known(row.cpu_model) or _known(row.cpu_raw),
        "is_xinchuang": _is_xinchuang(row),
        "vcpu": row.vcpus,
        "memory_gib": _whole(units.mib_to_gib(row.memory_mib)),
        "system_disk_gib": row.system_disk_gib,
        "data_disk_gib": row.data_disk_gib,
        "storage_gib": row.system_disk_gib + row.data_disk_gib,
        "storage_class": None,
        "os_name": row.os_name or row.stated.get("os_name"),
        "os_version": row.os_version or row.stated.get("os_version"),
        "kernel": _known(row.guest.get("kernel")),
        "image_id": f"{row.image}@{row.os_version}" if row.image else None,
        "image_digest": row.image_digest,
        "cpu_avg_30d": None,
        "cpu_peak_30d": None,
        "mem_avg_30d": None,
        "disk_used_pct": None,
        "monthly_fee_cny": None,
        "request_no": row.request_no,
        "change_no": None,
        "release_no": row.release_no,
        "created_at": row.activated_at or row.built_at,
        "lease_start": row.lease_start,
        "lease_end": row.lease_end,
        "released_at": row.released_at,
        "owner_name": (owner_name if is_revealed else mask_name(owner_name)) or None,
        "owner_phone": (owner_phone if is_revealed else mask_phone(owner_phone)) or None,
        "ops_vendor": row.ops_vendor,
        "backup_policy": None,
        "last_seen_at": row.last_seen_at,
        "source": "entered" if row.source == ServerSource.MANUAL else "collected",
        "remark": _remark(row, sight.language),
    }


def unmanaged_values(seen: ObservedServer, backend: Backend, sight: Sight) -> dict[str, Any]:
    """Return the line of a server that a backend shows and nobody owns: what only a ledger knows is None."""
    disks = (seen.system_disk_gib, seen.data_disk_gib)
    known = {
        "resource_type": "vm",
        "name": seen.name,
        "status": _STATES.get(seen.power, "abnormal"),
        "cloud_platform": backend.name,
        "cloud_vendor": backend.vendor,
        "datacenter": backend.datacenter,
        "az": seen.zone_ref,
        "host": seen.host if sight.sees_all_hosts else None,
        "ipv4": _addresses(seen.ipv4),
        "ipv6": _addresses(seen.ipv6),
        "public_ip": [],
        "arch": seen.arch,
        "vcpu": seen.vcpus,
        "memory_gib": None if seen.memory_mib is None else _whole(units.mib_to_gib(seen.memory_mib)),
        "system_disk_gib": seen.system_disk_gib,
        "data_disk_gib": seen.data_disk_gib,
        "storage_gib": None if None in disks else sum(filter(None, disks)),
        "image_id": seen.image,
        "last_seen_at": seen.last_seen_at,
        "source": "collected",
        "remark": word(UNMANAGED, sight.language),
    }
    return dict.fromkeys(BY_KEY) | known


def _division(row: Any, sight: Sight) -> tuple[str, str]:
    """Return code and name of the district a server belongs to; a park's is that of the district that administers it."""
    if row.administrator_code:
        return row.administrator_code, row.administrator_name
    if row.district_code:
        return row.district_code, row.district_name
    return sight.municipal or (row.organization_code, row.organization_name)


def _status(row: Any) -> str:
    """Return the ledger's status: our phase where it decides, else what the backend last said.

    Of what is kept by hand nobody but a person says anything: in service, it runs.
    """
    if row.source == ServerSource.MANUAL and row.phase == ServerPhase.ACTIVE:
        return "running"
    return _PHASES.get(row.phase) or _STATES.get(row.state, "abnormal")


def _pool(row: Any) -> str | None:
    if row.zone_is_xinchuang is None:
        return None
    return "xinchuang" if row.zone_is_xinchuang else "non_xinchuang"


def _is_xinchuang(row: Any) -> bool | None:
    """Return whether CPU family and operating system are both domestic; None before a pool was chosen."""
    if row.is_xinchuang is not None or row.zone_is_xinchuang is None:
        return None if row.is_xinchuang is None else bool(row.is_xinchuang)
    if row.zone_is_xinchuang and row.os_is_xinchuang is None:
        return None  # nobody recognised its system
    return bool(row.zone_is_xinchuang and row.os_is_xinchuang)


def _known(text: str | None) -> str | None:
    return None if text is None or text in _UNKNOWN or text == CpuFamily.UNKNOWN else text


def _addresses(found: list[str]) -> list[str]:
    """Return addresses in their one written form (RFC 5952 for v6); what is no address stays as the backend said it."""
    return [_address(text) for text in found]


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _ports(listed: str | None) -> str | None:
    """Return what is open as `tcp/80;tcp/443`: each port once, lowest first, whoever may reach it."""
    if not listed:
        return None
    found = set()
    for text in listed.split(","):
        protocol, first, last = text.split("/")
        found.add((protocol, int(first or 0), int(last or 0)))
    return ";".join(port_text(protocol, first or None, last or None) for protocol, first, last in sorted(found))


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _remark(row: Any, language: str) -> str | None:
    notes = [word(LONG_TERM, language)] if row.lease_long_term else []
    notes += [word(REHEARSED, language)] if row.rehearsed else []
    if row.last_confirmed_at is not None:
        day = row.last_confirmed_at.astimezone(clock.SHANGHAI).date().isoformat()
        notes.append(f"{word(CONFIRMED, language)} {day}")
    if row.stated.get("remark") or row.purpose:
        notes.append(row.stated.get("remark") or row.purpose)
    return "；".join(notes) if notes else None
