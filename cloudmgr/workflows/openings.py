"""The ports of one server: what its table says is put to the backend whole, and asked again when the table has moved on.

A set of rules is computed in one transaction and sent in another step; what was decided meanwhile is seen when the answer is
noted, and then the new set is sent. So of two changes at once the later one never loses.
"""

import uuid
from typing import Any

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock, port_rules
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.openings import OpeningState
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Backend, Organization, PortOpening, ResourceRequest, Server
from cloudmgr.services import audit
from cloudmgr.services.openings import CAPABILITY, no_rules
from cloudmgr.services.request_kinds.ports import closing_of
from cloudmgr.store import openings as store
from cloudmgr.store import requests, servers
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, pause, write
from cloudmgr.workflows.work import Tally, item
from providers.base import PortRule
from providers.capabilities import PortRules
from providers.errors import Remedy, Unsupported

TRIES = 8
DUE_AT_ONCE = 500
"""Of the schedule's work an hour takes so much; the rest is due the next."""
ROUNDS = 10
"""How often the table may move on under one run; each further change has a run of its own anyway."""
_HELD = (OpeningState.ACTIVE, OpeningState.RECORDED)
_STANDS = (ServerPhase.CONFIGURING, ServerPhase.ACTIVE, ServerPhase.SUSPENDED)


@DBOS.workflow(name="apply_openings", max_recovery_attempts=1000)
def apply_openings(server_id: str) -> bool:
    """Make the backend's rules of a server what its table says; True when they are."""
    return put(server_id)


def put(server_id: str) -> bool:
    """Do the same inside another workflow."""
    for _ in range(ROUNDS):
        wanted = write("ports_begin", begin, server_id)
        if wanted is None:
            return True
        done: Outcome = {}
        for tries in range(TRIES):
            done = call("set_ports", _set, wanted["backend"], wanted["ref"], wanted["rules"])
            if done["ok"] or done["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
                break
            pause(tries)
        if write("ports_end", end, server_id, wanted, done):
            return bool(done["ok"])
    return False


def begin(session: Session, server_id: str) -> dict[str, Any] | None:
    """Return the rules a server should have at its backend; None when nothing is to be done there.

    Where the backend has no rules of its own, the lines are recorded with the difference stated, or closed.
    """
    server = servers.get(session, uuid.UUID(server_id), lock=True)
    if server is None:
        return None
    asked, held, ending = _table(session, server)
    if not asked and not ending:
        return None
    backend = session.get(Backend, server.backend_id) if server.backend_id else None
    if server.phase not in _STANDS or server.native_ref is None or backend is None:
        for row in asked:
            _fail(session, row, Message(N_("The server does not stand: nothing can be opened to it.")))
        _end_all(session, server, ending)
        return None
    if CAPABILITY not in backend.capabilities:
        for row in asked:
            row.state, row.message, row.applied_at = (
                OpeningState.RECORDED.value,
                no_rules(backend).as_json(),
                clock.now(),
            )
            requests.add(session, row)
        _end_all(session, server, ending)
        _note(session, server, Event.PORTS_WRITE, opened=len(asked), closed=len(ending))
        return None
    return {
        "backend": backend.name,
        "ref": server.native_ref,
        "asked": [str(row.id) for row in asked],
        "ending": [str(row.id) for row in ending],
        "rules": [
            {
                "key": str(row.id),
                "source": row.source,
                "protocol": row.protocol,
                "port_from": row.port_from,
                "port_to": row.port_to,
            }
            for row in [*held, *asked]
        ],
    }


def end(session: Session, server_id: str, wanted: dict[str, Any], done: Outcome) -> bool:
    """Note what came of it; False when the table has moved on and the new set is still to be sent."""
    server = servers.get(session, uuid.UUID(server_id), lock=True)
    if server is None:
        return True
    asked, held, ending = _table(session, server)
    if not done["ok"]:
        for row in asked:
            if str(row.id) in wanted["asked"]:
                _fail(session, row, Message.from_json(done["message"]))
        for row in ending:
            row.state, row.message = OpeningState.CLOSING.value, done["message"]
            requests.add(session, row)
        _note(session, server, Event.PORTS_WRITE, outcome=Ended.FAILURE, reason=str(done.get("code", "")))
        return True
    if {str(row.id) for row in [*held, *asked]} != {rule["key"] for rule in wanted["rules"]}:
        return False
    for row in asked:
        row.state, row.message, row.applied_at = OpeningState.ACTIVE.value, None, clock.now()
        requests.add(session, row)
    _end_all(session, server, ending)
    _note(session, server, Event.PORTS_WRITE, opened=len(asked), closed=len(ending))
    return True


def schedule(session: Session) -> int:
    """Enqueue what is due this hour: tables with something to end, and addresses not yet given back; return how many.

    The ids contain the hour, so that workers which do this at the same time enqueue each once; what fails is due again.
    """
    hour = clock.now().astimezone(clock.SHANGHAI).strftime("%Y%m%d%H")
    servers_due = store.due_servers(session, clock.today(), DUE_AT_ONCE)
    for server_id in servers_due:
        queue.enqueue(session, "apply_openings", f"apply_openings:{server_id}:{hour}", str(server_id))
    ips_due = store.ips_to_release(session, DUE_AT_ONCE)
    for ip_id in ips_due:
        queue.enqueue(session, "release_public_ip", f"release_public_ip:{ip_id}:{hour}", str(ip_id), int(hour))
    return len(servers_due) + len(ips_due)


def items(session: Session, request: ResourceRequest) -> list[dict[str, Any]]:
    """Return what a request for ports is to do: one run a server."""
    rows = [*store.of_request(session, request.id), *closing_of(session, request)]
    undone = {row.server_id for row in rows if row.state in (OpeningState.REQUESTED, OpeningState.CLOSING)}
    return [
        item("apply_openings", f"{request.id}:{server_id}:{request.attempt}", str(server_id))
        for server_id in sorted(undone)
    ]


def tally(session: Session, request: ResourceRequest) -> Tally:
    """Count the lines of a request that are as they were asked."""
    opened = [row.state in _HELD or row.state == OpeningState.EXPIRED for row in store.of_request(session, request.id)]
    closed = [row.state in (OpeningState.CLOSED, OpeningState.EXPIRED) for row in closing_of(session, request)]
    return Tally(good=sum(opened) + sum(closed), all=len(opened) + len(closed))


def _table(session: Session, server: Server) -> tuple[list[PortOpening], list[PortOpening], list[PortOpening]]:
    """Return the lines to be opened, those that are open and stay, and those that are to end."""
    today = clock.today()
    asked = store.approved_of(session, server.id)
    held = store.of_server(session, server.id, (OpeningState.ACTIVE, OpeningState.RECORDED))
    ending = store.of_server(session, server.id, (OpeningState.CLOSING,))
    past = [row for row in [*held, *asked] if row.valid_until is not None and row.valid_until < today]
    return (
        [row for row in asked if row not in past],
        [row for row in held if row not in past],
        [*ending, *past],
    )


def _end_all(session: Session, server: Server, ending: list[PortOpening]) -> None:
    today = clock.today()
    for row in ending:
        is_over = row.valid_until is not None and row.valid_until < today
        row.state = (OpeningState.EXPIRED if is_over else OpeningState.CLOSED).value
        row.closed_at, row.message = clock.now(), None
        requests.add(session, row)
    if ending:
        requests.add(session, server)


def _fail(session: Session, row: PortOpening, message: Message) -> None:
    row.state, row.message = OpeningState.FAILED.value, message.as_json()
    requests.add(session, row)
    requests.tell(
        session,
        row.request_id,
        kind="warning",
        message=Message(
            N_("{port} from {source} could not be opened: {reason}"),
            {
                "port": port_rules.port_text(row.protocol, row.port_from, row.port_to),
                "source": row.source,
                "reason": message,
            },
        ),
        server_id=row.server_id,
        dedupe=f"port:{row.id}:{session.get_one(ResourceRequest, row.request_id).attempt}",
    )


def _note(
    session: Session, server: Server, event: Event, *, outcome: Ended = Ended.SUCCESS, reason: str = "", **detail: Any
) -> None:
    servers.keep(session, server, actor=SYSTEM.username, change="ports")
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="server",
        object_id=server.id,
        object_name=server.name,
        organization_path=session.get_one(Organization, server.organization_id).path,
        outcome=outcome,
        reason=reason,
        **detail,
    )


def _set(backend: str, ref: str, rules: list[dict[str, Any]]) -> Outcome:
    def deed() -> None:
        provider = runtime().provider(backend)
        if not isinstance(provider, PortRules):
            raise Unsupported(N_("The cloud {backend} has no port rules."), backend=backend)
        provider.set_port_rules(ref, [PortRule(**rule) for rule in rules])

    return attempt(deed)
