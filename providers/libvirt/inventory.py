"""What a host is: its processors recognised, its sizes, and the zones that follow from them."""

import ipaddress
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import libvirt

from cloudmgr.domain.architectures import Architecture, Cpu, CpuFamily, normalise, recognise_arm, recognise_x86
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_
from providers.base import NetworkObservation, SubnetObservation, ZoneObservation
from providers.errors import NoCapacity
from providers.libvirt import storage
from providers.libvirt.connection import Session
from providers.libvirt.options import LibvirtOptions, Zone
from providers.libvirt.tree import parse

CPUINFO = Path("/proc/cpuinfo")
_NO_SYSINFO = {
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_INTERNAL_ERROR,
}

# libvirt names vendors and models in words (src/cpu_map/x86_vendors.xml, arm_vendors.xml, arm_*.xml); here is the way back
# to what the processor itself says. Spelling differs by version: "HiSilicon", "Hisilicon".
_X86_VENDOR_IDS = {"intel": "GenuineIntel", "amd": "AuthenticAMD", "hygon": "HygonGenuine"}
_ARM_IMPLEMENTERS = {"arm": 0x41, "hisilicon": 0x48, "phytium": 0x70}
_ARM_MODEL_PARTS = {
    "kunpeng-920": (0x48, 0xD01),
    "ft-2000plus": (0x70, 0x662),
    "tengyun-s2500": (0x70, 0x663),
    "cortex-a53": (0x41, 0xD03),
    "cortex-a57": (0x41, 0xD07),
    "cortex-a72": (0x41, 0xD08),
    "neoverse-n1": (0x41, 0xD0C),
    "neoverse-n2": (0x41, 0xD49),
    "neoverse-v1": (0x41, 0xD40),
}


@dataclass(frozen=True, slots=True)
class HostInventory:
    """One host, exactly as libvirt counts it."""

    name: str
    arch: Architecture | None
    cpu: Cpu
    vcpus: int
    memory_mib: int
    guest_archs: tuple[Architecture, ...]


def read(session: Session, options: LibvirtOptions) -> HostInventory:
    """Read a host's inventory: three calls."""
    capabilities = parse(session.call(session.conn.getCapabilities))
    node = session.call(session.conn.getInfo)
    sysinfo = session.attempt(session.conn.getSysinfo, 0, absent=_NO_SYSINFO)
    cpuinfo = ""
    if options.remote_host is None and CPUINFO.exists():
        cpuinfo = CPUINFO.read_text(errors="replace")
    return HostInventory(
        name=session.call(session.conn.getHostname),
        arch=_known(capabilities.findtext("host/cpu/arch", str(node[0]))),
        cpu=recognise(capabilities, sysinfo, cpuinfo),
        vcpus=int(node[2]),
        memory_mib=int(node[1]),
        guest_archs=guest_architectures(capabilities, options.domain_type),
    )


def guest_architectures(capabilities: ET.Element, domain_type: str) -> tuple[Architecture, ...]:
    """Return the architectures of fully virtualised guests this host runs with the domain type of the options."""
    found = set()
    for guest in capabilities.findall("guest"):
        arch = guest.find("arch")
        if guest.findtext("os_type") != "hvm" or arch is None:
            continue
        known = _known(arch.get("name", ""))
        if known and any(domain.get("type") == domain_type for domain in arch.findall("domain")):
            found.add(known)
    return tuple(sorted(found))


def recognise(capabilities: ET.Element, sysinfo: str | None, cpuinfo: str) -> Cpu:
    """Recognise the host's processor from what libvirt, the firmware and (on this machine) the kernel say.

    The kernel's numbers go first, being the processor's own; libvirt's names stand in for them on a remote host.
    """
    arch = _known(capabilities.findtext("host/cpu/arch", ""))
    vendor = capabilities.findtext("host/cpu/vendor", "")
    model = capabilities.findtext("host/cpu/model", "")
    product = _product(sysinfo)
    given = f"libvirt vendor={vendor or '-'} model={model or '-'}"
    if arch is Architecture.AARCH64:
        ids = _arm_ids_of_kernel(cpuinfo) or _arm_ids_of_libvirt(vendor, model)
        cpu = recognise_arm(*ids, product) if ids else Cpu(arch, CpuFamily.UNKNOWN, product or "unknown", "")
    elif arch is Architecture.X86_64:
        vendor_id, family, name = _x86_of_kernel(cpuinfo)
        if family is None:
            signature = capabilities.find("host/cpu/signature")
            family = int(signature.get("family", "0")) if signature is not None else None
        cpu = recognise_x86(vendor_id or _X86_VENDOR_IDS.get(vendor.lower(), vendor), product or name or model, family)
    else:
        cpu = Cpu(arch, CpuFamily.UNKNOWN, product or model or "unknown", "")
    return replace(cpu, raw="; ".join(part for part in (cpu.raw, given) if part))


def zones(session: Session, options: LibvirtOptions, pool: Any) -> list[ZoneObservation]:
    """Return a zone for each architecture the host can run; under KVM that is its own and no other."""
    host = read(session, options)
    disk_gib = storage.capacity_gib(session, pool)
    configured = {zone.arch: zone for zone in options.zones}
    runnable = host.guest_archs if options.is_emulated else tuple(a for a in host.guest_archs if a is host.arch)
    return [
        _zone(host, arch, configured.get(arch), options, disk_gib)
        for arch in runnable
        if not configured or arch in configured
    ]


def zone_refs(options: LibvirtOptions) -> Mapping[Architecture, str]:
    """Return the zone that servers of an architecture stand in, by the options alone."""
    if options.zones:
        return {zone.arch: zone.ref for zone in options.zones}
    return {arch: arch.value for arch in Architecture}


def require_room(session: Session, options: LibvirtOptions, arch: Architecture, *, vcpus: int, memory_mib: int) -> None:
    """Refuse a server that the whole, empty host could not hold; how full it is, is the allocations' business.

    Raises:
        NoCapacity
    """
    node = session.call(session.conn.getInfo)
    given = next((zone for zone in options.zones if zone.arch is arch), None)
    most_vcpus = (given.vcpus if given else None) or int(node[2])
    most_mib = (given.memory_mib if given else None) or int(node[1])
    if vcpus > most_vcpus or memory_mib > most_mib:
        raise NoCapacity(
            N_("A server of {vcpus} vCPUs and {memory_mib} MiB of memory is larger than this host."),
            detail=f"{most_vcpus} vCPUs and {most_mib} MiB for {arch}",
            vcpus=vcpus,
            memory_mib=memory_mib,
        )


def networks(session: Session) -> list[NetworkObservation]:
    """Return libvirt's networks that are up; a host bridge is one with `<forward mode='bridge'/>`."""
    found = []
    for network in session.call(session.conn.listAllNetworks, libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE):
        description = parse(session.call(network.XMLDesc, 0))
        found.append(observe_network(description))
    return sorted(found, key=lambda one: one.ref)


def observe_network(description: ET.Element) -> NetworkObservation:
    """Return a network as libvirt describes it."""
    name = description.findtext("name", "")
    cidrs: dict[str, str] = {}
    gateway = None
    for ip in description.findall("ip"):
        family = "v6" if ip.get("family") == "ipv6" else "v4"
        cidrs.setdefault(family, cidr_of(ip))
        if family == "v4" and gateway is None:
            gateway = ip.get("address")
    return NetworkObservation(
        ref=name,
        name=name,
        cidr_v4=cidrs.get("v4"),
        cidr_v6=cidrs.get("v6"),
        gateway_v4=gateway,
        subnets=tuple(_subnet(name, ip, description) for ip in description.findall("ip")),
    )


def hands_out_v6(description: ET.Element) -> bool:
    """Tell whether a network answers DHCPv6."""
    return description.find("ip[@family='ipv6']/dhcp") is not None


def _subnet(network: str, ip: ET.Element, description: ET.Element) -> SubnetObservation:
    cidr = cidr_of(ip)
    own = str(ipaddress.ip_address(ip.get("address", "")))
    forward, dns = description.find("forward"), description.find("dns")
    routes = forward is not None and forward.get("mode", "nat") in {"nat", "route", "open"}
    answers = dns is None or dns.get("enable", "yes") == "yes"
    return SubnetObservation(
        ref=f"{network}/{cidr}", name=cidr, cidr=cidr, gateway=own if routes else None, dns=(own,) if answers else ()
    )


def _zone(
    host: HostInventory, arch: Architecture, given: Zone | None, options: LibvirtOptions, disk_gib: int
) -> ZoneObservation:
    cpu = host.cpu
    if options.is_emulated:
        cpu = Cpu(arch, CpuFamily.UNKNOWN, f"emulated {options.cpu_model(arch)}", f"emulated by QEMU on {host.cpu.raw}")
    if given and given.cpu_family and cpu.family is CpuFamily.UNKNOWN:
        cpu = replace(cpu, family=given.cpu_family, raw=f"{cpu.raw}; family {given.cpu_family} set by configuration")
    return ZoneObservation(
        ref=given.ref if given else arch.value,
        name=(given.name if given and given.name else f"{host.name} {arch}"),
        arch=arch,
        cpu=cpu,
        vcpus=(given.vcpus if given and given.vcpus else host.vcpus),
        memory_mib=(given.memory_mib if given and given.memory_mib else host.memory_mib),
        disk_gib=(given.disk_gib if given and given.disk_gib else disk_gib),
        hosts=1,
    )


def _known(name: str) -> Architecture | None:
    try:
        return normalise(name)
    except Refusal:
        return None


def _product(sysinfo: str | None) -> str:
    if not sysinfo:
        return ""
    for entry in parse(sysinfo).findall("processor/entry[@name='version']"):
        if entry.text and entry.text.strip().lower() not in {"not specified", "unknown", "to be filled by o.e.m."}:
            return entry.text.strip()
    return ""


def _arm_ids_of_kernel(cpuinfo: str) -> tuple[int, int] | None:
    implementer = re.search(r"^CPU implementer\s*:\s*(0x[0-9a-f]+)$", cpuinfo, re.MULTILINE)
    part = re.search(r"^CPU part\s*:\s*(0x[0-9a-f]+)$", cpuinfo, re.MULTILINE)
    return (int(implementer[1], 16), int(part[1], 16)) if implementer and part else None


def _arm_ids_of_libvirt(vendor: str, model: str) -> tuple[int, int] | None:
    ids = _ARM_MODEL_PARTS.get(model.lower())
    implementer = _ARM_IMPLEMENTERS.get(vendor.lower())
    if ids is None or (implementer is not None and implementer != ids[0]):
        return None
    return ids


def _x86_of_kernel(cpuinfo: str) -> tuple[str, int | None, str]:
    vendor = re.search(r"^vendor_id\t*: (.*)$", cpuinfo, re.MULTILINE)  # spaces are part of a Zhaoxin's name
    family = re.search(r"^cpu family\s*:\s*(\d+)$", cpuinfo, re.MULTILINE)
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return (vendor[1] if vendor else "", int(family[1]) if family else None, name[1].strip() if name else "")


def cidr_of(ip: ET.Element) -> str:
    """Return the range of a network's `<ip>` element."""
    address = ip.get("address", "")
    suffix = ip.get("prefix") or ip.get("netmask") or ""
    return str(ipaddress.ip_interface(f"{address}/{suffix}" if suffix else address).network)
