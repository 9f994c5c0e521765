"""What is really at the clouds: findings and decisions on them, servers seen there, and looks at a backend."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import FindingKind, FindingState
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import discovery, findings, reported_addresses
from cloudmgr.services.discovery import AskSync
from cloudmgr.services.findings import DecideFindings

router = api_router("", "findings")

BackendName = Annotated[str | None, Query(max_length=64, description="Only this backend's, by name.")]


class FindingShape(Shape):
    """Something that does not agree. `held` is ours, `observed` the backend's; a drift has one entry a field."""

    id: UUID
    kind: str = Field(examples=["drift"])
    state: str = Field(examples=["open"])
    backend: str
    server: UUID | None
    server_name: str | None
    organization: UUID | None
    ref: str
    field: str
    name: str
    held: dict[str, Any] | None
    observed: dict[str, Any] | None
    message: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    decided_by: str | None
    reason: str


class DecidedShape(Shape):
    """What became of one finding: its `state`, or the `code` and `message` of a refusal."""

    id: UUID
    state: str | None = None
    code: str | None = None
    message: str | None = None
    errors: list[dict[str, Any]] = Field(default_factory=list)


class DecisionsShape(Shape):
    """The results, in the order asked."""

    items: list[DecidedShape]


class ObservedShape(Shape):
    """A server as its backend last showed it. `server` is the one of ours that it is; `host` is for operators."""

    id: UUID
    backend: str
    ref: str
    name: str
    server: UUID | None
    power: str
    native_state: str
    arch: str | None
    vcpus: int | None
    memory_mib: int | None
    system_disk_gib: int | None
    data_disk_gib: int | None
    zone_ref: str | None
    host: str | None
    image: str | None
    networks: list[str] | None
    ipv4: list[str]
    ipv6: list[str]
    first_seen_at: datetime
    last_seen_at: datetime
    missing_since: datetime | None


class ObservedAddressShape(Shape):
    """An address that a backend reports as in use. `held` is what our own record says of it, `server` who has it there.

    `server_ref`, `mac` and `owner` are the backend's words for who uses it; `network` is null where we do not know the
    network. Told to whom findings of the backend's owner are told.
    """

    id: UUID
    backend: str
    network: UUID | None
    network_ref: str
    address: str = Field(examples=["198.51.100.7"])
    server_ref: str | None
    mac: str | None
    owner: str
    held: str | None = Field(examples=["reserved"], description="allocated, reserved, or null: nothing is held.")
    server: UUID | None
    server_name: str | None
    first_seen_at: At
    last_seen_at: datetime


class SyncShape(Shape):
    """One look at a backend's servers. Only `ok` says anything about what is not there; `suspect` was not believed."""

    id: UUID
    kind: str = Field(examples=["full"])
    outcome: str = Field(examples=["ok"])
    message: str | None
    servers: int
    changed: int
    missing: int
    duration_ms: int
    started_at: At
    finished_at: datetime


class AskedShape(Shape):
    """A look that was asked for. Its run appears among the backend's syncs when it has ended."""

    id: str
    backend: str


@router.get(
    "/findings",
    response_model=ItemPage[FindingShape],
    openapi_extra=rule(Action.FINDING_READ, object_type="finding"),
)
def list_findings(
    http: Request,
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    kind: Annotated[list[FindingKind] | None, Query(description="One or more kinds.")] = None,
    state: Annotated[
        list[FindingState] | None, Query(description="One or more states; none gives what waits for somebody.")
    ] = None,
    backend: BackendName = None,
    server: UUID | None = None,
) -> ItemPage[FindingShape]:
    """List what does not agree with the ledger, the newest first."""
    rows, following = findings.list_findings(
        session,
        actor,
        kinds=kind or (),
        states=state or (),
        backend=backend,
        server_id=server,
        limit=page.limit,
        cursor=page.cursor,
    )
    translate = translator(language_of(http))
    return ItemPage(items=[_finding(row, translate) for row in rows], next_cursor=encode_cursor(following))


@router.post(
    "/findings/decisions",
    response_model=DecisionsShape,
    openapi_extra=rule(Action.FINDING_DECIDE, event=Event.FINDING_DECIDE, object_type="finding"),
)
def decide(command: DecideFindings, http: Request, actor: ActorDep, session: SessionDep) -> DecisionsShape:
    """Accept, restore, ignore, or confirm the loss of, several findings at once; each is told what became of it."""
    translate = translator(language_of(http))
    items = [
        DecidedShape(id=each.id, state=each.state)
        if each.refusal is None
        else DecidedShape(
            id=each.id,
            code=each.refusal.code,
            message=each.refusal.message.render(translate),
            errors=[dict(error) for error in each.refusal.errors],
        )
        for each in findings.decide(session, actor, command)
    ]
    return DecisionsShape(items=items)


@router.get(
    "/observed-servers",
    response_model=ItemPage[ObservedShape],
    openapi_extra=rule(Action.FINDING_READ, object_type="backend"),
)
def list_observed(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    managed: Annotated[bool | None, Query(description="true: ours; false: not ours.")] = None,
    backend: BackendName = None,
    name: Annotated[str | None, Query(max_length=300, description="Part of a name.")] = None,
    missing: Annotated[bool, Query(description="Also those that are not listed any more.")] = False,
) -> ItemPage[ObservedShape]:
    """List servers as the backends show them, the latest found first."""
    rows, following = discovery.list_observed(
        session,
        actor,
        managed=managed,
        backend=backend,
        name=name,
        with_missing=missing,
        limit=page.limit,
        cursor=page.cursor,
    )
    items = [_observed(row, actor) for row in rows]
    return ItemPage(items=items, next_cursor=encode_cursor(following))


@router.get(
    "/observed-addresses",
    response_model=ItemPage[ObservedAddressShape],
    openapi_extra=rule(Action.FINDING_READ, object_type="backend"),
)
def list_observed_addresses(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    explained: Annotated[
        bool | None,
        Query(description="true: a server of ours has it and shows it, or it is a gateway; false: everything else."),
    ] = None,
    backend: BackendName = None,
    subnet: Annotated[UUID | None, Query(description="Only those of this subnet.")] = None,
) -> ItemPage[ObservedAddressShape]:
    """List the addresses that the backends report as in use, ours or not, the first seen first."""
    rows, following = reported_addresses.list_seen(
        session,
        actor,
        explained=explained,
        backend=backend,
        subnet_id=subnet,
        limit=page.limit,
        cursor=page.cursor,
    )
    return ItemPage(items=[_observed_address(row) for row in rows], next_cursor=encode_cursor(following))


@router.get(
    "/backends/{backend_id}/syncs",
    response_model=ItemPage[SyncShape],
    openapi_extra=rule(Action.FINDING_READ, object_type="backend"),
)
def list_syncs(
    backend_id: UUID, http: Request, actor: ActorDep, session: SessionDep, page: PageDep
) -> ItemPage[SyncShape]:
    """List the looks at a backend's servers, the newest first."""
    rows, following = discovery.list_syncs(session, actor, backend_id, limit=page.limit, cursor=page.cursor)
    translate = translator(language_of(http))
    items = [
        SyncShape(
            message=_told(row.message, translate), **row.model_dump(exclude={"created_at", "backend_id", "message"})
        )
        for row in rows
    ]
    return ItemPage(items=items, next_cursor=encode_cursor(following))


@router.post(
    "/backends/{backend_id}/syncs",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=AskedShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.BACKEND_SYNC, object_type="backend"),
)
def ask_sync(backend_id: UUID, command: AskSync, actor: ActorDep, session: SessionDep) -> AskedShape:
    """Look at a backend now. `confirm_losses` says that servers it does not list are really gone."""
    asked = discovery.ask_sync(session, actor, backend_id, command)
    return AskedShape(id=asked.id, backend=asked.backend.name)


def _finding(row: findings.FindingRow, translate: Translator) -> FindingShape:
    finding, backend, server, organization = row
    fields = finding.model_dump(exclude={"created_at", "backend_id", "server_id", "message"})
    return FindingShape(
        backend=backend.name,
        server=finding.server_id,
        server_name=server.name if server else None,
        organization=organization.id if organization else None,
        message=_told(finding.message, translate),
        **fields,
    )


def _observed(row: tuple[Any, Any], actor: Actor) -> ObservedShape:
    seen, backend = row
    hidden = {
        "created_at",
        "backend_id",
        "server_id",
        "token",
        "native_uuid",
        "digest",
        "baseline",
        "changed_at",
        "host",
    }
    return ObservedShape(
        backend=backend.name,
        server=seen.server_id,
        host=seen.host if actor.may(Action.HOST_READ) else None,
        **seen.model_dump(exclude=hidden),
    )


def _observed_address(row: reported_addresses.SeenRow) -> ObservedAddressShape:
    seen, backend, network, held, server = row
    return ObservedAddressShape(
        backend=backend.name,
        network=network.id if network else None,
        held=held.state if held else None,
        server=server.id if server else None,
        server_name=server.name if server else None,
        first_seen_at=seen.created_at,
        **seen.model_dump(exclude={"created_at", "backend_id", "key"}),
    )


def _told(stored: dict[str, Any] | None, translate: Translator) -> str | None:
    return Message.from_json(stored).render(translate) if stored else None
