"""What the making of a server writes: each function is one transaction, called as a `write` step.

They decide on what they read inside the transaction, and return plain JSON for the workflow.
"""

import uuid
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock, placement
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase, Spread
from cloudmgr.models import Backend, Image, Organization, ResourceRequest, Server, Zone
from cloudmgr.services import audit, public_ips
from cloudmgr.store import openings, requests, servers
from cloudmgr.store import placement as zones
from cloudmgr.workflows import addresses, credentials
from cloudmgr.workflows.runtime import runtime

RACES = 100
"""How often a placement begins anew because the zone it chose was changed by another; every loser means a winner."""

SYSTEM = Actor(
    user_id=None,
    username="system",
    display_name="cloudmgr",
    organization_id=None,
    organization_path="/",
    source="worker",
)


def place(session: Session, server_id: str, number: int, waits: bool) -> dict[str, Any] | None:
    """Choose the best zone that has room, claim it, and charge what placement fixed; None when no zone will do.

    Allocation, the zone's generation and the quota of the placement's keys change together. With `waits`, a zone whose
    only fault is that its backend does not answer is waited for: then the answer is empty, and the reasons are told.
    """
    server, request, organization = load(session, server_id)
    image = session.get_one(Image, server.image_id)
    held = zones.open_allocation(session, server.id)
    if held is not None:  # an attempt that could not be undone: it is gone on with where it stands
        return _placed(session, server, request, organization, image, held.zone_id, number)
    wanted = _wanted(session, server, image, organization)
    for _ in range(RACES):
        verdicts = placement.judge(
            wanted,
            zones.zone_facts(
                session,
                image_id=image.id,
                request_id=request.id,
                health_interval_s=runtime().settings.worker.health_interval_s,
            ),
        )
        zone_id, refusals = _first_that_takes(session, server, wanted, verdicts)
        if zone_id is not None:
            return _placed(session, server, request, organization, image, zone_id, number)
        if refusals is not None:
            break
    else:
        raise RuntimeError(f"{RACES} times another server changed the zone first")
    if waits and any(verdict.may_pass for verdict in verdicts):
        message = Message(N_("{name} waits for a pool. {reasons}"), {"name": server.name, "reasons": refusals})
        tell(session, request, server, "wait", number, message, kind="warning")
        return {}
    message = Message(N_("No pool could take {name}. {reasons}"), {"name": server.name, "reasons": refusals})
    failure = {"step": "place", "code": "no_zone", "message": message.as_json()}
    _give_up(session, server, request, organization, number, failure)
    return None


def _first_that_takes(
    session: Session, server: Server, wanted: placement.Wanted, verdicts: list[placement.Verdict]
) -> tuple[uuid.UUID | None, list[Message] | None]:
    """Return the zone that was claimed, or why every zone said no, or neither: a zone changed, judge again."""
    refusals = []
    for verdict in verdicts:
        against = list(verdict.against)
        if verdict.is_candidate:
            taken = _take(session, server, verdict.zone, wanted.amounts)
            if taken is True:
                return verdict.zone.id, []
            if taken is False:
                return None, None
            against = [taken]
        refusals.append(Message(N_("{zone}: {reasons}"), {"zone": verdict.zone.title, "reasons": against}))
    return None, refusals


def _wanted(session: Session, server: Server, image: Image, organization: Organization) -> placement.Wanted:
    return placement.Wanted(
        arch=server.arch,
        amounts=capacity_of(server),
        network_zone=server.network_zone,
        image=image.name,
        organization_path=organization.path,
        backend=servers.backend_name(session, server.wanted_backend_id) if server.wanted_backend_id else None,
        spread=Spread(server.spread),
        prefer_xinchuang=runtime().settings.policy.prefer_xinchuang,
        tried=frozenset(server.tried_zones),
    )


def capacity_of(server: Server) -> dict[str, int]:
    """Return what a server takes of a zone."""
    return {
        "vcpus": server.vcpus,
        "memory_mib": server.memory_mib,
        "disk_gib": server.system_disk_gib + server.data_disk_gib,
    }


def _take(session: Session, server: Server, zone: placement.ZoneFacts, amounts: Any) -> Message | bool:
    """Claim a zone, its keys and addresses there, all or nothing; False: the zone changed meanwhile; a message: why not."""
    savepoint = session.begin_nested()
    try:
        quotas.place(
            session,
            reservation_id=server.reservation_id,
            part_id=server.id,
            dims={
                "backend": zone.backend,
                "tier": zone.tier.value,
                "cpu_family": zone.cpu_family,
                "is_xinchuang": "true" if zone.is_xinchuang else "false",
            },
            top=zones.top_account(session, session.get_one(Backend, zone.backend_id), server.organization_id),
        )
        if zones.claim(session, zone_id=zone.id, generation=zone.generation, server_id=server.id, amounts=amounts):
            refused = addresses.claim(session, server, zone.id)
            if refused is None:
                savepoint.commit()
                return True
            savepoint.rollback()
            return refused
    except Refusal as error:
        savepoint.rollback()
        return error.message
    savepoint.rollback()
    return False


def _placed(
    session: Session,
    server: Server,
    request: ResourceRequest,
    organization: Organization,
    image: Image,
    zone_id: uuid.UUID,
    number: int,
) -> dict[str, Any]:
    zone = session.get_one(Zone, zone_id)
    backend = session.get_one(Backend, zone.backend_id)
    variant = zones.variant_of(session, image_id=image.id, arch=server.arch, backend_id=backend.id)
    key = credentials.public_key(session, server.project_id)
    server.zone_id, server.backend_id = zone.id, backend.id
    server.image_ref = variant.ref if variant else None
    server.image_digest = variant.digest if variant else None
    server.cpu_family, server.cpu_model = zone.cpu_family, zone.cpu_model
    server.is_xinchuang = zone.is_xinchuang and image.os_is_xinchuang
    server.failure = None
    servers.move(session, server, ServerPhase.PLACED, actor=SYSTEM.username, change="placed")
    record(session, Event.VM_PLACE, server, organization, zone=zone.name)
    tell(
        session,
        request,
        server,
        "place",
        number,
        Message(
            N_("{name} goes to {zone} ({backend})."),
            {"name": server.name, "zone": zone.title or zone.name, "backend": backend.title or backend.name},
        ),
    )
    return {
        "zone_id": str(zone.id),
        "backend": backend.name,
        "has_ports": bool(openings.approved_of(session, server.id)),
        "spec": {
            "name": server.name,
            "arch": server.arch,
            "vcpus": server.vcpus,
            "memory_mib": server.memory_mib,
            "system_disk_gib": server.system_disk_gib,
            "data_disk_gib": server.data_disk_gib,
            "zone": zone.ref,
            "image": server.image_ref or "",
            "image_digest": server.image_digest,
            "networks": [server.network_ref] if server.network_ref else [],
            "addresses": addresses.spec_of(session, server.id),
            "login_user": image.login_user,
            "ssh_keys": [*server.ssh_keys, key],
            "spread_group": str(request.id) if server.spread == Spread.HOST else None,
            "labels": {"cloudmgr-request": request.number or "", "cloudmgr-server": str(server.id)},
        },
    }


def unplace(session: Session, server_id: str, number: int, failure: dict[str, Any]) -> None:
    """Take a placement back, remember that the zone said no, and be ready for another."""
    server, request, organization = load(session, server_id)
    quotas.unplace(session, reservation_id=server.reservation_id, part_id=server.id)
    vacate(session, server, keeps_wanted=True)
    zone = session.get(Zone, server.zone_id) if server.zone_id else None
    if server.zone_id is not None:
        server.tried_zones = [*server.tried_zones, str(server.zone_id)]
    _forget_place(server)
    servers.move(session, server, ServerPhase.REQUESTED, actor=SYSTEM.username, change="unplaced")
    tell(
        session,
        request,
        server,
        f"next_zone:{len(server.tried_zones)}",
        number,
        Message(
            N_("{zone} could not take {name}: {reason} Another pool is tried."),
            {
                "zone": (zone.title or zone.name) if zone else "-",
                "name": server.name,
                "reason": Message.from_json(failure["message"]),
            },
        ),
        kind="warning",
    )
    record(session, Event.VM_FAIL, server, organization, outcome=Outcome.FAILURE, reason=failure["code"])


def created(session: Session, server_id: str, number: int, seen: dict[str, Any]) -> None:
    """Note that the backend has begun to build."""
    server, request, organization = load(session, server_id)
    server.native_ref, server.state = seen["ref"], seen["power"]
    server.last_seen_at = clock.now()
    servers.move(session, server, ServerPhase.CREATING, actor=SYSTEM.username, change="created")
    record(session, Event.VM_CREATE, server, organization)
    tell(session, request, server, "create", number, Message(N_("{name} is being built."), {"name": server.name}))


def post(session: Session, server_id: str, number: int, seen: dict[str, Any]) -> None:
    """The server stands: its quota turns from reserved to used, its address and host are known."""
    server, request, _ = load(session, server_id)
    note(server, seen)
    server.built_at = clock.now()
    quotas.post(session, reservation_id=server.reservation_id, part_id=server.id)
    missing = addresses.compare(session, server)
    servers.move(session, server, ServerPhase.CONFIGURING, actor=SYSTEM.username, change="built")
    if missing:
        message = Message(
            N_("{name} was to have {wanted}; the cloud reports {address}. An operator must look."),
            {"name": server.name, "wanted": ", ".join(missing), "address": ", ".join([*server.ipv4, *server.ipv6])},
        )
        tell(session, request, server, "address", number, message, kind="warning")
    tell(
        session,
        request,
        server,
        "post",
        number,
        Message(
            N_("{name} runs at {address}."), {"name": server.name, "address": ", ".join([*server.ipv4, *server.ipv6])}
        ),
    )


def note(server: Server, seen: dict[str, Any]) -> None:
    """Copy what the backend reported onto the server's row; addresses that it does not tell just now stay as they are."""
    server.native_ref = seen["ref"]
    server.state = seen["power"]
    server.host = seen["host"]
    if seen["ipv4"] or seen["ipv6"]:
        server.ipv4, server.ipv6 = seen["ipv4"], seen["ipv6"]
    server.last_seen_at = clock.now()


def fail(session: Session, server_id: str, number: int, failure: dict[str, Any]) -> None:
    """Nothing of the server is left: give everything back and say why."""
    server, request, organization = load(session, server_id)
    _give_up(session, server, request, organization, number, failure)


def _give_up(
    session: Session,
    server: Server,
    request: ResourceRequest,
    organization: Organization,
    number: int,
    failure: dict[str, Any],
) -> None:
    quotas.void(session, reservation_id=server.reservation_id, part_id=server.id)
    vacate(session, server)
    _forget_place(server)
    server.failed_step = failure["step"]
    server.failure = {"code": failure["code"], "message": failure["message"]}
    servers.move(session, server, ServerPhase.FAILED, actor=SYSTEM.username, change="failed")
    tell(session, request, server, "fail", number, Message.from_json(failure["message"]), kind="warning")
    record(
        session,
        Event.VM_FAIL,
        server,
        organization,
        outcome=Outcome.FAILURE,
        reason=failure["code"],
        step=failure["step"],
    )


def strand(session: Session, server_id: str, number: int, failure: dict[str, Any] | None) -> None:
    """The backend would not say that the server is gone: capacity and quota stay held, and a person is told."""
    server, request, organization = load(session, server_id)
    why = Message.from_json(failure["message"]) if failure else Message("")
    message = Message(
        N_(
            "{name} failed and the cloud does not confirm that nothing of it is left: quota stays held. An operator must look, then try again. {reason}"
        ),
        {"name": server.name, "reason": why},
    )
    server.failed_step = "undo"
    server.failure = {"code": "undo_unconfirmed", "message": message.as_json()}
    servers.move(session, server, ServerPhase.FAILED, actor=SYSTEM.username, change="failed")
    tell(session, request, server, "strand", number, message, kind="warning")
    record(
        session, Event.VM_FAIL, server, organization, outcome=Outcome.FAILURE, reason="undo_unconfirmed", step="undo"
    )


def vacate(session: Session, server: Server, *, keeps_wanted: bool = False) -> None:
    """Give back the room and the addresses a server holds; with `keeps_wanted` not those that were asked for.

    At a server's end its ports and public addresses end too.
    """
    if server.phase == ServerPhase.RETIRING:
        public_ips.end_with_server(session, server.id)
        openings.close_all(session, server.id)
    zones.give_back(session, server.id)
    addresses.release(session, server, keeps_wanted=keeps_wanted)


def _forget_place(server: Server) -> None:
    server.zone_id = server.backend_id = None
    server.native_ref = server.host = server.image_ref = server.image_digest = server.network_ref = None
    server.ipv4, server.ipv6 = [], []
    server.state = "unknown"
    server.is_xinchuang = None


def load(session: Session, server_id: str, *, retire: bool = False) -> tuple[Server, ResourceRequest, Organization]:
    """Return a server, locked, with the request that makes it (or, with `retire`, ends it) and its organization."""
    server = servers.get(session, uuid.UUID(server_id), lock=True)
    if server is None:
        raise LookupError(f"server {server_id} is gone from the database")
    request_id = server.retire_request_id if retire and server.retire_request_id else server.request_id
    return server, session.get_one(ResourceRequest, request_id), session.get_one(Organization, server.organization_id)


def tell(
    session: Session,
    request: ResourceRequest,
    server: Server,
    what: str,
    number: int,
    message: Message,
    kind: str = "step",
) -> None:
    requests.tell(
        session, request.id, kind=kind, message=message, server_id=server.id, dedupe=f"{what}:{server.id}:{number}"
    )


def record(
    session: Session,
    event: Event,
    server: Server,
    organization: Organization,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    reason: str = "",
    **detail: Any,
) -> None:
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="server",
        object_id=server.id,
        object_name=server.name,
        organization_path=organization.path,
        outcome=outcome,
        reason=reason,
        **detail,
    )
