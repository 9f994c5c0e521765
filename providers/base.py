"""The contract between cloudmgr and every kind of infrastructure.

Rules, each proved by `tests/providers/contract.py` against every driver:
P1 calls return at once: no sleeping, polling or retrying. P2 the same token gives the same server, always; the token
lives in the backend. P3 deleting the absent succeeds. P4 sizes are exact or refused. P5 every SDK exception becomes one
ProviderError. P6 unknown native states become UNKNOWN and are kept verbatim. P7 `message` is safe for a tenant. P8 lists
include what is not ours. P9 a timed-out write is UnknownOutcome, a timed-out read Unavailable. P10 every remote call has a
timeout. P11 no module-level connections. P12 no secret in repr, log or exception. P13 architectures are normalised at the
edge, and an image of another architecture than the zone is refused before the backend is called.

A provider knows no database of ours, no quota and no person.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from cloudmgr.domain.architectures import Architecture, Cpu


class PowerState(StrEnum):
    """What the backend last said of a server; closed, everything else is UNKNOWN (P6)."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    BUILDING = "building"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ZoneObservation:
    """A placement target as the backend reports it. Capacities are physical totals, before any overcommit."""

    ref: str
    name: str
    arch: Architecture
    cpu: Cpu
    vcpus: int
    memory_mib: int
    disk_gib: int
    hosts: int
    available: bool = True


@dataclass(frozen=True, slots=True)
class ImageObservation:
    """A bootable template; `arch` is None when the backend does not say, and such an image is never used."""

    ref: str
    name: str
    arch: Architecture | None
    min_disk_gib: int = 0
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkObservation:
    """A network servers can be attached to."""

    ref: str
    name: str
    cidr_v4: str | None = None
    cidr_v6: str | None = None
    gateway_v4: str | None = None
    zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What to build. `zone`, `image` and `networks` are the backend's own references."""

    name: str
    arch: Architecture
    vcpus: int
    memory_mib: int
    system_disk_gib: int
    zone: str
    image: str
    data_disk_gib: int = 0
    image_digest: str | None = None
    networks: tuple[str, ...] = ()
    login_user: str = "ops"
    ssh_keys: tuple[str, ...] = ()
    spread_group: uuid.UUID | None = None
    """Servers of one group are put on different hosts where the backend can; None asks for nothing."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerObservation:
    """A server as the backend sees it, ours or not (`token` None: not made by cloudmgr)."""

    ref: str
    name: str
    power: PowerState
    native_state: str
    token: uuid.UUID | None = None
    arch: Architecture | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    system_disk_gib: int | None = None
    data_disk_gib: int | None = None
    zone: str | None = None
    host: str | None = None
    image: str | None = None
    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SnapshotObservation:
    """A point in time a server can be reverted to."""

    ref: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ConsoleAddress:
    """Where a console listens, seen from the worker; `kind` is vnc or serial; `password` is never shown in repr."""

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    password: str = field(default="", repr=False)


class ProviderOptions(BaseModel):
    """Base of each driver's own options in `[[backends]]`: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Provider(ABC):
    """One connection to one installation. Blocking, thread-safe, opened and closed by the worker.

    Raises from every call: ProviderError and nothing else.
    """

    name: ClassVar[str]
    Options: ClassVar[type[ProviderOptions]]
    rehearses: ClassVar[bool] = False
    """True where servers cannot be logged into, so that playbooks are rehearsed (模拟执行) instead of run."""

    @classmethod
    @abstractmethod
    def open(cls, options: Mapping[str, Any], *, backend: str, state_dir: Path) -> Self:
        """Validate the options and connect lazily; `state_dir` is a private folder for this backend.

        Raises:
            pydantic.ValidationError: an option is missing, unknown or malformed.
        """

    def close(self) -> None:  # noqa: B027 - most drivers hold nothing
        """Give back what `open` and later calls took."""

    @abstractmethod
    def check(self) -> str:
        """Prove that the backend answers and takes our credentials; return its version in words."""

    @abstractmethod
    def list_zones(self) -> list[ZoneObservation]:
        """Return every placement target."""

    @abstractmethod
    def list_images(self) -> list[ImageObservation]:
        """Return every bootable template."""

    @abstractmethod
    def list_networks(self) -> list[NetworkObservation]:
        """Return every network."""

    @abstractmethod
    def list_servers(self) -> Iterator[ServerObservation]:
        """Yield every server, ours or not (P8)."""

    @abstractmethod
    def create_server(self, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        """Begin to build and power on a server; the same token returns the server it already made (P2).

        Returns at once (P1): the server may still be BUILDING. A half-built server found under the token is
        completed or removed first.

        Raises:
            NoCapacity, InvalidSpec, UnknownOutcome, Unavailable, AuthFailed.
        """

    @abstractmethod
    def find_server(self, token: uuid.UUID) -> ServerObservation | None:
        """Return the server made with this token, whole or half-built; None when there is none."""

    @abstractmethod
    def get_server(self, ref: str) -> ServerObservation:
        """Return one server.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def delete_server(self, ref: str) -> None:
        """Remove a server with its disks and everything made for it; the absent succeeds (P3).

        May return before the backend has finished: the caller asks `find_server` until it says None.
        """


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

        Raises:
            Unsupported: it is running.
        """


class Snapshots(ABC):
    """Capability: points in time."""

    @abstractmethod
    def create_snapshot(self, ref: str, name: str) -> SnapshotObservation: ...

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


CAPABILITIES: Mapping[str, type] = {
    "power": PowerControl,
    "resize": Resizing,
    "snapshots": Snapshots,
    "console": Console,
}


def capabilities(provider: type[Provider] | Provider) -> list[str]:
    """Return the names of what a driver can do, read from its classes, so that a flag cannot lie."""
    cls = provider if isinstance(provider, type) else type(provider)
    return [name for name, mixin in CAPABILITIES.items() if issubclass(cls, mixin)]
