"""续期: the lease of one server ends later. One that was frozen at its lease's end runs again, the same at the same addresses."""

from datetime import date
from typing import Any

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.domain.messages import N_, Message
from cloudmgr.services.request_kinds.renew import is_frozen_by_lease, lease_of, lease_text
from cloudmgr.store import servers
from cloudmgr.workflows import freeze, server_changes
from cloudmgr.workflows.facts import SYSTEM


@DBOS.workflow(name="renew_server", max_recovery_attempts=1000)
def renew_server(change_id: str, number: int) -> bool:
    """Move a lease's end, and start the server where its lease's end had stopped it; False when that could not be."""
    goal = server_changes.begun("renew_begin", begin, change_id, number)
    if goal is None:
        return False
    return freeze.thaw(goal, change_id, number) if goal["starts"] else True


def begin(session: Session, change_id: str, number: int) -> dict[str, Any] | None:
    """Write the new end; return where the server is if it is to be started."""
    found = server_changes.begin(session, change_id, number)
    if not isinstance(found, tuple):
        return found
    change, server = found
    wanted = change.wanted["lease_end"]
    if lease_of(server) != change.wanted:
        change.before = lease_of(server)
        server.lease_end = date.fromisoformat(wanted) if wanted else None
        server.lease_long_term = change.wanted["lease_long_term"]
        servers.keep(session, server, actor=SYSTEM.username, change="renewed")
    message = Message(
        N_("The lease of {name} ends {day} now."), {"name": server.name, "day": lease_text(change.wanted)}
    )
    if not is_frozen_by_lease(server):
        server_changes.done(session, change, server, number, message)
        return {"starts": False}
    server_changes.tell(session, change, server, number, message, what="begin")
    return {"starts": True, **freeze.thawing(session, change, server)}
