"""How a call meets the state file and the faults in it; every part of the simulated provider is built on this."""

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudmgr.domain.messages import N_
from providers.base import ServerSpec, VolumeSpec
from providers.capabilities import CAPABILITIES
from providers.errors import ProviderError, Unavailable, Unsupported
from providers.simulated import faults, journal, servers, volumes
from providers.simulated.faults import Fault, FaultKind
from providers.simulated.options import SimulatedOptions
from providers.simulated.state import StateFile

_CAPABILITY_OF: Mapping[str, str] = {
    call: name for name, mixin in CAPABILITIES.items() for call in getattr(mixin, "__abstractmethods__", ())
}


class EmptyAnswer(Exception):  # noqa: N818 - a fault that a list turns into nothing
    """The list that was asked for is to come back empty."""


@dataclass(slots=True)
class Attempt:
    """One changing call under way: the open transaction, and what the journal will say of it."""

    db: sqlite3.Connection
    fault: Fault | None
    outcome: str = "done"
    ref: str | None = None


class SimulatedCalls:
    """The options, the state file, and the two ways of calling."""

    def __init__(self, options: SimulatedOptions, *, backend: str, state_dir: Path) -> None:
        self._options = options
        self._backend = backend
        self._state = StateFile(state_dir)
        self._closed = threading.Event()
        self._zones = {zone.ref: zone for zone in options.zones}
        self._images = {image.ref: image for image in options.images}
        self._networks = {network.ref: network for network in options.networks}
        self._unable = frozenset(options.lacks) | {
            name
            for name, is_there in {
                "public_ips": any(network.is_external for network in options.networks),
                "cloud_quota": options.cloud_quota is not None,
            }.items()
            if not is_there
        }

    def close(self) -> None:
        self._closed.set()
        self._state.close()

    def unable(self) -> frozenset[str]:
        return self._unable

    # Drills

    def inject(self, fault: Fault) -> None:
        """Let a later call meet this fault, whichever process makes it."""
        with self._state.writing() as db:
            faults.inject(db, fault)

    def faults(self) -> list[Fault]:
        """Return the faults that have still to strike, the oldest first."""
        with self._state.reading() as db:
            return faults.remaining(db)

    def clear_faults(self) -> None:
        """Forget every fault."""
        with self._state.writing() as db:
            faults.clear(db)

    def calls(self, call: str | None = None, token: uuid.UUID | None = None) -> list[journal.Call]:
        """Return the changing calls made so far, in order, all or of one kind or for one token."""
        with self._state.reading() as db:
            return journal.calls(db, call, token)

    # The two ways of calling

    @contextmanager
    def _read(
        self, call: str, *, ref: str | None = None, token: uuid.UUID | None = None
    ) -> Iterator[sqlite3.Connection]:
        """Give one consistent view, unless a waiting fault strikes first.

        Raises:
            EmptyAnswer: only of calls that such a fault can be told for.

        """
        self._refuse_lacking(call)
        with self._state.reading() as db:
            armed = faults.is_armed(db, call)
            if not armed:
                yield db
        if armed:
            self._strike_read(call, ref=ref, token=token)
            with self._state.reading() as db:
                yield db

    def _strike_read(self, call: str, *, ref: str | None, token: uuid.UUID | None) -> None:
        with self._state.writing() as db:
            target = _target(db, ref, token)
            fault = _consume(db, call, target)
            if fault and fault.kind is FaultKind.GONE and target is not None:
                servers.remove(db, target["ref"])
        self._linger(fault)
        raised = fault and (fault.refusal() or fault.read_loss())
        if raised:
            raise raised
        if fault and fault.kind is FaultKind.EMPTY:
            raise EmptyAnswer

    @contextmanager
    def _write(
        self,
        call: str,
        *,
        ref: str | None = None,
        token: uuid.UUID | None = None,
        about: ServerSpec | VolumeSpec | None = None,
    ) -> Iterator[Attempt]:
        """Run one changing call in one transaction, journal it, and let a waiting fault strike.

        A refusal undoes what the call did and is still journalled; so is the fault it consumed.
        """
        self._refuse_lacking(call)
        struck = self._strike_slow(call, ref=ref, token=token, about=about)
        raised: ProviderError | None = None
        with self._state.writing() as db:
            target = _target(db, ref, token)
            if struck:
                fault = None
            elif about:
                fault = faults.consume(db, call, name=about.name, zone=about.zone)
            else:
                fault = _consume(db, call, target)
            if token is None and target is not None and target["token"]:
                token = uuid.UUID(target["token"])
            seq = journal.begin(db, call, None if token is None else str(token), ref)
            attempt = Attempt(db, fault)
            if fault and fault.kind is FaultKind.GONE and about is None and target is not None:
                servers.remove(db, target["ref"])  # before the savepoint: it stays gone when the call is refused for it
            db.execute("SAVEPOINT effect")
            try:
                if fault and (refusal := fault.refusal()):
                    raise refusal
                yield attempt
            except ProviderError as error:
                db.execute("ROLLBACK TO effect")
                raised, attempt.outcome = error, error.code
            db.execute("RELEASE effect")
            if fault and (loss := fault.loss()):
                raised = loss
                attempt.outcome = "half_created" if fault.kind is FaultKind.HALF_CREATED else "lost"
            journal.end(db, seq, attempt.outcome, attempt.ref)
        if raised is not None:
            raise raised

    def _strike_slow(
        self, call: str, *, ref: str | None, token: uuid.UUID | None, about: ServerSpec | VolumeSpec | None
    ) -> bool:
        """Meet a slow fault before the transaction begins, so that nobody else waits with this call."""
        with self._state.reading() as db:
            if not faults.is_armed(db, call, FaultKind.SLOW):
                return False
        with self._state.writing() as db:
            about_row = _target(db, ref, token) if about is None else None
            if about is not None:
                fault = faults.consume(db, call, name=about.name, zone=about.zone, only=FaultKind.SLOW)
            else:
                fault = _consume(db, call, about_row, only=FaultKind.SLOW)
        self._linger(fault)
        return fault is not None

    def _linger(self, fault: Fault | None) -> None:
        """Be the slow cloud: the imagined peer takes its time here, and closing the provider ends the wait."""
        if fault and fault.kind is FaultKind.SLOW and self._closed.wait(fault.seconds):
            raise Unavailable(N_("The simulated cloud does not answer."), detail="closed while a slow call was waiting")

    def _refuse_lacking(self, call: str) -> None:
        name = _CAPABILITY_OF.get(call)
        if name in self._unable:
            raise Unsupported(N_("This cloud cannot do that."), detail=f"{call}: without the capability {name}")


def _target(db: sqlite3.Connection, ref: str | None, token: uuid.UUID | None) -> sqlite3.Row | None:
    """Return the row of the server or volume a call is about."""
    return servers.find(db, ref=ref, token=token) or volumes.find(db, ref=ref, token=token)


def _consume(
    db: sqlite3.Connection, call: str, target: sqlite3.Row | None, only: FaultKind | None = None
) -> Fault | None:
    name, zone = (None, None) if target is None else (target["name"], target["zone"])
    return faults.consume(db, call, name=name, zone=zone, only=only)
