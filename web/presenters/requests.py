"""Requests for their pages: lines of a list, the whole request with its stages, servers and events."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestKind, RequestPhase, ServerPhase
from cloudmgr.domain.working_days import WorkingCalendar
from cloudmgr.models import RequestEvent
from cloudmgr.services.request_view import RequestView
from cloudmgr.services.requests import RequestRow
from cloudmgr.services.stage_seats import SeatView
from web import port_lines
from web.presenters import deadlines
from web.presenters import words as phrases
from web.presenters.deadlines import Due
from web.rendering import Words
from web.request_payload import DEFAULTS

MOVING = frozenset({RequestPhase.IN_REVIEW, RequestPhase.APPROVED, RequestPhase.FULFILLING})
"""Phases in which a page follows the request live."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One row of a list."""

    id: uuid.UUID
    number: str | None
    untitled: str
    """What it is called while it has no number, to be translated."""
    kind: str
    phase: str
    project: str
    organization: str
    requester: str
    purpose: str
    submitted_at: datetime | None
    address: str
    is_emergency: bool
    due: Due | None
    """When the stage that waits is due."""


@dataclass(frozen=True, slots=True)
class SeatLine:
    """Who has decided a stage and what was said, or who may decide it."""

    who: str
    decision: str
    comment: str


@dataclass(frozen=True, slots=True)
class StageLine:
    """One approval stage. `mode`: how many of its seats must approve, where there are several."""

    title: str
    state: str
    mode: str
    seats: list[SeatLine]
    at: datetime | None
    due: Due | None = None


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One server of a request."""

    id: uuid.UUID
    name: str
    phase: str
    addresses: str
    zone: str
    size: str
    rehearsed: bool
    failure: str


@dataclass(frozen=True, slots=True)
class WantedLine:
    """One group of servers as asked for, while none exists."""

    name: str
    count: Any
    flavor: str
    image: str
    arch: str
    data_disk_gib: Any


@dataclass(frozen=True, slots=True)
class EventLine:
    """One line of progress."""

    id: int
    at: datetime
    kind: str
    text: str
    failed: bool
    task_state: str
    rehearsed: bool


@dataclass(frozen=True, slots=True)
class RequestPage:
    """Everything a request's page shows."""

    id: uuid.UUID
    title: str
    number: str | None
    no_number: str
    """Why it has none."""
    kind: str
    phase: str
    purpose: str
    project: str
    mlps_level: str
    organization: str
    requester: str
    env: str
    network_zone: str | None
    lease: str
    owner: str
    key_names: str
    submitted_at: datetime | None
    refusal: str
    rehearses: bool
    has_handover: bool
    stages: list[StageLine]
    servers: list[ServerLine]
    wanted: list[WantedLine]
    changes: list[str]
    """What is changed of things that stand, a line each."""
    standing: list[tuple[str, str, str]]
    """What is special about it now: sentence, tone, address."""

    @property
    def names_servers(self) -> bool:
        """Whether it is about servers at all; a request for quota is not."""
        return self.kind != RequestKind.QUOTA_CHANGE


def line(row: RequestRow, *, address: str | None = None, due: Due | None = None) -> RequestLine:
    """Arrange one row of a list."""
    request, project, organization, requester = row
    return RequestLine(
        id=request.id,
        number=request.number,
        untitled=untitled(request.phase),
        kind=request.kind,
        phase=request.phase,
        project=project.name if project else "",
        organization=organization.name,
        requester=requester.display_name,
        purpose=_short(request.purpose),
        submitted_at=request.submitted_at,
        address=address or f"/requests/{request.id}",
        is_emergency=request.is_emergency,
        due=due,
    )


def untitled(phase: str) -> str:
    """Return what a request without a number is called."""
    return N_("Withdrawn draft") if phase == RequestPhase.WITHDRAWN else N_("Draft")


def _no_number(phase: str) -> str:
    return N_("None: it was never submitted") if phase == RequestPhase.WITHDRAWN else N_("Given when submitted")


def page(
    words: Words,
    view: RequestView,
    *,
    may_read_personal: bool,
    seats: Mapping[uuid.UUID, Sequence[SeatView]] = MappingProxyType({}),
    calendar: WorkingCalendar | None = None,
) -> RequestPage:
    """Arrange one request."""
    request = view.request
    body = request.body
    servers = [
        ServerLine(
            id=server.id,
            name=server.name,
            phase=server.phase,
            addresses=phrases.addresses(server),
            zone=(zone.title or zone.name) if zone else "",
            size=(flavor.name if flavor else phrases.size(server))
            + (f" + {server.data_disk_gib} GiB" if server.data_disk_gib else ""),
            rehearsed=server.rehearsed,
            failure=phrases.failure(words, server.failure),
        )
        for server, _, _, flavor, _, zone, _ in view.servers
    ]
    return RequestPage(
        id=request.id,
        title=request.number or words.translate(untitled(request.phase)),
        number=request.number,
        no_number=words.translate(_no_number(request.phase)),
        kind=request.kind,
        phase=request.phase,
        purpose=request.purpose,
        project=view.project.name if view.project else "",
        mlps_level=view.project.mlps_level if view.project else "",
        organization=view.organization.name,
        requester=view.requester.display_name,
        env=request.env,
        network_zone=request.network_zone or body.get("network_zone"),
        lease=phrases.lease(words, request.lease_end or _day(body.get("lease_end")), long_term=request.lease_long_term),
        owner=phrases.owner(request, may_read=may_read_personal),
        key_names=", ".join(_key_name(key) for key in request.ssh_keys),
        submitted_at=request.submitted_at,
        refusal=phrases.failure(words, request.refusal),
        rehearses=any(server.rehearsed for server in servers),
        has_handover=request.kind == "create"
        and any(server.phase in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED) for server in servers),
        stages=_stages(words, view, seats, calendar),
        servers=servers,
        wanted=[] if servers or request.kind != "create" else _wanted(body.get("servers") or []),
        changes=[words.told(each) for each in view.changes],
        standing=deadlines.standing(words, view),
    )


def event_line(words: Words, event: RequestEvent) -> EventLine:
    """Arrange one line of progress."""
    state = str(event.data.get("state", "")) if event.kind == "task" else ""
    return EventLine(
        id=event.id or 0,
        at=event.at,
        kind=event.kind,
        text=_task(words, event) if "task" in event.message.get("params", {}) else words.told(event.message),
        failed=bool(event.data.get("failed")) or state in ("failed", "unreachable"),
        task_state=state,
        rehearsed=bool(event.data.get("rehearsed")),
    )


def _task(words: Words, event: RequestEvent) -> str:
    """A task's state is a badge of its own: the text is where and what."""
    params = event.message.get("params", {})
    return " · ".join(part for part in (str(params.get("server", "")), words.told(params.get("task"))) if part)


def is_live(phase: str) -> bool:
    """Whether a worker is at it, so that the page follows."""
    return phase in MOVING


def form_values(body: Mapping[str, Any]) -> dict[str, str]:
    """Return a stored request as the fields of its form."""
    values: dict[str, str] = {}
    for name in (
        "project",
        "purpose",
        "env",
        "network_zone",
        "lease_end",
        "lease_reason",
        "emergency_reason",
        "exclusive_reason",
        "funding_source",
        "priority",
    ):
        if body.get(name) is not None:
            values[name] = str(body[name])
    for name in ("lease_long_term", "emergency", "exclusive"):
        if body.get(name):
            values[name] = "1"
    owner = body.get("owner") or {}
    values |= {f"owner.{name}": str(owner[name]) for name in ("name", "phone") if owner.get(name)}
    values["ssh_keys"] = "\n".join(str(key) for key in body.get("ssh_keys") or [])
    for index, entry in enumerate(_mappings(body.get("servers"))):
        plain = DEFAULTS | {name: value for name, value in entry.items() if not isinstance(value, list | dict)}
        if entry.get("variables"):
            plain["variables"] = json.dumps(entry["variables"], ensure_ascii=False)
        values |= {f"servers[{index}].{name}": str(value) for name, value in plain.items() if value is not None}
        values |= {f"servers[{index}].{name}": text for name, text in _network(entry).items() if text}
    return values


def _network(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses and the port openings of a group as they are typed."""
    each = _mappings(entry.get("addresses"))
    texts = {name: " ".join(str(one[name]) for one in each if one.get(name)) for name in ("ipv4", "ipv6")}
    ports = entry.get("ports")
    return {**texts, "ports": port_lines.written(ports if isinstance(ports, list) else [])}


def _stages(
    words: Words,
    view: RequestView,
    seats: Mapping[uuid.UUID, Sequence[SeatView]],
    calendar: WorkingCalendar | None,
) -> list[StageLine]:
    lines = []
    for stage in view.stages:
        shown = seats.get(stage.id, ())
        lines.append(
            StageLine(
                title=words.translate(stage.name),
                state=stage.state,
                mode=words.label("approval_mode", stage.mode) if len(shown) > 1 else "",
                seats=[
                    SeatLine(
                        phrases.seat(words, each),
                        words.label("stage_state", each.decision.decision) if each.decision and len(shown) > 1 else "",
                        each.decision.comment if each.decision else "",
                    )
                    for each in shown
                ],
                at=stage.closed_at,
                due=deadlines.due(words, calendar, stage.due_at) if calendar and stage.state == "open" else None,
            )
        )
    return lines


def last_comment(view: RequestView) -> str:
    """Return what the last decider wrote; empty when nobody has decided."""
    return max(view.approvals, key=lambda pair: pair[0].created_at)[0].comment if view.approvals else ""


def _wanted(entries: Iterable[Any]) -> list[WantedLine]:
    return [
        WantedLine(
            name=str(entry.get("name", "")),
            count=entry.get("count", ""),
            flavor=str(entry.get("flavor", "")),
            image=str(entry.get("image", "")),
            arch=str(entry.get("arch", "")),
            data_disk_gib=entry.get("data_disk_gib", 0),
        )
        for entry in _mappings(entries)
    ]


def _mappings(entries: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in entries or [] if isinstance(entry, Mapping)]


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _key_name(key: str) -> str:
    kind, _, rest = key.partition(" ")
    body, _, comment = rest.partition(" ")
    return comment.strip() or f"{kind} …{body[-12:]}"
