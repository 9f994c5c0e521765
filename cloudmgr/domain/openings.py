"""Words for what a server shows to the network."""

from enum import StrEnum


class OpeningState(StrEnum):
    """How far a line of the port-opening table is."""

    REQUESTED = "requested"
    ACTIVE = "active"
    RECORDED = "recorded"
    """Approved and noted; the backend has no rules of its own, so somebody else's firewall must be told."""
    CLOSING = "closing"
    CLOSED = "closed"
    EXPIRED = "expired"
    FAILED = "failed"


class PublicIpPhase(StrEnum):
    """Our lifecycle of a public address."""

    REQUESTED = "requested"
    ACTIVE = "active"
    RELEASING = "releasing"
    RELEASED = "released"
    FAILED = "failed"
