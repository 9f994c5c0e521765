"""申请: new servers for a project."""

import functools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel

import quotas
from cloudmgr.domain import leases, placement
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.approval import Facts
from cloudmgr.domain.errors import NoFittingPool, Refusal
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase, Spread
from cloudmgr.models import Organization, Project, ResourceRequest, Server
from cloudmgr.services import addresses, create_rules, emergencies, openings, quota_offers, resolution
from cloudmgr.services.policy import policy_of, worker_of
from cloudmgr.services.request_inputs import CreateRequest
from cloudmgr.services.request_kinds.base import (
    EntryPlan,
    Kind,
    Plan,
    Told,
    loan_refusals,
    project_of,
    quota_refusals,
    reservation_id,
    retry_reservation_id,
    summed,
)
from cloudmgr.services.resolution import PlannedServer, ResolvedCreate
from cloudmgr.services.server_parts import amounts_of, part_of
from cloudmgr.store import addresses as address_store
from cloudmgr.store import inserts, requests, servers
from cloudmgr.store import openings as opening_store
from cloudmgr.store import placement as zones
from cloudmgr.store.recent import recent


class CreateKind(Kind[CreateRequest, ResolvedCreate]):
    """The rules of asking for servers."""

    name = "create"
    counted = "servers"
    writes_together = True

    def resolve(self, session: Session, actor: Actor, command: CreateRequest) -> ResolvedCreate:
        return resolution.resolve_create(session, actor, command)

    def plan(self, session: Session, actor: Actor, command: CreateRequest) -> Plan:
        resolved = self.resolve(session, actor, command)
        parts = self.parts(command, resolved)
        quota = quotas.preview(session, account_id=resolved.project.account_id, parts=parts)
        entries = list(_plan_entries(session, command, resolved))
        return Plan(
            kind="create",
            totals=summed(*(dict(part.amounts) for part in parts)),
            quota=quota,
            entries=entries,
            warnings=[
                *resolved.warnings,
                *create_rules.hints(session),
                *(hint for entry in entries if (hint := _scarce(entry)) is not None),
            ],
            refusals=[
                *quota_refusals(quota),
                *loan_refusals(session, resolved.project, parts, command.lease_end),
                *_unfit_entries(entries),
                *(emergencies.refusals(session, resolved.organization, parts) if command.emergency else ()),
                *(
                    refusal
                    for server in resolved.servers
                    for refusal in addresses.refusals(session, server.network_zone, server.wanted_addresses, server.at)
                ),
            ],
            shows_capacity=actor.may(Action.CAPACITY_READ, resolved.organization.path),
            offers=quota_offers.offers(session, actor, command, resolved, quota),
        )

    def prepare(
        self, session: Session, request: ResourceRequest, command: CreateRequest, resolved: ResolvedCreate
    ) -> None:
        if _unfit_entries(list(_plan_entries(session, command, resolved, remembered=True))):
            for refusal in _unfit_entries(list(_plan_entries(session, command, resolved))):
                raise NoFittingPool(refusal["message"].template, field=refusal["field"], **refusal["message"].params)
        create_rules.require_attachments(session, request)
        request.env = command.env.value
        request.network_zone = command.network_zone
        request.lease_end = command.lease_end
        request.lease_long_term = command.lease_long_term
        request.lease_reason = command.lease_reason
        request.owner_name, request.owner_phone = resolved.owner_name, resolved.owner_phone
        request.ssh_keys = resolved.ssh_keys

    def hold(
        self, session: Session, request: ResourceRequest, command: CreateRequest, resolved: ResolvedCreate
    ) -> None:
        quotas.reserve(
            session,
            reservation_id=reservation_id(request),
            account_id=resolved.project.account_id,
            parts=self.parts(command, resolved),
            reason=request.number or "",
            until=leases.ends_at(command.lease_end),
        )

    def hold_along(
        self,
        session: Session,
        request: ResourceRequest,
        command: CreateRequest,
        resolved: ResolvedCreate,
        along: quotas.Along,
    ) -> bool:
        return quotas.reserve_along(
            session,
            reservation_id=reservation_id(request),
            account_id=resolved.project.account_id,
            parts=self.parts(command, resolved),
            until=leases.ends_at(command.lease_end),
            along=along,
        )

    def stands_alone(self, resolved: ResolvedCreate) -> bool:
        return not any(planned.wanted_addresses or planned.ports for planned in resolved.servers)

    def write(self, session: Session, request: ResourceRequest, resolved: ResolvedCreate) -> int:
        rows = [_row(request, resolved.project, planned) for planned in resolved.servers]
        requests.add(session, *rows)
        if any(row.wanted_addresses for row in rows) or any(planned.ports for planned in resolved.servers):
            inserts.flush(session)  # addresses and openings belong to rows that are there
        places = [server.at for server in resolved.servers]
        addresses.reserve(session, zip(rows, places, strict=True), purpose=request.number or "")
        for row, planned in zip(rows, resolved.servers, strict=True):
            if planned.ports:
                openings.add(session, request, row, planned.ports)
        return len(rows)

    def refused(self, error: IntegrityError, resolved: ResolvedCreate) -> Refusal | None:
        """Of two requests for a name at once the index lets one pass; PostgreSQL's words say which name it was."""
        told = str(error.orig)
        if "servers" not in told or "name" not in told:
            return None
        names = [server.name for server in resolved.servers]
        return resolution.name_taken([name for name in names if f" {name})" in told] or names)

    def facts(
        self,
        session: Session,  # noqa: ARG002 - the servers have no rows yet
        request: ResourceRequest,
        command: CreateRequest,  # noqa: ARG002
        resolved: ResolvedCreate,
    ) -> Facts:
        return replace(
            self.facts_of(request, resolved, summed(*(server.amounts for server in resolved.servers))),
            archs=frozenset(server.arch for server in resolved.servers),
            network_zones=frozenset(server.network_zone for server in resolved.servers),
        )

    def parts(self, command: CreateRequest, resolved: ResolvedCreate) -> list[quotas.Part]:
        return [server.part(command.env.value) for server in resolved.servers]

    def undoing(self, session: Session, request: ResourceRequest) -> dict[str, Any] | None:
        """Retire what was built or is being built."""
        built = [
            server
            for server in servers.plain_of_request(session, request)
            if server.phase != ServerPhase.RETIRED
            and (server.phase != ServerPhase.FAILED or server.native_ref is not None)
        ]
        return {"kind": "retire", "servers": [str(server.id) for server in built]} if built else None

    def new(
        self, session: Session, request: ResourceRequest, resolved: ResolvedCreate, written: Sequence[SQLModel]
    ) -> Told:
        sizes = {planned.id: planned for planned in resolved.servers}
        made = sorted((row for row in written if isinstance(row, Server)), key=lambda row: row.name)
        rows: list[servers.ServerRow] = [
            (row, resolved.project, resolved.organization, sizes[row.id].flavor, sizes[row.id].image, None, None)
            for row in made
        ]
        has_ports = any(planned.ports for planned in resolved.servers)
        changes = self.changes(session, request) if has_ports else create_rules.told(request.body)
        return Told(rows, summed(*map(amounts_of, made)), changes)

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        quotas.void(session, reservation_id=reservation_id(request))
        begun = [server.id for server in servers.plain_of_request(session, request)]
        address_store.forget_unbegun(session, begun)
        opening_store.remove_of_request(session, request.id)
        servers.remove_unbegun(session, request.id)

    def approved(self, session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:
        """Give every server its number in the ledger (资源编号)."""
        district = session.get(Organization, organization.district_id or organization.id)
        division = district.code if district else organization.code
        for server in servers.plain_of_request(session, request):
            number = requests.next_number(session, f"{division}-VM", "")
            server.resource_no = f"{division}-VM-{number:06d}"
            servers.keep(session, server, actor=actor.username, change="approved")

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:
        """Make failed servers ready again; those that never stood hold quota anew under a reservation of its own."""
        failed = [server for server in servers.plain_of_request(session, request) if server.phase == ServerPhase.FAILED]
        fresh = [server for server in failed if server.failed_step not in ("configure", "undo")]
        if fresh:
            reservation = retry_reservation_id(request)
            quotas.reserve(
                session,
                reservation_id=reservation,
                account_id=project_of(session, request).account_id,
                parts=[part_of(session, server) for server in fresh],
                reason=request.number or "",
            )
            for server in fresh:
                server.reservation_id = reservation
            addresses.reserve(session, ((server, "servers") for server in fresh), purpose=request.number or "")
        for server in failed:
            server.attempt += 1
            server.tried_zones = []
            server.failure = None
            if server.failed_step != "configure":
                servers.move(session, server, ServerPhase.REQUESTED, actor=actor.username, change="retry")
            server.failed_step = None
            session.add(server)
        session.flush()
        return bool(failed)

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        ports = [openings.told(session, row, opens=True) for row in opening_store.of_request(session, request.id)]
        return [*create_rules.told(request.body), *ports]

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        return servers.of_request(session, request)

    def amounts(self, session: Session, request: ResourceRequest) -> dict[str, int]:
        return summed(*(amounts_of(server) for server in servers.plain_of_request(session, request)))


def _row(request: ResourceRequest, project: Project, planned: PlannedServer) -> Server:
    return Server(
        id=planned.id,
        project_id=project.id,
        organization_id=request.organization_id,
        request_id=request.id,
        reservation_id=reservation_id(request),
        name=planned.name,
        arch=planned.arch,
        flavor_id=planned.flavor.id,
        image_id=planned.image.id,
        vcpus=planned.flavor.vcpus,
        memory_mib=planned.flavor.memory_mib,
        system_disk_gib=planned.flavor.system_disk_gib,
        data_disk_gib=planned.data_disk_gib,
        network_zone=planned.network_zone,
        env=request.env,
        purpose_kind=planned.purpose_kind,
        spread=planned.spread,
        wanted_backend_id=planned.backend.id if planned.backend else None,
        playbook=planned.playbook,
        variables=dict(planned.variables),
        ssh_keys=request.ssh_keys,
        owner_name=request.owner_name,
        owner_phone=request.owner_phone,
        lease_end=request.lease_end,
        lease_long_term=request.lease_long_term,
        wanted_addresses=dict(planned.wanted_addresses),
    )


def _plan_entries(
    session: Session, command: CreateRequest, resolved: ResolvedCreate, *, remembered: bool = False
) -> Iterator[EntryPlan]:
    """Yield how the zones answer each line; what is known of the zones is read once for all lines of an image.

    `remembered`: as the zones were up to a second ago.
    """
    interval = worker_of(session).health_interval_s

    @functools.cache
    def facts(image_id: uuid.UUID) -> list[placement.ZoneFacts]:
        def read() -> list[placement.ZoneFacts]:
            return zones.zone_facts(session, image_id=image_id, health_interval_s=interval)

        return recent(session, ("zones", image_id), read) if remembered else read()

    for index in range(len(command.servers)):
        yield _plan_entry(session, command, resolved, index, facts)


def _plan_entry(
    session: Session,
    command: CreateRequest,
    resolved: ResolvedCreate,
    index: int,
    facts: Callable[[uuid.UUID], list[placement.ZoneFacts]],
) -> EntryPlan:
    entry = command.servers[index]
    planned = next(server for server in resolved.servers if server.entry == index)
    wanted = wanted_of(planned, resolved.organization.path, prefer_xinchuang=policy_of(session).prefer_xinchuang)
    verdicts = placement.judge(wanted, facts(planned.image.id))
    fits = 0
    for verdict in verdicts:
        if verdict.is_candidate:
            fits += min(
                (
                    verdict.zone.room[key] // amount
                    for key, amount in planned.capacity.items()
                    if amount and key in verdict.zone.room
                ),
                default=entry.count,
            )
    return EntryPlan(index, entry.name, entry.count, planned.arch, verdicts, min(fits, entry.count))


def _unfit_entries(entries: list[EntryPlan]) -> list[dict[str, Any]]:
    """Return, as a plan tells it, the entries that no pool could ever take; nothing while no pool is known at all."""
    return [
        {
            "code": NoFittingPool.code,
            "field": f"servers[{entry.index}]",
            "message": Message(
                N_(
                    "No pool can ever take {name}: {reasons} Ask for another architecture, image, network zone or cloud."
                ),
                {
                    "name": entry.name,
                    "reasons": [
                        Message(N_("{zone}: {reasons}"), {"zone": verdict.zone.title, "reasons": list(verdict.against)})
                        for verdict in entry.verdicts
                    ],
                },
            ),
        }
        for entry in entries
        if entry.verdicts and all(verdict.is_unfit for verdict in entry.verdicts)
    ]


def _scarce(entry: EntryPlan) -> Message | None:
    if entry.fits == 0 and not _unfit_entries([entry]):
        return Message(
            N_("No pool has room for {name} now; it can be submitted and is placed once there is room."),
            {"name": entry.name},
        )
    if entry.fits < entry.count:
        return Message(
            N_("There is room now for {fits} of {count} servers of {name}."),
            {"fits": entry.fits, "count": entry.count, "name": entry.name},
        )
    return None


def wanted_of(planned: PlannedServer, organization_path: str, *, prefer_xinchuang: bool) -> placement.Wanted:
    """Return what placement is asked for one planned server."""
    return placement.Wanted(
        arch=planned.arch,
        amounts=planned.capacity,
        network_zone=planned.network_zone,
        image=planned.image.name,
        organization_path=organization_path,
        backend=planned.backend.name if planned.backend else None,
        spread=Spread(planned.spread),
        prefer_xinchuang=prefer_xinchuang,
    )
