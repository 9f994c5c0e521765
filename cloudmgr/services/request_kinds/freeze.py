"""冻结、解冻: servers that are switched off and kept, counted as before, and servers that run again."""

from typing import Any

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import ChangeKind, ChangeState
from cloudmgr.models import ResourceRequest, Server, ServerChange
from cloudmgr.services.request_inputs import FreezeRequest, UnfreezeRequest
from cloudmgr.services.request_kinds.server_changes import (
    ResolvedChanges,
    ServerChangesKind,
    backend_that,
    changeable,
    undoing,
)
from cloudmgr.store import server_changes as store

POWER = "found_power"
"""The key, in what a freeze notes, of whether the server ran when it began."""
_NO_POWER = N_("The cloud {backend} of server {name} offers no power control.")


class FreezeKind(ServerChangesKind[FreezeRequest]):
    """The rules of freezing."""

    name = "freeze"
    change = ChangeKind.FREEZE
    told = N_("Submitted by {person} as {number}.")

    def resolve(self, session: Session, actor: Actor, command: FreezeRequest) -> ResolvedChanges:
        project, organization, found = changeable(session, actor, command.project, command.servers)
        changes = []
        for index, server in enumerate(found):
            at = f"servers[{index}]"
            if server.phase == ServerPhase.SUSPENDED:
                raise Conflict(N_("Server {name} is frozen already."), field=at, name=server.name)
            backend_that(session, server, "power", _NO_POWER, at)
            changes.append((server, ServerChange(server_id=server.id, kind=ChangeKind.FREEZE.value)))
        warnings = [
            Message(N_("Server {name} is switched off and kept; its quota stays in use."), {"name": server.name})
            for server in found
        ]
        return ResolvedChanges(project, organization, changes, warnings=warnings)

    def undoing(self, session: Session, request: ResourceRequest) -> dict[str, Any] | None:
        return undoing(session, request, kind=UnfreezeKind.name)

    def told_of(self, server: Server, change: ServerChange) -> Message:  # noqa: ARG002 - the same of every one
        return Message(N_("{name} is switched off and kept"), {"name": server.name})


class UnfreezeKind(ServerChangesKind[UnfreezeRequest]):
    """The rules of letting frozen servers run again."""

    name = "unfreeze"
    change = ChangeKind.UNFREEZE
    told = N_("Submitted by {person} as {number}.")

    def resolve(self, session: Session, actor: Actor, command: UnfreezeRequest) -> ResolvedChanges:
        project, organization, found = changeable(session, actor, command.project, command.servers)
        changes = []
        for index, server in enumerate(found):
            at = f"servers[{index}]"
            if server.phase != ServerPhase.SUSPENDED:
                raise Conflict(N_("Server {name} is not frozen."), field=at, name=server.name)
            if is_over(server):
                raise Conflict(
                    N_("The lease of {name} ended on {day}: renew it, and it runs again."),
                    field=at,
                    name=server.name,
                    day=server.lease_end.isoformat() if server.lease_end else "-",
                )
            backend_that(session, server, "power", _NO_POWER, at)
            wanted = {"power": power_before(session, server)}
            changes.append((server, ServerChange(server_id=server.id, kind=ChangeKind.UNFREEZE.value, wanted=wanted)))
        warnings = [
            Message(N_("Server {name} was off before it was frozen, and stays off."), {"name": server.name})
            for server, change in changes
            if change.wanted["power"] == "stopped"
        ]
        return ResolvedChanges(project, organization, changes, warnings=warnings)

    def undoing(self, session: Session, request: ResourceRequest) -> dict[str, Any] | None:
        return undoing(session, request, kind=FreezeKind.name)

    def told_of(self, server: Server, change: ServerChange) -> Message:
        if change.wanted.get("power") == "stopped":
            return Message(
                N_("{name} is in service again and stays off, as before it was frozen"), {"name": server.name}
            )
        return Message(N_("{name} runs again"), {"name": server.name})


def power_before(session: Session, server: Server) -> str:
    """Return what a frozen server goes back to: stopped where it was off when it was frozen, otherwise running."""
    change = last_freeze(session, server)
    return str(change.before[POWER]) if change is not None and change.state == ChangeState.DONE else "running"


def last_freeze(session: Session, server: Server) -> ServerChange | None:
    """Return the last freeze of a server that was tried at its cloud, whether it came to anything or not."""
    states = [ChangeState.DONE.value, ChangeState.FAILED.value]
    found = [
        (change.finished_at, change)
        for change in store.of_server(session, server.id, states=states)
        if change.kind == ChangeKind.FREEZE and change.finished_at is not None and change.before.get(POWER)
    ]
    return max(found, key=lambda each: each[0])[1] if found else None


def is_over(server: Server) -> bool:
    """Whether a server's lease has ended: it ends with the end of its last day in Asia/Shanghai."""
    return server.lease_end is not None and server.lease_end < clock.today()
