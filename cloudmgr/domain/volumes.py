"""Words for disks that live apart from servers, and for points in time of a server."""

from enum import StrEnum


class VolumePhase(StrEnum):
    """Our lifecycle of a volume; what the backend says of it is its state."""

    REQUESTED = "requested"
    CREATING = "creating"
    AVAILABLE = "available"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"


class SnapshotPhase(StrEnum):
    """Our lifecycle of a snapshot."""

    REQUESTED = "requested"
    CREATING = "creating"
    AVAILABLE = "available"
    REVERTING = "reverting"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"
