"""Words for what looking at backends brings: kinds of looks, how they end, what does not agree, and how it is settled."""

from enum import StrEnum


class SyncKind(StrEnum):
    """How much of a backend was read."""

    FULL = "full"
    INCREMENTAL = "incremental"


class SyncOutcome(StrEnum):
    """How a look ended. Only `ok` says anything about what is not there."""

    OK = "ok"
    FAILED = "failed"
    SUSPECT = "suspect"
    """It answered with nothing, where a moment ago there were servers: unknown, never "all gone"."""


class FindingKind(StrEnum):
    """What does not agree."""

    UNMANAGED = "unmanaged"
    """未纳管: a server at the backend that is not ours."""
    UNAUTHORISED = "unauthorised"
    """未授权: a server that appeared at a backend where everything was known before, made past us."""
    REVIVED = "revived"
    """A server that is frozen or retired here and runs there."""
    ORPHAN = "orphan"
    """Ours, and no longer at the backend."""
    LEFTOVER = "leftover"
    """A disk, port, address or snapshot that no server owns."""
    DRIFT = "drift"
    """A field that differs."""
    ADDRESS_CONFLICT = "address_conflict"
    """An address of ours that somebody else uses."""


class FindingState(StrEnum):
    """How far it is settled."""

    OPEN = "open"
    RESTORING = "restoring"
    ACCEPTED = "accepted"
    RESTORED = "restored"
    IGNORED = "ignored"
    RESOLVED = "resolved"
    """It went away by itself, or what was done about it is done."""


class ServerSource(StrEnum):
    """How a server came into the ledger."""

    BUILT = "built"
    IMPORTED = "imported"
    """纳管: it stood at a backend already."""
    MANUAL = "manual"
    """人工登记: a physical machine, or one of a cloud without a driver; kept by hand."""
