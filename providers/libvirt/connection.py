"""One connection to one libvirt host: opened when first needed, opened again when dead, every call under a deadline.

libvirt's calls block in C and know no timeout. Each runs in a daemon thread and is waited for until the
operation's deadline; past it the connection is given up and the caller told (P9, P10). A thread that hangs is counted,
so that a host that hangs cannot eat the worker's threads. Keep-alive messages end calls on a silent connection.
"""

import logging
import math
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import libvirt

from cloudmgr.domain.messages import N_
from providers.errors import ProviderError, Throttled
from providers.libvirt import errors
from providers.libvirt.options import LibvirtOptions

T = TypeVar("T")
_log = logging.getLogger(__name__)

KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 4
MAX_CALLS = 32
"""Calls in flight on one connection, hung ones included."""
IDLE_CALLER_S = 20


class Session:
    """One operation: a connection and a deadline shared by all its calls."""

    def __init__(self, connection: "Connection", conn: Any, deadline: float, *, write: bool) -> None:
        self.conn = conn
        self.write = write
        self._connection = connection
        self._deadline = deadline

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Make one call that changes nothing."""
        return self._run(function, args, write=False)

    def change(self, function: Callable[..., T], *args: Any) -> T:
        """Make one call that changes something: its loss is UnknownOutcome."""
        return self._run(function, args, write=True)

    def attempt(self, function: Callable[..., T], *args: Any, absent: frozenset[int] | set[int]) -> T | None:
        """Make one call, taking libvirt's listed error codes for "there is none"."""

        def tolerant() -> T | None:
            try:
                return function(*args)
            except libvirt.libvirtError as error:
                if error.get_error_code() in absent and not errors.lost_connection(error):
                    return None
                raise

        return self._run(tolerant, (), write=self.write)

    def _run(self, function: Callable[..., T], args: tuple[Any, ...], *, write: bool) -> T:
        try:
            return self._connection.run_until(self._deadline, function, args)
        except libvirt.libvirtError as error:
            if errors.lost_connection(error):
                self._connection.drop(self.conn)
            raise errors.from_call(error, write=write) from error
        except TimeoutError as error:
            self._connection.drop(self.conn)
            name = getattr(function, "__name__", "call")
            raise (errors.unknown_outcome if write else errors.unavailable)(f"{name}: no answer in time") from error


class Connection:
    """Thread-safe; holds nothing until the first `session`."""

    def __init__(self, options: LibvirtOptions, state_dir: Path) -> None:
        self._options = options
        self._uri = address(options, state_dir)
        self._conn: Any = None
        self._guard = threading.Lock()
        self._opening = threading.Lock()
        self._refusal: tuple[float, ProviderError] | None = None
        self._slots = threading.BoundedSemaphore(MAX_CALLS)
        self._callers = _Callers()

    @contextmanager
    def session(self, *, write: bool = False, timeout_s: float | None = None) -> Iterator[Session]:
        """Yield a session whose calls together end within `timeout_s` (the configured call timeout without one).

        Raises:
            Unavailable, AuthFailed: the host cannot be reached or refuses us.
        """
        deadline = time.monotonic() + (timeout_s or self._options.call_timeout_s)
        yield Session(self, self._open(), deadline, write=write)

    def close(self) -> None:
        """Give the connection back."""
        self.drop(self._conn)

    def drop(self, conn: Any) -> None:
        """Forget a connection that is dead or hung, unless another thread has already replaced it."""
        with self._guard:
            if conn is None or conn is not self._conn:
                return
            self._conn = None
        threading.Thread(target=_close, args=(conn,), daemon=True, name="libvirt-close").start()

    def run_until(self, deadline: float, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Run a blocking call in another thread and wait for it until the deadline.

        Raises:
            TimeoutError: it did not end in time; it may still end.
        """
        if not self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise Throttled(
                N_("Too many calls to the libvirt host are waiting; try again later."),
                detail=f"{MAX_CALLS} calls in flight",
            )
        outcome: list[T] = []
        failure: list[BaseException] = []
        done = threading.Event()

        def work() -> None:
            try:
                outcome.append(function(*args))
            except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread, whatever it is
                failure.append(error)
            finally:
                self._slots.release()
                done.set()

        self._callers.run(work)
        if not done.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        if failure:
            raise failure[0]
        return outcome[0]

    def _open(self) -> Any:
        asked = time.monotonic()
        with self._opening:
            with self._guard:
                if self._conn is not None and self._conn.isAlive():
                    return self._conn
                self._conn = None
            # One failed attempt answers everybody who waited for it, or waiters would time out one after the other.
            if self._refusal is not None and self._refusal[0] > asked:
                raise self._refusal[1]
            try:
                conn = self._connect()
            except ProviderError as error:
                self._refusal = (time.monotonic(), error)
                raise
            with self._guard:
                self._conn = conn
            return conn

    def _connect(self) -> Any:
        _start_event_loop()
        limit_s = self._options.connect_timeout_s
        try:
            return self.run_until(time.monotonic() + limit_s, _connect, (self._uri,))
        except libvirt.libvirtError as error:
            raise errors.from_connect(error) from error
        except TimeoutError as error:
            raise errors.unavailable(f"no connection within {limit_s} s") from error


class _Callers:
    """Daemon threads that make calls, kept for a while because starting one costs more than most calls.

    Not a ThreadPoolExecutor: that waits for its threads when the interpreter ends, and one of ours may hang for ever.
    """

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], None]]] = []
        self._guard = threading.Lock()

    def run(self, work: Callable[[], None]) -> None:
        """Do the work in an idle thread, or in a new one."""
        with self._guard:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), daemon=True, name="libvirt-call").start()
        inbox.put(work)

    def _serve(self, inbox: "SimpleQueue[Callable[[], None]]") -> None:
        while True:
            try:
                work = inbox.get(timeout=IDLE_CALLER_S)
            except Empty:
                with self._guard:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue  # taken in this very moment: the work is on its way
            work()
            del work
            with self._guard:
                self._idle.append(inbox)


def address(options: LibvirtOptions, state_dir: Path) -> str:
    """Return the URI libvirt is given: ours with the files of the transport, and never a question to a person.

    libvirt's ssh transport knows no known_hosts file and no connect timeout, so ssh is started through a script of
    ours in `state_dir` that sets both.
    """
    parts = urlsplit(options.uri)
    query: dict[str, str] = {}
    if options.transport == "ssh":
        query = {"no_tty": "1", "command": str(_ssh_command(options, state_dir))}
        if options.ssh_key_file:
            query["keyfile"] = options.ssh_key_file
    elif options.transport == "tls" and options.pki_dir:
        query["pkipath"] = options.pki_dir
    if options.socket:
        query["socket"] = options.socket
    return urlunsplit(parts._replace(query=urlencode(query, safe="/", quote_via=quote)))


def _ssh_command(options: LibvirtOptions, state_dir: Path) -> Path:
    settings = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={math.ceil(options.connect_timeout_s)}"]
    if options.known_hosts_file:
        settings.append(f"UserKnownHostsFile={options.known_hosts_file}")
    if options.ssh_key_file:
        settings.append("IdentitiesOnly=yes")
    flags = " ".join(f"-o {shlex.quote(setting)}" for setting in settings)
    state_dir.mkdir(parents=True, exist_ok=True)
    script = state_dir / "ssh"
    fresh = state_dir / f".ssh-{os.getpid()}-{threading.get_ident()}"
    # libvirt gives up on more than 1,024 bytes of complaint, and ssh's reason stands at the end of its own.
    fresh.write_text(f'#!/bin/bash\nexec ssh {flags} "$@" 2> >(tail -c 900 >&2)\n')
    fresh.chmod(0o700)
    fresh.replace(script)
    return script


def _connect(uri: str) -> Any:
    credentials = [libvirt.VIR_CRED_AUTHNAME, libvirt.VIR_CRED_PASSPHRASE]
    conn = libvirt.openAuth(uri, [credentials, _no_answer, None], 0)
    conn.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
    return conn


def _no_answer(_credentials: list[Any], _opaque: Any) -> int:
    return -1  # nobody is here to be asked


def _close(conn: Any) -> None:
    try:
        conn.close()
    except libvirt.libvirtError as error:
        _log.debug("closing a dead libvirt connection: %s", error)


_event_loop_guard = threading.Lock()
_event_loop: threading.Thread | None = None


def _start_event_loop() -> None:
    """Start libvirt's event loop, once a process: its design allows one, and keep-alive needs it."""
    global _event_loop  # noqa: PLW0603 - the loop is libvirt's, and process-wide
    with _event_loop_guard:
        if _event_loop is None:
            libvirt.registerErrorHandler(_quiet, None)
            libvirt.virEventRegisterDefaultImpl()
            _event_loop = threading.Thread(target=_run_events, daemon=True, name="libvirt-events")
            _event_loop.start()


def _run_events() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            _log.warning("libvirt's event loop: %s", error)


def _quiet(_context: Any, _error: Any) -> None:
    """Keep libvirt from printing every error on stderr; each comes as an exception as well."""
