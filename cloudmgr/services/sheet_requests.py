"""Asking for many servers by a sheet: every line looked up, lines gathered into requests, tried first or submitted at once.

Lines of one information system, network zone, environment, purpose, lease, responsible person, funding and priority become
one request, of at most 50 lines. Each request is checked, numbered and reserved like any other; nothing is written by a trial.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, TypeVar

from sqlmodel import Session

from cloudmgr.domain import clock, leases, naming
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import ImportRefused, InvalidInput, Refusal
from cloudmgr.domain.messages import N_
from cloudmgr.models import Organization, Project
from cloudmgr.services import requests, resolution
from cloudmgr.services.import_cells import WrongCellError
from cloudmgr.services.import_sheet import CellError, Sheet, SheetRow
from cloudmgr.services.inputs import Input
from cloudmgr.services.policy import policy_of
from cloudmgr.services.request_inputs import MAX_ENTRIES, CreateRequest, ServersEntry, body_adapter
from cloudmgr.services.request_kinds import kind_of
from cloudmgr.services.sheet_projects import one_project
from cloudmgr.store import imports, lookups, servers

T = TypeVar("T")

MOST_TOLD = 500
_COMMON = (
    "env",
    "purpose",
    "lease_end",
    "lease_reason",
    "owner_name",
    "owner_phone",
    "funding_source",
    "priority",
    "exclusive_reason",
)
"""What lines of one request say alike."""
_COLUMN_OF = {"purpose_kind": "role", "servers": "name"}
"""Fields of a request that a sheet calls otherwise."""


class SheetOptions(Input):
    """How a sheet is taken. `accept=good` leaves out lines and requests that break a rule; `all` submits nothing if one does."""

    dry_run: bool = False
    accept: Literal["all", "good"] = "all"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request made of lines of a sheet; after a trial its number is only a rehearsal's."""

    id: uuid.UUID
    number: str
    project: Project
    organization: Organization
    network_zone: str
    rows: list[int]
    servers: int
    amounts: dict[str, int]


@dataclass(slots=True)
class SheetReport:
    """What became of a sheet, or would."""

    dry_run: bool
    rows: int
    errors: list[CellError] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """Requests that were refused as a whole, each with its lines and why."""
    requests: list[Asked] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every line was, or would be, asked for."""
        return not self.errors and not self.refusals


@dataclass(frozen=True, slots=True)
class _Line:
    row: SheetRow
    project: Project
    organization: Organization
    network_zone: str
    entry: ServersEntry

    @property
    def together(self) -> tuple[Any, ...]:
        """What the lines of one request have in common."""
        return (self.project.id, self.network_zone, *(self.row.get(key) for key in _COMMON))


def submit(session: Session, actor: Actor, sheet: Sheet, options: SheetOptions) -> SheetReport:
    """Submit the requests a sheet asks for, or only tell what would become of it (`dry_run`: nothing of it stays).

    Raises:
        ImportRefused: cells break rules and `accept` is `all`; nothing was written.
        The refusals of `requests.submit_new`, where `accept` is `all`.
    """
    require(actor, Action.REQUEST_MAKE)
    if sheet.count == 0:
        raise InvalidInput(N_("The sheet has no rows."), field="rows")
    lines, errors = _resolve(session, actor, sheet)
    if errors and options.accept == "all" and not options.dry_run:
        raise ImportRefused(
            N_("{count} cells of {rows} rows cannot be taken, and nothing was: mend them, or take the good rows only."),
            errors=[error.as_json() for error in errors[:MOST_TOLD]],
            count=len(errors),
            rows=sheet.count,
        )
    report = SheetReport(options.dry_run, sheet.count, errors=errors)
    savepoint = session.begin_nested()
    for some in _gathered(lines):
        _submit(session, actor, some, options, report)
    if options.dry_run:
        savepoint.rollback()
    else:
        savepoint.commit()
    return report


def _resolve(session: Session, actor: Actor, sheet: Sheet) -> tuple[list[_Line], list[CellError]]:
    """Look up every line; return those that are right, and every cell that is not, in the sheet's order."""
    look = _Lookups(session, actor, sheet)
    errors = list(sheet.errors)
    lines: list[_Line] = []
    for row in sheet.rows:
        line, faults = look.line(row)
        for wrong in faults:
            value = row.get(wrong.column)
            errors.append(sheet.fault(row.number, "" if value is None else str(value), wrong))
        if line is not None:
            lines.append(line)
    return lines, sorted(errors, key=lambda error: error.row)


class _Lookups:
    """What lines name, read once for a sheet."""

    def __init__(self, session: Session, actor: Actor, sheet: Sheet) -> None:
        self._session = session
        self._names = lookups.Names(session)
        self._projects = imports.projects(
            session,
            names=sorted({str(row.get("system_name")) for row in sheet.rows if row.get("system_name")}),
            codes=sorted({str(row.get("system_code")) for row in sheet.rows if row.get("system_code")}),
            paths=actor.scope(Action.REQUEST_MAKE),
        )
        self._max_days = policy_of(session).lease_max_days
        self._today = clock.today()
        self._used: dict[uuid.UUID, dict[str, int]] = {}
        wanted: dict[uuid.UUID, list[str]] = {}
        for row in sheet.rows:
            for project, _ in self._fitting(row):
                wanted.setdefault(project.id, []).extend(_server_names(row))
        self._taken = {
            project_id: {
                name
                for start in range(0, len(names), MOST_TOLD)
                for name in servers.taken_names(session, project_id, names[start : start + MOST_TOLD])
            }
            for project_id, names in wanted.items()
        }

    def line(self, row: SheetRow) -> tuple[_Line | None, list[WrongCellError]]:
        """Return a line understood, and every cell of it that breaks a rule; None where one does, or is wrong already."""
        faults: list[WrongCellError] = []
        found = _tried(faults, lambda: self._project(row))
        for column, check in self._of_one_cell(row):
            if row.get(column) is not None:
                _tried(faults, check)
        if not row.wrong & {"lease_end", "lease_reason"}:
            _tried(faults, lambda: self._check_lease(row))
        if found is None:
            return None, faults
        project, organization = found
        if not row.wrong & {"name", "count"}:
            _tried(faults, lambda: self._check_names(row, project))
        _tried(faults, lambda: _check_owner(row, project))
        if faults or row.wrong:
            return None, faults
        given = {key: row.get(key) for key in ("flavor", "image", "arch", "data_disk_gib", "network_zone")}
        given |= {"name": row.get("name"), "count": row.get("count") or 1, "purpose_kind": row.get("role")}
        entry = ServersEntry.model_validate({key: value for key, value in given.items() if value is not None})
        zone = row.get("network_zone") or project.network_zone
        _tried(faults, lambda: _as_cell(lambda: resolution.resolve_entry(self._names, 0, entry, zone, organization.id)))
        return (None if faults else _Line(row, project, organization, str(zone), entry)), faults

    def _of_one_cell(self, row: SheetRow) -> list[tuple[str, Callable[[], None]]]:
        """Return the rules that need nothing but one cell, by its column."""
        names, at = self._names, "servers[0]"
        return [
            ("flavor", lambda: _as_cell(lambda: resolution.flavor_named(names, row.get("flavor"), at))),
            ("image", lambda: _as_cell(lambda: resolution.image_named(names, row.get("image"), at))),
            ("arch", lambda: _as_cell(lambda: resolution.check_arch(names, str(row.get("arch")), at))),
            (
                "network_zone",
                lambda: _as_cell(lambda: resolution.network_zone_named(names, row.get("network_zone"), None, at)),
            ),
        ]

    def _check_lease(self, row: SheetRow) -> None:
        lease_end = row.get("lease_end")
        _as_cell(
            lambda: leases.check_lease(
                lease_end=lease_end or None,
                long_term=lease_end == "",
                reason=row.get("lease_reason") or "",
                today=self._today,
                max_days=self._max_days,
            )
        )

    def _fitting(self, row: SheetRow) -> list[tuple[Project, Organization]]:
        code, name, unit = (row.get(key) for key in ("system_code", "system_name", "org_name"))
        if not (code or name):
            return []
        return [
            (project, organization)
            for project, organization in self._projects
            if (not code or project.system_code == code)
            and (not name or project.name == name)
            and (not unit or organization.name == unit)
        ]

    def _project(self, row: SheetRow) -> tuple[Project, Organization]:
        column = "system_name" if row.get("system_name") or not row.get("system_code") else "system_code"
        if not (row.get("system_name") or row.get("system_code")):
            raise WrongCellError("required", N_("The cell is empty."), N_("Fill in the cell."), column=column)
        return one_project(self._fitting(row), column)

    def _check_names(self, row: SheetRow, project: Project) -> None:
        used = self._used.setdefault(project.id, {})
        for name in _server_names(row):
            if name in self._taken.get(project.id, ()):
                raise WrongCellError(
                    "taken",
                    N_("The information system already has a server named {name}."),
                    N_("Choose another name."),
                    column="name",
                    name=name,
                )
            if name in used:
                raise WrongCellError(
                    "twice",
                    N_("Row {row} asks for a server named {name} already."),
                    N_("Choose another name."),
                    column="name",
                    row=used[name],
                    name=name,
                )
        if not row.wrong:
            used.update(dict.fromkeys(_server_names(row), row.number))


def _server_names(row: SheetRow) -> list[str]:
    name = row.get("name")
    return naming.numbered(str(name), int(row.get("count") or 1)) if name else []


def _check_owner(row: SheetRow, project: Project) -> None:
    for column, known in (("owner_name", project.owner_name), ("owner_phone", project.owner_phone)):
        if not row.get(column) and not known and column not in row.wrong:
            raise WrongCellError(
                "required",
                N_("Name who is responsible and a phone number: the project has none on record."),
                N_("Fill in the cell."),
                column=column,
            )


def _tried(faults: list[WrongCellError], check: Callable[[], T]) -> T | None:
    """Run one rule; what it finds wrong is added to the faults."""
    try:
        return check()
    except WrongCellError as wrong:
        faults.append(wrong)
        return None


def _as_cell(check: Any) -> None:
    """Run a rule of requests; its refusal is told of the cell it is about."""
    try:
        check()
    except Refusal as refusal:
        last = (refusal.field or "name").rpartition(".")[2]
        wrong = WrongCellError(
            refusal.code,
            refusal.message.template,
            N_("Correct the cell, or remove the line."),
            column=_COLUMN_OF.get(last, last),
        )
        wrong.message = refusal.message
        raise wrong from refusal


def _gathered(lines: Iterable[_Line]) -> list[list[_Line]]:
    """Return the lines of each request, in the sheet's order."""
    found: dict[tuple[Any, ...], list[_Line]] = {}
    for line in lines:
        found.setdefault(line.together, []).append(line)
    return [some[at : at + MAX_ENTRIES] for some in found.values() for at in range(0, len(some), MAX_ENTRIES)]


def _submit(session: Session, actor: Actor, lines: Sequence[_Line], options: SheetOptions, report: SheetReport) -> None:
    """Submit the request of some lines, all or none."""
    savepoint = session.begin_nested()
    numbers = [line.row.number for line in lines]
    try:
        request = requests.submit_new(session, actor, _command(lines))
    except Refusal as refusal:
        savepoint.rollback()
        if options.accept == "all" and not options.dry_run:
            raise
        report.refusals.append(
            {
                "code": refusal.code,
                "message": refusal.message,
                "rows": numbers,
                "project": lines[0].project.name,
                "errors": refusal.errors,
            }
        )
        return
    report.requests.append(
        Asked(
            id=request.id,
            number=request.number or "",
            project=lines[0].project,
            organization=lines[0].organization,
            network_zone=lines[0].network_zone,
            rows=numbers,
            servers=sum(line.entry.count for line in lines),
            amounts=kind_of(request.kind).amounts(session, request),
        )
    )
    savepoint.commit()


def _command(lines: Sequence[_Line]) -> CreateRequest:
    row, project = lines[0].row, lines[0].project
    lease_end: date | str = row.get("lease_end")
    body = {
        "kind": "create",
        "project": project.id,
        "purpose": row.get("purpose"),
        "network_zone": lines[0].network_zone,
        "lease_end": lease_end or None,
        "lease_long_term": lease_end == "",
        "lease_reason": row.get("lease_reason") or "",
        "servers": [line.entry.model_dump(exclude_unset=True, exclude={"network_zone"}) for line in lines],
    }
    body |= {name: row.get(name) for name in ("env", "funding_source", "priority") if row.get(name)}
    if row.get("exclusive_reason"):
        body |= {"exclusive": True, "exclusive_reason": row.get("exclusive_reason")}
    if row.get("owner_name") or row.get("owner_phone"):
        body["owner"] = {
            "name": row.get("owner_name") or project.owner_name,
            "phone": row.get("owner_phone") or project.owner_phone,
        }
    command = body_adapter.validate_python(body)
    assert isinstance(command, CreateRequest)  # noqa: S101 - its kind says so
    return command
