"""What a backend shows against what we hold, server by server: pure, from (held, seen) to differences.

It decides nothing about what becomes of a difference, and it never says that something is gone: whether a list may be
believed is `is_believable`, and only a believed, complete list makes a server missing.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cloudmgr.domain.findings import FindingKind, ServerSource
from cloudmgr.domain.phases import ServerPhase

LOST_SHARE_PCT = 50
LOST_AT_LEAST = 4
"""A list that lost more than this share of at least so many servers at once is not believed."""
CONFIRMED_BY_LOOKS = 3
CONFIRMED_AFTER = timedelta(minutes=15)
"""It is believed when so many looks in a row said the same, over so long; or when a person says that it is right."""
SETTLING = timedelta(minutes=10)
"""After a power action of ours the state may lag so long before it counts as a difference."""

MOVING = frozenset(
    {ServerPhase.REQUESTED, ServerPhase.PLACED, ServerPhase.CREATING, ServerPhase.CONFIGURING, ServerPhase.RETIRING}
)
"""Phases in which a workflow is on its way to making record and cloud equal: nothing is a difference."""

_SETTLED_POWER = frozenset({"running", "stopped"})
FIELDS = ("vcpus", "memory_mib", "power", "name", "image", "networks", "addresses")
"""The fields that are compared, in the order they are shown."""


@dataclass(frozen=True, slots=True)
class Held:
    """A server as we hold it."""

    id: uuid.UUID
    name: str
    phase: ServerPhase
    source: ServerSource
    vcpus: int
    memory_mib: int
    addresses: frozenset[str]
    intended_power: str | None
    intended_since: datetime | None
    built_at: datetime | None
    updated_at: datetime
    released_at: datetime | None = None
    resizing_since: datetime | None = None
    resized_at: datetime | None = None

    def is_resizing(self, looked_at: datetime) -> bool:
        """Whether what a look of that moment shows of its size and power may be our own change of size, or from before it."""
        return self.resizing_since is not None or (self.resized_at is not None and self.resized_at >= looked_at)

    @property
    def stands(self) -> bool:
        """Whether it should be at its backend."""
        return self.phase in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED) or (
            self.phase is ServerPhase.FAILED and self.built_at is not None
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A server as its backend showed it. `baseline`: what it showed when it was first seen as ours."""

    ref: str
    name: str
    power: str
    vcpus: int | None
    memory_mib: int | None
    image: str | None
    networks: tuple[str, ...] | None
    addresses: frozenset[str]
    first_seen_at: datetime
    is_missing: bool = False
    baseline: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that does not agree; (kind, ref, field) is its name."""

    kind: FindingKind
    ref: str
    field: str = ""
    name: str = ""
    server_id: uuid.UUID | None = None
    held: Mapping[str, Any] | None = None
    observed: Mapping[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is told apart by at one backend."""
        return self.kind.value, self.ref, self.field


def is_believable(present: int, lost: int) -> bool:
    """Whether a complete list may be believed that lacks `lost` of the `present` servers that were there before.

    An empty answer from a cloud that had servers a moment ago is unknown, never "all gone".
    """
    if lost == 0:
        return True
    if lost >= present:
        return False
    return present < LOST_AT_LEAST or lost * 100 <= present * LOST_SHARE_PCT


def differences(
    held: Held | None, seen: Seen | None, *, looked_at: datetime, known_since: datetime | None
) -> Iterator[Difference]:
    """Yield what does not agree about one server.

    `looked_at` is when the list was begun: what we did after it cannot be in it. `known_since` is when this backend was
    first read completely: what is foreign and came later was made past us.
    """
    if held is None:
        if seen is not None and not seen.is_missing:
            yield _foreign(seen, known_since)
        return
    if held.phase in MOVING:
        return
    if seen is None or seen.is_missing:
        if held.stands and (held.built_at is None or held.built_at < looked_at):
            yield _orphan(held, seen)
        return
    if not held.stands:
        yield from _ended(held, seen, looked_at)
        return
    yield from _drift(held, seen, looked_at)


def _foreign(seen: Seen, known_since: datetime | None) -> Difference:
    past_us = known_since is not None and seen.first_seen_at > known_since
    kind = FindingKind.UNAUTHORISED if past_us else FindingKind.UNMANAGED
    return Difference(kind, seen.ref, name=seen.name, observed=facts_of(seen))


def _orphan(held: Held, seen: Seen | None) -> Difference:
    return Difference(
        FindingKind.ORPHAN,
        seen.ref if seen else str(held.id),
        name=held.name,
        server_id=held.id,
        held={"phase": held.phase.value, "vcpus": held.vcpus, "memory_mib": held.memory_mib},
    )


def _ended(held: Held, seen: Seen, looked_at: datetime) -> Iterator[Difference]:
    """Retired or failed here, and there: running it is an alarm, else something was left over."""
    ended_at = held.released_at or held.updated_at
    if ended_at >= looked_at:
        return
    kind = FindingKind.REVIVED if seen.power == "running" else FindingKind.LEFTOVER
    where = "" if kind is FindingKind.REVIVED else "server"
    yield Difference(
        kind, seen.ref, where, seen.name, held.id, held={"phase": held.phase.value}, observed=facts_of(seen)
    )


def _drift(held: Held, seen: Seen, looked_at: datetime) -> Iterator[Difference]:
    if held.phase is ServerPhase.SUSPENDED and seen.power == "running" and held.updated_at < looked_at - SETTLING:
        yield Difference(
            FindingKind.REVIVED,
            seen.ref,
            name=seen.name,
            server_id=held.id,
            held={"phase": held.phase.value},
            observed=facts_of(seen),
        )
    for name, ours, theirs in _compared(held, seen, looked_at):
        yield Difference(
            FindingKind.DRIFT, seen.ref, name, seen.name, held.id, held={"value": ours}, observed={"value": theirs}
        )


def _compared(held: Held, seen: Seen, looked_at: datetime) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, ours, theirs) of every field that differs; what a backend does not say is no difference."""
    is_resizing = held.is_resizing(looked_at)
    if not is_resizing and seen.vcpus is not None and seen.vcpus != held.vcpus:
        yield "vcpus", held.vcpus, seen.vcpus
    if not is_resizing and seen.memory_mib is not None and seen.memory_mib != held.memory_mib:
        yield "memory_mib", held.memory_mib, seen.memory_mib
    wanted = wanted_power(held, seen.baseline)
    settled = not is_resizing and (held.intended_since is None or held.intended_since < looked_at - SETTLING)
    if held.phase is ServerPhase.ACTIVE and settled and seen.power in _SETTLED_POWER and seen.power != wanted:
        yield "power", wanted, seen.power
    if seen.name not in (held.name, seen.baseline.get("name", seen.name)):
        yield "name", seen.baseline.get("name", held.name), seen.name
    if seen.image is not None and seen.baseline.get("image") not in (None, seen.image):
        yield "image", seen.baseline["image"], seen.image
    if seen.networks is not None and _differs(seen.baseline.get("networks"), seen.networks):
        yield "networks", sorted(seen.baseline["networks"]), sorted(seen.networks)
    if seen.power == "running" and seen.addresses and held.addresses and _readdressed(held, seen):
        yield "addresses", sorted(held.addresses), sorted(seen.addresses)


def wanted_power(held: Held, baseline: Mapping[str, Any]) -> str:
    """Return the power state we last asked for; a server we built runs, an imported one is as it was found."""
    if held.intended_power is not None:
        return held.intended_power
    found = baseline.get("power")
    return str(found) if held.source is not ServerSource.BUILT and found in _SETTLED_POWER else "running"


def _differs(first: Sequence[str] | None, now: tuple[str, ...]) -> bool:
    return first is not None and sorted(first) != sorted(now)


def _readdressed(held: Held, seen: Seen) -> bool:
    """Whether it lost an address of ours or has one more; what it had beside ours from the beginning is its own."""
    others = seen.addresses - held.addresses - frozenset(seen.baseline.get("addresses") or ())
    return bool(held.addresses - seen.addresses or others)


def facts_of(seen: Seen) -> dict[str, Any]:
    """Return what an inbox shows of a server seen at a backend."""
    return {
        "power": seen.power,
        "vcpus": seen.vcpus,
        "memory_mib": seen.memory_mib,
        "addresses": sorted(seen.addresses),
    }


def baseline_of(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a server when it is first seen as ours, to compare later looks with."""
    first = {name: seen.get(name) for name in ("name", "image", "networks", "power")}
    return first | {"addresses": [*seen.get("ipv4", ()), *seen.get("ipv6", ())]}
