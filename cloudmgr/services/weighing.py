"""What an approver weighs: what a request takes beside what is there, of the quota and of the pools. Changes nothing."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlmodel import Session

import quotas
from cloudmgr.domain import placement
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.phases import RequestKind, ServerPhase, Spread
from cloudmgr.models import Backend, Image, ResourceRequest, Server
from cloudmgr.services import requests as request_services
from cloudmgr.services.policy import policy_of, worker_of
from cloudmgr.services.request_kinds.base import EntryPlan
from cloudmgr.services.request_view import account_of
from cloudmgr.store import placement as zones
from cloudmgr.store import quota_changes, servers
from quotas import Finding

_SHOWN = ("vcpus", "memory_mib", "disk_gib")


@dataclass(frozen=True, slots=True)
class LimitWeight:
    """One limit that is asked for, beside what the account holds and what the level above has promised already.

    `above` is that level's limit, None where it has none; `allotted` what the limits right below it add up to.
    """

    key: str
    before: int | None
    now: int | None
    wanted: int
    taken: int
    above: int | None = None
    allotted: int = 0

    @property
    def allotted_then(self) -> int:
        """What the limits right below that level would add up to."""
        return self.allotted - (self.now or 0) + self.wanted


@dataclass(frozen=True, slots=True)
class Weighing:
    """What a request takes, level by level and pool by pool; `limits` of a request for quota."""

    usage: list[quotas.AccountUsage]
    taken: dict[str, int]
    limits: list[LimitWeight] = field(default_factory=list)
    account: str = ""
    account_above: str = ""
    over: Sequence[Finding] = ()
    """Who would be over if those limits were set."""
    pools: list[EntryPlan] = field(default_factory=list)
    """How the pools answer now, for servers that have none yet."""


def weigh(session: Session, actor: Actor, request_id: uuid.UUID) -> Weighing:
    """Return the quota of every level beside what the request takes of it (already held since submission).

    Pools are judged anew: what was planned when it was submitted may be gone by now.

    Raises:
        NotFound: there is no such request for this actor. Forbidden: its quota is not theirs to read.
    """
    view = request_services.get_request(session, actor, request_id)
    require(actor, Action.QUOTA_READ, view.organization.path)
    own = quotas.account_usage(session, account_of(view))
    if view.request.kind == RequestKind.QUOTA_CHANGE:
        return _of_limits(session, view.request, own)
    chain = [quotas.account_usage(session, account_id) for account_id, _ in own.ancestors]
    sees_pools = view.request.kind == RequestKind.CREATE and actor.may(Action.CAPACITY_READ, view.organization.path)
    return Weighing(
        usage=[*chain, own],
        taken=view.amounts,
        account=own.name,
        pools=_pools(session, view.request, view.organization.path) if sees_pools else [],
    )


def _of_limits(session: Session, request: ResourceRequest, own: quotas.AccountUsage) -> Weighing:
    above = quotas.tree(session, root_id=own.parent_id, depth=0)[0] if own.parent_id else None
    rows = quota_changes.of_request(session, request.id)
    return Weighing(
        usage=[],
        taken={},
        account=own.name,
        account_above=above.name if above else "",
        limits=[
            LimitWeight(
                key=row.key,
                before=row.before,
                now=own.limits.get(row.key),
                wanted=row.wanted,
                taken=own.used.get(row.key, 0) + own.reserved.get(row.key, 0),
                above=above.limits.get(row.key) if above else None,
                allotted=above.children_limit_sum.get(row.key, 0) if above else 0,
            )
            for row in rows
        ],
        over=quotas.what_if(session, own.account_id, {row.key: row.wanted for row in rows}) if rows else (),
    )


def _pools(session: Session, request: ResourceRequest, organization_path: str) -> list[EntryPlan]:
    """Judge the zones for the servers that have none yet, equal ones together."""
    groups: dict[tuple[object, ...], list[Server]] = {}
    for server in servers.plain_of_request(session, request):
        if server.phase == ServerPhase.REQUESTED and server.image_id is not None:
            alike = (server.image_id, server.arch, server.flavor_id, server.data_disk_gib, server.network_zone)
            groups.setdefault((*alike, server.wanted_backend_id, server.spread), []).append(server)
    interval_s = worker_of(session).health_interval_s
    found = []
    for index, group in enumerate(groups.values()):
        first = group[0]
        image = session.get_one(Image, first.image_id)
        known = zones.zone_facts(session, image_id=image.id, request_id=request.id, health_interval_s=interval_s)
        backend = session.get_one(Backend, first.wanted_backend_id).name if first.wanted_backend_id else None
        amounts = {
            "vcpus": first.vcpus,
            "memory_mib": first.memory_mib,
            "disk_gib": first.system_disk_gib + first.data_disk_gib,
        }
        wanted = placement.Wanted(
            arch=first.arch,
            amounts=amounts,
            network_zone=first.network_zone,
            image=image.name,
            organization_path=organization_path,
            backend=backend,
            spread=Spread(first.spread),
            prefer_xinchuang=policy_of(session).prefer_xinchuang,
        )
        verdicts = placement.judge(wanted, known)
        fits = sum(_fitting(verdict.zone, amounts, len(group)) for verdict in verdicts if verdict.is_candidate)
        name = first.name if len(group) == 1 else f"{first.name} … {group[-1].name}"
        found.append(EntryPlan(index, name, len(group), first.arch, verdicts, min(fits, len(group))))
    return found


def _fitting(zone: placement.ZoneFacts, amounts: dict[str, int], most: int) -> int:
    rooms = (zone.room[key] // amounts[key] for key in _SHOWN if amounts[key] and key in zone.room)
    return max(0, min(rooms, default=most))
