"""What a request would cost at every level and where its servers could go, before anything is sent. Changes nothing."""

import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import placement
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Spread
from cloudmgr.services import resolution
from cloudmgr.services.policy import policy_of
from cloudmgr.services.request_inputs import CreateRequest, RetireRequest
from cloudmgr.services.resolution import PlannedServer, ResolvedCreate
from cloudmgr.store import placement as zones
from quotas import Preview, preview


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """One line of the request: what it asks and how every zone answers."""

    index: int
    name: str
    count: int
    arch: str
    verdicts: list[placement.Verdict]
    fits: int
    """How many of the servers have room now, over all candidate zones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The preview of a request. `quota` is None for kinds that cost nothing."""

    kind: str
    totals: dict[str, int]
    quota: Preview | None
    entries: list[EntryPlan] = field(default_factory=list)
    warnings: list[Message] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    shows_capacity: bool = False

    @property
    def would_be_accepted(self) -> bool:
        return not self.refusals


def plan(session: Session, actor: Actor, command: CreateRequest | RetireRequest) -> Plan:
    """Preview a request with the very rules that submitting it will ask.

    Raises:
        The refusals of `resolution`, for what can never be accepted as written. Quota and capacity are told in the plan.
    """
    if isinstance(command, RetireRequest):
        retire = resolution.resolve_retire(session, actor, command)
        totals = {
            "servers": len(retire.servers),
            "vcpus": sum(server.vcpus for server in retire.servers),
            "memory_mib": sum(server.memory_mib for server in retire.servers),
            "disk_gib": sum(server.system_disk_gib + server.data_disk_gib for server in retire.servers),
        }
        return Plan(kind="retire", totals=totals, quota=None)
    resolved = resolution.resolve_create(session, actor, command)
    return _plan_create(session, actor, command, resolved)


def _plan_create(session: Session, actor: Actor, command: CreateRequest, resolved: ResolvedCreate) -> Plan:
    parts = [server.part(uuid.uuid4(), command.env.value) for server in resolved.servers]
    quota = preview(session, account_id=resolved.project.account_id, parts=parts)
    totals: dict[str, int] = {}
    for part in parts:
        for key, amount in part.amounts.items():
            totals[key] = totals.get(key, 0) + amount
    warnings = list(resolved.warnings)
    entries = []
    for index, entry in enumerate(command.servers):
        planned = next(server for server in resolved.servers if server.entry == index)
        entry_plan = _plan_entry(session, resolved, planned, index, entry.name, entry.count)
        entries.append(entry_plan)
        if entry_plan.fits == 0:
            warnings.append(
                Message(
                    N_("No pool has room for {name} now; it can be submitted and is placed once there is room."),
                    {"name": entry.name},
                )
            )
        elif entry_plan.fits < entry.count:
            warnings.append(
                Message(
                    N_("There is room now for {fits} of {count} servers of {name}."),
                    {"fits": entry_plan.fits, "count": entry.count, "name": entry.name},
                )
            )
    refusals = [
        {"code": "quota_exceeded", **binding.as_json(), "message": binding.describe()} for binding in quota.bindings
    ]
    return Plan(
        kind="create",
        totals=totals,
        quota=quota,
        entries=entries,
        warnings=warnings,
        refusals=refusals,
        shows_capacity=actor.may(Action.CAPACITY_READ, resolved.organization.path),
    )


def _plan_entry(
    session: Session, resolved: ResolvedCreate, planned: PlannedServer, index: int, name: str, count: int
) -> EntryPlan:
    wanted = wanted_of(planned, resolved.organization.path, prefer_xinchuang=policy_of(session).prefer_xinchuang)
    verdicts = placement.judge(wanted, zones.zone_facts(session, image_id=planned.image.id))
    fits = 0
    for verdict in verdicts:
        if verdict.is_candidate:
            fits += min(
                (
                    verdict.zone.room[key] // amount
                    for key, amount in planned.capacity.items()
                    if amount and key in verdict.zone.room
                ),
                default=count,
            )
    return EntryPlan(index, name, count, planned.arch, verdicts, min(fits, count))


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
