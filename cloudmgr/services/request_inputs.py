"""What people ask for, as it comes in: the bodies of POST /requests, /plans and decisions."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.phases import Decision, Environment, PurposeKind, Spread
from cloudmgr.services.inputs import Closed, Code, Day, DnsLabel, Id, Input, Loose, Phone, Plain, Text

MAX_ENTRIES, MAX_COUNT, MAX_DATA_DISK_GIB = 50, 200, 65536
MAX_PORTS, MAX_MBPS = 100, 100_000

Purpose = Annotated[Text, StringConstraints(min_length=1, max_length=2000)]
Comment = Annotated[Text, StringConstraints(max_length=500)]
AddressText = Annotated[Text, StringConstraints(min_length=2, max_length=64)]


class Owner(Input):
    """Who answers for the servers."""

    name: Annotated[Text, StringConstraints(min_length=1, max_length=64)]
    phone: Annotated[Phone, StringConstraints(min_length=1, max_length=32)]


class WantedAddresses(Input):
    """The addresses one server is to have; a family that is left out is chosen automatically."""

    ipv4: AddressText | None = None
    ipv6: AddressText | None = None


class PortEntry(Input):
    """端口开放: one line of the port-opening table. `port` is one port, `ports` a range like 8000-8100."""

    source: AddressText
    protocol: Literal["tcp", "udp", "icmp"]
    port: int | None = None
    ports: Annotated[Text, StringConstraints(max_length=16)] | None = None
    purpose: Annotated[Text, StringConstraints(min_length=1, max_length=200)]
    valid_until: Day | None = None
    reason: Comment = ""


class ServersEntry(Input):
    """One line of a request: `count` equal servers. `ipv4` and `ipv6` are for one; for more, `addresses` has one line each."""

    name: DnsLabel
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    flavor: Code
    image: Code
    arch: Annotated[Architecture, Closed]
    purpose_kind: Annotated[PurposeKind, Closed] = PurposeKind.OTHER
    data_disk_gib: Annotated[int, Field(ge=0, le=MAX_DATA_DISK_GIB)] = 0
    spread: Annotated[Spread, Closed] = Spread.HOST
    backend: Code | None = None
    network_zone: Code | None = None
    playbook: Code | None = None
    variables: dict[Plain, Loose] = Field(default_factory=dict)
    ipv4: AddressText | None = None
    ipv6: AddressText | None = None
    addresses: Annotated[list[WantedAddresses], Field(max_length=MAX_COUNT)] = Field(default_factory=list)
    ports: Annotated[list[PortEntry], Field(max_length=MAX_PORTS)] = Field(default_factory=list)


class CreateRequest(Input):
    """申请: new servers for a project."""

    kind: Literal["create"]
    project: Id
    purpose: Purpose
    env: Annotated[Environment, Closed] = Environment.PRD
    network_zone: Code | None = None
    lease_end: Day | None = None
    lease_long_term: bool = False
    lease_reason: Comment = ""
    owner: Owner | None = None
    ssh_keys: list[Annotated[str, StringConstraints(max_length=4096)]] = Field(default_factory=list, max_length=20)
    servers: Annotated[list[ServersEntry], Field(min_length=1, max_length=MAX_ENTRIES)]
    emergency: bool = False
    emergency_reason: Comment = ""
    exclusive: bool = False
    exclusive_reason: Comment = ""
    funding_source: Annotated[Text, StringConstraints(max_length=200)] = ""
    priority: Literal["normal", "high"] = "normal"


class RetireRequest(Input):
    """注销: servers that are no longer needed. `volumes` says what becomes of the volumes they have: it must, if they have any."""

    kind: Literal["retire"]
    project: Id
    purpose: Purpose
    servers: Annotated[list[Id], Field(min_length=1, max_length=MAX_COUNT)]
    volumes: Literal["detach", "delete"] | None = None


class _StandingRequest(Input):
    """What all requests about servers that stand have in common."""

    project: Id
    purpose: Purpose
    servers: Annotated[list[Id], Field(min_length=1, max_length=MAX_COUNT)]


class _UrgentRequest(_StandingRequest):
    """Those of them that an emergency order may be: what they do can be taken back."""

    emergency: bool = False
    emergency_reason: Comment = ""


class ResizeRequest(_UrgentRequest):
    """变更: another flavor for servers that stand, or a further data disk for each, or both."""

    kind: Literal["resize"]
    flavor: Code | None = None
    add_data_disk_gib: Annotated[int, Field(ge=1, le=MAX_DATA_DISK_GIB)] | None = None


class RenewRequest(_StandingRequest):
    """续期: another end for the leases of servers."""

    kind: Literal["renew"]
    lease_end: Day | None = None
    lease_long_term: bool = False
    lease_reason: Comment = ""


class FreezeRequest(_UrgentRequest):
    """冻结: servers that are switched off and kept."""

    kind: Literal["freeze"]


class UnfreezeRequest(_UrgentRequest):
    """解冻: frozen servers that are to run again."""

    kind: Literal["unfreeze"]


class OpenPort(PortEntry):
    """A line of the table for a server that stands."""

    server: Id


class PortsRequest(Input):
    """端口变更: ports of servers to open, and openings (by id) to close."""

    kind: Literal["ports"]
    project: Id
    purpose: Purpose
    open: Annotated[list[OpenPort], Field(max_length=MAX_PORTS)] = Field(default_factory=list)
    close: Annotated[list[Id], Field(max_length=MAX_PORTS)] = Field(default_factory=list)


class AssignPublicIp(Input):
    """A public address for a server that stands."""

    server: Id
    bandwidth_mbps: Annotated[int, Field(ge=1, le=MAX_MBPS)]


class PublicIpRequest(Input):
    """公网IP: addresses to assign, and addresses (by id) to give back."""

    kind: Literal["public_ip"]
    project: Id
    purpose: Purpose
    assign: Annotated[list[AssignPublicIp], Field(max_length=MAX_COUNT)] = Field(default_factory=list)
    release: Annotated[list[Id], Field(max_length=MAX_COUNT)] = Field(default_factory=list)


class NewVolume(Input):
    """One line: `count` equal volumes, given to a server that stands, or kept in a pool (by id) until one needs them."""

    name: DnsLabel
    size_gib: Annotated[int, Field(ge=1, le=MAX_DATA_DISK_GIB)]
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    server: Id | None = None
    zone: Id | None = None


class AttachVolume(Input):
    """A volume that nobody has, for a server that stands."""

    volume: Id
    server: Id


class VolumeRequest(Input):
    """云硬盘: volumes to make, to give to servers, to take from them, and to delete (by id)."""

    kind: Literal["volume"]
    project: Id
    purpose: Purpose
    create: Annotated[list[NewVolume], Field(max_length=MAX_ENTRIES)] = Field(default_factory=list)
    attach: Annotated[list[AttachVolume], Field(max_length=MAX_COUNT)] = Field(default_factory=list)
    detach: Annotated[list[Id], Field(max_length=MAX_COUNT)] = Field(default_factory=list)
    delete: Annotated[list[Id], Field(max_length=MAX_COUNT)] = Field(default_factory=list)


class NewSnapshot(Input):
    """A point in time of a server that stands."""

    server: Id
    name: DnsLabel


class RevertSnapshot(Input):
    """Bring a server back to a snapshot. Its name is typed once more: what was written since is lost."""

    snapshot: Id
    server: DnsLabel


class SnapshotRequest(Input):
    """快照: snapshots to take, to go back to, and to delete (by id)."""

    kind: Literal["snapshot"]
    project: Id
    purpose: Purpose
    create: Annotated[list[NewSnapshot], Field(max_length=MAX_COUNT)] = Field(default_factory=list)
    revert: Annotated[list[RevertSnapshot], Field(max_length=MAX_COUNT)] = Field(default_factory=list)
    delete: Annotated[list[Id], Field(max_length=MAX_COUNT)] = Field(default_factory=list)


class QuotaChangeRequest(Input):
    """配额变更: other limits for a quota account (or a project's). `limits` are what they are to be, not by how much more."""

    kind: Literal["quota_change"]
    account: Id | None = None
    project: Id | None = None
    limits: Annotated[
        dict[Annotated[str, StringConstraints(min_length=1, max_length=640)], Annotated[int, Field(ge=0, le=10**12)]],
        Field(min_length=1, max_length=MAX_ENTRIES),
    ]
    purpose: Purpose
    basis_no: Annotated[Text, StringConstraints(min_length=1, max_length=128)] | None = None


Command = (
    CreateRequest
    | RetireRequest
    | ResizeRequest
    | RenewRequest
    | FreezeRequest
    | UnfreezeRequest
    | PortsRequest
    | PublicIpRequest
    | VolumeRequest
    | SnapshotRequest
    | QuotaChangeRequest
)
"""What can be submitted, one class a kind."""
RequestBody = Annotated[Command, Field(discriminator="kind")]
body_adapter: TypeAdapter[Command] = TypeAdapter(RequestBody)


class DraftRequest(Input):
    """A request that is not finished: only kind and project are needed, the rest is checked when it is submitted."""

    kind: Literal[
        "create", "retire", "resize", "renew", "freeze", "unfreeze", "ports", "public_ip", "volume", "snapshot"
    ]
    project: Id
    purpose: Annotated[Text, StringConstraints(max_length=2000)] = ""
    env: Annotated[Environment, Closed] = Environment.PRD
    network_zone: Text | None = None
    lease_end: Text | None = None
    lease_long_term: bool = False
    lease_reason: Comment = ""
    owner: dict[Plain, Loose] | None = None
    ssh_keys: list[Plain] = Field(default_factory=list, max_length=20)
    servers: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)
    emergency: bool = False
    emergency_reason: Comment = ""
    exclusive: bool = False
    exclusive_reason: Comment = ""
    funding_source: Annotated[Text, StringConstraints(max_length=200)] = ""
    priority: Literal["normal", "high"] = "normal"
    open: list[Loose] = Field(default_factory=list, max_length=MAX_PORTS)
    close: list[Loose] = Field(default_factory=list, max_length=MAX_PORTS)
    assign: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)
    release: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)
    volumes: Text | None = None
    flavor: Text | None = None
    add_data_disk_gib: int | None = None
    create: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)
    attach: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)
    detach: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)
    delete: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)
    revert: list[Loose] = Field(default_factory=list, max_length=MAX_COUNT)


class Decide(Input):
    """One decision on a request."""

    decision: Annotated[Decision, Closed]
    comment: Comment = ""


class PowerAction(Input):
    """What to do with a server's power."""

    action: Literal["start", "stop", "reboot"]
