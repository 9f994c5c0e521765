"""Identifiers that sort by the time they were made."""

import os
import threading
import time
import uuid

_TICKS_PER_MS = 4096

_lock = threading.Lock()
_last = 0


def new_id() -> uuid.UUID:
    """Make a UUID version 7: milliseconds, 12 bits of the fraction (RFC 9562 §6.2, method 3), then 62 random bits.

    Each is greater than the one before it in the same process, so a primary key is also a keyset cursor.
    """
    global _last  # noqa: PLW0603 — one clock a process is the point
    with _lock:
        tick = _last = max(time.time_ns() * _TICKS_PER_MS // 1_000_000, _last + 1)
    milliseconds, fraction = divmod(tick, _TICKS_PER_MS)
    noise = int.from_bytes(os.urandom(8)) & ~(0x3 << 62)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | noise)
