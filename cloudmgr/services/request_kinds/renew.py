"""续期: another end for the leases of servers. One that was frozen at the end of its lease runs again, as it was."""

from datetime import date
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock, leases
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.server_changes import ChangeKind, FrozenBy
from cloudmgr.models import ResourceRequest, Server, ServerChange
from cloudmgr.services.policy import policy_of
from cloudmgr.services.request_inputs import RenewRequest
from cloudmgr.services.request_kinds.freeze import power_before
from cloudmgr.services.request_kinds.server_changes import ResolvedChanges, ServerChangesKind, changeable
from cloudmgr.services.server_parts import part_of


class RenewKind(ServerChangesKind[RenewRequest]):
    """The rules of renewing."""

    name = "renew"
    change = ChangeKind.RENEW
    told = N_("Submitted by {person} as {number}.")

    def resolve(self, session: Session, actor: Actor, command: RenewRequest) -> ResolvedChanges:
        leases.check_lease(
            lease_end=command.lease_end,
            long_term=command.lease_long_term,
            reason=command.lease_reason,
            today=clock.today(),
            max_days=policy_of(session).lease_max_days,
        )
        project, organization, found = changeable(session, actor, command.project, command.servers)
        wanted: dict[str, Any] = {
            "lease_end": command.lease_end.isoformat() if command.lease_end else None,
            "lease_long_term": command.lease_long_term,
        }
        changes = []
        for index, server in enumerate(found):
            _check_later(server, command, f"servers[{index}]")
            changes.append(
                (server, ServerChange(server_id=server.id, kind=ChangeKind.RENEW.value, wanted=dict(wanted)))
            )
        quotas.require_outlasting(
            session,
            account_id=project.account_id,
            parts=[part_of(session, server) for server in found],
            until=leases.ends_at(command.lease_end),
            is_held=True,
        )
        warnings = [_woken(session, server) for server in found if is_frozen_by_lease(server)]
        return ResolvedChanges(project, organization, changes, warnings=warnings)

    def hold(
        self, session: Session, request: ResourceRequest, command: RenewRequest, resolved: ResolvedChanges
    ) -> None:
        super().hold(session, request, command, resolved)
        request.lease_end = command.lease_end
        request.lease_long_term = command.lease_long_term
        request.lease_reason = command.lease_reason

    def told_of(self, server: Server, change: ServerChange) -> Message:
        was = change.before or lease_of(server)
        params = {"name": server.name, "before": lease_text(was), "after": lease_text(change.wanted)}
        return Message(N_("{name}: the lease ends {after} instead of {before}"), params)


def lease_of(server: Server) -> dict[str, Any]:
    """Return a server's lease as a change has it."""
    return {
        "lease_end": server.lease_end.isoformat() if server.lease_end else None,
        "lease_long_term": server.lease_long_term,
    }


def lease_text(lease: dict[str, Any]) -> Message | str:
    """Return a lease's end for people."""
    if lease["lease_end"] is None:
        return Message(N_("at no set date"))
    return str(lease["lease_end"])


def is_frozen_by_lease(server: Server) -> bool:
    """Whether a renewal lets the server run again."""
    return server.phase == ServerPhase.SUSPENDED and server.frozen_by == FrozenBy.LEASE


def _woken(session: Session, server: Server) -> Message:
    if power_before(session, server) == "stopped":
        return Message(N_("Server {name} was off before it was frozen, and stays off."), {"name": server.name})
    return Message(N_("Server {name} is frozen since its lease ended, and is started again."), {"name": server.name})


def _check_later(server: Server, command: RenewRequest, at: str) -> None:
    now: date | None = server.lease_end
    if command.lease_end is not None and now is not None and command.lease_end <= now:
        raise InvalidInput(
            N_("The lease of {name} runs until {day} already; a renewal must end later."),
            field="lease_end",
            name=server.name,
            day=now.isoformat(),
        )
    if command.lease_long_term and server.lease_long_term:
        raise InvalidInput(N_("The lease of {name} has no end already."), field=at, name=server.name)
