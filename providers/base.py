"""The contract between cloudmgr and every kind of infrastructure.

Rules, each proved by `tests/providers/contract.py` against every driver:
P1 calls return at once: no sleeping, polling or retrying. P2 the same token gives the same server, always; the token
lives in the backend. P3 deleting the absent succeeds. P4 sizes are exact or refused. P5 every SDK exception becomes one
ProviderError. P6 unknown native states become UNKNOWN and are kept verbatim. P7 `message` is safe for a tenant. P8 lists
include what is not ours. P9 a timed-out write is UnknownOutcome, a timed-out read Unavailable. P10 every remote call has a
timeout. P11 no module-level connections. P12 no secret in repr, log or exception. P13 architectures are normalised at the
edge, and an image of another architecture than the zone is refused before the backend is called.

What a driver can do beside this is in `providers/capabilities.py`. A provider knows no database of ours, no quota and no
person.
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
class SubnetObservation:
    """A range of addresses of a network, in the text form of RFC 5952; `dns` are the resolvers it hands out."""

    ref: str
    name: str
    cidr: str
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkObservation:
    """A network servers can be attached to. `is_external`: public addresses come from it, servers do not go on it."""

    ref: str
    name: str
    cidr_v4: str | None = None
    cidr_v6: str | None = None
    gateway_v4: str | None = None
    zones: tuple[str, ...] = ()
    subnets: tuple[SubnetObservation, ...] = ()
    is_external: bool = False


@dataclass(frozen=True, slots=True)
class FixedAddress:
    """An address a server is to have: text of RFC 5952, length of its prefix, gateway and resolvers of its subnet."""

    address: str
    prefix_len: int
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortRule:
    """One opened port: who (`source`, a CIDR) may reach which ports of a server; everything unsaid stays closed.

    `protocol` is tcp, udp or icmp; icmp has no ports. `key` is ours and the same for the same opening, always.
    """

    key: str
    source: str
    protocol: str
    port_from: int | None = None
    port_to: int | None = None


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What to build. `zone`, `image` and `networks` are the backend's own references.

    `addresses` are of the first network, at most one of each family; without one of a family the backend chooses. They
    are only given to drivers that inherit FixedAddresses.
    """

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
    addresses: tuple[FixedAddress, ...] = ()
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
    networks: tuple[str, ...] | None = None
    """References of the networks it is on; None: the backend did not say in this call."""
    native_uuid: str | None = None
    """The uuid the guest sees of itself (SMBIOS), where the backend tells it."""
    unfinished: bool = False
    """Its making goes on only when `create_server` is called again with the same token: a backend that works in the
    background has finished a step, or is at one, and a driver may not wait for it (P1)."""


@dataclass(frozen=True, slots=True)
class SnapshotObservation:
    """A point in time a server can be reverted to."""

    ref: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A disk that lives apart from servers. `zone` is the backend's own reference."""

    name: str
    size_gib: int
    zone: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeObservation:
    """A volume as the backend sees it, ours or not; `server` is the reference of the server it is attached to."""

    ref: str
    name: str
    size_gib: int
    state: "VolumeState"
    native_state: str
    token: uuid.UUID | None = None
    server: str | None = None
    zone: str | None = None
    created_at: datetime | None = None


class VolumeState(StrEnum):
    """What the backend last said of a volume; closed, everything else is UNKNOWN (P6)."""

    BUILDING = "building"
    AVAILABLE = "available"
    ATTACHED = "attached"
    ERROR = "error"
    UNKNOWN = "unknown"


class ResourceKind(StrEnum):
    """What a backend may keep for a server, or forget to remove."""

    SERVER = "server"
    DISK = "disk"
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    NIC = "nic"
    ADDRESS = "address"
    PORT_RULES = "port_rules"
    SEED = "seed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ResourceObservation:
    """One thing a backend keeps: `token` is the server or volume it was made for, `server` the one it is attached to."""

    kind: ResourceKind
    ref: str
    name: str
    size_gib: int | None = None
    token: uuid.UUID | None = None
    server: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AddressObservation:
    """An address in use at a backend, whoever uses it; `server` is a reference, `owner` whatever the backend says."""

    address: str
    network: str
    server: str | None = None
    mac: str | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class PublicAddressObservation:
    """A public address held for a token; `server` is the reference of the server it leads to."""

    ref: str
    address: str
    token: uuid.UUID
    server: str | None = None
    bandwidth_mbps: int | None = None


@dataclass(frozen=True, slots=True)
class CloudQuotaObservation:
    """The backend's own limit for the account we use; `limit` None: there is none. In the units of its resource's name."""

    resource: str
    used: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a cursor. `is_full`: these are all servers, and one that is not among them is not there."""

    servers: tuple[ServerObservation, ...]
    gone: tuple[str, ...]
    cursor: str
    is_full: bool = False


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

    def unable(self) -> frozenset[str]:
        """Return names of inherited capabilities that this installation does not have; their calls raise Unsupported."""
        return frozenset()

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
        completed or removed first. What is `unfinished` is completed by further calls with the same spec and token.

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
