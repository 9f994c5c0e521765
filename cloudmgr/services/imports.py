"""Taking into the ledger what stands already: one server or a sheet of thousands, tried first, then whole or in part.

Each information system gets one request of kind import (DR…), done when it is made: its servers, their quota at every
level, room in their pools, addresses, history and what the inbox said of them change in one transaction. Calls no cloud.
"""

import itertools
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.addresses import key_of
from cloudmgr.domain.drift import baseline_of
from cloudmgr.domain.errors import Forbidden, ImportRefused, InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import ResourceType
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import NUMBER_PREFIXES, RequestKind, RequestPhase, ServerPhase
from cloudmgr.models import Address, Flavor, Organization, ResourceRequest, Server, ServerVersion
from cloudmgr.services import audit, import_rows
from cloudmgr.services.import_rows import Entry, Known
from cloudmgr.services.import_sheet import CellError, Sheet
from cloudmgr.services.inputs import Input, Text
from cloudmgr.services.request_kinds.base import reservation_id
from cloudmgr.services.server_parts import amounts_of
from cloudmgr.store import imports, placement, requests, servers

MOST_TOLD = 500
"""So many faults and servers are told one by one; of more, the number."""
_PREFIXES = {ResourceType.VM: "VM", ResourceType.BAREMETAL: "PM"}


class ImportOptions(Input):
    """How a sheet is taken. `accept=good` leaves out lines that break a rule; `all` takes nothing if one does."""

    dry_run: bool = False
    accept: Literal["all", "good"] = "all"
    opening_balance: bool = False
    """Count it even above the limits; for quota administrators, with a reason. Growth is then refused."""
    reason: Annotated[Text, StringConstraints(max_length=500)] = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A server that is in the ledger now."""

    row: int
    id: uuid.UUID
    resource_no: str
    name: str
    project: str
    organization: str
    source: str
    backend: str | None


@dataclass(frozen=True, slots=True)
class Posted:
    """One request of kind import: what one information system got, and the limits that were passed."""

    id: uuid.UUID
    number: str
    project: str
    organization: str
    servers: int
    amounts: dict[str, int]
    passed: list[dict[str, Any]]


@dataclass(slots=True)
class ImportReport:
    """What became of a sheet, or would."""

    dry_run: bool
    rows: int
    errors: list[CellError] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    """Lines whose servers are in the ledger already, by an earlier import: nothing is done for them."""
    servers: list[Taken] = field(default_factory=list)
    requests: list[Posted] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """Information systems whose quota has no room, each with every limit that binds."""

    @property
    def would_be_taken(self) -> bool:
        """Whether every line was taken, or had been."""
        return not self.errors and not self.refusals


def run(session: Session, actor: Actor, sheet: Sheet, options: ImportOptions, *, digest: str = "") -> ImportReport:
    """Take a sheet into the ledger, or only tell what would become of it (`dry_run`: nothing of it stays).

    The same sheet again does nothing: its lines are told as `known`.

    Raises:
        ImportRefused: lines break rules and `accept` is `all`; nothing was written.
        QuotaExceeded: an information system has no room and `accept` is `all`; nothing was written.
        Forbidden: no right to import, or to post an opening balance.
    """
    access.require(actor, Action.INVENTORY_IMPORT)
    if actor.user_id is None:
        raise Forbidden(N_("A request is made by a person with an account."))
    if options.opening_balance:
        access.require(actor, Action.QUOTA_WRITE)
        if not options.reason:
            raise InvalidInput(N_("Say on what an opening balance rests; the reason is recorded."), field="reason")
    if sheet.count == 0:
        raise InvalidInput(N_("The sheet has no rows."), field="rows")
    savepoint = session.begin_nested()
    resolved = import_rows.resolve(session, actor, sheet)
    errors = resolved.errors
    if errors and options.accept == "all" and not options.dry_run:
        savepoint.rollback()
        raise ImportRefused(
            N_("{count} cells of {rows} rows cannot be taken, and nothing was: mend them, or take the good rows only."),
            errors=[error.as_json() for error in errors[:MOST_TOLD]],
            count=len(errors),
            rows=sheet.count,
        )
    report = ImportReport(options.dry_run, sheet.count, errors=errors, known=resolved.known)
    for some in _by_project(resolved.entries):
        _take_project(session, actor, some, options, digest, report)
    if options.dry_run:
        savepoint.rollback()
    else:
        savepoint.commit()
    return report


def _by_project(entries: Iterable[Entry]) -> list[list[Entry]]:
    found: dict[uuid.UUID, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.project.id, []).append(entry)
    return list(found.values())


def _take_project(
    session: Session, actor: Actor, entries: Sequence[Entry], options: ImportOptions, digest: str, report: ImportReport
) -> None:
    """Take the servers of one information system, all or none."""
    project, organization = entries[0].project, entries[0].organization
    savepoint = session.begin_nested()
    try:
        posted, rows = post(
            session, actor, entries, reason=options.reason, opening=options.opening_balance, digest=digest
        )
    except quotas.QuotaExceeded as refusal:
        savepoint.rollback()
        if options.accept == "all" and not options.dry_run:
            raise
        report.refusals.append(
            {
                "code": refusal.code,
                "project": project.name,
                "organization": organization.name,
                "rows": [entry.row for entry in entries],
                "message": refusal.message,
                "errors": list(refusal.errors),
            }
        )
        return
    savepoint.commit()
    report.requests.append(posted)
    report.servers += rows


def post(
    session: Session, actor: Actor, entries: Sequence[Entry], *, reason: str, opening: bool = False, digest: str = ""
) -> tuple[Posted, list[Taken]]:
    """Write the servers of one information system with everything that hangs on them, under one request.

    Raises:
        QuotaExceeded: no room, and it is no opening balance.
    """
    project, organization = entries[0].project, entries[0].organization
    access.require(actor, Action.INVENTORY_IMPORT, organization.path)
    if opening:
        access.require(actor, Action.QUOTA_WRITE, organization.path)
    request = _request(session, actor, entries, reason=reason, opening=opening, digest=digest)
    district = session.get(Organization, organization.district_id or organization.id) or organization
    sizes = imports.flavors(session)
    numbers = _resource_numbers(session, district.code, entries)
    rows = [_server(request, entry, number, sizes) for entry, number in zip(entries, numbers, strict=True)]
    passed = quotas.adopt(
        session,
        reservation_id=reservation_id(request),
        account_id=project.account_id,
        parts=[_part(session, entry, row) for entry, row in zip(entries, rows, strict=True)],
        reason=request.number or "",
        above_limits=opening,
    )
    imports.add(session, rows)
    imports.add_versions(session, _versions(session, actor, request, district, entries, rows))
    imports.add(
        session,
        [_address(actor, row, *place) for entry, row in zip(entries, rows, strict=True) for place in entry.places],
    )
    imports.allocate(session, rows, clock.now())
    _settle(session, actor, request, entries, rows)
    posted = Posted(
        id=request.id,
        number=request.number or "",
        project=project.name,
        organization=organization.name,
        servers=len(rows),
        amounts=_sum(amounts_of(row) for row in rows if row.counts_quota),
        passed=[binding.as_json() for binding in passed],
    )
    _record(session, actor, request, organization, posted, reason=reason, opening=opening, digest=digest)
    return posted, [_taken(entry, row) for entry, row in zip(entries, rows, strict=True)]


def _request(
    session: Session, actor: Actor, entries: Sequence[Entry], *, reason: str, opening: bool, digest: str
) -> ResourceRequest:
    project, now = entries[0].project, clock.now()
    day = clock.today().strftime("%Y%m%d")
    prefix = NUMBER_PREFIXES[RequestKind.IMPORT]
    if actor.user_id is None:
        raise Forbidden(N_("A request is made by a person with an account."))
    request = ResourceRequest(
        kind=RequestKind.IMPORT.value,
        number=f"{prefix}{day}-{requests.next_number(session, prefix, day):04d}",
        project_id=project.id,
        organization_id=project.organization_id,
        requester_id=actor.user_id,
        phase=RequestPhase.FULFILLED.value,
        purpose=reason,
        env=entries[0].env,
        network_zone=entries[0].network_zone,
        owner_name=entries[0].owner_name,
        owner_phone=entries[0].owner_phone,
        body={
            "kind": RequestKind.IMPORT.value,
            "project": str(project.id),
            "purpose": reason,
            "servers": len(entries),
            "opening_balance": opening,
            "sha256": digest,
        },
        submission=1,
        submitted_at=now,
        decided_at=now,
        finished_at=now,
    )
    requests.add(session, request)
    return request


def _resource_numbers(session: Session, division: str, entries: Sequence[Entry]) -> list[str]:
    """Take the numbers of servers in the ledger, each series at once."""
    series = [f"{division}-{_PREFIXES[ResourceType(entry.resource_type)]}" for entry in entries]
    last = {each: requests.next_number(session, each, "", count=series.count(each)) for each in sorted(set(series))}
    first = {each: last[each] - series.count(each) + 1 for each in last}
    counters = {each: itertools.count(number) for each, number in first.items()}
    return [f"{each}-{next(counters[each]):06d}" for each in series]


def _server(
    request: ResourceRequest, entry: Entry, resource_no: str, sizes: dict[tuple[int, int, int], uuid.UUID]
) -> Server:
    seen, now = entry.observed, clock.now()
    return Server(
        id=new_id(),
        resource_no=resource_no,
        project_id=entry.project.id,
        organization_id=entry.organization.id,
        request_id=request.id,
        reservation_id=reservation_id(request),
        name=entry.name,
        phase=ServerPhase.ACTIVE.value,
        state=seen.power if seen is not None else "unknown",
        arch=entry.arch,
        source=entry.source.value,
        resource_type=entry.resource_type,
        counts_quota=entry.counts_quota,
        flavor_id=sizes.get((entry.vcpus, entry.memory_mib, entry.system_disk_gib)),
        vcpus=entry.vcpus,
        memory_mib=entry.memory_mib,
        system_disk_gib=entry.system_disk_gib,
        data_disk_gib=entry.data_disk_gib,
        network_zone=entry.network_zone,
        env=entry.env,
        purpose_kind=entry.purpose_kind,
        playbook="",
        owner_name=entry.owner_name,
        owner_phone=entry.owner_phone,
        lease_start=entry.lease_start,
        lease_end=entry.lease_end,
        lease_long_term=entry.lease_end is None,
        zone_id=entry.zone.id if entry.zone else None,
        backend_id=entry.backend.id if entry.backend else None,
        image_ref=seen.image if seen is not None else None,
        network_ref=seen.networks[0] if seen is not None and seen.networks and len(seen.networks) == 1 else None,
        native_ref=seen.ref if seen is not None else None,
        host=entry.host,
        cpu_family=entry.cpu_family,
        cpu_model=entry.cpu_model,
        ipv4=entry.ipv4,
        ipv6=entry.ipv6,
        stated=entry.stated,
        built_at=now,
        activated_at=now,
        last_seen_at=seen.last_seen_at if seen is not None else None,
        last_confirmed_at=now if seen is None else None,
    )


def part_dims(server: Server) -> dict[str, str]:
    """Return the dimensions that a server counts under whatever it stands on."""
    return {"arch": server.arch, "network_zone": server.network_zone, "environment": server.env}


def _part(session: Session, entry: Entry, row: Server) -> quotas.Part:
    """Return a server's share of the quota, wholly placed; one that does not count holds nothing."""
    dims = part_dims(row)
    top = None
    if entry.zone is not None:
        dims["cpu_family"] = entry.zone.cpu_family
        dims["is_xinchuang"] = "true" if entry.zone.is_xinchuang else "false"
    if entry.backend is not None:
        dims["backend"], dims["tier"] = entry.backend.name, entry.backend.tier
        top = placement.top_account(session, entry.backend, row.organization_id)
    return quotas.Part(part_id=row.id, amounts=amounts_of(row) if row.counts_quota else {}, dims=dims, top=top)


def _versions(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    district: Organization,
    entries: Sequence[Entry],
    rows: Sequence[Server],
) -> list[ServerVersion]:
    at = clock.now()
    named = district if entries[0].organization.district_id else None
    found = []
    for entry, row in zip(entries, rows, strict=True):
        flavor = session.get(Flavor, row.flavor_id) if row.flavor_id else None
        whole = (row, entry.project, entry.organization, flavor, None, entry.zone, entry.backend)
        snapshot = servers.snapshot_of(whole, named, request_no=request.number)
        found.append(ServerVersion(server_id=row.id, at=at, actor=actor.username, change=row.source, snapshot=snapshot))
    return found


def _address(actor: Actor, row: Server, subnet_id: uuid.UUID, text: str) -> Address:
    return Address(
        subnet_id=subnet_id,
        address=text,
        key=key_of(text),
        state="allocated",
        server_id=row.id,
        organization_id=row.organization_id,
        taken_by=actor.username[:100],
        taken_at=clock.now(),
    )


def _settle(
    session: Session, actor: Actor, request: ResourceRequest, entries: Sequence[Entry], rows: Sequence[Server]
) -> None:
    """Say of what was seen whose it is, from which later looks are compared, and close what the inbox said of it."""
    refs = {}
    for entry, row in zip(entries, rows, strict=True):
        seen = entry.observed
        if seen is not None:
            seen.server_id = row.id
            seen.baseline = baseline_of(seen.model_dump())
            session.add(seen)
            refs[seen.backend_id, seen.ref] = row.id
    session.flush()
    imports.settle(session, refs, by=actor.username, reason=request.number or "", at=clock.now())


def _record(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    organization: Organization,
    posted: Posted,
    *,
    reason: str,
    opening: bool,
    digest: str,
) -> None:
    detail: dict[str, Any] = {"servers": posted.servers, "amounts": posted.amounts, "sha256": digest}
    about: dict[str, Any] = {"object_type": "request", "object_id": request.id, "object_name": posted.number}
    audit.record(
        session,
        actor,
        Event.INVENTORY_IMPORT,
        **about,
        organization_path=organization.path,
        reason=reason,
        **detail,
    )
    if opening:
        audit.record(
            session,
            actor,
            Event.INVENTORY_OPEN,
            **about,
            organization_path=organization.path,
            reason=reason,
            amounts=posted.amounts,
            passed=posted.passed,
        )
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(
            N_("{person} took {count} servers into the ledger."),
            {"person": actor.display_name, "count": posted.servers},
        ),
        dedupe="imported",
    )


def _taken(entry: Entry, row: Server) -> Taken:
    return Taken(
        row=entry.row,
        id=row.id,
        resource_no=row.resource_no or "",
        name=row.name,
        project=entry.project.name,
        organization=entry.organization.name,
        source=row.source,
        backend=entry.backend.name if entry.backend else None,
    )


def _sum(amounts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in amounts:
        for key, amount in each.items():
            total[key] = total.get(key, 0) + amount
    return total
