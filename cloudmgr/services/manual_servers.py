"""Rows kept by hand: physical machines, and servers of clouds without a driver. Nobody looks at them but people.

What a person confirmed stands apart from what a cloud showed (`last_confirmed_at`, `last_seen_at`). Whether such a row
counts against the quota is said when it is entered. Calls no cloud, and issues no certificate: nothing here is asked.
"""

import uuid
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.addresses import parse_address
from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.errors import Conflict, ImportRefused, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import ResourceType, ServerSource
from cloudmgr.domain.labels import SERVER_PHASES, word
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Environment, PurposeKind, ServerPhase
from cloudmgr.models import Organization, Project, Server
from cloudmgr.services import audit, import_rows, imports
from cloudmgr.services.import_rows import Entry
from cloudmgr.services.import_sheet import Sheet, SheetRow
from cloudmgr.services.inputs import Closed, Day, DnsLabel, Id, Input, Phone, Text, unset
from cloudmgr.services.server_parts import amounts_of
from cloudmgr.store import addresses, projects, servers
from cloudmgr.store.servers import ServerRow

MAX_VCPUS, MAX_MEMORY_MIB, MAX_DISK_GIB = 4096, 2**26, 10**6
_Short = Annotated[Text, StringConstraints(max_length=100)]
_Remark = Annotated[Text, StringConstraints(max_length=500)]
_Address = Annotated[Text, StringConstraints(max_length=45)]
_STATED = ("os_name", "os_version", "platform", "datacenter", "remark")
_SIZES = ("vcpus", "memory_mib", "system_disk_gib", "data_disk_gib")


class EnterServer(Input):
    """A server that no driver of ours reaches, as a person says it is."""

    project: Id
    name: DnsLabel
    resource_type: Annotated[ResourceType, Closed]
    counts_quota: bool
    """Whether it counts against the quota of its information system and all above."""
    env: Annotated[Environment, Closed]
    purpose_kind: Annotated[PurposeKind, Closed]
    network_zone: _Short
    arch: Annotated[Architecture, Closed]
    cpu_family: Annotated[CpuFamily, Closed] = CpuFamily.UNKNOWN
    cpu_model: _Short = "unknown"
    vcpus: Annotated[int, Field(ge=1, le=MAX_VCPUS)]
    memory_mib: Annotated[int, Field(ge=1, le=MAX_MEMORY_MIB)]
    system_disk_gib: Annotated[int, Field(ge=1, le=MAX_DISK_GIB)]
    data_disk_gib: Annotated[int, Field(ge=0, le=MAX_DISK_GIB)] = 0
    ipv4: Annotated[list[_Address], Field(max_length=32)] = Field(default_factory=list)
    ipv6: Annotated[list[_Address], Field(max_length=32)] = Field(default_factory=list)
    datacenter: Annotated[Text, StringConstraints(min_length=1, max_length=100)]
    platform: _Short = ""
    """The cloud it stands at, where there is one."""
    host: _Short = ""
    os_name: _Short = ""
    os_version: _Short = ""
    owner_name: Annotated[Text, StringConstraints(max_length=64)] = ""
    owner_phone: Phone = ""
    lease_start: Day | None = None
    lease_end: Day | None = None
    """Left out: long-term."""
    remark: _Remark = ""


class ChangeServer(Input):
    """What may change of such a row; what is left out stays."""

    counts_quota: bool = unset()
    env: Annotated[Environment, Closed] = unset()
    purpose_kind: Annotated[PurposeKind, Closed] = unset()
    cpu_family: Annotated[CpuFamily, Closed] = unset()
    cpu_model: _Short = unset()
    vcpus: Annotated[int, Field(ge=1, le=MAX_VCPUS)] = unset()
    memory_mib: Annotated[int, Field(ge=1, le=MAX_MEMORY_MIB)] = unset()
    system_disk_gib: Annotated[int, Field(ge=1, le=MAX_DISK_GIB)] = unset()
    data_disk_gib: Annotated[int, Field(ge=0, le=MAX_DISK_GIB)] = unset()
    datacenter: Annotated[Text, StringConstraints(min_length=1, max_length=100)] = unset()
    platform: _Short = unset()
    host: _Short = unset()
    os_name: _Short = unset()
    os_version: _Short = unset()
    owner_name: Annotated[Text, StringConstraints(max_length=64)] = unset()
    owner_phone: Phone = unset()
    lease_end: Day | None = None
    remark: _Remark = unset()


class EndServer(Input):
    """Why such a row is retired."""

    reason: Annotated[Text, StringConstraints(min_length=1, max_length=500)]


def enter(session: Session, actor: Actor, command: EnterServer) -> ServerRow:
    """Register a server by hand, in service from now on and confirmed as of now.

    Raises:
        QuotaExceeded: it counts, and there is no room.
        ImportRefused: it breaks a rule; `errors` says which.
        Conflict: it is kept by hand already.
        InvalidInput: no such project among the actor's.
    """
    access.require(actor, Action.INVENTORY_IMPORT)
    found = projects.get_row(session, command.project)
    if found is None or not actor.may(Action.INVENTORY_IMPORT, found[1].path):
        raise InvalidInput(N_("There is no such project among yours."), field="project")
    resolved = import_rows.resolve(session, actor, Sheet([_row(command, *found)], count=1))
    if resolved.known:
        raise Conflict(
            N_("The information system has a server called {name} already."), field="name", name=command.name
        )
    if resolved.errors:
        raise ImportRefused(
            N_("The server cannot be registered like this."), errors=[error.as_json() for error in resolved.errors]
        )
    entry: Entry = resolved.entries[0]
    entry.stated = _stated(command.model_dump())
    _, (taken,) = imports.post(session, actor, [entry], reason=command.remark)
    server = session.get_one(Server, taken.id)
    _record(session, actor, Event.INVENTORY_ENTER, server, found[1], counts_quota=server.counts_quota)
    return _wide(session, server)


def change(session: Session, actor: Actor, server_id: uuid.UUID, command: ChangeServer) -> ServerRow:
    """Change what a person said of a server, with its quota; it is confirmed as of now.

    Raises:
        QuotaExceeded: it grows, and there is no room.
        Conflict: it is not kept by hand, or not in service.
    """
    server, organization = _own(session, actor, server_id)
    given = command.model_dump(exclude_unset=True)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    stated = dict(server.stated)
    for name, value in given.items():
        held = stated.get(name) if name in _STATED else getattr(server, name)
        told = value.value if hasattr(value, "value") else value
        if held != told:
            before[name], after[name] = held, told
            if name in _STATED:
                stated[name] = told
            else:
                setattr(server, name, told)
    if before.keys() & {"env", "counts_quota", *_SIZES}:
        _recount(session, server, before)
    server.stated = {name: value for name, value in stated.items() if value}
    server.lease_long_term = server.lease_end is None
    server.last_confirmed_at = clock.now()
    servers.keep(session, server, actor=actor.username, change="changed_by_hand")
    personal = {"owner_name", "owner_phone"}
    _record(
        session,
        actor,
        Event.INVENTORY_CHANGE,
        server,
        organization,
        before={name: str(value) for name, value in before.items() if name not in personal},
        after={name: str(value) for name, value in after.items() if name not in personal},
        changed=sorted(before),
    )
    return _wide(session, server)


def confirm(session: Session, actor: Actor, server_id: uuid.UUID) -> ServerRow:
    """Say that a server kept by hand is as written, as of now."""
    server, organization = _own(session, actor, server_id)
    server.last_confirmed_at = clock.now()
    servers.keep(session, server, actor=actor.username, change="confirmed")
    _record(session, actor, Event.INVENTORY_CONFIRM, server, organization)
    return _wide(session, server)


def retire(session: Session, actor: Actor, server_id: uuid.UUID, command: EndServer) -> ServerRow:
    """End a row kept by hand: its quota, name and addresses are free at once, on the word of who says so."""
    server, organization = _own(session, actor, server_id)
    servers.move(session, server, ServerPhase.RETIRING, actor=actor.username, change="retiring")
    quotas.release(session, reservation_id=server.reservation_id, part_id=server.id)
    addresses.give_back(session, server.id)
    server.released_at = clock.now()
    servers.move(session, server, ServerPhase.RETIRED, actor=actor.username, change="retired")
    _record(session, actor, Event.INVENTORY_RETIRE, server, organization, reason=command.reason)
    return _wide(session, server)


def _own(session: Session, actor: Actor, server_id: uuid.UUID) -> tuple[Server, Organization]:
    server = servers.get(session, server_id, lock=True)
    if server is None:
        raise NotFound(N_("There is no such server."))
    organization = session.get_one(Organization, server.organization_id)
    access.require(actor, Action.INVENTORY_IMPORT, organization.path, see=Action.SERVER_READ)
    if server.source != ServerSource.MANUAL:
        raise Conflict(
            N_("Server {name} stands at a cloud; only what is kept by hand is changed here."), name=server.name
        )
    if server.phase != ServerPhase.ACTIVE:
        raise Conflict(
            N_("Server {name} is {phase}; only one in service is kept by hand."),
            name=server.name,
            phase=word(SERVER_PHASES, server.phase),
        )
    if server.retire_request_id is not None:
        raise Conflict(N_("A request to retire {name} is under way already."), name=server.name)
    return server, organization


def _recount(session: Session, server: Server, before: dict[str, Any]) -> None:
    """Let the ledger hold what the row says now; growth is admitted within the limits only.

    Under other keys, or with a first or last data disk, it is a new part in place of the old.
    """
    is_same = not before.keys() & {"env", "counts_quota"} and server.counts_quota
    if is_same and bool(before.get("data_disk_gib", server.data_disk_gib)) == bool(server.data_disk_gib):
        quotas.resize(session, reservation_id=server.reservation_id, part_id=server.id, amounts=amounts_of(server))
        return
    project = session.get_one(Project, server.project_id)
    quotas.release(session, reservation_id=server.reservation_id, part_id=server.id)
    stamp = ":".join((str(server.reservation_id), *sorted(before), clock.now().isoformat()))
    server.reservation_id = uuid.uuid5(server.id, stamp)
    quotas.adopt(
        session,
        reservation_id=server.reservation_id,
        account_id=project.account_id,
        parts=[quotas.Part(server.id, amounts_of(server) if server.counts_quota else {}, imports.part_dims(server))],
        reason=server.resource_no or "",
    )


def _row(command: EnterServer, project: Project, organization: Organization) -> SheetRow:
    """Return the command as a line of a sheet, so that one set of rules holds for both."""
    cells = {
        "source": "entered",
        "system_name": project.name,
        "system_code": project.system_code,
        "org_code": organization.code,
        "name": command.name,
        "resource_type": command.resource_type.value,
        "counts_quota": command.counts_quota,
        "env": command.env.value,
        "purpose": command.purpose_kind.value,
        "network_zone": command.network_zone,
        "arch": command.arch.value,
        "cpu_family": command.cpu_family.value,
        "cpu_model": command.cpu_model,
        "vcpu": command.vcpus,
        "memory_gib": command.memory_mib,
        "system_disk_gib": command.system_disk_gib,
        "data_disk_gib": command.data_disk_gib,
        "ipv4": [_parsed(text, "ipv4", 4) for text in command.ipv4],
        "ipv6": [_parsed(text, "ipv6", 6) for text in command.ipv6],
        "datacenter": command.datacenter,
        "host": command.host or None,
        "owner_name": command.owner_name or None,
        "owner_phone": command.owner_phone or None,
        "lease_start": command.lease_start,
        "lease_end": command.lease_end or "",
    }
    return SheetRow(1, cells)


def _parsed(text: str, field: str, family: int) -> str:
    return parse_address(text, field=field, family=family)


def _stated(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in _STATED if given.get(name)}


def _wide(session: Session, server: Server) -> ServerRow:
    row = servers.wide(session, server.id)
    if row is None:
        raise NotFound(N_("There is no such server."))
    return row


def _record(
    session: Session, actor: Actor, event: Event, server: Server, organization: Organization, **detail: Any
) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="server",
        object_id=server.id,
        object_name=server.name,
        organization_path=organization.path,
        **detail,
    )
