"""Runs one playbook on several servers and tells what each task did; a run ends with the call, or with the worker.

It never runs two playbooks on one server at a time (a lock file a server, across processes of this machine), keeps
Ansible out of this process (see playbook_guard), and gives no secret to a command line, an environment, an event or a log.
What it does not do: decide which playbook is allowed, or keep events; that is the caller's.
"""

import contextlib
import fcntl
import importlib.resources
import ipaddress
import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from cloudmgr.adapters import playbook_guard
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.messages import N_, Message

FORKS = 5
REHEARSAL_FORKS = 2
LOCK_WAIT_S = 15.0
"""Longer than a dead worker's guard needs to kill its run, so that a restarted step waits instead of failing."""

_KILL_WITHIN_S = playbook_guard.KILL_WITHIN_S
_POLL_S = 0.25
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RESERVED = re.compile(r"ansible_.*|cloudmgr_.*|server|os_profile.*|role_versions")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Host:
    """One server to log into; `address` None: it has none yet, and counts as unreachable."""

    server_id: UUID
    name: str
    address: str | None
    user: str = "ops"
    port: int = 22


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One thing that happened; `server_id` is None when a task starts. `task` is the English name, a catalogue key."""

    seq: int
    at: datetime
    server_id: UUID | None
    role: str
    task: str
    state: str
    """started, ok, changed, skipped, failed or unreachable."""
    message: str


@dataclass(frozen=True, slots=True)
class HostResult:
    """What became of one server; `ok` counts changed tasks too, as Ansible counts."""

    server_id: UUID
    state: str
    """ok, failed or unreachable."""
    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0
    reason: Message | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """Operating system, kernel, architecture … as the server said; empty after a rehearsal, which saw another machine."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of the run; `reason` says why it did not succeed."""

    state: str
    """succeeded, failed, cancelled or timed_out."""
    hosts: Mapping[UUID, HostResult]
    reason: Message | None = None


def run_playbook(
    *,
    run_id: UUID,
    playbook: str,
    hosts: Sequence[Host],
    variables: Mapping[str, Any],
    host_variables: Mapping[UUID, Mapping[str, Any]] | None = None,
    secrets: Mapping[str, str],
    private_key: str | None,
    known_hosts: str | None,
    rehearse: bool,
    check: bool,
    timeout_s: float,
    work_dir: Path,
    on_event: Callable[[TaskEvent], None],
    is_cancelled: Callable[[], bool],
    command_prefix: Sequence[str] = (),
    lock_wait_s: float = LOCK_WAIT_S,
) -> RunResult:
    """Run a playbook and return when nothing of it is left running, whatever happened.

    `playbook` is a file of the packaged content, or an absolute path. `variables` are for all servers, `host_variables`
    for one and stronger; strings in them are never templates. `secrets` reach roles as `cloudmgr_secrets`.
    `rehearse` (模拟执行) really runs it, in check mode and against this machine, once a server: nothing is changed and
    nobody is logged into. `known_hosts` given: keys must match; None: a server's first key is kept in `work_dir` and
    must match from then on. Cancelling and the time limit end the run within 5 s. `on_event` is called in this thread,
    in order; what it raises ends the run and is raised again.

    Raises:
        InvalidInput: a variable's name is reserved, or an address or user cannot be one.
        Conflict: another run holds one of the servers for longer than `lock_wait_s`.
    """
    _refuse_unsafe(hosts, [variables, *(host_variables or {}).values()])
    deadline = time.monotonic() + timeout_s
    work_dir.mkdir(parents=True, exist_ok=True)
    reachable = [host for host in hosts if rehearse or host.address]
    tally = _Tally(hosts, rehearse, on_event)
    if not reachable:
        return tally.result("succeeded")
    playbook_guard.sweep(_bases(work_dir))
    with contextlib.ExitStack() as stack:
        locks = [stack.enter_context(_lock(work_dir, host, lock_wait_s)) for host in _in_order(reachable)]
        order = {
            "run": str(run_id),
            "base": _bases(work_dir)[0],
            **_content(playbook),
            "hosts": {
                str(host.server_id): _entry(host, variables, host_variables or {}, rehearse, work_dir)
                for host in reachable
            },
            "secrets": dict(secrets),
            "private_key": private_key,
            "known_hosts": known_hosts,
            "rehearse": rehearse,
            "check": rehearse or check,
            "forks": REHEARSAL_FORKS if rehearse else FORKS,
            "command_prefix": [] if rehearse else list(command_prefix),
            "locks": [str(_lock_path(work_dir, host)) for host in reachable],
            "lock_fds": locks,
        }
        return _supervise(order, tally, deadline, timeout_s, is_cancelled)


def forget_server(work_dir: Path, server_id: UUID) -> None:
    """Remove what is kept here of a server that is no more: its host key and its lock file. Absent is fine."""
    (work_dir / "known_hosts" / str(server_id)).unlink(missing_ok=True)
    (work_dir / "locks" / f"{server_id}.lock").unlink(missing_ok=True)


def _supervise(
    order: Mapping[str, Any], tally: "_Tally", deadline: float, timeout_s: float, is_cancelled: Callable[[], bool]
) -> RunResult:
    with tempfile.TemporaryFile() as errors:
        guard = subprocess.Popen(  # noqa: S603 - our own interpreter and file; what to run goes through the pipe
            [sys.executable, "-P", playbook_guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={key: os.environ[key] for key in _PASSED_ON if key in os.environ},
            pass_fds=order["lock_fds"],
            start_new_session=True,  # neither Ctrl-C nor a kill of the worker's group may take the guard first
        )
        if guard.stdout is None:
            raise AssertionError("the guard has no pipe to speak through")
        with guard.stdout:
            try:
                state = _relay(guard, order, tally, deadline, is_cancelled)
            finally:
                _stop(guard, order["locks"])
            tally.feed(guard.stdout.read())
        errors.seek(0)
        tally.crashed = errors.read()[-400:].decode(errors="replace").strip()
    return tally.result(state, timeout_s)


def _relay(
    guard: subprocess.Popen[bytes],
    order: Mapping[str, Any],
    tally: "_Tally",
    deadline: float,
    is_cancelled: Callable[[], bool],
) -> str:
    """Pass events on until the guard is done, the caller cancels or time is up; return how it ended so far."""
    if guard.stdin is None or guard.stdout is None:
        raise AssertionError("the guard has no pipes")
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.write(json.dumps(order).encode() + b"\n")
        guard.stdin.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(guard.stdout, selectors.EVENT_READ)
        while True:
            if is_cancelled():
                return "cancelled"
            if time.monotonic() >= deadline:
                return "timed_out"
            if selector.select(_POLL_S):
                chunk = os.read(guard.stdout.fileno(), 65536)
                if not chunk:
                    return "ended"
                tally.feed(chunk)


def _stop(guard: subprocess.Popen[bytes], locks: Sequence[str]) -> None:
    """End the run by closing the guard's pipe; a guard that does not follow is killed, and then what it left."""
    with contextlib.suppress(OSError):
        guard.stdin.close()  # type: ignore[union-attr]
    try:
        guard.wait(timeout=_KILL_WITHIN_S)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
    if guard.returncode < 0:
        for lock in locks:
            _kill_survivor(Path(lock))


class _Tally:
    """Counts what the guard tells and makes the result of it."""

    def __init__(self, hosts: Sequence[Host], rehearse: bool, on_event: Callable[[TaskEvent], None]) -> None:
        self.crashed = ""
        self._hosts = hosts
        self._rehearse = rehearse
        self._on_event = on_event
        self._buffer = b""
        self._seq = 0
        self._count: dict[UUID, dict[str, int]] = {host.server_id: {} for host in hosts}
        self._reason: dict[UUID, Message] = {}
        self._facts: dict[UUID, dict[str, str]] = {}
        self._end: dict[str, Any] = {}
        self._broken = ""

    def feed(self, chunk: bytes) -> None:
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "end":
            self._end = line
        elif line["event"] == "broken":
            self._broken = line["message"]
        else:
            self._take_task(line)

    def _take_task(self, line: dict[str, Any]) -> None:
        server = UUID(line["host"]) if line["host"] else None
        state = line["state"]
        if server is not None:
            count = self._count[server]
            count[state] = count.get(state, 0) + 1
            if line.get("facts") and not self._rehearse:
                self._facts[server] = {str(key): str(value) for key, value in line["facts"].items()}
            if state in ("failed", "unreachable") and not line.get("ignored"):
                self._reason[server] = _reason(state, line, self._address(server))
        self._seq += 1
        at = datetime.fromisoformat(line["at"]) if line["at"] else clock.now()
        self._on_event(TaskEvent(self._seq, at, server, line["role"], line["task"], state, line["message"]))

    def _address(self, server: UUID) -> str:
        return next((host.address or "" for host in self._hosts if host.server_id == server), "")

    def result(self, state: str, timeout_s: float = 0) -> RunResult:
        """Judge: a server is fine when the whole playbook went over it and no task of it failed."""
        whole = state == "succeeded" or bool(self._end.get("stats"))
        stopped = {
            "cancelled": Message(N_("The run was cancelled.")),
            "timed_out": Message(
                N_("The run did not end within {timeout_s} seconds and was stopped."), {"timeout_s": round(timeout_s)}
            ),
        }.get(state) or (
            None if whole else Message(N_("Ansible stopped early: {said}"), {"said": _said(self._why_early())})
        )
        results = {host.server_id: self._host_result(host, stopped) for host in self._hosts}
        bad = [result for result in results.values() if result.state != "ok"]
        if state in ("cancelled", "timed_out") and not (whole and not bad):
            return RunResult(state, results, stopped)
        if stopped is not None and not whole:
            return RunResult("failed", results, stopped)
        if bad:
            params = {"bad": len(bad), "total": len(results)}
            return RunResult("failed", results, Message(N_("The playbook failed on {bad} of {total} servers."), params))
        return RunResult("succeeded", results)

    def _host_result(self, host: Host, stopped: Message | None) -> HostResult:
        count = self._count[host.server_id]
        reason = self._reason.get(host.server_id) or stopped
        state = "unreachable" if count.get("unreachable") else "ok" if reason is None else "failed"
        if host.address is None and not self._rehearse:
            state, reason = "unreachable", Message(N_("Server {name} has no address to log into."), {"name": host.name})
        return HostResult(
            server_id=host.server_id,
            state=state,
            ok=count.get("ok", 0) + count.get("changed", 0),
            changed=count.get("changed", 0),
            failed=count.get("failed", 0),
            skipped=count.get("skipped", 0),
            reason=reason,
            facts=self._facts.get(host.server_id, {}),
        )

    def _why_early(self) -> str:
        return self._broken or self._end.get("tail") or self.crashed


def _reason(state: str, line: Mapping[str, Any], address: str) -> Message:
    said = _said(line["message"])
    if state == "unreachable":
        return Message(N_("The server did not let us in at {address}: {said}"), {"address": address, "said": said})
    task = line["task"]
    named = task if "{" in task else Message(task)  # our task names are catalogue keys, too
    return Message(N_("Task “{task}” failed: {said}"), {"task": named, "said": said})


def _said(text: str) -> Message | str:
    """Return what was said: Ansible's own words as they are, ours to be translated."""
    if not text:
        return Message(N_("no reason given"))
    if text == playbook_guard.HIDDEN:
        return Message(N_("its output is hidden because it may hold secrets"))
    return text


def _refuse_unsafe(hosts: Sequence[Host], variables: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what could change how Ansible connects; `ansible_connection: local` would run a role on the worker."""
    for name in (name for each in variables for name in each):
        if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            raise InvalidInput(N_("A playbook variable cannot be called {name}."), field=f"variables.{name}", name=name)
    for host in hosts:
        if not _USER.fullmatch(host.user) or not (host.address is None or _is_address(host.address)):
            raise InvalidInput(
                N_("Server {name} cannot be logged into as {user} at {address}."),
                field="servers",
                name=host.name,
                user=host.user,
                address=host.address or "",
            )


def _is_address(text: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return _HOST_NAME.fullmatch(text) is not None


def _content(playbook: str) -> dict[str, str]:
    """Return the playbook's path and its project folder, where roles and modules are."""
    path = Path(playbook)
    if not path.is_absolute():
        path = Path(str(importlib.resources.files("playbooks"))) / (playbook if path.suffix else f"{playbook}.yml")
    if not path.is_file():
        raise InvalidInput(N_("There is no playbook {name}."), field="playbook", name=playbook)
    return {"playbook": str(path), "project": str(path.parent)}


def _entry(
    host: Host,
    variables: Mapping[str, Any],
    host_variables: Mapping[UUID, Mapping[str, Any]],
    rehearse: bool,
    work_dir: Path,
) -> dict[str, Any]:
    connection: dict[str, Any] = {
        "ansible_host": host.address,
        "ansible_user": host.user,
        "ansible_port": host.port,
        "ansible_connection": "ssh",
        "ansible_become": host.user != "root",
    }
    if rehearse:
        connection = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": str(Path(sys.executable).resolve()),
        }
    known = work_dir / "known_hosts"
    known.mkdir(exist_ok=True, mode=0o700)
    server = {"id": str(host.server_id), "name": host.name}
    return {
        "connection": connection,
        "known_hosts": str((known / str(host.server_id)).absolute()),
        "variables": {**variables, **host_variables.get(host.server_id, {}), "server": server},
    }


def _bases(work_dir: Path) -> list[str]:
    """Return where private folders may stand, memory first: a secret on a disk outlives its deletion."""
    shared = Path("/dev/shm")  # noqa: S108 - mkdtemp inside makes a folder of mode 0700 with a random name
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    return [str(shared), str(work_dir.absolute())] if usable else [str(work_dir.absolute())]


def _in_order(hosts: Sequence[Host]) -> list[Host]:
    return sorted(hosts, key=lambda host: host.server_id)


def _lock_path(work_dir: Path, host: Host) -> Path:
    return work_dir.absolute() / "locks" / f"{host.server_id}.lock"


@contextlib.contextmanager
def _lock(work_dir: Path, host: Host, wait_s: float) -> Iterator[int]:
    """Hold a server's lock; the guard holds it with us and, when we are gone, until everything is killed.

    A survivor named in the file belongs to a guard that died without killing it, and is killed first.
    """
    path = _lock_path(work_dir, host)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Conflict(N_("A playbook is already running on server {name}."), name=host.name) from None
                time.sleep(0.1)
        _kill_survivor(path)
        yield descriptor
    finally:
        os.close(descriptor)


def _kill_survivor(lock: Path) -> None:
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        left = json.loads(lock.read_text())
        playbook_guard.kill_survivors(left["pid"], left["started"], left["folder"])
    with contextlib.suppress(FileNotFoundError):
        os.truncate(lock, 0)
