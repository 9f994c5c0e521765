"""From a line of a sheet to a server of the ledger: matched with what was seen, every rule asked, every fault told by cell.

Reads the database in a few wide queries, whatever the number of lines. Writes nothing.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import addresses, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.findings import ResourceType, ServerSource
from cloudmgr.domain.inventory_columns import LONG_TERM
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import REFUSED_LEVELS, Tier
from cloudmgr.domain.placement import may_use
from cloudmgr.models import Backend, ObservedServer, Organization, Project, Subnet, Zone
from cloudmgr.services.import_sheet import CellError, Sheet, SheetRow
from cloudmgr.store import imports, organizations
from cloudmgr.store.imports import Candidate

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SIZES = {
    "vcpu": "vcpus",
    "memory_gib": "memory_mib",
    "system_disk_gib": "system_disk_gib",
    "data_disk_gib": "data_disk_gib",
}
_STATED = {
    "os_name": "os_name", "os_version": "os_version", "cloud_platform": "platform", "datacenter": "datacenter", "remark": "remark",
}  # fmt: skip


@dataclass(slots=True)
class Entry:
    """One server as it will stand in the ledger. `observed`: what it was matched with; None: kept by hand."""

    row: int
    project: Project
    organization: Organization
    name: str
    source: ServerSource
    resource_type: str
    observed: ObservedServer | None
    backend: Backend | None
    zone: Zone | None
    arch: str
    cpu_family: str
    cpu_model: str
    vcpus: int
    memory_mib: int
    system_disk_gib: int
    data_disk_gib: int
    network_zone: str
    env: str
    purpose_kind: str
    owner_name: str
    owner_phone: str
    lease_start: date
    lease_end: date | None
    ipv4: list[str]
    ipv6: list[str]
    host: str | None
    counts_quota: bool
    stated: dict[str, Any]
    places: list[tuple[uuid.UUID, str]] = field(default_factory=list)
    """Its addresses within subnets of ours: (subnet, address)."""


class _WrongError(Exception):
    def __init__(self, column: str, rule: str, template: str, remedy: str, **params: Any) -> None:
        self.column, self.rule = column, rule
        self.message, self.remedy = Message(template, params), Message(remedy, params)
        super().__init__(rule)


def resolve(session: Session, actor: Actor, sheet: Sheet) -> tuple[list[Entry], list[CellError]]:
    """Return the servers that a sheet brings and the faults of the lines that bring none, in the order of lines.

    What the actor may not see is told as if it were not there.
    """
    surroundings = _Surroundings(session, actor, sheet)
    entries: list[Entry] = []
    errors = list(sheet.errors)
    for row in sheet.rows:
        try:
            entries.append(surroundings.entry(row))
        except _WrongError as wrong:
            errors.append(_fault(row, wrong))
    return _placed(session, surroundings, entries, errors, {row.number: row for row in sheet.rows})


def _fault(row: SheetRow, wrong: _WrongError) -> CellError:
    value = row.get(wrong.column)
    told = ";".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return CellError(row.number, wrong.column, told, wrong.rule, wrong.message, wrong.remedy)


def _placed(
    session: Session,
    surroundings: "_Surroundings",
    entries: list[Entry],
    errors: list[CellError],
    rows: Mapping[int, SheetRow],
) -> tuple[list[Entry], list[CellError]]:
    """Leave out the entries whose addresses address management has given to somebody else, or that stand twice."""
    wanted: dict[uuid.UUID, list[str]] = {}
    for entry in entries:
        entry.places = list(surroundings.places(entry))
        for subnet_id, text in entry.places:
            wanted.setdefault(subnet_id, []).append(text)
    taken = imports.taken(session, wanted)
    good = []
    for entry in entries:
        against = next((text for at, text in entry.places if (at, addresses.key_of(text)) in taken), None)
        if against is None:
            taken |= {(at, addresses.key_of(text)) for at, text in entry.places}
            good.append(entry)
            continue
        wrong = _WrongError(
            "ipv6" if ":" in against else "ipv4",
            "address_taken",
            N_("{address} belongs to another server, is reserved, or stands twice in the sheet."),
            N_("Look it up among the addresses of its subnet, and free it there or correct the cell."),
            address=against,
        )
        errors.append(_fault(rows[entry.row], wrong))
    return good, sorted(errors, key=lambda error: error.row)


class _Surroundings:
    """What lines are looked up in, read once for a sheet."""

    def __init__(self, session: Session, actor: Actor, sheet: Sheet) -> None:
        paths = actor.scope(Action.INVENTORY_IMPORT)
        root = organizations.root(session)
        has_all = actor.may(Action.INVENTORY_IMPORT, root.path if root else "/")
        self._backends = imports.backends(session, paths=None if has_all else paths)
        self._all_backends = imports.backends(session, paths=None)
        self._users = imports.users_of(session)
        self._zones = imports.zones(session)
        self._network_zones = imports.network_zones(session)
        self._subnets = [
            (subnet, backend_id, addresses.parse_subnet(subnet.cidr)) for subnet, backend_id in imports.subnets(session)
        ]
        self._projects = imports.projects(
            session,
            names=sorted({row.get("system_name") for row in sheet.rows} - {None}),
            codes=sorted({row.get("system_code") for row in sheet.rows} - {None}),
            paths=paths,
        )
        self._names = imports.live_names(session, [project.id for project, _ in self._projects])
        self._by_name: dict[str, list[Candidate]] = {}
        self._by_address: dict[str, list[Candidate]] = {}
        self._read_candidates(session, sheet)

    def _read_candidates(self, session: Session, sheet: Sheet) -> None:
        names = {row.get("uuid").lower() for row in sheet.rows if row.get("uuid")}
        texts = {text for row in sheet.rows for text in (*(row.get("ipv4") or ()), *(row.get("ipv6") or ()))}
        matched: dict[uuid.UUID, Candidate] = {}
        for each in imports.candidates(session, list(self._backends)):
            for name in names.intersection(each.names):
                self._by_name.setdefault(name, []).append(each)
                matched[each.id] = each
            for text in texts.intersection(each.addresses):
                self._by_address.setdefault(text, []).append(each)
                matched[each.id] = each
        self._observed = imports.observed(session, list(matched))
        owners = {row.server_id for row in self._observed.values() if row.server_id is not None}
        self._owners = imports.server_names(session, list(owners))
        self._used: dict[uuid.UUID, int] = {}

    def entry(self, row: SheetRow) -> Entry:
        """Return the server that a line brings.

        Raises:
            _WrongError: the first rule it breaks.
        """
        seen = self._match(row)
        project, organization = self._project(row)
        backend = self._all_backends[seen.backend_id] if seen is not None else None
        zone = self._zones.get((seen.backend_id, seen.zone_ref or "")) if seen is not None else None
        network_zone = self._network_zone(row, project, backend)
        if backend is not None:
            self._require_use(backend, organization)
        name = self._name(row, project, seen)
        sizes = {column: self._size(row, seen, column) for column in _SIZES}
        lease_start, lease_end = _lease(row)
        entry = Entry(
            row=row.number,
            project=project,
            organization=organization,
            name=name,
            source=ServerSource.MANUAL if seen is None else ServerSource.IMPORTED,
            resource_type=_resource_type(row, seen),
            observed=seen,
            backend=backend,
            zone=zone,
            arch=_arch(row, seen, zone),
            cpu_family=zone.cpu_family if zone else row.get("cpu_family") or "unknown",
            cpu_model=(zone.cpu_model if zone else row.get("cpu_model") or "unknown")[:100],
            vcpus=sizes["vcpu"],
            memory_mib=sizes["memory_gib"],
            system_disk_gib=sizes["system_disk_gib"],
            data_disk_gib=sizes["data_disk_gib"],
            network_zone=network_zone,
            env=_needed(row, "env"),
            purpose_kind=_needed(row, "purpose"),
            owner_name=row.get("owner_name") or project.owner_name or _needed(row, "owner_name"),
            owner_phone=row.get("owner_phone") or project.owner_phone or _needed(row, "owner_phone"),
            lease_start=lease_start,
            lease_end=lease_end,
            ipv4=list(seen.ipv4) if seen is not None else row.get("ipv4") or [],
            ipv6=list(seen.ipv6) if seen is not None else row.get("ipv6") or [],
            host=seen.host if seen is not None else row.get("host"),
            counts_quota=_counts(row, seen),
            stated=_stated(row, is_manual=seen is None),
        )
        if seen is not None:
            self._used[seen.id] = row.number
        self._names.add((project.id, name))
        return entry

    def places(self, entry: Entry) -> Iterator[tuple[uuid.UUID, str]]:
        """Yield the addresses of a server that lie in subnets of ours, each with its subnet."""
        backend_id = entry.backend.id if entry.backend else None
        for text in (*entry.ipv4, *entry.ipv6):
            subnet = self._subnet(entry, backend_id, text)
            if subnet is not None:
                yield subnet.id, text

    def _subnet(self, entry: Entry, backend_id: uuid.UUID | None, text: str) -> Subnet | None:
        for subnet, at, network in self._subnets:
            is_there = at == backend_id if backend_id is not None else subnet.network_zone == entry.network_zone
            if is_there and addresses.contains(network, text):
                return subnet
        return None

    def _match(self, row: SheetRow) -> ObservedServer | None:
        """Return what a line is about; None for one kept by hand."""
        column, found = self._found(row)
        if row.get("source") == "entered":
            if found:
                raise _WrongError(
                    column,
                    "stands_at_a_cloud",
                    N_("The cloud {backend} shows this server: it is not kept by hand."),
                    N_("Write 自动采集 in the column 数据来源 to import it, or correct the cell."),
                    backend=self._all_backends[found[0].backend_id].name,
                )
            return None
        if not column:
            raise _WrongError(
                "uuid",
                "required",
                N_("Nothing tells which server this is."),
                N_("Give the UUID or an address, or write 人工登记 in the column 数据来源 to keep it by hand."),
            )
        if not found:
            raise _WrongError(
                column,
                "no_such_server",
                N_("No cloud shows such a server."),
                N_(
                    "Correct the cell, look at the cloud anew, or write 人工登记 in the column 数据来源 to keep it by hand."
                ),
            )
        if len(found) > 1:
            raise _WrongError(
                column,
                "ambiguous",
                N_("Several servers have it: {names}."),
                N_("Give the UUID, or the cloud in the column 云平台."),
                names=", ".join(each.name for each in found[:5]),
            )
        seen = self._observed[found[0].id]
        if seen.server_id is not None:
            raise _WrongError(
                column,
                "known",
                N_("It is in the ledger already, as {name}."),
                N_("Remove the line, or take the good lines only."),
                name=self._owners.get(seen.server_id, "-"),
            )
        if seen.id in self._used:
            raise _WrongError(
                column,
                "twice",
                N_("Line {other} is about the same server."),
                N_("Remove one of the lines."),
                other=self._used[seen.id],
            )
        return seen

    def _found(self, row: SheetRow) -> tuple[str, list[Candidate]]:
        """Return the column that tells which server it is, and the servers it tells of."""
        platform = row.get("cloud_platform")
        column = ""
        found: dict[uuid.UUID, Candidate] = {}
        if row.get("uuid"):
            column = "uuid"
            found = {each.id: each for each in self._by_name.get(row.get("uuid").lower(), ())}
        else:
            for family in ("ipv4", "ipv6"):
                for text in row.get(family) or ():
                    column = column or family
                    found |= {each.id: each for each in self._by_address.get(text, ())}
        if platform and len(found) > 1:
            named = {id_ for id_, backend in self._backends.items() if platform in (backend.name, backend.title)}
            found = {id_: each for id_, each in found.items() if each.backend_id in named}
        return column, list(found.values())

    def _project(self, row: SheetRow) -> tuple[Project, Organization]:
        code, name, org_code, org_name = (
            row.get(key) for key in ("system_code", "system_name", "org_code", "org_name")
        )
        column = "system_name" if name or not code else "system_code"
        if not (name or code):
            raise _WrongError(
                column,
                "required",
                N_("The information system it belongs to is missing."),
                N_("Write the name of an information system of the platform, or its code."),
            )
        fits = [
            (project, organization)
            for project, organization in self._projects
            if (not code or project.system_code == code)
            and (not name or project.name == name)
            and (not org_code or org_code in (organization.code, organization.uscc))
            and (not org_name or organization.name == org_name)
        ]
        if len(fits) != 1:
            raise _WrongError(
                column,
                "ambiguous" if fits else "no_such_project",
                N_("{count} information systems of yours fit this line.")
                if fits
                else N_("There is no such information system among yours."),
                N_("Give the unit and the code of the system as well.")
                if fits
                else N_("Create it first, or correct the name, the code or the unit."),
                count=len(fits),
            )
        project, organization = fits[0]
        if project.is_classified or project.mlps_level in REFUSED_LEVELS:
            raise _WrongError(
                column,
                "classification_refused",
                N_("Classified systems and systems of MLPS level 4 and above must not use this platform."),
                N_("Remove the line."),
            )
        if not project.is_active:
            raise _WrongError(column, "closed", N_("The project is closed."), N_("Reopen it, or choose another."))
        return project, organization

    def _network_zone(self, row: SheetRow, project: Project, backend: Backend | None) -> str:
        name: str = row.get("network_zone") or project.network_zone or _needed(row, "network_zone")
        if name not in self._network_zones:
            raise _WrongError(
                "network_zone",
                "one_of",
                N_("There is no network zone {name}."),
                N_("Use one of: {known}."),
                name=name,
                known=", ".join(self._network_zones),
            )
        if backend is not None and backend.tier == Tier.PUBLIC and not self._network_zones[name]:
            raise _WrongError(
                "network_zone",
                "place",
                N_("A public cloud does not carry {name}."),
                N_("Correct the network zone; if it is right, the server must move before it is taken over."),
                name=name,
            )
        return name

    def _require_use(self, backend: Backend, organization: Organization) -> None:
        owner, shares = self._users[backend.id]
        if not may_use(organization.path, owner, shares):
            raise _WrongError(
                "org_name",
                "place",
                N_("{organization} may not use the cloud {backend}."),
                N_("Share the cloud with it, or choose an information system of who may."),
                organization=organization.name,
                backend=backend.title or backend.name,
            )

    def _name(self, row: SheetRow, project: Project, seen: ObservedServer | None) -> str:
        name: str = row.get("name") or (seen.name if seen is not None else "")
        if not _LABEL.fullmatch(name):
            raise _WrongError(
                "name",
                "name",
                N_("{name} cannot be a name in the ledger: lower-case letters, digits and hyphens, at most 63."),
                N_("Write a name for the ledger; the name at the cloud stays as it is."),
                name=name or "-",
            )
        if (project.id, name) in self._names:
            raise _WrongError(
                "name",
                "name_taken",
                N_("The information system has a server called {name} already."),
                N_("Write another name."),
                name=name,
            )
        return name

    def _size(self, row: SheetRow, seen: ObservedServer | None, column: str) -> int:
        given = row.get(column)
        shown: int | None = getattr(seen, _SIZES[column]) if seen is not None else None
        if shown is None:
            value: int = given if given is not None else 0 if column == "data_disk_gib" else _needed(row, column)
            if value == 0 and column != "data_disk_gib":
                raise _WrongError(column, "min", N_("It cannot be zero."), N_("Write what the server has."))
            return value
        if given is not None and given != shown:
            raise _WrongError(
                column,
                "differs",
                N_("The cloud shows {shown}."),
                N_("Leave the cell empty to take what the cloud shows, or correct it."),
                shown=shown if column != "memory_gib" else f"{shown / 1024:g}",
            )
        return shown


def _needed(row: SheetRow, column: str) -> Any:
    value = row.get(column)
    if value is None:
        raise _WrongError(
            column, "required", N_("The cell is empty; the ledger must know it."), N_("Fill in the cell.")
        )
    return value


def _arch(row: SheetRow, seen: ObservedServer | None, zone: Zone | None) -> str:
    shown = (seen.arch if seen is not None else None) or (zone.arch if zone is not None else None)
    given: str | None = row.get("arch")
    if shown is not None and given is not None and given != shown:
        raise _WrongError(
            "arch",
            "differs",
            N_("The cloud shows {shown}."),
            N_("Leave the cell empty to take what the cloud shows, or correct it."),
            shown=shown,
        )
    return shown or str(_needed(row, "arch"))


def _resource_type(row: SheetRow, seen: ObservedServer | None) -> str:
    given: str = row.get("resource_type") or ResourceType.VM.value
    if seen is not None and given != ResourceType.VM:
        what = N_("What a cloud shows is a virtual machine.")
        remedy = N_("Leave the cell empty, or register a physical machine by hand.")
        raise _WrongError("resource_type", "differs", what, remedy)
    return given


def _counts(row: SheetRow, seen: ObservedServer | None) -> bool:
    """Whether it counts: what stands at a cloud always does; of what is kept by hand somebody must say."""
    if seen is not None:
        if row.get("counts_quota") is False:
            what = N_("A server at a cloud always counts against the quota.")
            raise _WrongError("counts_quota", "always", what, N_("Leave the cell empty."))
        return True
    return bool(_needed(row, "counts_quota"))


def _stated(row: SheetRow, *, is_manual: bool) -> dict[str, Any]:
    if is_manual:
        _needed(row, "datacenter")
    keys = _STATED if is_manual else {key: _STATED[key] for key in ("os_name", "os_version", "remark")}
    return {name: row.get(key) for key, name in keys.items() if row.get(key) is not None}


def _lease(row: SheetRow) -> tuple[date, date | None]:
    """Return the first and the last day; None: long-term."""
    start = row.get("lease_start") or clock.today()
    end = row.get("lease_end")
    if end is None and str(row.get("remark") or "").startswith(LONG_TERM):
        end = ""
    if end is None:
        raise _WrongError(
            "lease_end",
            "required",
            N_("The cell is empty; the ledger must know it."),
            N_("Write a day such as 2027-01-20, or 长期 for a lease without an end."),
        )
    if end and end < start:
        raise _WrongError(
            "lease_end", "order", N_("The lease ends before it begins."), N_("Correct one of the two days.")
        )
    return start, end or None
