"""A server's description in libvirt's words. Built as a tree: no text of a person is ever pasted into XML.

Format: https://libvirt.org/formatdomain.html. aarch64 is machine `virt` (virtio everywhere, no VGA, no IDE), x86_64 `q35`.
"""

import hashlib
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.messages import N_
from providers.base import ServerSpec
from providers.errors import InvalidSpec
from providers.libvirt.metadata import Metadata, to_element
from providers.libvirt.options import Firmware, Image, LibvirtOptions
from providers.libvirt.seed import Card
from providers.libvirt.storage import Disks
from providers.libvirt.tree import parse

_MACHINES = {Architecture.AARCH64: "virt", Architecture.X86_64: "q35"}
_GIC2_MAX_VCPUS = 8
_OTHER_PCI_DEVICES = 8
"""At most, beside cards: three disks, USB, screen, random numbers, balloon, serial bus."""
_NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything a domain is made of."""

    spec: ServerSpec
    token: uuid.UUID
    image: Image
    disks: Disks
    cards: Sequence[Card]
    metadata: Metadata
    vnc_password: str


def domain_name(name: str, token: uuid.UUID) -> str:
    """Return a name no other server of this host has.

    Two projects may both have a `web01`, so the token's last eight digits follow: the first ones of a UUIDv7 are the
    time, and equal for a minute.
    """
    return f"{name}-{token.hex[-8:]}"


def mac_address(token: uuid.UUID, card: int) -> str:
    """Return a card's address: always the same for a token, locally administered, 40 bits of it unguessable."""
    digest = hashlib.sha256(token.bytes + bytes([card])).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def domain_xml(plan: Blueprint, options: LibvirtOptions) -> str:
    """Return the domain's description.

    Raises:
        InvalidSpec: the architecture has no machine type here, or a label cannot be written in XML.
    """
    spec, image = plan.spec, plan.image
    if spec.arch not in _MACHINES:
        raise InvalidSpec(N_("This provider builds no servers of architecture {arch}."), arch=spec.arch)
    domain = ET.Element("domain", type=options.domain_type)
    _text(domain, "name", domain_name(spec.name, plan.token))
    _text(domain, "uuid", str(plan.token))
    _text(domain, "title", spec.name)
    ET.SubElement(domain, "metadata").append(to_element(plan.metadata))
    _text(domain, "memory", str(spec.memory_mib), unit="MiB")
    _text(domain, "currentMemory", str(spec.memory_mib), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus), placement="static")
    _boot(domain, image, plan.disks, options.firmware_for(image.arch))
    _processor(domain, spec, image, options)
    ET.SubElement(domain, "clock", offset="utc")
    for event, then in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, then)
    devices = ET.SubElement(domain, "devices")
    _slots(devices, len(plan.cards), options.hotplug_slots)
    _disks(devices, plan.disks, options.disk_cache)
    _cards(devices, plan.cards)
    _terminals(devices, spec.arch, plan.vnc_password, options)
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "memballoon", model="virtio")
    written = ET.tostring(domain, encoding="unicode")
    if _NOT_XML.search(written):
        raise InvalidSpec(N_("A name or label holds a control character; remove it."))
    return written


def volume_disk_xml(path: str, target: str, serial: str, cache: str) -> str:
    """Return the disk element of an attached volume; the guest finds it as /dev/disk/by-id/virtio-<serial>."""
    disk = ET.Element("disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type="qcow2", cache=cache, discard="unmap")
    ET.SubElement(disk, "source", file=path)
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    _text(disk, "serial", serial)
    return ET.tostring(disk, encoding="unicode")


def resized(description: str, *, vcpus: int, memory_mib: int) -> str:
    """Return a stopped domain's description with another size, everything else as it was."""
    domain = parse(description)
    for tag in ("memory", "currentMemory"):
        element = domain.find(tag)
        if element is None:
            element = ET.SubElement(domain, tag)
        element.set("unit", "MiB")
        element.text = str(memory_mib)
    count = domain.find("vcpu")
    if count is None:
        count = ET.SubElement(domain, "vcpu")
    count.attrib.pop("current", None)
    count.text = str(vcpus)
    for stale in ("vcpus", "maxMemory"):
        found = domain.find(stale)
        if found is not None:
            domain.remove(found)
    cpu = domain.find("cpu")
    topology = cpu.find("topology") if cpu is not None else None
    if cpu is not None and topology is not None:
        cpu.remove(topology)  # a topology must multiply to the count; without one every vCPU is a socket
    gic = domain.find("features/gic")
    if gic is not None and gic.get("version") == "2" and vcpus > _GIC2_MAX_VCPUS:
        gic.set("version", "3")
    return ET.tostring(domain, encoding="unicode")


def _boot(domain: ET.Element, image: Image, disks: Disks, firmware: Firmware | None) -> None:
    os = ET.SubElement(domain, "os")
    _text(os, "type", "hvm", arch=image.arch, machine=_MACHINES[image.arch])
    if image.firmware == "uefi" and firmware is not None:
        _text(os, "loader", firmware.loader, readonly="yes", type="pflash")
        _text(os, "nvram", disks.nvram, template=firmware.nvram_template)
    for tag, value in (("kernel", image.kernel), ("initrd", image.initrd), ("cmdline", image.cmdline)):
        if value:
            _text(os, tag, value)
    if not image.kernel:
        ET.SubElement(os, "boot", dev="hd")


def _processor(domain: ET.Element, spec: ServerSpec, image: Image, options: LibvirtOptions) -> None:
    features = ET.SubElement(domain, "features")
    if spec.arch is Architecture.X86_64 or image.firmware == "uefi":
        ET.SubElement(features, "acpi")  # libvirt refuses ACPI on aarch64 without UEFI
    if spec.arch is Architecture.X86_64:
        ET.SubElement(features, "apic")
    else:
        emulated = "2" if spec.vcpus <= _GIC2_MAX_VCPUS else "3"
        ET.SubElement(features, "gic", version=emulated if options.is_emulated else "host")
    if options.is_emulated:
        tcg = ET.SubElement(features, "tcg")
        _text(tcg, "tb-cache", str(options.emulation_cache_mib), unit="MiB")
    model = options.cpu_model(spec.arch)
    if model is None:
        ET.SubElement(domain, "cpu", mode="host-passthrough", check="none")
    else:
        cpu = ET.SubElement(domain, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", model, fallback="forbid")


def _slots(devices: ET.Element, cards: int, spare: int) -> None:
    # A port takes one device and none can be added to a running guest: https://libvirt.org/pci-hotplug.html
    if not spare:
        return
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for _ in range(cards + _OTHER_PCI_DEVICES + spare):
        ET.SubElement(devices, "controller", type="pci", model="pcie-root-port")


def _disks(devices: ET.Element, disks: Disks, cache: str) -> None:
    targets = [("vda", disks.system, "qcow2")]
    if disks.data:
        targets.append(("vdb", disks.data, "qcow2"))
    targets.append(("vdz", disks.seed, "raw"))  # last, so that a data disk is always the second
    for target, path, fmt in targets:
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(disk, "source", file=path)
        ET.SubElement(disk, "target", dev=target, bus="virtio")
        if fmt == "raw":
            ET.SubElement(disk, "driver", name="qemu", type=fmt)
            ET.SubElement(disk, "readonly")
        else:
            ET.SubElement(disk, "driver", name="qemu", type=fmt, cache=cache, discard="unmap")


def _cards(devices: ET.Element, cards: Sequence[Card]) -> None:
    for card in cards:
        interface = ET.SubElement(devices, "interface", type="network")
        ET.SubElement(interface, "mac", address=card.mac)
        ET.SubElement(interface, "source", network=card.network)
        ET.SubElement(interface, "model", type="virtio")
        ET.SubElement(interface, "rom", enabled="no")


def _terminals(devices: ET.Element, arch: Architecture, password: str, options: LibvirtOptions) -> None:
    ET.SubElement(devices, "controller", type="usb", model="qemu-xhci" if options.vnc else "none")
    ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(devices, "console", type="pty")
    if not options.vnc:
        return
    screen = ET.SubElement(devices, "graphics", type="vnc", port="-1", autoport="yes", passwd=password)
    ET.SubElement(screen, "listen", type="address", address=options.vnc_listen)
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="virtio" if arch is Architecture.AARCH64 else "vga")
    ET.SubElement(devices, "input", type="keyboard", bus="usb")
    ET.SubElement(devices, "input", type="tablet", bus="usb")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
