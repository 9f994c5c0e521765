"""Taking, going back to and deleting one snapshot. Its name at the backend is our id, so that one asked for twice is one."""

from typing import Any

from dbos import DBOS

from cloudmgr.domain.messages import N_
from cloudmgr.workflows import provision
from cloudmgr.workflows import snapshot_facts as facts
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.pursuit import deed, pursue
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, write
from providers.base import SnapshotObservation
from providers.capabilities import Snapshots, capabilities
from providers.errors import NotFound, Unsupported


@DBOS.workflow(name="take_snapshot", max_recovery_attempts=1000)
def take_snapshot(snapshot_id: str, number: int) -> bool:
    """Take a snapshot; False when it failed, and then nothing of it is left."""
    where = write("snapshot_begin", facts.begin_taking, snapshot_id, number)
    if where is None:
        return False
    taken = pursue("snapshot_take", take, snapshot_id, where)
    if not taken["ok"]:
        gone = pursue("snapshot_delete", remove, snapshot_id, where)
        write("snapshot_failed", facts.not_taken, snapshot_id, number, taken, gone["ok"])
        return False
    write("snapshot_taken", facts.taken, snapshot_id, number, taken["result"])
    return True


@DBOS.workflow(name="revert_snapshot", max_recovery_attempts=1000)
def revert_snapshot(snapshot_id: str, request_id: str, number: int) -> bool:
    """Bring a server back to a snapshot; done twice it is as done once."""
    where = write("revert_begin", facts.begin_reverting, snapshot_id, request_id, number)
    if where is None:
        return False
    done = pursue("snapshot_revert", revert, snapshot_id, where)
    seen: Outcome = (
        call("snapshot_look", provision.look, where["server"], where["backend"], where["imported"])
        if done["ok"]
        else done
    )
    write("snapshot_reverted", facts.reverted, snapshot_id, request_id, number, done, seen)
    return bool(done["ok"])


@DBOS.workflow(name="delete_snapshot", max_recovery_attempts=1000)
def delete_snapshot(snapshot_id: str, number: int) -> bool:
    """Remove a snapshot; its quota is free when the backend has it no more."""
    where = write("snapshot_end", facts.begin_deleting, snapshot_id)
    done: Outcome = {"ok": True} if where is None else pursue("snapshot_delete", remove, snapshot_id, where)
    write("snapshot_deleted", facts.deleted, snapshot_id, number, done)
    return bool(done["ok"])


def take(snapshot_id: str, where: dict[str, Any]) -> Outcome:
    """Take the snapshot unless it is there."""

    def action() -> dict[str, Any]:
        cloud = _able(where["backend"])
        seen = _find(cloud, where["ref"], snapshot_id) or cloud.create_snapshot(where["ref"], snapshot_id)
        return {"ref": seen.ref, "at": seen.created_at.isoformat()}

    return deed(action)


def revert(snapshot_id: str, where: dict[str, Any]) -> Outcome:
    """Bring the server back."""

    def action() -> dict[str, Any]:
        cloud = _able(where["backend"])
        seen = _find(cloud, where["ref"], snapshot_id)
        if seen is None:
            raise NotFound(N_("The snapshot is not at the cloud any more."))
        cloud.revert_snapshot(where["ref"], seen.ref)
        return {}

    return deed(action)


def remove(snapshot_id: str, where: dict[str, Any]) -> Outcome:
    """Remove the snapshot, or look whether it is gone; with its server it is gone too."""

    def action() -> dict[str, Any] | None:
        cloud = _able(where["backend"])
        try:
            seen = _find(cloud, where["ref"], snapshot_id)
            if seen is not None:
                cloud.delete_snapshot(where["ref"], seen.ref)
                seen = _find(cloud, where["ref"], snapshot_id)
        except NotFound:
            return {}
        return {} if seen is None else None

    return deed(action)


def _find(cloud: Snapshots, ref: str, name: str) -> SnapshotObservation | None:
    return next((seen for seen in cloud.list_snapshots(ref) if seen.name == name), None)


def _able(backend: str) -> Snapshots:
    provider = runtime().provider(backend)
    if not isinstance(provider, Snapshots) or "snapshots" not in capabilities(provider):
        raise Unsupported(N_("The cloud {backend} takes no snapshots."), backend=backend)
    return provider
