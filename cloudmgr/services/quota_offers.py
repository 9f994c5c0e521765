"""What would fit instead of a request that its quota refuses, cheapest first. Tried with the very rules of submitting.

Cheapest is what gives up least of what was asked; among those, what is to be had soonest. Changes nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock, leases
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import REFUSED_LEVELS
from cloudmgr.services import resolution
from cloudmgr.services.policy import policy_of
from cloudmgr.services.quota_places import places_of
from cloudmgr.services.request_inputs import CreateRequest
from cloudmgr.services.resolution import ResolvedCreate
from cloudmgr.store import quota_offers as store
from quotas import Preview

MAX_PROJECTS, MAX_LEASES, MAX_NAMES = 3, 1000, 5
_WHOLE_PCT = 100


@dataclass(frozen=True, slots=True)
class Offer:
    """One way that would be granted now, or on a day. `change` is what to write into the request instead."""

    kind: str
    """arch, project, later, count, flavor or lease"""
    message: Message
    change: Mapping[str, Any] = field(default_factory=dict)
    given_up_pct: int = 0
    """How much of the vCPUs asked for it does without."""
    available_on: date | None = None


def offers(
    session: Session, actor: Actor, command: CreateRequest, resolved: ResolvedCreate, quota: Preview
) -> list[Offer]:
    """Return what would fit instead, cheapest first; empty where the quota does not refuse at all."""
    if quota.ok:
        return list(_shorter(session, actor, command, resolved))
    found = [
        *_other_architectures(session, actor, command),
        *_other_projects(session, actor, command, resolved),
        *_later(session, actor, quota, command.lease_end),
        *_fewer(session, command, resolved),
        *_smaller(session, actor, command, resolved),
    ]
    today = clock.today()
    return sorted(found, key=lambda offer: (offer.given_up_pct, offer.available_on or today))


def _other_architectures(session: Session, actor: Actor, command: CreateRequest) -> Iterator[Offer]:
    asked = {entry.arch for entry in command.servers}
    for arch in sorted(set(Architecture) - asked):
        servers = [entry.model_copy(update={"arch": arch}) for entry in command.servers]
        if _fits(session, actor, command.model_copy(update={"servers": servers})):
            message = Message(N_("The same on {arch} fits now."), {"arch": arch.value})
            yield Offer("arch", message, {"arch": arch.value})


def _other_projects(
    session: Session, actor: Actor, command: CreateRequest, resolved: ResolvedCreate
) -> Iterator[Offer]:
    parts = [server.part(command.env.value) for server in resolved.servers]
    count = 0
    for project, organization in store.projects_of(session, actor.scope(Action.REQUEST_MAKE)):
        if project.id == resolved.project.id or project.is_classified or project.mlps_level in REFUSED_LEVELS:
            continue
        if quotas.preview(session, account_id=project.account_id, parts=parts).ok:
            message = Message(
                N_("The quota of {project} ({organization}) has room for all of it."),
                {"project": project.name, "organization": organization.name},
            )
            yield Offer("project", message, {"project": str(project.id)})
            count += 1
        if count == MAX_PROJECTS:
            return


def _shorter(session: Session, actor: Actor, command: CreateRequest, resolved: ResolvedCreate) -> Iterator[Offer]:
    """Find the longest lease that ends with the loans it needs."""
    parts = [server.part(command.env.value) for server in resolved.servers]
    account_id = resolved.project.account_id
    outlived = quotas.outliving(session, account_id=account_id, parts=parts, until=leases.ends_at(command.lease_end))
    for ends in sorted({each.loan.until for each in outlived}, reverse=True):
        day = ends.astimezone(clock.SHANGHAI).date()
        change = {"lease_end": day, "lease_long_term": False}
        if _fits(session, actor, command.model_copy(update=change)) and not quotas.outliving(
            session, account_id=account_id, parts=parts, until=leases.ends_at(day)
        ):
            message = Message(N_("All of it fits with a lease until {day}."), {"day": day.isoformat()})
            yield Offer("lease", message, {**change, "lease_end": day.isoformat()})
            return


def _later(session: Session, actor: Actor, quota: Preview, lease_end: date | None) -> Iterator[Offer]:
    """Find the day within the lease on which others that end have freed enough at every limit, if nobody renews them."""
    missing = {(bound.account_id, bound.key): bound.asked - bound.left for bound in quota.bindings}
    if any(bound.asked > bound.limit for bound in quota.bindings):
        return  # it would not fit into the limit if everything else were gone
    places = places_of(session, [account_id for account_id, _ in missing])
    grace = timedelta(days=getattr(policy_of(session), "lease_grace_days", 0))
    paths = {place.organization_path for place in places.values()}
    ending, day = [], None
    for server, path, dims, amounts in store.ending(session, sorted(paths), limit=MAX_LEASES):
        helps = False
        for (account_id, key), lacking in missing.items():
            place = places.get(account_id)
            is_below = place is not None and (
                f"{path}{server.project_id}/".startswith(place.path)
                if place.kind == "project"
                else path.startswith(place.path)
            )
            if is_below and lacking > 0 and key.matches(dims) and amounts.get(key.resource):
                missing[account_id, key] = lacking - amounts[key.resource]
                helps = True
        if helps and server.lease_end is not None:
            ending.append((server.name, actor.may(Action.SERVER_READ, path)))
            day = server.lease_end + grace
            if lease_end is not None and day > lease_end:
                return  # the servers would not be needed any more
        if day is not None and all(lacking <= 0 for lacking in missing.values()):
            names = [name for name, is_seen in ending if is_seen][:MAX_NAMES]
            message = Message(
                N_("From {day}, when leases have ended, if nobody renews them (servers: {count}; {names})."),
                {"day": day.isoformat(), "count": len(ending), "names": ", ".join(names) or "-"},
            )
            yield Offer("later", message, {"after_leases_of": names}, available_on=day)
            return


def _fewer(session: Session, command: CreateRequest, resolved: ResolvedCreate) -> Iterator[Offer]:
    parts = [server.part(command.env.value) for server in resolved.servers]
    low, high = 0, len(parts) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if quotas.preview(session, account_id=resolved.project.account_id, parts=parts[:middle]).ok:
            low = middle
        else:
            high = middle - 1
    if low and quotas.preview(session, account_id=resolved.project.account_id, parts=parts[:low]).ok:
        kept = resolved.servers[:low]
        counts = {
            entry.name: sum(server.entry == index for server in kept) for index, entry in enumerate(command.servers)
        }
        message = Message(
            N_("The first {count} of {all} servers fit now."), {"count": low, "all": len(resolved.servers)}
        )
        yield Offer("count", message, {"counts": counts}, _given_up(resolved, sum(s.flavor.vcpus for s in kept)))


def _smaller(session: Session, actor: Actor, command: CreateRequest, resolved: ResolvedCreate) -> Iterator[Offer]:
    largest = max(resolved.servers, key=lambda server: server.flavor.vcpus).flavor
    for flavor in store.smaller_flavors(session, largest):
        servers = [entry.model_copy(update={"flavor": flavor.name}) for entry in command.servers]
        if _fits(session, actor, command.model_copy(update={"servers": servers})):
            vcpus = flavor.vcpus * len(resolved.servers)
            message = Message(N_("All of it fits as {flavor}."), {"flavor": flavor.name})
            yield Offer("flavor", message, {"flavor": flavor.name}, _given_up(resolved, vcpus))
            return


def _fits(session: Session, actor: Actor, command: CreateRequest) -> bool:
    """Whether a changed request would be granted its quota; what a rule forbids does not fit."""
    try:
        resolved = resolution.resolve_create(session, actor, command)
    except Refusal:
        return False
    parts = [server.part(command.env.value) for server in resolved.servers]
    return quotas.preview(session, account_id=resolved.project.account_id, parts=parts).ok


def _given_up(resolved: ResolvedCreate, vcpus: int) -> int:
    asked = sum(server.flavor.vcpus for server in resolved.servers)
    return max(1, _WHOLE_PCT - _WHOLE_PCT * vcpus // asked) if asked else 1
