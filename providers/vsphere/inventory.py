"""What a vCenter is made of: hosts by architecture, pools, datastores, networks and templates, each kind in one read.

A zone is a cluster (or a host that stands alone) and one architecture of its hosts, unless the options name zones of their
own. The reference of a zone is the vCenter's own id with the architecture, so that a renamed cluster is the same zone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from cloudmgr.domain.architectures import Architecture, Cpu, CpuFamily, recognise_x86
from cloudmgr.domain.units import BYTES_PER_GIB, BYTES_PER_MIB
from providers.base import NetworkObservation, SubnetObservation, ZoneObservation
from providers.vsphere import collector
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection, Session
from providers.vsphere.options import VSphereOptions, Zone

HOST = (
    "name",
    "parent",
    "datastore",
    "runtime.connectionState",
    "runtime.inMaintenanceMode",
    "summary.hardware.vendor",
    "summary.hardware.cpuModel",
    "summary.hardware.numCpuThreads",
    "summary.hardware.memorySize",
    "hardware.cpuPkg",
    "summary.config.product",
)
CLUSTER = ("name", "resourcePool")
POOL = ("name", "parent", "owner")
DATASTORE = ("name", "summary.accessible", "summary.capacity", "summary.freeSpace", "summary.maintenanceMode", "host")
NETWORK = ("name", "host")
PORTGROUP = ("name", "host", "key", "tag", "config.distributedVirtualSwitch", "config.uplink")
SWITCH = ("name", "uuid")
_UPLINKS = "SYSTEM/DVS.UPLINKPG"
_X86_VENDORS = {"intel": "GenuineIntel", "amd": "AuthenticAMD", "hygon": "HygonGenuine"}
_ARM_MODELS = {
    "kunpeng": CpuFamily.KUNPENG,
    "phytium": CpuFamily.PHYTIUM,
    "ft-2000": CpuFamily.PHYTIUM,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A zone, with all that building in it needs."""

    ref: str
    name: str
    arch: Architecture
    cluster: Row
    pool: Any
    hosts: tuple[Row, ...]
    """Of the architecture, connected or not."""
    datastores: tuple[Row, ...]
    is_mixed: bool
    """Whether the cluster has hosts of other architectures too, so that a host must be named."""
    wanted: Zone | None = None

    @property
    def open_hosts(self) -> list[Row]:
        """Hosts that take servers now."""
        return [
            host
            for host in self.hosts
            if host.get("runtime.connectionState") == "connected" and not host.get("runtime.inMaintenanceMode")
        ]


@dataclass(slots=True)
class Inventory:
    """One reading of the vCenter."""

    hosts: dict[str, Row] = field(default_factory=dict)
    clusters: dict[str, Row] = field(default_factory=dict)
    pools: dict[str, Row] = field(default_factory=dict)
    datastores: dict[str, Row] = field(default_factory=dict)

    def places(self, options: VSphereOptions) -> list[Place]:
        """Return the zones: those of the options, or one for each cluster and architecture."""
        if options.zones:
            return [place for zone in options.zones if (place := self._named(zone)) is not None]
        found = []
        for moid, cluster in self.clusters.items():
            hosts = self._hosts_of(moid)
            for arch in sorted({arch_of(host) for host in hosts}):
                mine = tuple(host for host in hosts if arch_of(host) is arch)
                found.append(
                    Place(
                        ref=f"{moid}/{arch}",
                        name=str(cluster.get("name", moid)),
                        arch=arch,
                        cluster=cluster,
                        pool=cluster.get("resourcePool"),
                        hosts=mine,
                        datastores=self._datastores_of(mine),
                        is_mixed=len(mine) != len(hosts),
                    )
                )
        return found

    def zone_of(
        self, options: VSphereOptions, places: Iterable[Place], host: str | None, pool: str | None
    ) -> str | None:
        """Return the zone a server is in, by its host and resource pool."""
        row = self.hosts.get(host or "")
        if row is None:
            return None
        cluster, arch = id_of(row.get("parent")), arch_of(row)
        mine = [place for place in places if place.cluster.moid == cluster and place.arch is arch]
        chain = set(self._pools_above(pool)) if options.zones else set()
        by_pool = [
            place for place in mine if place.wanted and place.wanted.resource_pool and id_of(place.pool) in chain
        ]
        whole = [place for place in mine if place.wanted is None or place.wanted.resource_pool is None]
        return next((place.ref for place in by_pool or whole), None)

    def _named(self, zone: Zone) -> Place | None:
        for moid, cluster in self.clusters.items():
            if cluster.get("name") != zone.cluster:
                continue
            hosts = self._hosts_of(moid)
            mine = tuple(host for host in hosts if arch_of(host) is zone.arch)
            pool = cluster.get("resourcePool")
            if zone.resource_pool is not None:
                pool = next(
                    (
                        row.obj
                        for row in self.pools.values()
                        if row.get("name") == zone.resource_pool and id_of(row.get("owner")) == moid
                    ),
                    None,
                )
            datastores = self._datastores_of(mine)
            if zone.datastore is not None:
                datastores = tuple(row for row in datastores if row.get("name") == zone.datastore)
            if pool is None or not mine:
                return None
            return Place(
                ref=zone.ref,
                name=zone.name or zone.ref,
                arch=zone.arch,
                cluster=cluster,
                pool=pool,
                hosts=mine,
                datastores=datastores,
                is_mixed=len(mine) != len(hosts),
                wanted=zone,
            )
        return None

    def _hosts_of(self, cluster: str) -> list[Row]:
        return [host for host in self.hosts.values() if id_of(host.get("parent")) == cluster]

    def _datastores_of(self, hosts: tuple[Row, ...]) -> tuple[Row, ...]:
        """Datastores that every one of the hosts has, so that a server may run on any."""
        if not hosts:
            return ()
        shared = set.intersection(*({id_of(one) for one in host.get("datastore") or []} for host in hosts))
        return tuple(
            row
            for moid, row in self.datastores.items()
            if moid in shared
            and row.get("summary.accessible", False)
            and row.get("summary.maintenanceMode", "normal") == "normal"
        )

    def _pools_above(self, pool: str | None) -> Iterable[str]:
        seen: set[str] = set()
        while pool in self.pools and pool not in seen:
            seen.add(pool)
            yield pool
            pool = id_of(self.pools[pool].get("parent"))


def read(connection: Connection, page: int) -> Inventory:
    """Read hosts, clusters, pools and datastores: four objects of a kind or four thousand, the same number of calls."""
    paths = {
        vim.HostSystem: HOST,
        vim.ComputeResource: CLUSTER,
        vim.ResourcePool: POOL,
        vim.Datastore: DATASTORE,
    }
    rows = connection.read(lambda session: list(collector.every(session, list(paths), paths, page)))
    found = Inventory()
    for row in rows:
        if isinstance(row.obj, vim.HostSystem):
            found.hosts[row.moid] = row
        elif isinstance(row.obj, vim.ComputeResource):
            found.clusters[row.moid] = row
        elif isinstance(row.obj, vim.ResourcePool):
            found.pools[row.moid] = row
        else:
            found.datastores[row.moid] = row
    return found


def observe_zone(place: Place) -> ZoneObservation:
    """Return a zone with the physical totals of its hosts."""
    wanted = place.wanted
    hosts = place.open_hosts
    threads = sum(int(host.get("summary.hardware.numCpuThreads", 0)) for host in hosts)
    memory = sum(int(host.get("summary.hardware.memorySize", 0)) for host in hosts) // BYTES_PER_MIB
    disk = sum(int(row.get("summary.capacity", 0)) for row in place.datastores) // BYTES_PER_GIB
    cpu = cpu_of(place.hosts[0])
    if wanted is not None and wanted.cpu_family is not None and cpu.family is CpuFamily.UNKNOWN:
        cpu = Cpu(cpu.arch, wanted.cpu_family, cpu.model, cpu.raw)
    return ZoneObservation(
        ref=place.ref,
        name=place.name,
        arch=place.arch,
        cpu=cpu,
        vcpus=_least(threads, None if wanted is None else wanted.vcpus),
        memory_mib=_least(memory, None if wanted is None else wanted.memory_mib),
        disk_gib=_least(disk, None if wanted is None else wanted.disk_gib),
        hosts=len(hosts),
        available=bool(hosts and place.datastores),
    )


def arch_of(host: Row) -> Architecture:
    """Return a host's architecture: ESXi for Arm says so in its processors' vendor and in its product's type."""
    vendors = {str(package.vendor).lower() for package in host.get("hardware.cpuPkg") or []}
    product = host.get("summary.config.product")
    os_type = str(getattr(product, "osType", "") or "").lower()
    return Architecture.AARCH64 if "arm" in vendors or "arm" in os_type else Architecture.X86_64


def cpu_of(host: Row) -> Cpu:
    """Recognise a host's processor, by its vendor on x86; of Arm ones the vCenter tells the model only."""
    packages = host.get("hardware.cpuPkg") or []
    vendor = str(packages[0].vendor).lower() if packages else ""
    model = " ".join(str(host.get("summary.hardware.cpuModel", "unknown")).split())
    if arch_of(host) is Architecture.X86_64:
        return recognise_x86(_X86_VENDORS.get(vendor, vendor or "unknown"), model)
    family = next((family for word, family in _ARM_MODELS.items() if word in model.lower()), CpuFamily.UNKNOWN)
    return Cpu(Architecture.AARCH64, family, model, f"vendor={vendor} model={model}")


@dataclass(frozen=True, slots=True)
class Port:
    """A network a card can be put on."""

    observation: NetworkObservation
    obj: Any
    switch: str | None
    """uuid of the distributed switch; None: a standard port group, found by its name."""
    key: str | None


def ports(connection: Connection, options: VSphereOptions, inventory: Inventory) -> list[Port]:
    """Return every network servers can be put on, with the zones whose hosts all have it; uplinks are none.

    One that some host of every zone lacks is left out: a server on it could not move.
    """
    paths: Mapping[Any, tuple[str, ...]] = {
        vim.Network: NETWORK,
        vim.dvs.DistributedVirtualPortgroup: PORTGROUP,
        vim.DistributedVirtualSwitch: SWITCH,
    }
    kinds = [vim.Network, vim.DistributedVirtualSwitch]
    rows = connection.read(lambda session: list(collector.every(session, kinds, paths, options.page_size)))
    switches = {row.moid: row.get("uuid") for row in rows if isinstance(row.obj, vim.DistributedVirtualSwitch)}
    places = inventory.places(options)
    found = []
    for row in rows:
        if isinstance(row.obj, (vim.DistributedVirtualSwitch, vim.OpaqueNetwork)) or _is_uplink(row):
            continue
        switch = switches.get(id_of(row.get("config.distributedVirtualSwitch")) or "")
        seen = _observe_network(row, options, places)
        if seen.zones:  # to the contract, a network that names no zone reaches them all
            found.append(Port(seen, row.obj, switch, row.get("key")))
    return found


def _is_uplink(row: Row) -> bool:
    tags = {tag.key for tag in row.get("tag") or []}
    return bool(row.get("config.uplink")) or _UPLINKS in tags or "-DVUplinks" in str(row.get("name", ""))


def _observe_network(row: Row, options: VSphereOptions, places: list[Place]) -> NetworkObservation:
    name = str(row.get("name", row.moid))
    reached = {id_of(host) for host in row.get("host") or []}
    zones = tuple(place.ref for place in places if {host.moid for host in place.hosts} <= reached)
    told = options.network(name)
    if told is None:
        return NetworkObservation(row.moid, name, zones=zones)
    ranges = [cidr for cidr in (told.cidr_v4, told.cidr_v6) if cidr is not None]
    return NetworkObservation(
        row.moid,
        name,
        cidr_v4=told.cidr_v4,
        cidr_v6=told.cidr_v6,
        gateway_v4=told.gateway_v4,
        zones=zones,
        subnets=tuple(
            SubnetObservation(cidr, name, cidr, told.gateway_v4 if cidr == told.cidr_v4 else None, told.dns)
            for cidr in ranges
        ),
    )


def folder_of(session: Session, options: VSphereOptions) -> tuple[Any, Any] | None:
    """Return the data centre and the folder that servers are put in; None: it is not there."""
    index = session.content.searchIndex
    datacenter = None
    if options.vcenter_datacenter is not None:
        datacenter = index.FindByInventoryPath(options.vcenter_datacenter)
    else:
        rows = list(collector.every(session, [vim.Datacenter], {vim.Datacenter: ["name"]}, 10))
        datacenter = rows[0].obj if len(rows) == 1 else None
    if datacenter is None:
        return None
    (row,) = collector.these(session, [datacenter], {vim.Datacenter: ["vmFolder"]})
    folder = row.get("vmFolder")
    for name in filter(None, options.folder.split("/")):
        folder = None if folder is None else index.FindChild(folder, name)
    return None if folder is None else (datacenter, folder)


def id_of(reference: Any) -> str | None:
    """Return a managed object's id, None of none."""
    return None if reference is None else str(reference._moId)  # noqa: SLF001 - the SDK's own name for it


def _least(total: int, limit: int | None) -> int:
    return total if limit is None else min(total, limit)
