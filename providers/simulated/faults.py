"""Faults on demand: told once, kept in the state file, met by whichever process makes the matching call next.

This is how operators train for bad days and how workflows are proved against them. A fault is consumed when it strikes.
"""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from cloudmgr.domain.messages import N_
from providers.errors import AuthFailed, NoCapacity, ProviderError, Throttled, Unavailable, UnknownOutcome

ANY_CALL = "*"
_OF_ONE_SERVER = frozenset(
    {
        "find_server", "get_server", "list_snapshots", "create_server", "delete_server", "start_server", "stop_server",
        "reboot_server", "resize_server", "create_snapshot", "revert_snapshot", "delete_snapshot",
    }
)  # fmt: skip
_LISTS = frozenset({"list_servers", "list_volumes", "list_changes"})
_CALLS = frozenset(
    {
        "check", "list_zones", "list_images", "list_networks", "find_volume", "create_volume", "attach_volume",
        "detach_volume", "delete_volume", "set_port_rules", "list_port_rules", "list_addresses", "assign_public_address",
        "find_public_address", "release_public_address", "list_resources", "still_there", "read_quota",
    }
) | _OF_ONE_SERVER | _LISTS  # fmt: skip
_TAKES_ROOM = frozenset({"create_server", "resize_server", "create_volume", "assign_public_address"})


class FaultKind(StrEnum):
    """What goes wrong."""

    LOST_ANSWER = "lost_answer"
    """The call happens and its answer is lost: UnknownOutcome for a write, Unavailable for a read (P9)."""
    HALF_CREATED = "half_created"
    """A record is left without power or addresses, and the answer is lost. Only of create_server."""
    UNFINISHED = "unfinished"
    """A part of the work is done and the answer says so; another create_server goes on with it. Only of create_server."""
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    NO_CAPACITY = "no_capacity"
    """Only of calls that take room: create_server, resize_server, create_volume, assign_public_address."""
    GONE = "gone"
    """The server vanishes behind our back: before the call, or right after a create_server. Only of calls about one server."""
    AUTH = "auth"
    EMPTY = "empty"
    """A list comes back with nothing in it, though there is something. Only of list_servers, list_volumes, list_changes."""
    SLOW = "slow"
    """The call goes through after `seconds`."""
    LEFT_BEHIND = "left_behind"
    """The server goes, its system disk stays, and nothing is said of it. Only of delete_server."""


_ONLY_OF = {
    FaultKind.HALF_CREATED: frozenset({"create_server"}),
    FaultKind.UNFINISHED: frozenset({"create_server"}),
    FaultKind.NO_CAPACITY: _TAKES_ROOM,
    FaultKind.GONE: _OF_ONE_SERVER,
    FaultKind.EMPTY: _LISTS,
    FaultKind.LEFT_BEHIND: frozenset({"delete_server"}),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to meet.

    `call` is a provider method or `*` for any; `times` is how often it strikes, None until it is cleared. `match_name`
    (a shell pattern) and `zone` narrow it to calls about such a server or volume; calls about none then pass untouched.
    `seconds` is how long a slow call takes.

    Raises:
        ValueError: no such call, or a kind that this call cannot show.

    """

    call: str
    kind: FaultKind | str
    times: int | None = 1
    match_name: str | None = None
    zone: str | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FaultKind(self.kind))
        allowed = _ONLY_OF.get(FaultKind(self.kind), _CALLS | {ANY_CALL})
        if self.call not in allowed:
            raise ValueError(f"a fault {self.kind} is of one of {', '.join(sorted(allowed))}, not of {self.call!r}")
        if self.times is not None and self.times < 1:
            raise ValueError("a fault strikes at least once")
        if (self.kind is FaultKind.SLOW) != (self.seconds > 0):
            raise ValueError("a slow fault takes seconds, and no other does")

    def strikes(self, name: str | None, zone: str | None) -> bool:
        """Whether a call about a server of this name and zone (None: about no server) meets it."""
        if self.match_name is not None and (name is None or not fnmatchcase(name, self.match_name)):
            return False
        return self.zone is None or self.zone == zone

    def refusal(self) -> ProviderError | None:
        """Return what a call raises *instead* of doing anything, None where it goes ahead first."""
        match self.kind:
            case FaultKind.THROTTLED:
                return Throttled(N_("The cloud asks to slow down; try again later."), detail=self._detail)
            case FaultKind.UNAVAILABLE:
                return Unavailable(N_("The simulated cloud does not answer."), detail=self._detail)
            case FaultKind.AUTH:
                return AuthFailed(N_("The cloud refuses our credentials."), detail=self._detail)
            case FaultKind.NO_CAPACITY:
                return NoCapacity(N_("The zone has no room for a server of this size."), detail=self._detail)
            case _:
                return None

    def loss(self) -> ProviderError | None:
        """Return what a call raises *after* it has happened, None where the answer arrives."""
        if self.kind not in {FaultKind.LOST_ANSWER, FaultKind.HALF_CREATED}:
            return None
        return UnknownOutcome(N_("The cloud's answer was lost; whether it acted is not known."), detail=self._detail)

    def read_loss(self) -> ProviderError | None:
        """Return what a read raises when its answer is lost."""
        if self.kind is not FaultKind.LOST_ANSWER:
            return None
        return Unavailable(N_("The simulated cloud does not answer."), detail=self._detail)

    @property
    def _detail(self) -> str:
        return f"injected fault {self.kind} of {self.call}"


def inject(db: sqlite3.Connection, fault: Fault) -> None:
    """Add a fault behind those already waiting."""
    db.execute(
        "INSERT INTO faults (call, kind, times, match_name, zone, seconds) VALUES (?, ?, ?, ?, ?, ?)",
        (fault.call, str(fault.kind), fault.times, fault.match_name, fault.zone, fault.seconds),
    )


def remaining(db: sqlite3.Connection) -> list[Fault]:
    """Return what has still to strike, the oldest first."""
    return [fault for _, fault in _waiting(db, "SELECT * FROM faults ORDER BY id")]


def clear(db: sqlite3.Connection) -> None:
    """Forget every fault."""
    db.execute("DELETE FROM faults")


def is_armed(db: sqlite3.Connection, call: str, kind: FaultKind | None = None) -> bool:
    """Whether some fault, or one of a kind, may strike this call; lets reads stay reads."""
    row = db.execute(
        "SELECT 1 FROM faults WHERE call IN (?1, ?2) AND (?3 IS NULL OR kind = ?3) LIMIT 1", (call, ANY_CALL, kind)
    ).fetchone()
    return row is not None


def consume(
    db: sqlite3.Connection, call: str, *, name: str | None, zone: str | None, only: FaultKind | None = None
) -> Fault | None:
    """Take the oldest fault that strikes a call about this server or volume, once; `only` if it is of that kind."""
    waiting = _waiting(db, "SELECT * FROM faults WHERE call IN (?, ?) ORDER BY id", (call, ANY_CALL))
    for fault_id, fault in waiting:
        if fault.strikes(name, zone):
            if only is not None and fault.kind is not only:
                return None
            db.execute("DELETE FROM faults WHERE id = ? AND times = 1", (fault_id,))
            db.execute("UPDATE faults SET times = times - 1 WHERE id = ?", (fault_id,))  # NULL, without end, stays NULL
            return fault
    return None


def _waiting(db: sqlite3.Connection, query: str, params: tuple[str, ...] = ()) -> list[tuple[int, Fault]]:
    return [
        (row["id"], Fault(row["call"], row["kind"], row["times"], row["match_name"], row["zone"], row["seconds"]))
        for row in db.execute(query, params)
    ]
