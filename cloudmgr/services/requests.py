"""Requests for resources: save, submit, withdraw, retry, read. Deciding on them is `approvals`."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

import quotas
from cloudmgr.adapters import queue
from cloudmgr.domain import approval, clock
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import Conflict, Forbidden, Hidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.labels import REQUEST_PHASES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import (
    EDITABLE_REQUESTS,
    HOLDING_REQUESTS,
    NUMBER_PREFIXES,
    RequestPhase,
    ServerPhase,
    require_request_move,
)
from cloudmgr.models import Approval, ApprovalStage, Organization, Project, RequestEvent, ResourceRequest, Server, User
from cloudmgr.services import audit, plans, resolution
from cloudmgr.services.request_inputs import CreateRequest, DraftRequest, RetireRequest, body_adapter
from cloudmgr.services.resolution import ResolvedCreate, ResolvedRetire
from cloudmgr.store import requests, servers

plan = plans.plan

EVENTS_ON_PAGE = 200


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request with everything its page shows."""

    request: ResourceRequest
    project: Project
    organization: Organization
    requester: User
    stages: list[ApprovalStage]
    approvals: list[tuple[Approval, User]]
    servers: list[servers.ServerRow]
    events: list[RequestEvent]


RequestRow = tuple[ResourceRequest, Project, Organization, User]


def save_draft(session: Session, actor: Actor, command: DraftRequest) -> ResourceRequest:
    """Keep an unfinished request: nothing is held and no number is taken."""
    project, organization = resolution.own_project(session, actor, command.project, Action.REQUEST_MAKE)
    request = ResourceRequest(
        kind=command.kind,
        project_id=project.id,
        organization_id=organization.id,
        requester_id=_person(actor),
        purpose=command.purpose,
        env=command.env.value,
        body=command.model_dump(mode="json", exclude_unset=True),
    )
    requests.add(session, request)
    _audit(session, actor, Event.REQUEST_SAVE, request, organization)
    return request


def submit_new(session: Session, actor: Actor, command: CreateRequest | RetireRequest) -> ResourceRequest:
    """Submit a request in one go: checked, numbered, its quota held, its first approval stage opened.

    Raises:
        QuotaExceeded: with every account and key that binds. Nothing is held then, and nothing stays.
        The refusals of `resolution`.
    """
    resolved = _resolve(session, actor, command)
    request = ResourceRequest(
        kind=command.kind,
        project_id=resolved.project.id,
        organization_id=resolved.organization.id,
        requester_id=_person(actor),
        purpose=command.purpose,
        body=command.model_dump(mode="json", exclude_unset=True),
    )
    _submit(session, actor, request, command, resolved)
    return request


def update_request(
    session: Session, actor: Actor, request_id: uuid.UUID, command: CreateRequest | RetireRequest | DraftRequest
) -> ResourceRequest:
    """Replace the body of one's own draft or returned request.

    Raises:
        Conflict: it is under review or further.
        InvalidInput: the kind or the project differs; make a new request for that.
    """
    request, organization = _own(session, actor, request_id)
    if RequestPhase(request.phase) not in EDITABLE_REQUESTS:
        raise Conflict(
            N_("Only a draft or a returned request can be changed; this one is {phase}. Withdraw it first."),
            phase=word(REQUEST_PHASES, request.phase),
        )
    if command.kind != request.kind or command.project != request.project_id:
        raise InvalidInput(
            N_("Kind and project of a request stay as they are; make a new request instead."), field="project"
        )
    if not isinstance(command, DraftRequest):
        _resolve(session, actor, command)
    request.body = command.model_dump(mode="json", exclude_unset=True)
    request.purpose = command.purpose
    request.updated_at = clock.now()
    requests.add(session, request)
    _audit(session, actor, Event.REQUEST_SAVE, request, organization)
    return request


def submit(session: Session, actor: Actor, request_id: uuid.UUID) -> ResourceRequest:
    """Submit one's own draft or returned request; all rules are asked again, and now quota is held.

    Raises:
        InvalidInput: the draft is not complete; `invalid` names every field.
    """
    request, _ = _own(session, actor, request_id)
    require_request_move(RequestPhase(request.phase), RequestPhase.SUBMITTED)
    try:
        command = body_adapter.validate_python(request.body)
    except ValidationError as error:
        refusal = InvalidInput(N_("The request is not complete yet; mend the fields named below."))
        refusal.invalid = [
            {**found, "loc": found["loc"][1:]} for found in error.errors(include_url=False, include_input=False)
        ]
        raise refusal from error
    _submit(session, actor, request, command, _resolve(session, actor, command))
    return request


def withdraw(session: Session, actor: Actor, request_id: uuid.UUID) -> ResourceRequest:
    """Take back one's own request before it is approved; what it held is free again."""
    request, organization = _own(session, actor, request_id)
    require_request_move(RequestPhase(request.phase), RequestPhase.WITHDRAWN)
    give_up(session, request, RequestPhase.WITHDRAWN)
    _audit(session, actor, Event.REQUEST_WITHDRAW, request, organization)
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(N_("Withdrawn by {person}."), {"person": actor.display_name}),
        dedupe=f"withdrawn:{request.submission}",
    )
    return request


def retry(session: Session, actor: Actor, request_id: uuid.UUID) -> ResourceRequest:
    """Try again what failed, from the step that failed; servers that stand are left alone.

    A server whose share of the quota was given back must fit again.

    Raises:
        Conflict: nothing of the request has failed, or it is still being worked on.
        QuotaExceeded: the room is gone.
    """
    request, organization = _visible(session, actor, request_id, lock=True)
    if not actor.may(Action.SERVER_POWER, organization.path):
        require(actor, Action.REQUEST_MAKE, organization.path, see=Action.REQUEST_READ)
    if RequestPhase(request.phase) not in (RequestPhase.FAILED, RequestPhase.PARTLY_FULFILLED):
        raise Conflict(
            N_("Only a failed or partly fulfilled request can be tried again; this one is {phase}."),
            phase=word(REQUEST_PHASES, request.phase),
        )
    failed = [server for server in servers.plain_of_request(session, request) if server.phase == ServerPhase.FAILED]
    stuck = [server for server in servers.plain_of_request(session, request) if server.phase == ServerPhase.RETIRING]
    if not failed and not stuck:
        raise Conflict(N_("Nothing of this request is left to try again."))
    request.attempt += 1
    if request.kind == "create":
        _rearm(session, request, failed, actor)
    require_request_move(RequestPhase(request.phase), RequestPhase.FULFILLING)
    request.phase = RequestPhase.FULFILLING.value
    request.finished_at = None
    request.updated_at = clock.now()
    requests.add(session, request)
    queue.enqueue(
        session,
        "fulfil_request",
        queue.workflow_id("fulfil_request", request.id, request.attempt),
        str(request.id),
        request.attempt,
    )
    _audit(session, actor, Event.REQUEST_RETRY, request, organization)
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(N_("{person} tries again what failed."), {"person": actor.display_name}),
        dedupe=f"retry:{request.attempt}",
    )
    return request


def _rearm(session: Session, request: ResourceRequest, failed: Sequence[Server], actor: Actor) -> None:
    """Make failed servers ready for another attempt; those that never stood hold quota anew under a reservation of its own."""
    fresh = [server for server in failed if server.failed_step not in ("configure", "undo")]
    if fresh:
        project = project_of(session, request)
        reservation = uuid.uuid5(request.id, f"retry:{request.attempt}")
        quotas.reserve(
            session,
            reservation_id=reservation,
            account_id=project.account_id,
            parts=[part_of(session, server) for server in fresh],
            reason=request.number or "",
        )
        for server in fresh:
            server.reservation_id = reservation
    for server in failed:
        server.attempt += 1
        server.tried_zones = []
        server.failure = None
        if server.failed_step != "configure":
            servers.move(session, server, ServerPhase.REQUESTED, actor=actor.username, change="retry")
        server.failed_step = None
        session.add(server)
    session.flush()


def part_of(session: Session, server: Server) -> quotas.Part:
    """Return a built or planned server's share of the quota, with what its request fixed."""
    dims = {"arch": server.arch, "network_zone": server.network_zone, "environment": server.env}
    if server.wanted_backend_id is not None:
        dims["backend"] = servers.backend_name(session, server.wanted_backend_id)
    return quotas.Part(part_id=server.id, amounts=amounts_of(server), dims=dims)


def amounts_of(server: Server) -> dict[str, int]:
    """Return what a server costs in quota."""
    return {
        "servers": 1,
        "vcpus": server.vcpus,
        "memory_mib": server.memory_mib,
        "disk_gib": server.system_disk_gib + server.data_disk_gib,
        "ip_addresses": 1,
        "volumes": 1 if server.data_disk_gib else 0,
    }


def give_up(session: Session, request: ResourceRequest, phase: RequestPhase) -> None:
    """Move a request to an end before fulfilment: its quota is given back and servers that were never begun are removed."""
    if RequestPhase(request.phase) in HOLDING_REQUESTS:
        if request.kind == "create":
            quotas.void(session, reservation_id=reservation_id(request))
            servers.remove_unbegun(session, request.id)
        else:
            servers.keep_after_all(session, request.id)
        requests.close_stages(session, request.id)
    request.phase = phase.value
    request.updated_at = clock.now()
    if phase is not RequestPhase.RETURNED:
        request.finished_at = clock.now()
    requests.add(session, request)


def reservation_id(request: ResourceRequest) -> uuid.UUID:
    """Return the id of the reservation that a request's present submission holds."""
    return uuid.uuid5(request.id, f"submission:{request.submission}")


def _resolve(session: Session, actor: Actor, command: CreateRequest | RetireRequest) -> ResolvedCreate | ResolvedRetire:
    if isinstance(command, CreateRequest):
        return resolution.resolve_create(session, actor, command)
    return resolution.resolve_retire(session, actor, command)


def _submit(
    session: Session,
    actor: Actor,
    request: ResourceRequest,
    command: CreateRequest | RetireRequest,
    resolved: ResolvedCreate | ResolvedRetire,
) -> None:
    organization = resolved.organization
    request.purpose = command.purpose
    request.submission += 1
    request.submitted_at = request.updated_at = clock.now()
    request.body = command.model_dump(mode="json", exclude_unset=True)
    request.refusal = None
    ids = [new_id() for _ in resolved.servers]
    if isinstance(command, CreateRequest) and isinstance(resolved, ResolvedCreate):
        request.env = command.env.value
        request.network_zone = command.network_zone
        request.lease_end = command.lease_end
        request.lease_long_term = command.lease_long_term
        request.lease_reason = command.lease_reason
        request.owner_name, request.owner_phone = resolved.owner_name, resolved.owner_phone
        request.ssh_keys = resolved.ssh_keys
        quotas.reserve(
            session,
            reservation_id=reservation_id(request),
            account_id=resolved.project.account_id,
            parts=[server.part(id_, command.env.value) for id_, server in zip(ids, resolved.servers, strict=True)],
            reason=request.number or "",
        )
    if request.number is None:
        day = clock.today().strftime("%Y%m%d")
        prefix = NUMBER_PREFIXES[request.kind]
        request.number = f"{prefix}{day}-{requests.next_number(session, prefix, day):04d}"
    request.phase = RequestPhase.IN_REVIEW.value
    requests.add(session, request)
    if isinstance(resolved, ResolvedCreate):
        _add_servers(session, request, resolved, ids)
    else:
        for server in resolved.servers:
            server.retire_request_id = request.id
        requests.add(session, *resolved.servers)
    _open_stages(session, request, organization)
    _audit(session, actor, Event.REQUEST_SUBMIT, request, organization, servers=len(ids))
    requests.tell(
        session,
        request.id,
        kind="phase",
        message=Message(
            N_("Submitted by {person} as {number}; quota is held."),
            {"person": actor.display_name, "number": request.number},
        ),
        dedupe=f"submitted:{request.submission}",
    )


def _add_servers(
    session: Session, request: ResourceRequest, resolved: ResolvedCreate, ids: Sequence[uuid.UUID]
) -> None:
    rows = [
        Server(
            id=id_,
            project_id=request.project_id,
            organization_id=request.organization_id,
            request_id=request.id,
            reservation_id=reservation_id(request),
            name=planned.name,
            arch=planned.arch,
            flavor_id=planned.flavor.id,
            image_id=planned.image.id,
            vcpus=planned.flavor.vcpus,
            memory_mib=planned.flavor.memory_mib,
            system_disk_gib=planned.flavor.system_disk_gib,
            data_disk_gib=planned.data_disk_gib,
            network_zone=planned.network_zone,
            env=request.env,
            purpose_kind=planned.purpose_kind,
            spread=planned.spread,
            wanted_backend_id=planned.backend.id if planned.backend else None,
            playbook=planned.playbook,
            variables=dict(planned.variables),
            ssh_keys=request.ssh_keys,
            owner_name=request.owner_name,
            owner_phone=request.owner_phone,
            lease_end=request.lease_end,
            lease_long_term=request.lease_long_term,
        )
        for id_, planned in zip(ids, resolved.servers, strict=True)
    ]
    try:
        with session.begin_nested():
            requests.add(session, *rows)
    except IntegrityError as error:
        taken = servers.taken_names(session, request.project_id, [row.name for row in rows])
        raise resolution.name_taken(taken or [rows[0].name]) from error


def _open_stages(session: Session, request: ResourceRequest, organization: Organization) -> None:
    district_id = organization.district_id
    root_id = uuid.UUID(organization.path.split("/")[1])
    for position, stage in enumerate(approval.stages_for(has_district=district_id is not None), 1):
        requests.add(
            session,
            ApprovalStage(
                request_id=request.id,
                submission=request.submission,
                position=position,
                name=stage.name,
                role=stage.role.value,
                organization_id=district_id if stage.level == "district" and district_id else root_id,
                state="open" if position == 1 else "waiting",
                policy_version=approval.POLICY_VERSION,
                opened_at=clock.now() if position == 1 else None,
            ),
        )


def list_requests(
    session: Session,
    actor: Actor,
    *,
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    mine: bool = False,
    kind: str | None = None,
    number: str | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[RequestRow], uuid.UUID | None]:
    """Return the requests the actor may read, newest first; `mine` keeps those they made."""
    require(actor, Action.REQUEST_READ)
    return requests.page(
        session,
        paths=actor.scope(Action.REQUEST_READ),
        phases=phases,
        project_id=project_id,
        requester_id=actor.user_id if mine else None,
        kind=kind,
        number=number,
        limit=limit,
        cursor=cursor,
    )


def get_request(session: Session, actor: Actor, request_id: uuid.UUID) -> RequestView:
    """Return one request with its stages, decisions, servers and newest progress.

    Raises:
        NotFound: there is none, or it is not the actor's to see.
    """
    request, organization = _visible(session, actor, request_id)
    project = project_of(session, request)
    requester = session.get_one(User, request.requester_id)
    return RequestView(
        request=request,
        project=project,
        organization=organization,
        requester=requester,
        stages=[stage for stage in requests.stages(session, request.id) if stage.submission == request.submission],
        approvals=requests.approvals(session, request.id),
        servers=servers.of_request(session, request),
        events=requests.latest_events(session, request.id, EVENTS_ON_PAGE),
    )


def list_events(
    session: Session, actor: Actor, request_id: uuid.UUID, *, after: int = 0
) -> tuple[list[RequestEvent], bool]:
    """Return progress from behind event `after`, and whether the request has come to its end."""
    request, _ = _visible(session, actor, request_id)
    return requests.events(session, request.id, after=after), request.finished_at is not None


def project_of(session: Session, request: ResourceRequest) -> Project:
    """Return the project of a request."""
    return session.get_one(Project, request.project_id)


def _visible(
    session: Session, actor: Actor, request_id: uuid.UUID, *, lock: bool = False
) -> tuple[ResourceRequest, Organization]:
    request = requests.get(session, request_id, lock=lock)
    if request is None:
        raise NotFound(N_("There is no such request."))
    organization = session.get_one(Organization, request.organization_id)
    if not actor.may(Action.REQUEST_READ, organization.path):
        raise Hidden(N_("There is no such request."), detail=f"{actor.username} may not read {request_id}")
    return request, organization


def _own(session: Session, actor: Actor, request_id: uuid.UUID) -> tuple[ResourceRequest, Organization]:
    request, organization = _visible(session, actor, request_id, lock=True)
    if request.requester_id != actor.user_id:
        raise Forbidden(N_("Only the person who made a request can change, submit or withdraw it."))
    require(actor, Action.REQUEST_MAKE, organization.path, see=Action.REQUEST_READ)
    return request, organization


def _person(actor: Actor) -> uuid.UUID:
    if actor.user_id is None:
        raise Forbidden(N_("A request is made by a person with an account."))
    return actor.user_id


def _audit(
    session: Session, actor: Actor, event: Event, request: ResourceRequest, organization: Organization, **detail: Any
) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="request",
        object_id=request.id,
        object_name=request.number or "",
        organization_path=organization.path,
        **detail,
    )
