"""The port-opening table (端口开放表): what a line may say, adding lines to a request, reading them."""

import uuid
from collections.abc import Iterable, Sequence

from sqlmodel import Session

from cloudmgr.domain import clock, port_rules
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.openings import OpeningState
from cloudmgr.domain.port_rules import PortOpeningAsked
from cloudmgr.models import Backend, PortOpening, ResourceRequest, Server
from cloudmgr.services.request_inputs import PortEntry
from cloudmgr.store import openings as store
from cloudmgr.store import requests

CAPABILITY = "port_rules"


def checked(entry: PortEntry, at: str) -> PortOpeningAsked:
    """Return a line in its one written form.

    Raises:
        InvalidInput: names the field under `at` that breaks a rule.
    """
    return port_rules.check(
        source=entry.source,
        protocol=entry.protocol,
        port=entry.port,
        ports=entry.ports,
        purpose=entry.purpose,
        reason=entry.reason,
        valid_until=entry.valid_until,
        today=clock.today(),
        at=at,
    )


def add(session: Session, request: ResourceRequest, server: Server, asked: Iterable[PortOpeningAsked]) -> None:
    """Write the lines a request asks for a server."""
    requests.add(
        session,
        *(
            PortOpening(
                request_id=request.id,
                server_id=server.id,
                organization_id=request.organization_id,
                source=line.source,
                protocol=line.protocol,
                port_from=line.port_from,
                port_to=line.port_to,
                purpose=line.purpose,
                reason=line.reason,
                valid_until=line.valid_until,
            )
            for line in asked
        ),
    )


def told(session: Session, opening: PortOpening, *, opens: bool) -> Message:
    """Say in one line what is opened or closed, to whom, for what and how long."""
    params = {
        "port": port_rules.port_text(opening.protocol, opening.port_from, opening.port_to),
        "server": session.get_one(Server, opening.server_id).name,
        "source": opening.source,
        "purpose": opening.purpose,
    }
    if not opens:
        return Message(N_("Close {port} of {server} to {source}: {purpose}"), params)
    if opening.reason:
        params["purpose"] = f"{opening.purpose} ({opening.reason})"
    if opening.valid_until is None:
        return Message(N_("Open {port} of {server} to {source}: {purpose}"), params)
    until = {"until": opening.valid_until.isoformat()}
    return Message(N_("Open {port} of {server} to {source} until {until}: {purpose}"), params | until)


def no_rules(backend: Backend) -> Message:
    """Say what it means that a cloud has no rules of its own."""
    return Message(
        N_(
            "The cloud {backend} opens and closes no ports itself: the opening is recorded, and whoever runs its firewall must do it."
        ),
        {"backend": backend.title or backend.name},
    )


def list_openings(
    session: Session,
    actor: Actor,
    *,
    server_id: uuid.UUID | None = None,
    states: Sequence[OpeningState] = (),
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[store.OpeningRow], uuid.UUID | None]:
    """Return the lines of the servers the actor may read, the newest first."""
    require(actor, Action.SERVER_READ)
    return store.page(
        session, paths=actor.scope(Action.SERVER_READ), server_id=server_id, states=states, limit=limit, cursor=cursor
    )
