"""Playbooks: the catalogue, runs that people ask for, and reading what runs did."""

import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session

from cloudmgr.adapters import catalogue, queue
from cloudmgr.adapters.catalogue import CatalogueEntry
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import Conflict, Hidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.labels import SERVER_PHASES, word
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Backend, Organization, PlaybookEvent, PlaybookRun, PlaybookRunServer, Server
from cloudmgr.services import audit, change_freezes
from cloudmgr.services.inputs import Code, Id, Input, Loose, Plain
from cloudmgr.services.policy import playbook_folders
from cloudmgr.store import playbooks as store
from cloudmgr.store import servers

MAX_SERVERS = 200


class StartRun(Input):
    """Run a playbook of the catalogue on servers that stand."""

    playbook: Code
    servers: Annotated[list[Id], Field(min_length=1, max_length=MAX_SERVERS)]
    variables: dict[Plain, Loose] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its servers and what its tasks did."""

    run: PlaybookRun
    servers: list[tuple[PlaybookRunServer, Server]]
    events: list[PlaybookEvent]


@functools.cache
def known(folders: tuple[Path, ...] = ()) -> Mapping[str, CatalogueEntry]:
    """Return the catalogue by name, read once in the life of the process; content is part of the installation."""
    return catalogue.load_catalogue([catalogue.packaged_catalogue(), *folders])


def with_defaults(entry: CatalogueEntry, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables with every default of the schema filled in."""
    return catalogue.validate_variables(entry, variables)


def list_playbooks(session: Session, actor: Actor) -> list[CatalogueEntry]:
    """Return the catalogue, by name."""
    require(actor, Action.PLAYBOOK_READ)
    return [entry for _, entry in sorted(known(playbook_folders(session)).items())]


def start_run(session: Session, actor: Actor, command: StartRun) -> PlaybookRun:
    """Ask for a run on servers of one organization's subtree; a worker does it.

    Raises:
        InvalidInput: no such playbook, servers of different projects or kinds of cloud, or variables that break its schema.
        Conflict: a server does not stand. ChangeFrozen: the playbook changes things and a change freeze holds.
    """
    require(actor, Action.PLAYBOOK_RUN)
    offered = known(playbook_folders(session))
    entry = offered.get(command.playbook)
    if entry is None:
        raise InvalidInput(
            N_("There is no playbook {given}; choose one of {known}."),
            field="playbook",
            given=command.playbook,
            known=", ".join(sorted(offered)),
        )
    variables = catalogue.validate_variables(entry, command.variables)
    if len(set(command.servers)) < len(command.servers):
        raise InvalidInput(N_("A server stands twice in this request."), field="servers")
    chosen = [_standing(session, actor, index, server_id) for index, server_id in enumerate(command.servers)]
    if len({(server.project_id, session.get_one(Backend, server.backend_id).rehearses) for server in chosen}) > 1:
        raise InvalidInput(
            N_("One run takes servers of one project, and either simulated or real ones."), field="servers"
        )
    organization = session.get_one(Organization, chosen[0].organization_id)
    if entry.frozen_in_key_period:
        change_freezes.require_no_freeze(session, organization.path)
    run = PlaybookRun(
        id=new_id(),
        organization_id=organization.id,
        playbook=entry.name,
        digest=entry.digest,
        variables=variables,
        rehearsed=session.get_one(Backend, chosen[0].backend_id).rehearses,
        started_by=actor.username,
    )
    store.add(session, run, [server.id for server in chosen])
    queue.enqueue(session, "run_playbook", queue.workflow_id("run_playbook", run.id, 1), str(run.id))
    audit.record(
        session,
        actor,
        Event.PLAYBOOK_START,
        object_type="playbook_run",
        object_id=run.id,
        object_name=run.playbook,
        organization_path=organization.path,
        servers=len(chosen),
        stage="asked",
    )
    return run


def _standing(session: Session, actor: Actor, index: int, server_id: uuid.UUID) -> Server:
    row = servers.wide(session, server_id)
    if row is None or not actor.may(Action.SERVER_READ, row[2].path):
        raise InvalidInput(N_("There is no such server."), field=f"servers[{index}]")
    require(actor, Action.PLAYBOOK_RUN, row[2].path, see=Action.SERVER_READ)
    server = row[0]
    if server.source != ServerSource.BUILT:
        raise Conflict(
            N_("Server {name} was not built here: nothing of ours can log in to it, so no playbook runs on it."),
            field=f"servers[{index}]",
            name=server.name,
        )
    if server.phase not in (ServerPhase.ACTIVE, ServerPhase.FAILED) or server.native_ref is None:
        raise Conflict(
            N_("Server {name} is {phase}; a playbook runs on servers that stand."),
            field=f"servers[{index}]",
            name=server.name,
            phase=word(SERVER_PHASES, server.phase),
        )
    return server


def cancel_run(session: Session, actor: Actor, run_id: uuid.UUID) -> PlaybookRun:
    """Ask a run to stop; its worker ends it within seconds."""
    run, organization = _visible(session, actor, run_id)
    require(actor, Action.PLAYBOOK_RUN, organization.path, see=Action.SERVER_READ)
    if run.finished_at is not None:
        raise Conflict(N_("The run has ended already."))
    run.cancel_asked = True
    store.keep(session, run)
    audit.record(
        session,
        actor,
        Event.PLAYBOOK_FINISH,
        object_type="playbook_run",
        object_id=run.id,
        object_name=run.playbook,
        organization_path=organization.path,
        stage="cancel asked",
    )
    return run


def list_runs(
    session: Session,
    actor: Actor,
    *,
    server_id: uuid.UUID | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[Sequence[PlaybookRun], uuid.UUID | None]:
    """Return the runs the actor may read, newest first."""
    require(actor, Action.SERVER_READ)
    return store.page(session, paths=actor.scope(Action.SERVER_READ), server_id=server_id, limit=limit, cursor=cursor)


def get_run(session: Session, actor: Actor, run_id: uuid.UUID) -> RunView:
    """Return a run with its servers and its newest 1,000 task events."""
    run, _ = _visible(session, actor, run_id)
    return RunView(run=run, servers=store.members(session, run.id), events=store.events(session, run.id, limit=1000))


def _visible(session: Session, actor: Actor, run_id: uuid.UUID) -> tuple[PlaybookRun, Organization]:
    run = store.get(session, run_id)
    if run is None:
        raise NotFound(N_("There is no such run."))
    organization = session.get_one(Organization, run.organization_id)
    if not actor.may(Action.SERVER_READ, organization.path):
        raise Hidden(N_("There is no such run."))
    return run, organization
