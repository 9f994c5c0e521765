"""Words for what looking at backends brings: kinds of looks, how they end, what does not agree, and how it is settled."""

from collections.abc import Mapping
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


class FindingDecision(StrEnum):
    """What a person may decide on a finding."""

    ACCEPT = "accept"
    """The ledger follows: what the backend shows is right."""
    RESTORE = "restore"
    """The backend follows: what the ledger holds is right."""
    IGNORE = "ignore"
    """Both stay as they are, for a stated reason, as long as the backend shows the same."""
    CONFIRM_LOSS = "confirm_loss"
    """An orphan is really gone: it is retired, with a certificate, and its quota is freed."""
    WAIT = "wait"
    """An orphan may come back: it stays an orphan, with the reason."""


DECISIONS: Mapping[FindingKind, frozenset[FindingDecision]] = {
    FindingKind.UNMANAGED: frozenset({FindingDecision.IGNORE}),
    FindingKind.UNAUTHORISED: frozenset({FindingDecision.IGNORE}),
    FindingKind.REVIVED: frozenset({FindingDecision.RESTORE, FindingDecision.IGNORE}),
    FindingKind.ORPHAN: frozenset({FindingDecision.CONFIRM_LOSS, FindingDecision.WAIT}),
    FindingKind.LEFTOVER: frozenset({FindingDecision.IGNORE}),
    FindingKind.DRIFT: frozenset({FindingDecision.ACCEPT, FindingDecision.RESTORE, FindingDecision.IGNORE}),
    FindingKind.ADDRESS_CONFLICT: frozenset({FindingDecision.IGNORE}),
}
"""What fits a kind. What is not ours is taken over by an import, which asks for what the ledger must know."""
REASONED = frozenset({FindingDecision.IGNORE, FindingDecision.CONFIRM_LOSS, FindingDecision.WAIT})
"""Decisions that need a reason."""
RESTORABLE = frozenset({"vcpus", "memory_mib", "power"})
"""Fields that can be put back at a backend; names, images and networks are nobody's to change from here."""


class ResourceType(StrEnum):
    """What stands there."""

    VM = "vm"
    BAREMETAL = "baremetal"


class ServerSource(StrEnum):
    """How a server came into the ledger."""

    BUILT = "built"
    IMPORTED = "imported"
    """纳管: it stood at a backend already."""
    MANUAL = "manual"
    """人工登记: a physical machine, or one of a cloud without a driver; kept by hand."""
