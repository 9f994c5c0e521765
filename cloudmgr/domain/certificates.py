"""Words and rules of deletion certificates 销毁证明: what stands for which part of a server's quota, and when it is asked again."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from enum import StrEnum

NUMBER_PREFIX = "XH"
"""销毁: the series that certificates are numbered in, dated in Asia/Shanghai."""
MOST_WAIT = timedelta(hours=1)
"""However long a retirement has waited, it is taken up again this often."""


class CertificateState(StrEnum):
    """How far a certificate is."""

    OPEN = "open"
    INCOMPLETE = "incomplete"
    COMPLETE = "complete"


class EvidenceKind(StrEnum):
    """What the certificate rests on."""

    ASKED = "asked"
    """The backend was asked for each piece."""
    NONE = "none"
    """Its driver cannot say more than that the server is gone."""


class ItemState(StrEnum):
    """What the backend last said of a piece."""

    THERE = "there"
    GONE = "gone"
    UNKNOWN = "unknown"
    """It was asked to remove the piece and does not answer."""
    KEPT = "kept"
    """It stays on purpose: a volume that was detached."""


_STANDS_FOR: Mapping[str, frozenset[str]] = {
    "servers": frozenset({"server"}),
    "vcpus": frozenset({"server"}),
    "memory_mib": frozenset({"server"}),
    "disk_gib": frozenset({"server", "disk", "volume", "snapshot"}),
    "volumes": frozenset({"server", "disk", "volume"}),
    "ip_addresses": frozenset({"server", "nic", "address"}),
}
"""Which kinds of pieces must be gone before a resource of the server's quota is given back; `server` stands for all."""


def freed(held: Mapping[str, int], left: Collection[str]) -> dict[str, int]:
    """Return what may be given back of a server's quota when pieces of the kinds `left` are not gone.

    A resource that no piece stands for is given back at the very end, with the last piece.
    """
    kinds = frozenset(left)
    return {
        resource: amount
        for resource, amount in held.items()
        if amount and (not kinds or (resource in _STANDS_FOR and not kinds & _STANDS_FOR[resource]))
    }


def keeping(resource: str, left: Collection[str]) -> list[str]:
    """Return which of the kinds `left` a resource is still held for, in order; of one that no piece stands for, all."""
    return sorted(frozenset(left) & _STANDS_FOR.get(resource, frozenset(left)))


def wait_before(check: int, first: timedelta) -> timedelta:
    """Return how long to wait before the next look, after so many: twice as long each time, an hour at most."""
    return min(first * (1 << min(check, 20)), MOST_WAIT)
