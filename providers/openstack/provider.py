"""The OpenStack driver: one project in one region, through Libcloud's connections.

A server is Nova's instance with the token in its metadata, ports and a data disk named by the token, and nothing else; it
holds no state but sessions and a minute's memory of what the cloud offers.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from providers.base import (
    AddressObservation,
    Changes,
    CloudQuotaObservation,
    ConsoleAddress,
    ImageObservation,
    NetworkObservation,
    PortRule,
    Provider,
    ProviderOptions,
    PublicAddressObservation,
    ResourceObservation,
    ServerObservation,
    ServerSpec,
    SnapshotObservation,
    VolumeObservation,
    VolumeSpec,
    ZoneObservation,
)
from providers.capabilities import (
    CloudQuota,
    Console,
    Evidence,
    FixedAddresses,
    Incremental,
    PortRules,
    PowerControl,
    PublicAddresses,
    Resizing,
    Snapshots,
    Volumes,
)
from providers.openstack import (
    build,
    changes,
    errors,
    evidence,
    lookup,
    network,
    observe,
    quota,
    remove,
    servers,
    snapshots,
    volumes,
    words,
    zones,
)
from providers.openstack.catalogue import Catalogue
from providers.openstack.connection import Cloud
from providers.openstack.options import OpenStackOptions

STRIPES = 64


class OpenStackProvider(
    Provider,
    PowerControl,
    Resizing,
    Snapshots,
    Volumes,
    FixedAddresses,
    PortRules,
    PublicAddresses,
    Console,
    Evidence,
    Incremental,
    CloudQuota,
):
    """One project; options in `OpenStackOptions`, words in docs/providers.md."""

    name: ClassVar[str] = "openstack"
    Options: ClassVar[type[ProviderOptions]] = OpenStackOptions

    def __init__(self, options: OpenStackOptions, *, backend: str) -> None:
        self.options = options
        self.backend = backend
        self.rehearses = options.rehearses  # type: ignore[misc]  # told by the installation, not by the driver
        self._cloud = Cloud(options)
        self._catalogue = Catalogue(self._cloud)
        self._claimant = uuid.uuid4().hex
        """Whom our claims name; another process, and this one started again, is another claimant."""
        self._unanswered: dict[uuid.UUID, float] = {}
        """When Nova left us without an answer to a creation, by token: the request may still arrive."""
        self._stripes = [threading.Lock() for _ in range(STRIPES)]

    def __repr__(self) -> str:
        return f"OpenStackProvider({self.backend!r}, {self.options.auth_url!r}, {self.options.region!r})"

    @classmethod
    def open(cls, options: Mapping[str, Any], *, backend: str, state_dir: Path) -> Self:  # noqa: ARG003 - keeps nothing
        """Validate the options; the first call logs in."""
        return cls(OpenStackOptions.model_validate(dict(options)), backend=backend)

    def close(self) -> None:
        """Forget the sessions; a later call opens new ones."""
        self._cloud.close()

    def check(self) -> str:
        """Log in, ask each of the four services for something of ours, and return Nova's version."""
        told = self._cloud.get("compute", "/")["version"]
        self._cloud.get("image", "/images", limit=1)
        self._cloud.get("network", "/networks", limit=1, fields="id")
        self._cloud.get("volume", "/volumes", limit=1)
        return f"Nova API {told.get('version') or told.get('id')} in {self.options.region}, project {self._cloud.project_id()}"

    def list_zones(self) -> list[ZoneObservation]:
        """Return the zones of the settings, or those of the hypervisors."""
        return zones.list_zones(self._cloud)

    def list_images(self) -> list[ImageObservation]:
        """Return the bootable images."""
        return self._catalogue.offered_images()

    def list_networks(self) -> list[NetworkObservation]:
        """Return the networks with their subnets."""
        return self._catalogue.offered_networks()

    def list_servers(self) -> Iterator[ServerObservation]:
        """Yield every server of the project, a thousand an answer."""
        observer = self._observer()
        for row in self._cloud.pages("compute", "/servers/detail", "servers"):
            yield observer.server(row)

    def create_server(self, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        """Make ports and data disk, then the server; go on with what an earlier call left."""
        with self._alone(token):
            self._await_the_unanswered(token)
            ref = build.build(
                self._cloud,
                self._catalogue,
                spec,
                token,
                self._claimant,
                lambda: self._unanswered.update({token: time.monotonic()}),
            )
            return self.get_server(ref)

    def _await_the_unanswered(self, token: uuid.UUID) -> None:
        """Ask for no second server while the first request may be on its way.

        Raises:
            Busy: for `claim_s` after an answer was lost, unless the server is there.
        """
        lost_at = self._unanswered.get(token)
        if lost_at is None:
            return
        if time.monotonic() - lost_at < self.options.claim_s and not lookup.servers_of(self._cloud, token):
            raise errors.busy(f"the creation of {token} was not answered, and may still arrive")
        del self._unanswered[token]

    def find_server(self, token: uuid.UUID) -> ServerObservation | None:
        """Return the server of a token; ports or a disk without a server are reported as half-created (ERROR)."""
        found, ports = lookup.servers_and_ports(self._cloud, token)
        if found:
            return self._observer().server(found[0])
        if ports or lookup.data_disks_of(self._cloud, token):
            return observe.half_created(token)
        return None

    def get_server(self, ref: str) -> ServerObservation:
        """Return one server."""
        if (token := words.token_of_half(ref)) is not None:
            if (found := self.find_server(token)) is None:
                raise errors.not_found(ref)
            return found
        return self._observer().server(lookup.server(self._cloud, ref))

    def delete_server(self, ref: str) -> None:
        """Remove the server; called again, what was made for it, its first port last."""
        remove.by_ref(self._cloud, ref)

    def start_server(self, ref: str) -> None:
        """Power on."""
        servers.start(self._cloud, ref)

    def stop_server(self, ref: str) -> None:
        """Ask the guest to shut down."""
        servers.stop(self._cloud, ref)

    def reboot_server(self, ref: str) -> None:
        """Restart a running server."""
        servers.reboot(self._cloud, ref)

    def resize_server(self, ref: str, *, vcpus: int, memory_mib: int) -> None:
        """Resize and confirm, a step a call."""
        servers.resize(self._cloud, self._catalogue, ref, vcpus=vcpus, memory_mib=memory_mib)

    def create_snapshot(self, ref: str, name: str) -> SnapshotObservation:
        """Begin to take an image of the system disk."""
        with self._alone(ref):
            return snapshots.create(self._cloud, ref, name)

    def list_snapshots(self, ref: str) -> list[SnapshotObservation]:
        """Return a server's snapshots, oldest first."""
        return snapshots.list_all(self._cloud, ref)

    def revert_snapshot(self, ref: str, snapshot: str) -> None:
        """Begin to rebuild the system disk from a snapshot; volumes are not changed."""
        snapshots.revert(self._cloud, ref, snapshot)

    def delete_snapshot(self, ref: str, snapshot: str) -> None:
        """Remove a snapshot."""
        snapshots.delete(self._cloud, ref, snapshot)

    def console_addresses(self, ref: str) -> list[ConsoleAddress]:
        """Return where noVNC listens for a running server."""
        return servers.consoles(self._cloud, ref)

    def create_volume(self, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        """Begin to make a volume."""
        with self._alone(token):
            return volumes.create(self._cloud, spec, token)

    def find_volume(self, token: uuid.UUID) -> VolumeObservation | None:
        """Return the volume of a token."""
        return volumes.find(self._cloud, token)

    def list_volumes(self) -> Iterator[VolumeObservation]:
        """Yield every volume that is not a server's own disk."""
        yield from volumes.list_all(self._cloud)

    def attach_volume(self, ref: str, server: str) -> None:
        """Begin to attach."""
        volumes.attach(self._cloud, ref, server)

    def detach_volume(self, ref: str) -> None:
        """Begin to detach."""
        volumes.detach(self._cloud, ref)

    def delete_volume(self, ref: str) -> None:
        """Begin to delete."""
        volumes.delete(self._cloud, ref)

    def set_port_rules(self, ref: str, rules: Sequence[PortRule]) -> None:
        """Open exactly these by a security group of the server's own."""
        with self._alone(ref):
            network.set_rules(self._cloud, ref, rules)

    def list_port_rules(self, ref: str) -> list[PortRule]:
        """Return what that group opens."""
        return network.list_rules(self._cloud, ref)

    def list_addresses(self, network_ref: str) -> list[AddressObservation]:
        """Return the addresses of the ports our account may see."""
        return network.addresses(self._cloud, self._catalogue, network_ref)

    def assign_public_address(self, ref: str, token: uuid.UUID) -> PublicAddressObservation:
        """Lead a floating IP to the server's first IPv4 address."""
        with self._alone(token):
            return network.assign(self._cloud, self._catalogue, ref, token)

    def find_public_address(self, token: uuid.UUID) -> PublicAddressObservation | None:
        """Return the floating IP of a token."""
        return network.find_public(self._cloud, token)

    def release_public_address(self, token: uuid.UUID) -> None:
        """Give the floating IP back."""
        network.release(self._cloud, token)

    def list_resources(self, token: uuid.UUID | None = None) -> list[ResourceObservation]:
        """Return what is kept for a token, or what nobody uses."""
        return evidence.without_owner(self._cloud) if token is None else evidence.of_token(self._cloud, token)

    def still_there(self, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        """Return those that the cloud still has."""
        return evidence.still_there(self._cloud, resources)

    def list_changes(self, cursor: str | None) -> Changes:
        """Return what changed since the cursor."""
        return changes.since(self._cloud, self._observer(), cursor)

    def read_quota(self) -> list[CloudQuotaObservation]:
        """Return the project's own limits."""
        return quota.read(self._cloud)

    def _observer(self) -> observe.Observer:
        return observe.Observer(self._cloud, self._catalogue)

    @contextlib.contextmanager
    def _alone(self, what: object) -> Iterator[None]:
        """Be the only thread of this process that makes something for a token; nobody waits (P1)."""
        stripe = self._stripes[hash(what) % STRIPES]
        if not stripe.acquire(blocking=False):
            raise errors.busy(f"another call for {what} is under way")
        try:
            yield
        finally:
            stripe.release()
