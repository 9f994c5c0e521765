"""The simulated provider: a cloud of imagined hosts that keeps every promise of the contract, and fails when told to.

It runs no guest: servers have sizes, addresses and power states, and nobody can log into them (`rehearses`).
"""

import uuid
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, ClassVar, Self

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_
from providers.base import (
    ImageObservation,
    NetworkObservation,
    Provider,
    ServerObservation,
    ServerSpec,
    SnapshotObservation,
    SubnetObservation,
    ZoneObservation,
)
from providers.capabilities import PowerControl, Resizing, Snapshots
from providers.errors import Busy, InvalidSpec, NotFound, Unsupported
from providers.simulated import addresses, capacity, changes, evidence, limits, servers
from providers.simulated.account import SimulatedAccount
from providers.simulated.calls import Attempt, EmptyAnswer
from providers.simulated.disks import SimulatedDisks
from providers.simulated.faults import FaultKind
from providers.simulated.network import SimulatedNetwork
from providers.simulated.options import NetworkOptions, SimulatedOptions, ZoneOptions
from providers.simulated.servers import Native


class SimulatedProvider(
    SimulatedDisks, SimulatedNetwork, SimulatedAccount, Provider, PowerControl, Resizing, Snapshots
):
    """Imagined hosts in a file of `state_dir`. Any number of threads and processes may use one installation at once."""

    name: ClassVar[str] = "simulated"
    Options: ClassVar[type[SimulatedOptions]] = SimulatedOptions
    rehearses: ClassVar[bool] = True

    @classmethod
    def open(cls, options: Mapping[str, Any], *, backend: str, state_dir: Path) -> Self:
        return cls(SimulatedOptions.model_validate(options), backend=backend, state_dir=state_dir)

    def __repr__(self) -> str:
        return f"SimulatedProvider(backend={self._backend!r}, zones={list(self._zones)})"

    # What there is

    def check(self) -> str:
        with self._read("check"):
            hosts = sum(host.count for zone in self._options.zones for host in zone.hosts)
            return f"simulated 1, {hosts} hosts in {len(self._zones)} zones"

    def list_zones(self) -> list[ZoneObservation]:
        with self._read("list_zones") as db:
            closed = {row["zone"] for row in db.execute("SELECT zone FROM closed_zones")}
        return [_zone(zone, available=zone.ref not in closed) for zone in self._options.zones]

    def list_images(self) -> list[ImageObservation]:
        with self._read("list_images"):
            return [
                ImageObservation(image.ref, image.name, image.arch, image.min_disk_gib, image.digest)
                for image in self._options.images
            ]

    def list_networks(self) -> list[NetworkObservation]:
        with self._read("list_networks"):
            return [_network(network) for network in self._options.networks]

    def list_servers(self) -> Iterator[ServerObservation]:
        try:
            with self._read("list_servers") as db:
                return iter(servers.observe_all(db))
        except EmptyAnswer:
            return iter(())

    def find_server(self, token: uuid.UUID) -> ServerObservation | None:
        with self._read("find_server", token=token) as db:
            row = servers.find(db, token=token)
            return None if row is None else servers.observe(db, row)

    def get_server(self, ref: str) -> ServerObservation:
        with self._read("get_server", ref=ref) as db:
            return servers.observe(db, servers.require(db, ref))

    # Building and removing

    def create_server(self, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        zone, networks = self._refuse_inexact(spec)
        with self._write("create_server", token=token, about=spec) as attempt:
            db = attempt.db
            row = servers.find(db, token=token)
            if row is not None and servers.native_state(row) == Native.HALF_CREATED:
                servers.remove(db, row["ref"])
                row = None
            attempt.outcome = "built" if row is None else "found"
            attempt.ref = self._build(attempt, spec, token, zone, networks) if row is None else row["ref"]
            self._go_on(attempt, spec, networks)
            observed = servers.observe(db, servers.require(db, attempt.ref))
            if attempt.fault and attempt.fault.kind is FaultKind.GONE:
                servers.remove(db, attempt.ref)
        return observed

    def _build(
        self, attempt: Attempt, spec: ServerSpec, token: uuid.UUID, zone: ZoneOptions, networks: list[NetworkOptions]
    ) -> str:
        db = attempt.db
        disk_gib = spec.system_disk_gib + spec.data_disk_gib
        limits.refuse_beyond(
            db,
            self._options.cloud_quota,
            servers=1,
            vcpus=spec.vcpus,
            memory_mib=spec.memory_mib,
            disk_gib=disk_gib,
        )
        host = capacity.choose_host(
            db,
            zone,
            vcpus=spec.vcpus,
            memory_mib=spec.memory_mib,
            disk_gib=disk_gib,
            spread_group=None if spec.spread_group is None else str(spec.spread_group),
        )
        on = [network.ref for network in networks]
        if attempt.fault and attempt.fault.kind is FaultKind.HALF_CREATED:
            return servers.add(db, spec, token, host=host, state=Native.HALF_CREATED, networks=on)
        return servers.add(db, spec, token, host=host, state=Native.STAGED, networks=on)

    def _go_on(self, attempt: Attempt, spec: ServerSpec, networks: list[NetworkOptions]) -> None:
        """Boot what stands there staged, unless this call too is to do only a part of the work."""
        if attempt.fault and attempt.fault.kind is FaultKind.UNFINISHED:
            return
        row = servers.require(attempt.db, attempt.ref or "")
        if servers.native_state(row) == Native.STAGED:
            servers.move(attempt.db, row["ref"], Native.BUILD, Native.ACTIVE, self._options.boot_s)
            addresses.hand_out(attempt.db, networks, row["ref"], spec.addresses)

    def delete_server(self, ref: str) -> None:
        with self._write("delete_server", ref=ref) as attempt:
            if attempt.fault and attempt.fault.kind is FaultKind.LEFT_BEHIND:
                evidence.leave_disk(attempt.db, ref)
            servers.remove(attempt.db, ref)
            changes.forget_oldest(attempt.db)

    # Power

    def start_server(self, ref: str) -> None:
        with self._write("start_server", ref=ref) as attempt:
            match servers.native_state(servers.require(attempt.db, ref)):
                case Native.SHUTOFF:
                    servers.move(attempt.db, ref, Native.POWERING_ON, Native.ACTIVE, self._options.power_s)
                case Native.ACTIVE | Native.REBOOT | Native.POWERING_ON | Native.BUILD:
                    pass
                case Native.POWERING_OFF:
                    raise _busy()
                case other:
                    raise _wrong_state(other)

    def stop_server(self, ref: str) -> None:
        with self._write("stop_server", ref=ref) as attempt:
            match servers.native_state(servers.require(attempt.db, ref)):
                case Native.ACTIVE | Native.REBOOT | Native.PAUSED:
                    servers.move(attempt.db, ref, Native.POWERING_OFF, Native.SHUTOFF, self._options.power_s)
                case Native.SHUTOFF | Native.POWERING_OFF:
                    pass
                case Native.BUILD | Native.POWERING_ON:
                    raise _busy()
                case other:
                    raise _wrong_state(other)

    def reboot_server(self, ref: str) -> None:
        with self._write("reboot_server", ref=ref) as attempt:
            match servers.native_state(servers.require(attempt.db, ref)):
                case Native.ACTIVE:
                    servers.move(attempt.db, ref, Native.REBOOT, Native.ACTIVE, self._options.power_s)
                case Native.REBOOT:
                    pass
                case Native.BUILD | Native.POWERING_ON | Native.POWERING_OFF:
                    raise _busy()
                case other:
                    raise _wrong_state(other)

    # Size

    def resize_server(self, ref: str, *, vcpus: int, memory_mib: int) -> None:
        _refuse_nothing(vcpus=vcpus, memory_mib=memory_mib)
        with self._write("resize_server", ref=ref) as attempt:
            row = servers.require(attempt.db, ref)
            if (state := servers.native_state(row)) != Native.SHUTOFF:
                raise _wrong_state(state)
            zone = self._zones.get(row["zone"])
            if zone is None:
                raise Unsupported(
                    N_("The server's zone is not in the settings any more."), detail=f"zone {row['zone']}"
                )
            limits.refuse_beyond(
                attempt.db,
                self._options.cloud_quota,
                vcpus=vcpus - (row["vcpus"] or 0),
                memory_mib=memory_mib - (row["memory_mib"] or 0),
            )
            disk_gib = (row["system_disk_gib"] or 0) + (row["data_disk_gib"] or 0)
            host = capacity.choose_host(
                attempt.db,
                zone,
                vcpus=vcpus,
                memory_mib=memory_mib,
                disk_gib=disk_gib,
                spread_group=row["spread_group"],
                moving=ref,
            )
            attempt.db.execute(
                "UPDATE servers SET vcpus = ?, memory_mib = ?, host = ? WHERE ref = ?", (vcpus, memory_mib, host, ref)
            )

    # Snapshots

    def create_snapshot(self, ref: str, name: str) -> SnapshotObservation:
        """Keep a server's power state under a name; the same name gives the snapshot it already made."""
        with self._write("create_snapshot", ref=ref) as attempt:
            state = servers.native_state(servers.require(attempt.db, ref))
            if state not in {Native.ACTIVE, Native.SHUTOFF, Native.PAUSED}:
                raise _wrong_state(state)
            attempt.db.execute(
                "INSERT INTO snapshots (ref, server, name, state, created_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (server, name) DO NOTHING",
                (str(new_id()), ref, name, state, clock.now().timestamp()),
            )
            return servers.snapshot(
                attempt.db.execute("SELECT * FROM snapshots WHERE server = ? AND name = ?", (ref, name)).fetchone()
            )

    def list_snapshots(self, ref: str) -> list[SnapshotObservation]:
        with self._read("list_snapshots", ref=ref) as db:
            servers.require(db, ref)
            rows = db.execute("SELECT * FROM snapshots WHERE server = ? ORDER BY created_at, ref", (ref,))
            return [servers.snapshot(row) for row in rows]

    def revert_snapshot(self, ref: str, snapshot: str) -> None:
        """Bring back the power state at the snapshot; there are no disk contents to bring back."""
        with self._write("revert_snapshot", ref=ref) as attempt:
            servers.require(attempt.db, ref)
            row = attempt.db.execute("SELECT * FROM snapshots WHERE server = ? AND ref = ?", (ref, snapshot)).fetchone()
            if row is None:
                raise NotFound(N_("There is no such snapshot at the cloud."), detail=f"{snapshot!r} of {ref!r}")
            servers.move(attempt.db, ref, row["state"])

    def delete_snapshot(self, ref: str, snapshot: str) -> None:
        with self._write("delete_snapshot", ref=ref) as attempt:
            attempt.db.execute("DELETE FROM snapshots WHERE server = ? AND ref = ?", (ref, snapshot))

    # Below: what is refused before the cloud is asked

    def _refuse_inexact(self, spec: ServerSpec) -> tuple[ZoneOptions, list[NetworkOptions]]:
        """Return the zone and networks, or refuse before the cloud is asked (P4, P13)."""
        zone = self._zones.get(spec.zone)
        image = self._images.get(spec.image)
        if zone is None:
            raise InvalidSpec(N_("There is no zone {zone} at the cloud."), zone=spec.zone)
        if image is None:
            raise InvalidSpec(N_("There is no image {image} at the cloud."), image=spec.image)
        if spec.arch != zone.arch:
            raise InvalidSpec(
                N_("Zone {zone} has the architecture {has}, not {arch}."), zone=zone.name, has=zone.arch, arch=spec.arch
            )
        if image.arch != spec.arch:
            raise InvalidSpec(
                N_("Image {image} is of the architecture {has}, not {arch}."),
                image=image.name,
                has=image.arch or "unknown",
                arch=spec.arch,
            )
        if spec.image_digest is not None and image.digest is not None and spec.image_digest != image.digest:
            raise InvalidSpec(
                N_("Image {image} is not the one that was approved: its digest differs."),
                detail=f"asked {spec.image_digest}, cloud has {image.digest}",
                image=image.name,
            )
        _refuse_nothing(vcpus=spec.vcpus, memory_mib=spec.memory_mib, system_disk_gib=spec.system_disk_gib)
        if spec.data_disk_gib < 0:
            raise _not_positive("data_disk_gib", spec.data_disk_gib)
        if spec.system_disk_gib < image.min_disk_gib:
            raise InvalidSpec(
                N_("Image {image} needs a system disk of {min_disk_gib} GiB or more."),
                image=image.name,
                min_disk_gib=image.min_disk_gib,
            )
        networks = self._networks_of(spec)
        if spec.addresses:
            if not networks:
                raise InvalidSpec(N_("An address was asked for, and the server is on no network."))
            addresses.told_by_cidr(networks[0], spec.addresses)
        return zone, networks

    def _networks_of(self, spec: ServerSpec) -> list[NetworkOptions]:
        """Return the networks asked for; with none named, the first that reaches the zone."""
        if not spec.networks:
            return [network for network in self._options.networks if network.reaches(spec.zone)][:1]
        chosen = [self._networks.get(ref) for ref in dict.fromkeys(spec.networks)]
        for ref, network in zip(dict.fromkeys(spec.networks), chosen, strict=True):
            if network is None or not network.reaches(spec.zone):
                raise InvalidSpec(
                    N_("There is no network {network} in zone {zone}."), network=ref, zone=self._zones[spec.zone].name
                )
        return [network for network in chosen if network is not None]


def _zone(zone: ZoneOptions, *, available: bool) -> ZoneObservation:
    return ZoneObservation(
        ref=zone.ref,
        name=zone.name,
        arch=zone.arch,
        cpu=zone.cpu,
        vcpus=sum(host.vcpus * host.count for host in zone.hosts),
        memory_mib=sum(host.memory_mib * host.count for host in zone.hosts),
        disk_gib=sum(host.disk_gib * host.count for host in zone.hosts),
        hosts=sum(host.count for host in zone.hosts),
        available=available,
    )


def _network(network: NetworkOptions) -> NetworkObservation:
    return NetworkObservation(
        ref=network.ref,
        name=network.name,
        cidr_v4=None if network.cidr_v4 is None else str(network.cidr_v4),
        cidr_v6=None if network.cidr_v6 is None else str(network.cidr_v6),
        gateway_v4=None if network.gateway_v4 is None else str(network.gateway_v4),
        zones=network.zones,
        subnets=tuple(
            SubnetObservation(
                ref=f"{network.ref}-v{cidr.version}",
                name=f"{network.name} IPv{cidr.version}",
                cidr=str(cidr),
                gateway=_gateway(network, cidr),
            )
            for cidr in network.ranges()
        ),
        is_external=network.is_external,
    )


def _gateway(network: NetworkOptions, cidr: IPv4Network | IPv6Network) -> str | None:
    if cidr.version == 4 and network.gateway_v4 is not None:  # noqa: PLR2004 - the protocol's number
        return str(network.gateway_v4)
    return None


def _refuse_nothing(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise _not_positive(name, size)


def _not_positive(name: str, size: int) -> InvalidSpec:
    return InvalidSpec(N_("A server cannot have {size} as its {name}."), name=name, size=size)


def _busy() -> Busy:
    return Busy(N_("The server is changing its power state; try again shortly."))


def _wrong_state(native: str) -> Unsupported:
    return Unsupported(N_("The server's state {state} does not allow this."), state=native)
