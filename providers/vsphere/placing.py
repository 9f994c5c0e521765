"""Whether, and where, a server can be built: everything is refused here before the vCenter is asked to change anything.

The vCenter's own refusals come late, as failed tasks, and differ between versions; so sizes, names, the architecture, the
networks and the room are looked at beforehand (P4, P13).
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.messages import N_
from cloudmgr.domain.units import BYTES_PER_GIB, BYTES_PER_MIB
from providers.base import FixedAddress, ImageObservation, ServerSpec
from providers.errors import AddressTaken, InvalidSpec, NoCapacity
from providers.vsphere import collector, inventory, observe
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection, Session
from providers.vsphere.inventory import Inventory, Place, Port, arch_of, id_of
from providers.vsphere.options import VSphereOptions
from providers.vsphere.servers import parsed

_TEMPLATE = (
    "name",
    "config.instanceUuid",
    "config.template",
    "config.guestId",
    "config.hardware.device",
    "runtime.host",
)
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MEMORY_STEP_MIB = 4
"""vSphere gives memory in steps of this many."""
_KIB_PER_GIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Template:
    """What servers are cloned from."""

    observation: ImageObservation
    obj: Any
    disks: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before anything is made."""

    place: Place
    template: Template
    ports: tuple[Port, ...]
    datastore: Row
    host: Any | None


def check_spec(spec: ServerSpec) -> None:
    """Refuse what no vCenter could build, before one is called.

    Raises:
        InvalidSpec
    """
    if not _DNS_LABEL.fullmatch(spec.name):
        raise InvalidSpec(N_("{name} is no host name: use letters, digits and hyphens, 63 at most."), name=spec.name)
    if not _LOGIN.fullmatch(spec.login_user):
        raise InvalidSpec(N_("{name} is no account name a server accepts."), name=spec.login_user)
    if min(spec.vcpus, spec.memory_mib, spec.system_disk_gib) < 1 or spec.data_disk_gib < 0:
        raise InvalidSpec(N_("Sizes are whole numbers above zero."))
    check_memory(spec.memory_mib)
    if spec.image_digest is not None:
        raise InvalidSpec(N_("A template in a vCenter has no digest that could be compared."), detail=spec.image)
    for fixed in spec.addresses:
        address_of(fixed)


def check_memory(memory_mib: int) -> None:
    """Refuse memory that would be rounded.

    Raises:
        InvalidSpec
    """
    if memory_mib % _MEMORY_STEP_MIB:
        raise InvalidSpec(N_("Memory is given in steps of {step} MiB here."), step=_MEMORY_STEP_MIB)


def plan(connection: Connection, options: VSphereOptions, spec: ServerSpec) -> Plan:
    """Decide where a server is built, from what and on which networks.

    Raises:
        InvalidSpec, NoCapacity, AddressTaken
    """
    check_spec(spec)
    found = inventory.read(connection, options.page_size)
    place = next((place for place in found.places(options) if place.ref == spec.zone), None)
    if place is None or place.arch is not spec.arch:
        raise InvalidSpec(
            N_("Zone {zone} of this backend does not run servers of architecture {arch}."),
            zone=spec.zone,
            arch=spec.arch,
        )
    template = _template_of(connection, options, found, spec.image)
    check_template(template, spec)
    assert template is not None  # noqa: S101 - just checked
    ports = _choose_ports(inventory.ports(connection, options, found), options, spec, place)
    check_fits(place, vcpus=spec.vcpus, memory_mib=spec.memory_mib)
    datastore = choose_datastore(place, spec.system_disk_gib + spec.data_disk_gib)
    host = _roomiest(place).obj if place.is_mixed else None
    for fixed in spec.addresses:
        require_free(connection, fixed, ports[0] if ports else None)
    return Plan(place, template, ports, datastore, host)


def templates(connection: Connection, options: VSphereOptions, found: Inventory) -> list[Template]:
    """Return every template; its architecture is the one told, or that of the host it is registered on."""
    paths = {vim.VirtualMachine: ("config.template",)}
    rows = connection.read(
        lambda session: [
            row for row in collector.every(session, list(paths), paths, options.page_size) if row.get("config.template")
        ]
    )
    told = connection.read(
        lambda session: collector.these(session, [row.obj for row in rows], {vim.VirtualMachine: _TEMPLATE})
    )
    return [_template(row, options, found) for row in told]


def _template_of(connection: Connection, options: VSphereOptions, found: Inventory, ref: str) -> Template | None:
    """Return one template, without asking all machines whether they are any."""

    def deed(session: Session) -> list[Row]:
        machine = session.content.searchIndex.FindByUuid(None, ref, True, True)
        return [] if machine is None else collector.these(session, [machine], {vim.VirtualMachine: _TEMPLATE})

    rows = connection.read(deed) if parsed(ref) is not None else []
    return next((_template(row, options, found) for row in rows if row.get("config.template")), None)


def check_template(template: Template | None, spec: ServerSpec) -> None:
    """Refuse a template that is not there, of another architecture, or that does not fit the disk.

    Raises:
        InvalidSpec
    """
    if template is None:
        raise InvalidSpec(N_("There is no image {image} at this backend."), image=spec.image)
    if template.observation.arch is not spec.arch:
        raise InvalidSpec(
            N_("Image {image} is not known to be of architecture {arch}."),
            image=template.observation.name,
            arch=spec.arch,
        )
    if template.disks != 1:
        raise InvalidSpec(
            N_("Image {image} has {disks} disks; an image has one."),
            image=template.observation.name,
            disks=template.disks,
        )
    if spec.system_disk_gib < template.observation.min_disk_gib:
        raise InvalidSpec(
            N_("Image {image} needs a system disk of {size} GiB."),
            image=template.observation.name,
            size=template.observation.min_disk_gib,
        )


def check_fits(place: Place, *, vcpus: int, memory_mib: int) -> None:
    """Refuse a server larger than every host; how full the hosts are, allocations know.

    Raises:
        NoCapacity
    """
    hosts = place.open_hosts
    if not any(
        int(host.get("summary.hardware.numCpuThreads", 0)) >= vcpus
        and int(host.get("summary.hardware.memorySize", 0)) // BYTES_PER_MIB >= memory_mib
        for host in hosts
    ):
        raise NoCapacity(N_("No host of pool {zone} is large enough for this server."), zone=place.name)


def choose_datastore(place: Place, size_gib: int) -> Row:
    """Return the datastore with the most room.

    Raises:
        NoCapacity: it has not enough.
    """
    best = max(place.datastores, key=lambda row: int(row.get("summary.freeSpace", 0)), default=None)
    if best is None or int(best.get("summary.freeSpace", 0)) < size_gib * BYTES_PER_GIB:
        raise NoCapacity(N_("No datastore of pool {zone} has room for {size} GiB."), zone=place.name, size=size_gib)
    return best


def require_free(connection: Connection, fixed: FixedAddress, port: Port | None) -> None:
    """Refuse an address that lies elsewhere or that a guest has; the vCenter knows of guests that run and tell.

    Raises:
        InvalidSpec, AddressTaken
    """
    address = address_of(fixed)
    name = "" if port is None else port.observation.name
    if port is not None:
        ranges = [ipaddress.ip_network(one.cidr) for one in port.observation.subnets]
        inside = [one for one in ranges if one.version == address.version]
        if ranges and not any(address in one for one in inside):
            raise InvalidSpec(
                N_("Network {network} does not hold the address asked for."), detail=str(address), network=name
            )

    def deed(session: Session) -> list[Row]:
        users = session.content.searchIndex.FindAllByIp(None, str(address), True)
        return collector.these(session, list(users or []), {vim.VirtualMachine: ("name",)})

    if users := connection.read(deed):
        raise AddressTaken(
            N_("The address is in use on the network at the backend."),
            detail=f"{address} is used by {', '.join(str(user.get('name', user.moid)) for user in users)}",
        )


def address_of(fixed: FixedAddress) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return a fixed address.

    Raises:
        InvalidSpec: it is none.
    """
    try:
        return ipaddress.ip_address(fixed.address)
    except ValueError:
        raise InvalidSpec(N_("{address} is not an IP address."), address=fixed.address) from None


def _template(row: Row, options: VSphereOptions, found: Inventory) -> Template:
    name = str(row.get("name", row.moid))
    disks = observe.disks_of(row)
    size = -(-int(disks[0].capacityInKB) // _KIB_PER_GIB) if disks else 0
    told = next((image.arch for image in options.images if image.name == name), None)
    arch = told or _arch(row, found)
    return Template(ImageObservation(str(row.get("config.instanceUuid")), name, arch, size), row.obj, len(disks))


def _arch(row: Row, found: Inventory) -> Architecture | None:
    """A guest type of 64 bits runs on the processors of its host; any other says nothing sure."""
    guest = str(row.get("config.guestId", "")).lower()
    host = found.hosts.get(id_of(row.get("runtime.host")) or "")
    if guest.startswith("arm"):
        return Architecture.AARCH64
    if host is None or "64" not in guest:
        return None
    return arch_of(host)


def _choose_ports(ports: list[Port], options: VSphereOptions, spec: ServerSpec, place: Place) -> tuple[Port, ...]:
    by_ref = {port.observation.ref: port for port in ports}
    by_name = {port.observation.name: port for port in ports}
    wanted = spec.networks
    if not wanted and options.default_network is not None:
        wanted = tuple(by_name[name].observation.ref for name in (options.default_network,) if name in by_name)
    if not wanted:
        raise InvalidSpec(N_("No network was asked for, and this backend has no default one."))
    for ref in wanted:
        if ref not in by_ref or place.ref not in by_ref[ref].observation.zones:
            raise InvalidSpec(N_("There is no network {network} in pool {zone}."), network=ref, zone=place.name)
    return tuple(by_ref[ref] for ref in wanted)


def _roomiest(place: Place) -> Row:
    return max(place.open_hosts, key=lambda host: int(host.get("summary.hardware.memorySize", 0)))
