"""What the lines of a sheet are looked up in, read once for all of them: what clouds show, systems, pools, names, subnets.

A few wide queries, whatever the number of lines. Each method answers for one line or tells which cell is wrong; what the
actor may not see is told as if it were not there. Writes nothing.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import addresses
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import ServerPhase, Tier
from cloudmgr.domain.placement import may_use
from cloudmgr.models import Backend, ObservedServer, Organization, Project, Subnet, Zone
from cloudmgr.services.import_cells import WrongCellError
from cloudmgr.services.import_sheet import Sheet, SheetRow
from cloudmgr.services.sheet_projects import one_project
from cloudmgr.store import imports, organizations
from cloudmgr.store.imports import Candidate, Held


@dataclass(frozen=True, slots=True)
class Match:
    """What a line is about: a server that a cloud shows, or (`seen` None) one kept by hand.

    `held`: the ledger has it already.
    """

    column: str
    seen: ObservedServer | None = None
    held: Held | None = None


class Lookups:
    """Everything that lines ask for, and what the lines before have taken."""

    def __init__(self, session: Session, actor: Actor, sheet: Sheet) -> None:
        paths = actor.scope(Action.INVENTORY_IMPORT)
        root = organizations.root(session)
        has_all = actor.may(Action.INVENTORY_IMPORT, root.path if root else "/")
        self._actor = actor
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
        self._live = {
            (held.project_id, held.name): held
            for held in imports.live_servers(session, [project.id for project, _ in self._projects])
        }
        self._by_name: dict[str, list[Candidate]] = {}
        self._by_address: dict[str, list[Candidate]] = {}
        self._read_candidates(session, sheet)
        self._rows: dict[uuid.UUID, int] = {}
        self._names: dict[tuple[uuid.UUID, str], int] = {}

    def _read_candidates(self, session: Session, sheet: Sheet) -> None:
        names = {row.get("uuid").lower() for row in sheet.rows if row.get("uuid")}
        texts = {text for row in sheet.rows for text in (*(row.get("ipv4") or ()), *(row.get("ipv6") or ()))}
        matched: set[uuid.UUID] = set()
        for each in imports.candidates(session, list(self._backends)):
            for name in names.intersection(each.names):
                self._by_name.setdefault(name, []).append(each)
                matched.add(each.id)
            for text in texts.intersection(each.addresses):
                self._by_address.setdefault(text, []).append(each)
                matched.add(each.id)
        self._observed = imports.observed(session, sorted(matched))
        owners = {row.server_id for row in self._observed.values() if row.server_id is not None}
        self._owners = {held.id: held for held in imports.servers_by_id(session, sorted(owners))}

    def match(self, row: SheetRow) -> Match:
        """Return what a line is about."""
        column, found = self._found(row)
        if row.get("source") == "entered":
            if not found:
                return Match(column)
            raise WrongCellError(
                "stands_at_a_cloud",
                N_("The cloud {backend} shows this server: it is not kept by hand."),
                N_("Write collected in the column Data source to import it, or correct the cell."),
                column=column,
                backend=self._all_backends[found[0].backend_id].name,
            )
        if not column:
            raise WrongCellError(
                "required",
                N_("Nothing tells which server this is."),
                N_("Give the UUID or an address, or write entered in the column Data source to keep it by hand."),
                column=next((each for each in ("uuid", "ipv4", "ipv6") if each in row.wrong), "uuid"),
            )
        if not found:
            raise WrongCellError(
                "no_such_server",
                N_("No cloud shows such a server."),
                N_(
                    "Correct the cell, look at the cloud anew, or write entered in the column Data source to keep it by "
                    "hand."
                ),
                column=column,
            )
        if len(found) > 1:
            raise WrongCellError(
                "ambiguous",
                N_("Several servers have it: {names}."),
                N_("Give the UUID, or the cloud in the column Cloud platform."),
                column=column,
                names=", ".join(each.name for each in found[:5]),
            )
        seen = self._observed[found[0].id]
        if seen.id in self._rows:
            raise WrongCellError(
                "twice",
                N_("Line {other} is about the same server."),
                N_("Remove one of the lines."),
                column=column,
                other=self._rows[seen.id],
            )
        return Match(column, seen, self._owners[seen.server_id] if seen.server_id is not None else None)

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

    def project(self, row: SheetRow) -> tuple[Project, Organization]:
        """Return the information system a line goes into, and its organization."""
        code, name, org_code, org_name = (
            row.get(key) for key in ("system_code", "system_name", "org_code", "org_name")
        )
        column = "system_name" if name or not code else "system_code"
        if not (name or code):
            raise WrongCellError(
                "required",
                N_("The information system it belongs to is missing."),
                N_("Write the name of an information system of the platform, or its code."),
                column=column,
            )
        fits = [
            (project, organization)
            for project, organization in self._projects
            if (not code or project.system_code == code)
            and (not name or project.name == name)
            and (not org_code or org_code in (organization.code, organization.uscc))
            and (not org_name or organization.name == org_name)
        ]
        return one_project(fits, column)

    def backend(self, seen: ObservedServer, organization: Organization) -> Backend:
        """Return the cloud a server stands at, which its organization may use."""
        backend = self._all_backends[seen.backend_id]
        owner, shares = self._users[backend.id]
        if not may_use(organization.path, owner, shares):
            raise WrongCellError(
                "place",
                N_("{organization} may not use the cloud {backend}."),
                N_("Share the cloud with it, or choose an information system of who may."),
                column="org_name",
                organization=organization.name,
                backend=backend.title or backend.name,
            )
        return backend

    def zone(self, seen: ObservedServer) -> Zone | None:
        """Return the pool a server stands in, if we know it."""
        return self._zones.get((seen.backend_id, seen.zone_ref or ""))

    def network_zone(self, row: SheetRow, project: Project, seen: ObservedServer | None) -> str:
        """Return the network zone that is stated, else the information system's."""
        name: str = row.get("network_zone") or project.network_zone or needed(row, "network_zone")
        if name not in self._network_zones:
            raise WrongCellError(
                "one_of",
                N_("There is no network zone {name}."),
                N_("Use one of: {known}."),
                column="network_zone",
                name=name,
                known=", ".join(self._network_zones),
            )
        if (
            seen is not None
            and self._all_backends[seen.backend_id].tier == Tier.PUBLIC
            and not self._network_zones[name]
        ):
            raise WrongCellError(
                "place",
                N_("A public cloud does not carry {name}."),
                N_("Correct the network zone; if it is right, the server must move before it is taken over."),
                column="network_zone",
                name=name,
            )
        return name

    def require_free(self, project: Project, name: str) -> None:
        """Let a name pass that no server of the information system has, and no line before."""
        if (project.id, name) in self._live:
            raise WrongCellError(
                "name_taken",
                N_("The information system has a server called {name} already."),
                N_("Write another name."),
                column="name",
                name=name,
            )
        if (project.id, name) in self._names:
            raise WrongCellError(
                "twice",
                N_("Line {other} has the same name."),
                N_("Write another name."),
                column="name",
                other=self._names[project.id, name],
            )

    def held(self, row: SheetRow, match: Match, project: Project) -> Held | None:
        """Return the server that the ledger has already because this line, or one like it, was taken before.

        Raises:
            WrongCellError: it belongs to another information system, or was retired.
        """
        if match.seen is None:
            named = self._live.get((project.id, row.get("name") or ""))
            return named if named is not None and named.source == ServerSource.MANUAL else None
        if match.held is None:
            return None
        if match.held.phase == ServerPhase.RETIRED:
            raise WrongCellError(
                "retired",
                N_("It was retired as {number}, and stands still or again."),
                N_("Decide in Findings what becomes of it, and remove the line."),
                column=match.column,
                number=match.held.resource_no,
            )
        if match.held.project_id == project.id:
            return match.held
        if not self._actor.may(Action.INVENTORY_IMPORT, match.held.path):
            raise WrongCellError(
                "known",
                N_("It is in the ledger already, of another unit."),
                N_("Remove the line, or take the good lines only."),
                column=match.column,
            )
        raise WrongCellError(
            "known",
            N_("It is in the ledger already, as {name}."),
            N_("Remove the line, or take the good lines only."),
            column=match.column,
            name=match.held.name,
        )

    def take(self, number: int, match: Match, project: Project, name: str) -> None:
        """Note what a good line has taken, so that no later one takes it too."""
        if match.seen is not None:
            self._rows[match.seen.id] = number
        self._names[project.id, name] = number

    def places(
        self, backend: Backend | None, network_zone: str, texts: tuple[str, ...]
    ) -> Iterator[tuple[uuid.UUID, str]]:
        """Yield the addresses that lie in subnets of ours, each with its subnet."""
        for text in texts:
            subnet = self._subnet(backend.id if backend else None, network_zone, text)
            if subnet is not None:
                yield subnet.id, text

    def _subnet(self, backend_id: uuid.UUID | None, network_zone: str, text: str) -> Subnet | None:
        for subnet, at, network in self._subnets:
            is_there = at == backend_id if backend_id is not None else subnet.network_zone == network_zone
            if is_there and addresses.contains(network, text):
                return subnet
        return None


def needed(row: SheetRow, column: str) -> Any:
    """Return a cell that must not be empty."""
    found = row.get(column)
    if found is None:
        raise WrongCellError(
            "required",
            N_("The cell is empty; the ledger must know it."),
            N_("Fill in the cell."),
            column=column,
        )
    return found
