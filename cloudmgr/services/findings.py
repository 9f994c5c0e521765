"""The inbox of what does not agree: list it, and decide on it, one by one or in bulk.

Each decision is its own small transaction inside the request's: one that is refused leaves the others standing, and is told
with its reason. What a decision changes at a backend is done by a worker.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, Hidden, InvalidInput, NotFound, Refusal, Unsupported
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import (
    DECISIONS,
    REASONED,
    RESTORABLE,
    FindingDecision,
    FindingKind,
    FindingState,
)
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.labels import FINDING_FIELDS, SERVER_PHASES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Backend, Finding, Server
from cloudmgr.services import audit, finding_acceptance
from cloudmgr.services.discovery import sees_all
from cloudmgr.services.inputs import Closed, Id, Input, Text
from cloudmgr.store import findings, organizations, servers

FindingRow = findings.FindingRow
MAX_DECIDED = 200


class DecideFindings(Input):
    """One decision on some findings. A reason is asked for where nothing is put right."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_DECIDED)]
    decision: Annotated[FindingDecision, Closed]
    reason: Annotated[Text, StringConstraints(max_length=500)] = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one finding: its new state, or why it was refused."""

    id: uuid.UUID
    state: str | None = None
    refusal: Refusal | None = None


def list_findings(
    session: Session,
    actor: Actor,
    *,
    kinds: Sequence[FindingKind] = (),
    states: Sequence[FindingState] = (),
    backend: str | None = None,
    server_id: uuid.UUID | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[FindingRow], uuid.UUID | None]:
    """Return findings the actor may read, the newest first; without `states`, those that wait for somebody."""
    access.require(actor, Action.FINDING_READ)
    return findings.page(
        session,
        paths=actor.scope(Action.FINDING_READ),
        of_all=sees_all(session, actor),
        kinds=kinds,
        states=states,
        backend=backend,
        server_id=server_id,
        limit=limit,
        cursor=cursor,
    )


def count_findings(session: Session, actor: Actor) -> dict[str, int]:
    """Return how many findings of each kind wait for somebody, of those the actor may read."""
    access.require(actor, Action.FINDING_READ)
    return findings.counts(session, paths=actor.scope(Action.FINDING_READ), of_all=sees_all(session, actor))


def decide(session: Session, actor: Actor, command: DecideFindings) -> list[Decided]:
    """Take one decision on each finding, in the order given; each stands or is refused by itself.

    Raises:
        InvalidInput: the decision needs a reason.
        Refusal: one finding was given, and it was refused.
    """
    access.require(actor, Action.FINDING_DECIDE)
    if command.decision in REASONED and not command.reason:
        raise InvalidInput(N_("Say why: this decision puts nothing right."), field="reason")
    ids = list(dict.fromkeys(command.ids))
    results: list[Decided] = []
    to_restore: dict[uuid.UUID, list[Finding]] = {}
    for id_ in ids:
        savepoint = session.begin_nested()
        try:
            row = _one(session, actor, id_, command, to_restore)
        except Refusal as refusal:
            savepoint.rollback()
            if len(ids) == 1:
                raise
            results.append(Decided(id_, refusal=refusal))
        else:
            savepoint.commit()
            results.append(Decided(id_, state=row.state))
    for server_id, rows in to_restore.items():
        queue.enqueue(
            session,
            "restore_server",
            f"restore_server:{server_id}:{new_id()}",
            str(server_id),
            [str(row.id) for row in rows],
            actor.username,
        )
    return results


def _one(
    session: Session,
    actor: Actor,
    finding_id: uuid.UUID,
    command: DecideFindings,
    to_restore: dict[uuid.UUID, list[Finding]],
) -> Finding:
    found = findings.get(session, finding_id, lock=True)
    if found is None:
        raise NotFound(N_("There is no such finding."))
    row, backend, server, organization = found
    path = organization.path if organization else None
    root = organizations.root(session)
    where = path or (root.path if root else "/")
    if not actor.may(Action.FINDING_READ, where):
        raise Hidden(N_("There is no such finding."), detail=f"{actor.username} may not read {finding_id}")
    access.require(actor, Action.FINDING_DECIDE, where)
    _require_fit(row, command.decision)
    before = {"held": row.held, "observed": row.observed, "state": row.state}
    match command.decision:
        case FindingDecision.IGNORE:
            row.state = FindingState.IGNORED.value
        case FindingDecision.WAIT:
            pass
        case FindingDecision.ACCEPT:
            finding_acceptance.accept(session, actor, row, _standing(session, row, server))
            row.state, row.closed_at = FindingState.ACCEPTED.value, clock.now()
        case FindingDecision.CONFIRM_LOSS:
            _confirm_loss(session, actor, row, _standing(session, row, server))
        case FindingDecision.RESTORE:
            _plan_restore(session, row, backend, server, to_restore)
    row.decided_by, row.reason = actor.username, command.reason
    session.add(row)
    session.flush()
    audit.record(
        session,
        actor,
        Event.FINDING_DECIDE,
        object_type="server" if row.server_id else "backend",
        object_id=row.server_id or row.backend_id,
        object_name=row.name or backend.name,
        organization_path=path,
        reason=command.reason,
        decision=command.decision.value,
        kind=row.kind,
        field=row.field,
        ref=row.ref,
        before=before,
    )
    return row


def _require_fit(row: Finding, decision: FindingDecision) -> None:
    if row.state not in (FindingState.OPEN, FindingState.IGNORED) or row.closed_at is not None:
        raise Conflict(N_("This finding is settled, or being settled, already. Refresh the page."))
    if decision not in DECISIONS[FindingKind(row.kind)]:
        if row.kind in (FindingKind.UNMANAGED, FindingKind.UNAUTHORISED):
            raise Conflict(N_("{name} is not in the ledger: import it into a project, or ignore it."), name=row.name)
        raise Conflict(N_("This decision does not fit a finding of this kind."), detail=f"{decision} of {row.kind}")


def _standing(session: Session, row: Finding, server: Server | None) -> Server:
    """Return the server of ours, locked, that a finding is about and that still stands."""
    locked = servers.get(session, server.id, lock=True) if server is not None else None
    if locked is None:
        raise Conflict(N_("This finding is about no server of ours."), detail=f"finding {row.id}")
    if locked.phase not in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED, ServerPhase.FAILED):
        raise Conflict(
            N_("Server {name} is {phase}; only one that stands can be decided on."),
            name=locked.name,
            phase=word(SERVER_PHASES, locked.phase),
        )
    return locked


def _confirm_loss(session: Session, actor: Actor, row: Finding, server: Server) -> None:
    """Begin the end of a server that is gone: the backend is asked once more for every piece of it."""
    if server.retire_request_id is not None:
        raise Conflict(N_("A request to retire {name} is under way already."), name=server.name)
    servers.move(session, server, ServerPhase.RETIRING, actor=actor.username, change="loss_confirmed")
    queue.enqueue(
        session,
        "retire_server",
        f"retire_server:{server.id}:{row.id}",
        str(server.id),
        row.id.int % 10**9,
    )
    row.state, row.closed_at = FindingState.ACCEPTED.value, clock.now()


def _plan_restore(
    session: Session, row: Finding, backend: Backend, server: Server | None, to_restore: dict[uuid.UUID, list[Finding]]
) -> None:
    if server is None:
        raise Conflict(N_("This finding is about no server of ours."), detail=f"finding {row.id}")
    title = backend.title or backend.name
    if row.kind == FindingKind.DRIFT and row.field not in RESTORABLE:
        raise _cannot(row.field, title)
    needed = {"power"} if row.field not in ("vcpus", "memory_mib") else {"power", "resize"}
    for capability in sorted(needed - set(backend.capabilities)):
        words = {"power": N_("switch servers"), "resize": N_("change sizes")}
        raise Unsupported(N_("The cloud {backend} cannot {what}."), backend=title, what=Message(words[capability]))
    under_way = findings.of_server(session, server.id, [FindingState.RESTORING])
    if any(each not in to_restore.get(server.id, []) for each in under_way):
        raise Conflict(N_("{name} is being put back already; wait until that has ended."), name=server.name)
    row.state = FindingState.RESTORING.value
    to_restore.setdefault(server.id, []).append(row)


def _cannot(field: str, backend: str) -> Unsupported:
    return Unsupported(
        N_("{what} cannot be put back from here: change it at {backend}, or accept it."),
        what=word(FINDING_FIELDS, field),
        backend=backend,
    )
