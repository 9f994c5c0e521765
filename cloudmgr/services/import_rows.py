"""From the lines of a sheet to servers of the ledger: every rule is asked of every line, every fault told by its cell.

What lines are looked up in is read by import_lookups. Writes nothing.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import addresses, clock, naming, units
from cloudmgr.domain.access import Actor
from cloudmgr.domain.cells import number
from cloudmgr.domain.findings import ResourceType, ServerSource
from cloudmgr.domain.inventory_columns import LONG_TERM
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend, ObservedServer, Organization, Project, Zone
from cloudmgr.services.import_cells import WrongCellError
from cloudmgr.services.import_lookups import Lookups, Match, needed
from cloudmgr.services.import_sheet import CellError, Sheet, SheetRow
from cloudmgr.store import imports
from cloudmgr.store.imports import Held

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
    places: list[tuple[uuid.UUID, str]]
    """Its addresses within subnets of ours: (subnet, address)."""


@dataclass(frozen=True, slots=True)
class Known:
    """A line whose server is in the ledger already, where the line puts it: nothing is done."""

    row: int
    id: uuid.UUID
    resource_no: str
    name: str


@dataclass(slots=True)
class Resolved:
    """What a sheet brings: new servers, those that are there already, and the faults of the lines that bring none."""

    entries: list[Entry] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    errors: list[CellError] = field(default_factory=list)


def resolve(session: Session, actor: Actor, sheet: Sheet) -> Resolved:
    """Judge every line. What the actor may not see is told as if it were not there; the order is that of the lines."""
    lookups = Lookups(session, actor, sheet)
    resolved = Resolved(errors=list(sheet.errors))
    for row in sheet.rows:
        judged = _judge(lookups, row)
        if isinstance(judged, Entry):
            resolved.entries.append(judged)
        elif isinstance(judged, Known):
            resolved.known.append(judged)
        else:
            resolved.errors += [_fault(sheet, row, wrong) for wrong in judged]
    _leave_out_taken(session, sheet, resolved)
    resolved.errors.sort(key=lambda error: error.row)
    return resolved


def _judge(lookups: Lookups, row: SheetRow) -> Entry | Known | list[WrongCellError]:
    """Return the server that a line brings, or every rule it breaks.

    What follows from the server or from the information system is asked only once both are known.
    """
    wrong: list[WrongCellError] = []

    def ask(rule: Callable[..., Any], *about: Any) -> Any:
        try:
            return rule(*about)
        except WrongCellError as error:
            if error.column not in row.wrong:
                wrong.append(error)
            return None

    match: Match | None = ask(lookups.match, row)
    found: tuple[Project, Organization] | None = ask(lookups.project, row)
    if match is not None and found is not None and not row.wrong:
        held: Held | None = ask(_held, lookups, row, match, found[0])
        if held is not None:
            return Known(row.number, held.id, held.resource_no, held.name)
        if wrong:
            return wrong
    said = {"env": ask(needed, row, "env"), "purpose_kind": ask(needed, row, "purpose")}
    said["lease_start"], said["lease_end"] = ask(_lease, row) or (None, None)
    if match is not None:
        said |= _of_server(lookups, row, match.seen, ask)
    if match is None or found is None:
        return wrong
    entry = _entry(lookups, row, match.seen, found, said, ask)
    if wrong or row.wrong:
        return wrong
    lookups.take(row.number, match, entry.project, entry.name)
    return entry


def _of_server(lookups: Lookups, row: SheetRow, seen: ObservedServer | None, ask: Callable[..., Any]) -> dict[str, Any]:
    """Return what a server is, as far as its cloud (`seen`) or its line alone can tell."""
    zone = lookups.zone(seen) if seen is not None else None
    ipv4, ipv6 = (seen.ipv4, seen.ipv6) if seen is not None else (row.get("ipv4") or [], row.get("ipv6") or [])
    return {
        "name": ask(_label, row, seen),
        "source": ServerSource.MANUAL if seen is None else ServerSource.IMPORTED,
        "resource_type": ask(_resource_type, row, seen),
        "observed": seen,
        "zone": zone,
        "arch": ask(_arch, row, seen, zone),
        "cpu_family": zone.cpu_family if zone else row.get("cpu_family") or "unknown",
        "cpu_model": (zone.cpu_model if zone else row.get("cpu_model") or "unknown")[:100],
        "ipv4": list(ipv4),
        "ipv6": list(ipv6),
        "host": seen.host if seen is not None else row.get("host"),
        "counts_quota": ask(_counts, row, seen),
        "stated": ask(_stated, row, seen),
        **{name: ask(_size, row, seen, column) for column, name in _SIZES.items()},
    }


def _entry(
    lookups: Lookups,
    row: SheetRow,
    seen: ObservedServer | None,
    found: tuple[Project, Organization],
    said: dict[str, Any],
    ask: Callable[..., Any],
) -> Entry:
    """Return the server of a line; it is whole only if `ask` met no fault."""
    project, organization = found
    backend = ask(lookups.backend, seen, organization) if seen is not None else None
    network_zone = ask(lookups.network_zone, row, project, seen)
    if said["name"]:
        ask(lookups.require_free, project, said["name"])
    return Entry(
        row=row.number,
        project=project,
        organization=organization,
        backend=backend,
        network_zone=network_zone,
        owner_name=row.get("owner_name") or project.owner_name or ask(needed, row, "owner_name"),
        owner_phone=row.get("owner_phone") or project.owner_phone or ask(needed, row, "owner_phone"),
        places=list(lookups.places(backend, network_zone, (*said["ipv4"], *said["ipv6"]))),
        **said,
    )


def _fault(sheet: Sheet, row: SheetRow, wrong: WrongCellError) -> CellError:
    cell = row.get(wrong.column)
    told = ";".join(cell) if isinstance(cell, list) else "" if cell is None else str(cell)
    return sheet.fault(row.number, told, wrong)


def _leave_out_taken(session: Session, sheet: Sheet, resolved: Resolved) -> None:
    """Leave out the entries whose addresses address management has given to somebody else, or that stand twice."""
    wanted: dict[uuid.UUID, list[str]] = {}
    for entry in resolved.entries:
        for subnet_id, text in entry.places:
            wanted.setdefault(subnet_id, []).append(text)
    taken = imports.taken(session, wanted)
    good = []
    for entry in resolved.entries:
        against = next((text for at, text in entry.places if (at, addresses.key_of(text)) in taken), None)
        if against is None:
            taken |= {(at, addresses.key_of(text)) for at, text in entry.places}
            good.append(entry)
            continue
        wrong = WrongCellError(
            "address_taken",
            N_("{address} belongs to another server, is reserved, or stands twice in the sheet."),
            N_("Look it up among the addresses of its subnet, and free it there or correct the cell."),
            column="ipv6" if ":" in against else "ipv4",
            address=against,
        )
        resolved.errors.append(sheet.fault(entry.row, against, wrong))
    resolved.entries = good


def _held(lookups: Lookups, row: SheetRow, match: Match, project: Project) -> Held | None:
    """Return the server that an earlier import of this line made; a row kept by hand must still say the same."""
    held = lookups.held(row, match, project)
    if held is not None and match.seen is None:
        for column, name in (*_SIZES.items(), ("arch", "arch")):
            given, kept = row.get(column), _told(column, getattr(held, name))
            if given is not None and _told(column, given) != kept:
                raise WrongCellError(
                    "differs",
                    N_("The ledger has {shown} for {name}."),
                    N_("Change the row that is kept by hand, write another name, or correct the cell."),
                    column=column,
                    shown=kept,
                    name=held.name,
                )
    return held


def _label(row: SheetRow, seen: ObservedServer | None) -> str:
    name: str = row.get("name") or (seen.name if seen is not None else "")
    if not naming.is_label(name):
        raise WrongCellError(
            "name",
            N_("{name} cannot be a name in the ledger: lower-case letters, digits and hyphens, at most 63."),
            N_("Write a name for the ledger; the name at the cloud stays as it is."),
            column="name",
            name=name or "-",
        )
    return name


def _size(row: SheetRow, seen: ObservedServer | None, column: str) -> int:
    given = row.get(column)
    shown: int | None = getattr(seen, _SIZES[column]) if seen is not None else None
    if shown is None:
        size: int = given if given is not None else 0 if column == "data_disk_gib" else needed(row, column)
        if size == 0 and column != "data_disk_gib":
            raise WrongCellError("min", N_("It cannot be zero."), N_("Write what the server has."), column=column)
        return size
    if given is not None and _told(column, given) != _told(column, shown):
        raise _differs(column, _told(column, shown))
    return shown


def _told(column: str, size: Any) -> str:
    """Return a value as an export writes it; two that are written alike are the same."""
    return number(units.mib_to_gib(size)) if column == "memory_gib" else str(size)


def _differs(column: str, shown: str) -> WrongCellError:
    return WrongCellError(
        "differs",
        N_("The cloud shows {shown}."),
        N_("Leave the cell empty to take what the cloud shows, or correct it."),
        column=column,
        shown=shown,
    )


def _arch(row: SheetRow, seen: ObservedServer | None, zone: Zone | None) -> str:
    shown = (seen.arch if seen is not None else None) or (zone.arch if zone is not None else None)
    given: str | None = row.get("arch")
    if shown is not None and given is not None and given != shown:
        raise _differs("arch", shown)
    return shown or str(needed(row, "arch"))


def _resource_type(row: SheetRow, seen: ObservedServer | None) -> str:
    given: str = row.get("resource_type") or ResourceType.VM.value
    if seen is not None and given != ResourceType.VM:
        what = N_("What a cloud shows is a virtual machine.")
        remedy = N_("Leave the cell empty, or register a physical machine by hand.")
        raise WrongCellError("differs", what, remedy, column="resource_type")
    return given


def _counts(row: SheetRow, seen: ObservedServer | None) -> bool:
    """Whether it counts: what stands at a cloud always does; of what is kept by hand somebody must say."""
    if seen is not None:
        if row.get("counts_quota") is False:
            what = N_("A server at a cloud always counts against the quota.")
            raise WrongCellError("always", what, N_("Leave the cell empty."), column="counts_quota")
        return True
    return bool(needed(row, "counts_quota"))


def _stated(row: SheetRow, seen: ObservedServer | None) -> dict[str, Any]:
    if seen is None:
        needed(row, "datacenter")
    keys = _STATED if seen is None else {key: _STATED[key] for key in ("os_name", "os_version", "remark")}
    return {name: row.get(key) for key, name in keys.items() if row.get(key) is not None}


def _lease(row: SheetRow) -> tuple[date, date | None]:
    """Return the first and the last day; None: long-term."""
    start = row.get("lease_start") or clock.today()
    end = row.get("lease_end")
    if end is None and str(row.get("remark") or "").startswith(LONG_TERM):
        end = ""
    if end is None:
        raise WrongCellError(
            "required",
            N_("The cell is empty; the ledger must know it."),
            N_("Write a day such as 2027-01-20, or 长期 for a lease without an end."),
            column="lease_end",
        )
    if end and end < start:
        raise WrongCellError(
            "order", N_("The lease ends before it begins."), N_("Correct one of the two days."), column="lease_end"
        )
    return start, end or None
