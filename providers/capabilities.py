"""What a driver may be able to do beside the contract: it inherits the class, so that a flag cannot lie.

The rules of `providers/base.py` hold for these calls too; `tests/providers/capabilities.py` proves them.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from providers.base import (
    AddressObservation,
    Changes,
    CloudQuotaObservation,
    ConsoleAddress,
    PortRule,
    Provider,
    PublicAddressObservation,
    ResourceObservation,
    SnapshotObservation,
    VolumeObservation,
    VolumeSpec,
)


class PowerControl(ABC):
    """Capability: power. Each call is idempotent and returns at once."""

    @abstractmethod
    def start_server(self, ref: str) -> None: ...

    @abstractmethod
    def stop_server(self, ref: str) -> None:
        """Ask the guest to shut down, by force where it cannot be asked."""

    @abstractmethod
    def reboot_server(self, ref: str) -> None: ...


class Resizing(ABC):
    """Capability: another size."""

    @abstractmethod
    def resize_server(self, ref: str, *, vcpus: int, memory_mib: int) -> None:
        """Set the size of a stopped server, exactly (P4).

        May return before the backend has finished: the server is BUILDING meanwhile, and the caller asks again with the
        same size until `get_server` shows it. Asking for the size it has is a success.

        Raises:
            Unsupported: it is running.
        """


class Snapshots(ABC):
    """Capability: points in time."""

    @abstractmethod
    def create_snapshot(self, ref: str, name: str) -> SnapshotObservation:
        """Begin to keep a point in time; the same name on the same server returns the snapshot it already made."""

    @abstractmethod
    def list_snapshots(self, ref: str) -> list[SnapshotObservation]: ...

    @abstractmethod
    def revert_snapshot(self, ref: str, snapshot: str) -> None: ...

    @abstractmethod
    def delete_snapshot(self, ref: str, snapshot: str) -> None:
        """Remove it; the absent succeeds (P3)."""


class Console(ABC):
    """Capability: a screen or a serial line."""

    @abstractmethod
    def console_addresses(self, ref: str) -> list[ConsoleAddress]: ...


class Volumes(ABC):
    """Capability: disks that outlive servers. Each call is idempotent and returns at once."""

    @abstractmethod
    def create_volume(self, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        """Begin to make an empty volume; the same token returns the volume it already made (P2).

        Raises:
            InvalidSpec: no such zone, or no such size. NoCapacity: no room.
        """

    @abstractmethod
    def find_volume(self, token: uuid.UUID) -> VolumeObservation | None:
        """Return the volume made with this token; None when there is none."""

    @abstractmethod
    def list_volumes(self) -> Iterator[VolumeObservation]:
        """Yield every volume that is not a server's own disk, ours or not (P8).

        A volume is never counted among the disks of the server that has it, and outlives that server.
        """

    @abstractmethod
    def attach_volume(self, ref: str, server: str) -> None:
        """Begin to give a volume to a server.

        Raises:
            Busy: another server has it. NotFound: one of them is not there.
        """

    @abstractmethod
    def detach_volume(self, ref: str) -> None:
        """Begin to take a volume from the server that has it; one that nobody has succeeds."""

    @abstractmethod
    def delete_volume(self, ref: str) -> None:
        """Remove a volume and its snapshots; the absent succeeds (P3).

        Raises:
            Busy: a server has it.
        """


class PortRules(ABC):
    """Capability: which ports of a server are open."""

    @abstractmethod
    def set_port_rules(self, ref: str, rules: Sequence[PortRule]) -> None:
        """Open exactly these to the server and close what else we had opened; rules others made are left alone."""

    @abstractmethod
    def list_port_rules(self, ref: str) -> list[PortRule]:
        """Return what we had opened to the server."""


class FixedAddresses(ABC):
    """Capability: servers get the addresses of their spec, and the backend tells who uses which.

    A `create_server` whose address is in use raises AddressTaken and builds nothing; one whose address the network does not
    have is an InvalidSpec.
    """

    @abstractmethod
    def list_addresses(self, network: str) -> list[AddressObservation]:
        """Return every address in use on a network, ours or not, as far as the backend knows (P8).

        Raises:
            NotFound: no such network.
        """


class PublicAddresses(ABC):
    """Capability: addresses of an external network that lead to a server (floating, elastic). Idempotent by token."""

    @abstractmethod
    def assign_public_address(self, ref: str, token: uuid.UUID) -> PublicAddressObservation:
        """Take an address and lead it to the server; the same token returns the address it already took (P2)."""

    @abstractmethod
    def find_public_address(self, token: uuid.UUID) -> PublicAddressObservation | None:
        """Return the address taken with this token; None when there is none."""

    @abstractmethod
    def release_public_address(self, token: uuid.UUID) -> None:
        """Give the address back; the absent succeeds (P3)."""


class Evidence(ABC):
    """Capability: to say what is kept for a server, and whether it is gone."""

    @abstractmethod
    def list_resources(self, token: uuid.UUID | None = None) -> list[ResourceObservation]:
        """Return everything kept for a server (itself included), or, without a token, everything that has no owner.

        Without an owner is a disk, volume, snapshot, nic or address that no server uses, ours or not.
        """

    @abstractmethod
    def still_there(self, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        """Ask for each by its own reference, and return those that are there."""


class Incremental(ABC):
    """Capability: to say what changed, for less than a full list costs."""

    @abstractmethod
    def list_changes(self, cursor: str | None) -> Changes:
        """Return what changed since the cursor of the last answer; without one, or with one that is lost, everything."""


class CloudQuota(ABC):
    """Capability: the backend has limits of its own, which may bind before ours."""

    @abstractmethod
    def read_quota(self) -> list[CloudQuotaObservation]: ...


CAPABILITIES: Mapping[str, type] = {
    "power": PowerControl,
    "resize": Resizing,
    "snapshots": Snapshots,
    "volumes": Volumes,
    "fixed_addresses": FixedAddresses,
    "port_rules": PortRules,
    "public_ips": PublicAddresses,
    "console": Console,
    "evidence": Evidence,
    "incremental": Incremental,
    "cloud_quota": CloudQuota,
}


def capabilities(provider: type[Provider] | Provider) -> list[str]:
    """Return the names of what a driver can do, read from its classes, so that a flag cannot lie.

    A driver whose abilities depend on what it is connected to (libcloud) narrows them by `unable`.
    """
    cls = provider if isinstance(provider, type) else type(provider)
    unable = frozenset() if isinstance(provider, type) else provider.unable()
    return [name for name, mixin in CAPABILITIES.items() if issubclass(cls, mixin) and name not in unable]
