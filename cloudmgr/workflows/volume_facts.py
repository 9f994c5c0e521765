"""What happens to a volume, as it is written: each function is one transaction, called as a `write` step."""

import uuid
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.volumes import VolumePhase
from cloudmgr.models import Backend, Organization, ResourceRequest, Volume, Zone
from cloudmgr.services import audit, volumes
from cloudmgr.store import requests, servers
from cloudmgr.store import volumes as store
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.work import Tally, item


def items(session: Session, request: ResourceRequest) -> list[dict[str, Any]]:
    """Return what a request for volumes has still to do, a volume each."""
    left, _ = volumes.deeds(session, request)
    return [
        item(workflow, f"{id_}:{request.id}:{request.attempt}", str(id_), *more, request.attempt)
        for workflow, id_, more in left
    ]


def tally(session: Session, request: ResourceRequest) -> Tally:
    """Count what is as it was asked; a volume that was made and could not be attached stays."""
    left, asked = volumes.deeds(session, request)
    made = store.of_request(session, request.id)
    failed = sum(volume.phase == VolumePhase.FAILED for volume in made)
    return Tally(
        good=asked - len(left) - failed,
        all=asked,
        is_begun=any(volume.phase == VolumePhase.AVAILABLE for volume in made),
    )


def begin_making(session: Session, volume_id: str) -> dict[str, Any] | None:
    """Return what is to be made and where; None when that is settled already."""
    volume = _load(session, volume_id)
    if volume.phase not in (VolumePhase.REQUESTED, VolumePhase.CREATING):
        return None
    _move(session, volume, VolumePhase.CREATING)
    zone = session.get(Zone, volume.zone_id) if volume.zone_id else None
    request = session.get_one(ResourceRequest, volume.request_id)
    return {
        "backend": session.get_one(Backend, volume.backend_id).name,
        "zone": zone.ref if zone else "",
        "name": volume.name,
        "size_gib": volume.size_gib,
        "server": str(volume.server_id) if volume.server_id else None,
        "labels": {"cloudmgr-request": request.number or "", "cloudmgr-volume": str(volume.id)},
    }


def made(session: Session, volume_id: str, number: int, seen: dict[str, Any]) -> None:
    """The volume is there: its quota is used now."""
    volume = _load(session, volume_id)
    if volume.phase != VolumePhase.CREATING:
        return
    quotas.post(session, reservation_id=volume.reservation_id, part_id=volume.id)
    _note(volume, seen)
    _move(session, volume, VolumePhase.AVAILABLE)
    _tell(session, volume, number, Event.VOLUME_CREATE, Message(N_("Volume {name} is made."), {"name": volume.name}))


def not_made(session: Session, volume_id: str, number: int, why: Outcome, is_gone: bool) -> None:
    """It came to nothing; quota is given back where the backend confirms that nothing of it is left."""
    volume = _load(session, volume_id)
    code = str(why["code"]) if is_gone else "undo_unconfirmed"
    if is_gone:
        volumes.settle(session, volume.reservation_id, volume.id)
    _move(session, volume, VolumePhase.FAILED)
    message = Message(
        N_("Volume {name} could not be made: {reason}"),
        {"name": volume.name, "reason": Message.from_json(why["message"])},
    )
    _fail(session, volume, number, Event.VOLUME_CREATE, code, message)


def begin_attaching(session: Session, volume_id: str, server_id: str, number: int) -> dict[str, Any] | None:
    """Return who is to have the volume; None when its server does not stand any more, or somebody else has the volume."""
    volume = _load(session, volume_id)
    server = servers.get(session, uuid.UUID(server_id))
    if server is None or server.phase not in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED) or server.native_ref is None:
        name = server.name if server else "-"
        if volume.phase in (VolumePhase.AVAILABLE, VolumePhase.ATTACHING):
            volume.server_id = None
            _move(session, volume, VolumePhase.AVAILABLE)
        message = Message(N_("Server {name} does not stand any more."), {"name": name})
        _fail(session, volume, number, Event.VOLUME_ATTACH, "gone", message)
        return None
    is_free = volume.phase == VolumePhase.AVAILABLE
    is_under_way = volume.phase == VolumePhase.ATTACHING and volume.server_id == server.id
    if not (is_free or is_under_way) or volume.backend_id != server.backend_id:
        message = Message(N_("Volume {name} is not free to be attached."), {"name": volume.name})
        _fail(session, volume, number, Event.VOLUME_ATTACH, "not_free", message)
        return None
    volume.server_id = server.id
    _move(session, volume, VolumePhase.ATTACHING)
    return {"backend": session.get_one(Backend, volume.backend_id).name, "ref": server.native_ref}


def attached(session: Session, volume_id: str, number: int, seen: dict[str, Any]) -> None:
    """The server has the volume."""
    volume = _load(session, volume_id)
    if volume.phase != VolumePhase.ATTACHING:
        return
    _note(volume, seen)
    _move(session, volume, VolumePhase.ATTACHED)
    message = Message(
        N_("Volume {name} is attached to {server}."), {"name": volume.name, "server": _server_name(session, volume)}
    )
    _tell(session, volume, number, Event.VOLUME_ATTACH, message)


def not_attached(session: Session, volume_id: str, number: int, why: Outcome, is_free: bool) -> None:
    """The server did not get it; nobody has it, or the backend does not say."""
    volume = _load(session, volume_id)
    if volume.phase == VolumePhase.ATTACHING and is_free:
        _move(session, volume, VolumePhase.AVAILABLE)
    message = Message(
        N_("Volume {name} could not be attached: {reason}"),
        {"name": volume.name, "reason": Message.from_json(why["message"])},
    )
    _fail(session, volume, number, Event.VOLUME_ATTACH, str(why["code"]), message)


def begin_detaching(session: Session, volume_id: str) -> str | None:
    """Return the backend of a volume that somebody has."""
    volume = _load(session, volume_id)
    if volume.phase not in (VolumePhase.ATTACHED, VolumePhase.ATTACHING, VolumePhase.DETACHING):
        return None
    _move(session, volume, VolumePhase.DETACHING)
    return session.get_one(Backend, volume.backend_id).name


def detached(session: Session, volume_id: str, number: int, done: Outcome) -> None:
    """Nobody has the volume any more, or it is said why it is not so yet."""
    volume = _load(session, volume_id)
    if volume.phase != VolumePhase.DETACHING:
        return
    if not done["ok"]:
        message = Message(
            N_("Volume {name} could not be detached: {reason}"),
            {"name": volume.name, "reason": Message.from_json(done["message"])},
        )
        _fail(session, volume, number, Event.VOLUME_DETACH, str(done["code"]), message)
        return
    message = Message(
        N_("Volume {name} is detached from {server}."), {"name": volume.name, "server": _server_name(session, volume)}
    )
    _tell(session, volume, number, Event.VOLUME_DETACH, message)
    volume.server_id, volume.state = None, "available"
    _move(session, volume, VolumePhase.AVAILABLE)


def begin_deleting(session: Session, volume_id: str) -> str | None:
    """Return the backend of a volume that is to go; None when it is gone or was never made."""
    volume = _load(session, volume_id)
    if volume.phase == VolumePhase.DELETED:
        return None
    _move(session, volume, VolumePhase.DELETING)
    return session.get_one(Backend, volume.backend_id).name


def deleted(session: Session, volume_id: str, number: int, done: Outcome) -> None:
    """The backend has nothing of it any more and its quota is free, or it is said why it is not so yet."""
    volume = _load(session, volume_id)
    if volume.phase != VolumePhase.DELETING:
        return
    if not done["ok"]:
        message = Message(
            N_("Volume {name} could not be deleted: {reason}"),
            {"name": volume.name, "reason": Message.from_json(done["message"])},
        )
        _fail(session, volume, number, Event.VOLUME_DELETE, str(done["code"]), message)
        return
    volumes.settle(session, volume.reservation_id, volume.id)
    volume.deleted_at, volume.state, volume.server_id = clock.now(), "unknown", None
    _move(session, volume, VolumePhase.DELETED)
    message = Message(N_("Volume {name} is deleted; its quota is free."), {"name": volume.name})
    _tell(session, volume, number, Event.VOLUME_DELETE, message)


def _note(volume: Volume, seen: dict[str, Any]) -> None:
    volume.native_ref, volume.state, volume.last_seen_at = seen["ref"], seen["state"], clock.now()


def _move(session: Session, volume: Volume, phase: VolumePhase) -> None:
    volume.phase, volume.failure, volume.updated_at = phase.value, None, clock.now()
    session.add(volume)
    session.flush()


def _fail(session: Session, volume: Volume, number: int, event: Event, code: str, message: Message) -> None:
    volume.failure = {"code": code, "message": message.as_json()}
    session.add(volume)
    session.flush()
    _tell(session, volume, number, event, message, failure=code)


def _tell(session: Session, volume: Volume, number: int, event: Event, message: Message, *, failure: str = "") -> None:
    """Say it in the progress of the request it is about, in the server's history and in the log."""
    request = _request_of(volume)
    requests.tell(
        session,
        request,
        kind="warning" if failure else "step",
        message=message,
        server_id=volume.server_id,
        dedupe=f"{event.value}:{volume.id}:{number}{':failed' if failure else ''}",
    )
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="volume",
        object_id=volume.id,
        object_name=volume.name,
        organization_path=session.get_one(Organization, volume.organization_id).path,
        outcome=Ended.FAILURE if failure else Ended.SUCCESS,
        reason=failure,
        size_gib=volume.size_gib,
        server=_server_name(session, volume) if volume.server_id else "",
    )


def _request_of(volume: Volume) -> uuid.UUID:
    if volume.phase in (VolumePhase.DELETING, VolumePhase.DELETED) and volume.delete_request_id is not None:
        return volume.delete_request_id
    return volume.change_request_id or volume.request_id


def _server_name(session: Session, volume: Volume) -> str:
    server = servers.get(session, volume.server_id) if volume.server_id else None
    return server.name if server else "-"


def _load(session: Session, volume_id: str) -> Volume:
    volume = store.get(session, uuid.UUID(volume_id), lock=True)
    if volume is None:
        raise LookupError(f"volume {volume_id} is gone from the database")
    return volume
