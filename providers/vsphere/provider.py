"""The vSphere driver: servers of one vCenter, cloned from its templates; the instance UUID of a clone is its token.

The vCenter works in the background: what takes longer than a call is gone on with by the next one. The driver holds two
sessions (one waits for changes), the ids of clones being made, and nothing that could not be lost.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from providers.base import (
    AddressObservation,
    Changes,
    ImageObservation,
    NetworkObservation,
    Provider,
    ProviderOptions,
    ResourceObservation,
    ServerObservation,
    ServerSpec,
    SnapshotObservation,
    VolumeObservation,
    VolumeSpec,
    ZoneObservation,
)
from providers.capabilities import (
    Evidence,
    FixedAddresses,
    Incremental,
    PowerControl,
    Resizing,
    Snapshots,
    Volumes,
)
from providers.vsphere import (
    addresses,
    create,
    errors,
    evidence,
    inventory,
    observe,
    placing,
    power,
    remove,
    resize,
    servers,
    snapshots,
    volumes,
)
from providers.vsphere.changes import Watcher
from providers.vsphere.connection import Connection
from providers.vsphere.options import VSphereOptions


class VSphereProvider(Provider, PowerControl, Resizing, Snapshots, Volumes, FixedAddresses, Evidence, Incremental):
    """One vCenter through pyVmomi; options in `VSphereOptions`, words in docs/providers.md."""

    name: ClassVar[str] = "vsphere"
    Options: ClassVar[type[ProviderOptions]] = VSphereOptions

    def __init__(self, options: VSphereOptions, *, backend: str, state_dir: Path) -> None:
        self.options = options
        self.rehearses = options.rehearses  # type: ignore[misc]  # told by the installation, not by the driver
        self.backend = backend
        self._state_dir = state_dir
        self._connection = Connection(options)
        self._watcher = Watcher(self._connection, options)
        self._patience = power.Patience()

    def __repr__(self) -> str:
        return f"VSphereProvider({self.backend!r}, {self.options.host!r})"

    @classmethod
    def open(cls, options: Mapping[str, Any], *, backend: str, state_dir: Path) -> Self:
        """Validate the options; the session is opened by the first call."""
        return cls(VSphereOptions.model_validate(dict(options)), backend=backend, state_dir=state_dir)

    def close(self) -> None:
        """End the sessions; a later call opens new ones."""
        self._watcher.close()
        self._connection.close()

    def check(self) -> str:
        """Return the vCenter's name and version; the folder for servers must be there as well."""
        servers.home_of(self._connection, self.options)
        # `content` was told at login; asking for the time proves that the session lives.
        return self._connection.read(
            lambda session: (session.service.CurrentTime(), str(session.content.about.fullName))[1]
        )

    def list_zones(self) -> list[ZoneObservation]:
        """Return each cluster and architecture, or the zones of the options."""
        found = inventory.read(self._connection, self.options.page_size)
        return [inventory.observe_zone(place) for place in found.places(self.options)]

    def list_images(self) -> list[ImageObservation]:
        """Return every template."""
        found = inventory.read(self._connection, self.options.page_size)
        return [one.observation for one in placing.templates(self._connection, self.options, found)]

    def list_networks(self) -> list[NetworkObservation]:
        """Return every port group and standard network, uplinks left out."""
        found = inventory.read(self._connection, self.options.page_size)
        return [port.observation for port in inventory.ports(self._connection, self.options, found)]

    def list_servers(self) -> Iterator[ServerObservation]:
        """Yield every virtual machine, and the claims of servers that are being cloned."""
        return servers.every(self._connection, self.options)

    def create_server(self, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        """Clone, equip and power on, as far as the vCenter is done within the call; the next call goes on."""
        placing.check_spec(spec)
        create.build(self._connection, self.options, self._state_dir, spec, token)
        return self._found(token) or servers.claimed_only(token)

    def find_server(self, token: uuid.UUID) -> ServerObservation | None:
        """Return the server of a token, whole, half-built, or claimed and not cloned yet."""
        return self._found(token)

    def get_server(self, ref: str) -> ServerObservation:
        """Return one server."""
        row = servers.row_of(self._connection, ref)
        if row is None:
            token = servers.parsed(ref)
            if token is not None and servers.claim_of(self._connection, self.options, token) is not None:
                return servers.claimed_only(token)
            raise errors.not_found(f"instance UUID {ref!r}")
        return self._observed(row, ref)

    def delete_server(self, ref: str) -> None:
        """Power off, let go of volumes, destroy the machine with its disks and snapshots."""
        remove.remove(self._connection, self.options, self._state_dir, ref)

    def start_server(self, ref: str) -> None:
        """Power on; running already is success."""
        power.start(self._connection, servers.require(self._connection, ref, power.PATHS))

    def stop_server(self, ref: str) -> None:
        """Ask the guest to shut down, or cut the power: see `power.stop`."""
        row = servers.require(self._connection, ref, power.PATHS)
        power.stop(self._connection, row, self._patience, self.options.stop_grace_s)

    def reboot_server(self, ref: str) -> None:
        """Restart a running server, by force where the guest cannot be asked."""
        power.reboot(self._connection, servers.require(self._connection, ref, power.PATHS))

    def resize_server(self, ref: str, *, vcpus: int, memory_mib: int) -> None:
        """Set the size of a stopped server."""
        resize.resize(self._connection, self.options, ref, vcpus=vcpus, memory_mib=memory_mib)

    def create_snapshot(self, ref: str, name: str) -> SnapshotObservation:
        """Take a snapshot of the disks; the same name again returns the one that stands."""
        return snapshots.create(self._connection, ref, name)

    def list_snapshots(self, ref: str) -> list[SnapshotObservation]:
        """Return a server's snapshots, oldest first."""
        return snapshots.list_all(self._connection, ref)

    def revert_snapshot(self, ref: str, snapshot: str) -> None:
        """Go back to a snapshot; refused where the server's size was another then (P4)."""
        snapshots.revert(self._connection, ref, snapshot)

    def delete_snapshot(self, ref: str, snapshot: str) -> None:
        """Remove a snapshot; the absent succeeds."""
        snapshots.delete(self._connection, ref, snapshot)

    def create_volume(self, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        """Begin to make an empty, thin disk on a datastore of the zone."""
        return volumes.make(self._connection, self.options, spec, token)

    def find_volume(self, token: uuid.UUID) -> VolumeObservation | None:
        """Return the volume of a token."""
        return volumes.find(self._connection, self.options, token)

    def list_volumes(self) -> Iterator[VolumeObservation]:
        """Yield every disk in the folders for volumes."""
        return volumes.every(self._connection, self.options)

    def attach_volume(self, ref: str, server: str) -> None:
        """Give a volume to a server, running or not."""
        volumes.attach(self._connection, self.options, ref, server)

    def detach_volume(self, ref: str) -> None:
        """Take a volume from the server that has it."""
        volumes.detach(self._connection, self.options, ref)

    def delete_volume(self, ref: str) -> None:
        """Remove a volume; the absent succeeds."""
        volumes.delete(self._connection, self.options, ref)

    def list_addresses(self, network: str) -> list[AddressObservation]:
        """Return every address in use on a network, as guests tell and as ours were told."""
        return addresses.of_network(self._connection, self.options, network)

    def list_resources(self, token: uuid.UUID | None = None) -> list[ResourceObservation]:
        """Return what is kept for a token, or the volumes no server has."""
        if token is None:
            return evidence.without_owner(self._connection, self.options)
        return evidence.of_token(self._connection, self.options, token)

    def still_there(self, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        """Ask for each by its own reference."""
        return evidence.still_there(self._connection, self.options, resources)

    def list_changes(self, cursor: str | None) -> Changes:
        """Return what changed since the cursor; see `changes.Watcher`."""
        return self._watcher.changes(cursor)

    def _found(self, token: uuid.UUID) -> ServerObservation | None:
        row = servers.row_of(self._connection, str(token))
        if row is not None and observe.token_of(row) == token:
            return self._observed(row, str(token))
        claim = servers.claim_of(self._connection, self.options, token)
        return None if claim is None else servers.claimed_only(token)

    def _observed(self, row: Any, ref: str) -> ServerObservation:
        seen = observe.observe(row, servers.world_of(self._connection, self.options))
        if seen is None:
            raise errors.not_found(f"{ref!r} is a template")
        return seen
