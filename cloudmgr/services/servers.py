"""Servers: read them, act on their power, hand them over."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import Conflict, Hidden, NotFound, Unsupported
from cloudmgr.domain.events import Event
from cloudmgr.domain.labels import SERVER_PHASES, word
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import ChangeState, FrozenBy
from cloudmgr.models import Backend, Network, Organization, Project, ResourceRequest, Server
from cloudmgr.services import audit
from cloudmgr.services.policy import policy_of
from cloudmgr.services.request_inputs import PowerAction
from cloudmgr.services.requests import get_request
from cloudmgr.store import placement, server_changes, servers

ServerRow = servers.ServerRow

_EVENTS = {"start": Event.VM_START, "stop": Event.VM_STOP, "reboot": Event.VM_REBOOT}


@dataclass(frozen=True, slots=True)
class HandoverLine:
    """One server on the delivery sheet: where it is and how to log in."""

    row: ServerRow
    login_user: str
    network: Network | None


@dataclass(frozen=True, slots=True)
class Handover:
    """交付单: what the applicant needs to begin to work."""

    request: ResourceRequest
    project: Project
    organization: Organization
    lines: list[HandoverLine]
    pending: list[ServerRow]
    """Servers of the request that are not handed over yet."""


def list_servers(
    session: Session,
    actor: Actor,
    *,
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    name: str | None = None,
    arch: str | None = None,
    include_retired: bool = False,
    ending_within: int | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[ServerRow], uuid.UUID | None]:
    """Return the servers the actor may read, newest first; `ending_within` days from today (or already over) their lease ends."""
    require(actor, Action.SERVER_READ)
    return servers.page(
        session,
        paths=actor.scope(Action.SERVER_READ),
        phases=phases,
        project_id=project_id,
        name=name,
        arch=arch,
        include_retired=include_retired,
        ends_by=clock.today() + timedelta(days=ending_within) if ending_within is not None else None,
        limit=limit,
        cursor=cursor,
    )


def get_server(session: Session, actor: Actor, server_id: uuid.UUID) -> ServerRow:
    """Return one server with what its page names.

    Raises:
        NotFound: there is none, or it is not the actor's to see.
    """
    row = servers.wide(session, server_id)
    if row is None:
        raise NotFound(N_("There is no such server."))
    if not actor.may(Action.SERVER_READ, row[2].path):
        raise Hidden(N_("There is no such server."), detail=f"{actor.username} may not read {server_id}")
    return row


def act(session: Session, actor: Actor, server_id: uuid.UUID, command: PowerAction) -> Server:
    """Ask for a power action; a worker does it. Returns with the action enqueued.

    Raises:
        Unsupported: the backend cannot.
        Conflict: the server is not one that stands.
    """
    row = get_server(session, actor, server_id)
    server = servers.get(session, server_id, lock=True) or row[0]
    require(actor, Action.SERVER_POWER, row[2].path, see=Action.SERVER_READ)
    backend = session.get(Backend, server.backend_id) if server.backend_id else None
    _check_may_switch(session, server)
    if server.phase not in (ServerPhase.ACTIVE, ServerPhase.FAILED) or server.native_ref is None or backend is None:
        raise Conflict(
            N_("Server {name} is {phase}; only a server that stands can be switched."),
            name=server.name,
            phase=word(SERVER_PHASES, server.phase),
        )
    if "power" not in backend.capabilities:
        raise Unsupported(N_("The cloud {backend} offers no power control."), backend=backend.name)
    server.action_attempt += 1
    session.add(server)
    queue.enqueue(
        session,
        "power_server",
        queue.workflow_id(f"power_{command.action}", server.id, server.action_attempt),
        str(server.id),
        command.action,
        actor.username,
    )
    audit.record(
        session,
        actor,
        _EVENTS[command.action],
        object_type="server",
        object_id=server.id,
        object_name=server.name,
        organization_path=row[2].path,
        stage="asked",
    )
    return server


def _check_may_switch(session: Session, server: Server) -> None:
    if server.phase == ServerPhase.SUSPENDED and server.frozen_by == FrozenBy.LEASE:
        raise Conflict(
            N_("Server {name} is frozen since its lease ended on {day}: renew it, and it runs again."),
            name=server.name,
            day=server.lease_end.isoformat() if server.lease_end else "-",
        )
    if server.phase == ServerPhase.SUSPENDED:
        raise Conflict(N_("Server {name} is frozen: ask to unfreeze it."), name=server.name)
    if server_changes.of_server(session, server.id, states=[ChangeState.DOING.value]):
        raise Conflict(N_("Server {name} is being changed; wait until that has ended."), name=server.name)


@dataclass(frozen=True, slots=True)
class Reminder:
    """A lease that ends soon: `days` are left (negative: it is over), `step` is the reminder it has reached."""

    row: ServerRow
    days: int
    step: int


def reminder_days(session: Session) -> list[int]:
    """Return how many days before its end a lease is reminded of, the first reminder first."""
    return sorted(set(policy_of(session).lease_reminder_days), reverse=True)


def ending_soon(session: Session, actor: Actor) -> list[Reminder]:
    """Return servers whose lease has reached a reminder of `[policy] lease_reminder_days` (or is over), soonest first."""
    require(actor, Action.SERVER_READ)
    steps = reminder_days(session)
    if not steps:
        return []
    today = clock.today()
    rows = servers.ending_by(
        session, paths=actor.scope(Action.SERVER_READ), day=today + timedelta(days=steps[0]), limit=200
    )
    left = [((row[0].lease_end or today) - today).days for row in rows]
    return [
        Reminder(row, days, min(step for step in steps if days <= step)) for row, days in zip(rows, left, strict=True)
    ]


def handover(session: Session, actor: Actor, request_id: uuid.UUID) -> Handover:
    """Return the delivery sheet of a create request.

    Raises:
        Conflict: nothing has been delivered yet.
    """
    view = get_request(session, actor, request_id)
    standing = [row for row in view.servers if row[0].phase in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED)]
    if view.project is None or view.request.kind != "create" or not standing:
        raise Conflict(N_("Nothing of this request has been delivered yet."))
    lines = [
        HandoverLine(
            row=row,
            login_user=row[4].login_user if row[4] else "",
            network=placement.network_of(session, row[0]),
        )
        for row in standing
    ]
    return Handover(
        request=view.request,
        project=view.project,
        organization=view.organization,
        lines=lines,
        pending=[row for row in view.servers if row not in standing],
    )
