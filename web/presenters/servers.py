"""Servers for their pages."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.freshness import Freshness
from cloudmgr.models import Flavor, Image, Server
from cloudmgr.services.servers import Handover, HandoverLine, Reminder, ServerRow
from web import formats
from web.presenters import words as phrases
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One row of a list. `is_current`: the state was seen lately; an old word is never shown as well."""

    id: uuid.UUID
    name: str
    project: str
    organization: str
    phase: str
    state: str
    is_current: bool
    addresses: str
    size: str
    arch: str
    cpu_family: str
    lease: str


@dataclass(frozen=True, slots=True)
class EndingLine:
    """A server whose lease ends soon."""

    id: uuid.UUID
    name: str
    project: str
    lease_end: date
    days: int
    tone: str


@dataclass(frozen=True, slots=True)
class ServerPage:
    """Everything a server's page shows; None is what is not known."""

    id: uuid.UUID
    name: str
    phase: str
    state: str
    is_current: bool
    freshness: str
    last_seen_at: datetime | None
    source: str
    is_by_hand: bool
    last_confirmed_at: datetime | None
    counts_quota: bool
    remark: str
    ipv4: str
    ipv6: str
    network_zone: str
    resource_no: str | None
    lease: str
    frozen: str
    flavor: str
    disk: str
    image: str
    arch: str
    cpu: str
    is_xinchuang: bool | None
    zone: str | None
    backend_id: uuid.UUID | None
    backend: str | None
    datacenter: str | None
    host: str | None
    shows_host: bool
    project: str
    organization: str
    env: str
    purpose_kind: str
    owner: str
    request_id: uuid.UUID
    guest: str
    failure: str
    failed_step: str | None
    rehearsed: bool


@dataclass(frozen=True, slots=True)
class DeliveredServer:
    """One server on the delivery sheet."""

    name: str
    ipv4: str
    ipv6: str
    gateway: str | None
    network_zone: str
    system: str
    size: str
    login_user: str
    command: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """The delivery sheet."""

    id: uuid.UUID
    number: str
    organization: str
    project: str
    owner: str
    purpose: str
    lease: str
    at: datetime | None
    rehearsed: bool
    has_keys: bool
    """Whether anybody's key was put on them."""
    servers: list[DeliveredServer]
    pending: list[str]


def line(words: Words, row: ServerRow, freshness: Freshness = Freshness.NEVER) -> ServerLine:
    """Arrange one row of a list; `freshness` is that of what is known of the server."""
    server, project, organization, flavor, _, _, _ = row
    return ServerLine(
        id=server.id,
        name=server.name,
        project=project.name,
        organization=organization.name,
        phase=server.phase,
        state=server.state,
        is_current=freshness is Freshness.FRESH,
        addresses=phrases.addresses(server),
        size=flavor.name if flavor else phrases.size(server),
        arch=server.arch,
        cpu_family=server.cpu_family,
        lease=phrases.lease(words, server.lease_end, long_term=server.lease_long_term),
    )


def ending(reminder: Reminder, steps: Sequence[int]) -> EndingLine | None:
    """Arrange one server of the reminder list, the last reminder loudest; None where the lease has no end."""
    server, project = reminder.row[0], reminder.row[1]
    if server.lease_end is None:
        return None
    tone = {steps[-1]: "bad", steps[0]: "info" if len(steps) > 1 else "bad"}.get(reminder.step, "warn")
    return EndingLine(server.id, server.name, project.name, server.lease_end, reminder.days, tone)


def page(
    words: Words,
    row: ServerRow,
    freshness: Freshness = Freshness.NEVER,
    *,
    may_read_personal: bool,
    may_know_host: bool,
) -> ServerPage:
    """Arrange one server."""
    server, project, organization, flavor, image, zone, backend = row
    disk = formats.amount(server.system_disk_gib, "disk_gib")
    if server.data_disk_gib:
        disk += " + " + formats.amount(server.data_disk_gib, "disk_gib")
    return ServerPage(
        id=server.id,
        name=server.name,
        phase=server.phase,
        state=server.state,
        is_current=freshness is Freshness.FRESH,
        freshness=freshness,
        last_seen_at=server.last_seen_at,
        source=server.source,
        is_by_hand=server.source == ServerSource.MANUAL,
        last_confirmed_at=server.last_confirmed_at,
        counts_quota=server.counts_quota,
        remark=str(server.stated.get("remark", "")),
        ipv4=" ".join(server.ipv4),
        ipv6=" ".join(server.ipv6),
        network_zone=server.network_zone,
        resource_no=server.resource_no,
        lease=phrases.lease(words, server.lease_end, long_term=server.lease_long_term),
        frozen=_frozen(words, server),
        flavor=_size(server, flavor),
        disk=disk,
        image=_system(server, image),
        arch=server.arch,
        cpu=_processor(words, server.cpu_family, server.cpu_model),
        is_xinchuang=server.is_xinchuang,
        zone=(zone.title or zone.name) if zone else None,
        backend_id=backend.id if backend else None,
        backend=(backend.title or backend.name) if backend else _stated(server, "platform"),
        datacenter=backend.datacenter if backend else _stated(server, "datacenter"),
        host=server.host,
        shows_host=may_know_host,
        project=project.name,
        organization=organization.name,
        env=server.env,
        purpose_kind=server.purpose_kind,
        owner=phrases.owner(server, may_read=may_read_personal),
        request_id=server.request_id,
        guest=" · ".join(str(server.guest[key]) for key in ("os", "kernel", "arch") if server.guest.get(key)),
        failure=phrases.failure(words, server.failure),
        failed_step=server.failed_step,
        rehearsed=server.rehearsed,
    )


def sheet(words: Words, handover: Handover, *, may_read_personal: bool) -> Sheet:
    """Arrange a delivery sheet."""
    request = handover.request
    return Sheet(
        id=request.id,
        number=request.number or "",
        organization=handover.organization.name,
        project=handover.project.name,
        owner=phrases.owner(request, may_read=may_read_personal),
        purpose=request.purpose,
        lease=phrases.lease(words, request.lease_end, long_term=request.lease_long_term),
        at=request.finished_at,
        rehearsed=any(each.row[0].rehearsed for each in handover.lines),
        has_keys=any(each.row[0].ssh_keys for each in handover.lines),
        servers=[_delivered(each) for each in handover.lines],
        pending=[row[0].name for row in handover.pending],
    )


def _delivered(each: HandoverLine) -> DeliveredServer:
    server, _, _, flavor, image, _, _ = each.row
    address = next(iter([*server.ipv4, *server.ipv6]), None)
    return DeliveredServer(
        name=server.name,
        ipv4=" ".join(server.ipv4),
        ipv6=" ".join(server.ipv6),
        gateway=each.network.gateway_v4 if each.network else None,
        network_zone=server.network_zone,
        system=f"{_system(server, image)} ({server.arch})",
        size=flavor.name if flavor else phrases.size(server),
        login_user=each.login_user,
        command=f"ssh {each.login_user}@{address}" if address else "",
    )


def _size(server: Server, flavor: Flavor | None) -> str:
    size = phrases.size(server)
    return size if flavor is None or flavor.name == size else f"{flavor.name} ({size})"


def _system(server: Server, image: Image | None) -> str:
    """Return the image's title; of a server that came by import or by hand, the system that was stated."""
    if image is not None:
        return image.title
    return " ".join(str(server.stated[key]) for key in ("os_name", "os_version") if server.stated.get(key))


def _stated(server: Server, name: str) -> str | None:
    """Return what a person said of a server that no cloud tells."""
    return str(server.stated[name]) if server.stated.get(name) else None


def _processor(words: Words, family: str, model: str) -> str:
    if family == "unknown":
        return ""
    return f"{words.label('cpu_family', family)} {model if model != 'unknown' else ''}".strip()


def _frozen(words: Words, server: Server) -> str:
    """Return since when a server is frozen and why, empty while it is not."""
    if server.frozen_by is None or server.frozen_at is None:
        return ""
    return f"{words.label('frozen_by', server.frozen_by)} {formats.moment(server.frozen_at)}"
