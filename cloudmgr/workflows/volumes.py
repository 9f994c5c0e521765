"""Making, attaching, detaching and deleting one volume. The volume's own id is the token the backend knows it by.

Every call finds the volume by its token and does what is missing, so that it is right however often it ran before.
"""

import uuid
from typing import Any

from dbos import DBOS

from cloudmgr.domain.messages import N_
from cloudmgr.workflows import volume_facts as facts
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.pursuit import deed, pursue
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import write
from providers.base import VolumeObservation, VolumeSpec, VolumeState
from providers.capabilities import Volumes, capabilities
from providers.errors import NotFound, ProviderError, Unsupported


@DBOS.workflow(name="make_volume", max_recovery_attempts=1000)
def make_volume(volume_id: str, number: int) -> bool:
    """Make a volume, and give it to its server if it is for one; False when it failed, and then nothing of it is left."""
    where = write("volume_begin", facts.begin_making, volume_id)
    if where is None:
        return False
    made = pursue("volume_create", create, volume_id, where)
    if not made["ok"]:
        gone = delete(volume_id, where["backend"])
        write("volume_failed", facts.not_made, volume_id, number, made, gone["ok"])
        return False
    write("volume_made", facts.made, volume_id, number, made["result"])
    return where["server"] is None or _attach(volume_id, where["server"], number)


@DBOS.workflow(name="attach_volume", max_recovery_attempts=1000)
def attach_volume(volume_id: str, server_id: str, number: int) -> bool:
    """Give a volume to a server; False when it could not be, and then nobody has it."""
    return _attach(volume_id, server_id, number)


@DBOS.workflow(name="detach_volume", max_recovery_attempts=1000)
def detach_volume(volume_id: str, number: int) -> bool:
    """Take a volume from its server."""
    backend = write("detach_begin", facts.begin_detaching, volume_id)
    done: Outcome = {"ok": True} if backend is None else detach(volume_id, backend)
    write("volume_detached", facts.detached, volume_id, number, done)
    return bool(done["ok"])


@DBOS.workflow(name="delete_volume", max_recovery_attempts=1000)
def delete_volume(volume_id: str, number: int) -> bool:
    """Remove a volume; its quota is free when the backend has nothing of it any more."""
    backend = write("volume_end", facts.begin_deleting, volume_id)
    done: Outcome = {"ok": True} if backend is None else delete(volume_id, backend)
    write("volume_deleted", facts.deleted, volume_id, number, done)
    return bool(done["ok"])


def detach(volume_id: str, backend: str) -> Outcome:
    """Take a volume from whoever has it, inside a workflow."""
    return pursue("volume_detach", let_go, volume_id, backend)


def delete(volume_id: str, backend: str) -> Outcome:
    """Remove what has the token until the backend has nothing of it, inside a workflow."""
    return pursue("volume_delete", remove, volume_id, backend)


def _attach(volume_id: str, server_id: str, number: int) -> bool:
    where = write("attach_begin", facts.begin_attaching, volume_id, server_id, number)
    if where is None:
        return False
    done = pursue("volume_attach", give, volume_id, where)
    if not done["ok"]:
        undone = detach(volume_id, where["backend"])
        write("volume_not_attached", facts.not_attached, volume_id, number, done, undone["ok"])
        return False
    write("volume_attached", facts.attached, volume_id, number, done["result"])
    return True


def create(volume_id: str, where: dict[str, Any]) -> Outcome:
    """Begin to make a volume, or look how far it is."""

    def action() -> dict[str, Any] | None:
        cloud = _able(where["backend"])
        token = uuid.UUID(volume_id)
        seen = cloud.find_volume(token)
        if seen is None:
            spec = VolumeSpec(
                name=where["name"], size_gib=where["size_gib"], zone=where["zone"], labels=where["labels"]
            )
            seen = cloud.create_volume(spec, token)
        if seen.state is VolumeState.ERROR:
            raise ProviderError(
                N_("The cloud reports that the volume could not be made ({state})."), state=seen.native_state
            )
        return _told(seen) if seen.state in (VolumeState.AVAILABLE, VolumeState.ATTACHED) else None

    return deed(action)


def give(volume_id: str, where: dict[str, Any]) -> Outcome:
    """Begin to give a volume to a server, or look how far it is."""

    def action() -> dict[str, Any] | None:
        cloud = _able(where["backend"])
        seen = _there(cloud, volume_id)
        if seen.server != where["ref"]:
            cloud.attach_volume(seen.ref, where["ref"])
            seen = _there(cloud, volume_id)
        return _told(seen) if seen.server == where["ref"] and seen.state is VolumeState.ATTACHED else None

    return deed(action)


def let_go(volume_id: str, backend: str) -> Outcome:
    """Begin to take a volume from its server, or look how far it is; what is not there nobody has."""

    def action() -> dict[str, Any] | None:
        cloud = _able(backend)
        seen = cloud.find_volume(uuid.UUID(volume_id))
        if seen is not None and seen.server is not None:
            cloud.detach_volume(seen.ref)
            seen = cloud.find_volume(uuid.UUID(volume_id))
        return {} if seen is None or seen.server is None else None

    return deed(action)


def remove(volume_id: str, backend: str) -> Outcome:
    """Begin to remove a volume, or look how far it is."""

    def action() -> dict[str, Any] | None:
        cloud = _able(backend)
        seen = cloud.find_volume(uuid.UUID(volume_id))
        if seen is not None:
            cloud.delete_volume(seen.ref)
            seen = cloud.find_volume(uuid.UUID(volume_id))
        return {} if seen is None else None

    return deed(action)


def _able(backend: str) -> Volumes:
    provider = runtime().provider(backend)
    if not isinstance(provider, Volumes) or "volumes" not in capabilities(provider):
        raise Unsupported(N_("The cloud {backend} has no volumes."), backend=backend)
    return provider


def _there(cloud: Volumes, volume_id: str) -> VolumeObservation:
    seen = cloud.find_volume(uuid.UUID(volume_id))
    if seen is None:
        raise NotFound(N_("The volume is not at the cloud any more."))
    return seen


def _told(seen: VolumeObservation) -> dict[str, Any]:
    return {"ref": seen.ref, "state": seen.state.value}
