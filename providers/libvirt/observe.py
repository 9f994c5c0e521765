"""What libvirt reports, in our words: states, sizes, addresses."""

import ipaddress
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import libvirt

from cloudmgr.domain.architectures import Architecture, normalise
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.units import BYTES_PER_GIB, BYTES_PER_MIB
from providers.base import PowerState, ServerObservation
from providers.libvirt import metadata
from providers.libvirt.connection import Session
from providers.libvirt.metadata import Stage
from providers.libvirt.options import LibvirtOptions
from providers.libvirt.tree import parse

STATES: Mapping[int, tuple[PowerState, str]] = {
    libvirt.VIR_DOMAIN_RUNNING: (PowerState.RUNNING, "running"),
    libvirt.VIR_DOMAIN_BLOCKED: (PowerState.RUNNING, "blocked"),
    libvirt.VIR_DOMAIN_PAUSED: (PowerState.PAUSED, "paused"),
    libvirt.VIR_DOMAIN_SHUTDOWN: (PowerState.RUNNING, "in shutdown"),
    libvirt.VIR_DOMAIN_SHUTOFF: (PowerState.STOPPED, "shut off"),
    libvirt.VIR_DOMAIN_CRASHED: (PowerState.ERROR, "crashed"),
    libvirt.VIR_DOMAIN_PMSUSPENDED: (PowerState.PAUSED, "pmsuspended"),
}
_UNIT_BYTES = {"b": 1, "bytes": 1, "KB": 10**3, "k": 2**10, "KiB": 2**10, "MB": 10**6, "M": 2**20, "MiB": 2**20}
_UNIT_BYTES |= {"GB": 10**9, "G": 2**30, "GiB": 2**30, "TB": 10**12, "T": 2**40, "TiB": 2**40}
_GONE = {libvirt.VIR_ERR_NO_DOMAIN}
_NO_ADDRESS = {
    libvirt.VIR_ERR_OPERATION_INVALID,  # not running, or stopped since we looked
    libvirt.VIR_ERR_OPERATION_FAILED,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_INTERNAL_ERROR,  # libvirt 9.0 cannot read a newer kernel's neighbours: "wrong nlmsg len"
}
_NO_SIZE = {
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_OPERATION_FAILED,
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_NO_DOMAIN,
}
_SOURCES = {
    "lease": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    "arp": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
}
Leases = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Host:
    """What is the same for every server of one listing."""

    name: str
    zones: Mapping[Architecture, str]
    options: LibvirtOptions
    leases: Leases | None = None
    """All leases by MAC address, read once for a listing; None asks the domain itself."""


def describe(session: Session, domain: Any, flags: int = 0) -> ET.Element | None:
    """Return a domain's description; None when it has gone meanwhile."""
    text = session.attempt(domain.XMLDesc, flags, absent=_GONE)
    return parse(text) if text is not None else None


def power_of(state: int) -> tuple[PowerState, str]:
    """Return a virDomainState in our words and in libvirt's own; one we have no word for is UNKNOWN (P6)."""
    return STATES.get(state, (PowerState.UNKNOWN, f"state {state}"))


def observe(session: Session, domain: Any, host: Host) -> ServerObservation | None:
    """Return what a domain is now; None when it has gone meanwhile."""
    state = session.attempt(domain.state, 0, absent=_GONE)
    description = describe(session, domain) if state is not None else None
    if state is None or description is None:
        return None
    ours = metadata.from_domain(description)
    identity = uuid.UUID(description.findtext("uuid", ""))
    power, native = power_of(state[0])
    if ours is not None and ours.stage is Stage.DELETING:
        power, native = PowerState.ERROR, f"{native}, deletion not finished"
    elif ours is not None and ours.stage is Stage.BUILDING and power is PowerState.STOPPED:
        power, native = PowerState.BUILDING, f"{native}, not started yet"
    arch = arch_of(description)
    ipv4, ipv6 = _addresses(session, domain, description, host) if power is PowerState.RUNNING else ((), ())
    if ours is not None and power is PowerState.RUNNING:
        ipv4, ipv6 = ipv4 or _given(ours, 4), ipv6 or _given(ours, 6)
    sizes = _disk_sizes(session, domain, description)
    return ServerObservation(
        ref=str(identity),
        name=(ours.name if ours else "") or description.findtext("title", "") or description.findtext("name", ""),
        power=power,
        native_state=native,
        token=identity if ours else None,
        arch=arch,
        vcpus=int(description.findtext("vcpu", "0")) or None,
        memory_mib=_memory_mib(description),
        system_disk_gib=sizes.get("vda") if ours else next(iter(sizes.values()), None),
        data_disk_gib=sizes.get("vdb", 0) if ours else None,
        zone=(ours.zone if ours else None) or (host.zones.get(arch) if arch else None),
        host=host.name,
        image=ours.image if ours else None,
        ipv4=ipv4,
        ipv6=ipv6,
        created_at=ours.created_at if ours else None,
        networks=networks_of(description),
        native_uuid=str(identity),
    )


def half_created(token: uuid.UUID, host: Host) -> ServerObservation:
    """Return the observation of disks that have no domain: a creation cut off before it got one."""
    return ServerObservation(
        ref=str(token),
        name="",
        power=PowerState.ERROR,
        native_state="half-created: disks without a domain",
        token=token,
        host=host.name,
    )


def networks_of(description: ET.Element) -> tuple[str, ...]:
    """Return the libvirt networks a domain is on, in the order of its cards."""
    sources = description.findall("devices/interface[@type='network']/source")
    return tuple(dict.fromkeys(source.get("network", "") for source in sources))


def macs_of(description: ET.Element) -> list[str]:
    """Return the hardware addresses of a domain's cards, in order."""
    return [mac.get("address", "") for mac in description.findall("devices/interface/mac")]


def all_leases(session: Session) -> Leases:
    """Return every lease of every network, by MAC address."""
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for network in session.call(session.conn.listAllNetworks, libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE):
        for mac, addresses in _leases_of(session, network).items():
            ipv4, ipv6 = found.get(mac, ((), ()))
            found[mac] = (ipv4 + addresses[0], ipv6 + addresses[1])
    return found


def _leases_of(session: Session, network: Any) -> Leases:
    absent = {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_NO_NETWORK}
    leases = session.attempt(network.DHCPLeases, None, 0, absent=absent) or []
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for lease in sorted(leases, key=lambda one: one["expirytime"], reverse=True):
        ipv4, ipv6 = found.get(lease["mac"], ((), ()))
        if lease["type"] == libvirt.VIR_IP_ADDR_TYPE_IPV6:
            ipv6 = (*ipv6, lease["ipaddr"])
        else:
            ipv4 = (*ipv4, lease["ipaddr"])
        found[lease["mac"]] = (ipv4, ipv6)
    return found


def _addresses(
    session: Session, domain: Any, description: ET.Element, host: Host
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    macs = macs_of(description)
    ipv4: list[str] = []
    ipv6: list[str] = []
    if host.leases is not None:
        for mac in macs:
            v4, v6 = host.leases.get(mac, ((), ()))
            ipv4 += v4
            ipv6 += v6
    sources = [s for s in host.options.address_sources if host.leases is None or s != "lease"]
    for source in sources:
        if ipv4 or ipv6:
            break
        reported = session.attempt(domain.interfaceAddresses, _SOURCES[source], 0, absent=_NO_ADDRESS) or {}
        for address in _flatten(reported.values(), macs):
            (ipv6 if address["type"] == libvirt.VIR_IP_ADDR_TYPE_IPV6 else ipv4).append(address["addr"])
    return tuple(dict.fromkeys(ipv4)), tuple(dict.fromkeys(ipv6))


def _given(ours: metadata.Metadata, version: int) -> tuple[str, ...]:
    return tuple(address for address in ours.addresses if ipaddress.ip_address(address).version == version)


def _flatten(cards: Iterable[Mapping[str, Any]], macs: list[str]) -> Iterable[Mapping[str, Any]]:
    for card in sorted(cards, key=lambda one: macs.index(one["hwaddr"]) if one["hwaddr"] in macs else len(macs)):
        yield from card["addrs"] or []


def arch_of(description: ET.Element) -> Architecture | None:
    """Return a domain's architecture."""
    kind = description.find("os/type")
    try:
        return normalise(kind.get("arch", "")) if kind is not None else None
    except Refusal:
        return None  # an architecture we have no word for, on a server that is not ours


def _memory_mib(description: ET.Element) -> int | None:
    memory = description.find("memory")
    if memory is None or not memory.text:
        return None
    return int(memory.text) * _UNIT_BYTES.get(memory.get("unit", "KiB"), 1024) // BYTES_PER_MIB


def _disk_sizes(session: Session, domain: Any, description: ET.Element) -> dict[str, int]:
    sizes = {}
    for disk in description.findall("devices/disk[@device='disk']"):
        target = disk.find("target")
        if target is None or disk.find("readonly") is not None:
            continue
        name = target.get("dev", "")
        info = session.attempt(domain.blockInfo, name, 0, absent=_NO_SIZE)
        if info is not None:
            sizes[name] = int(info[0]) // BYTES_PER_GIB
    return sizes
