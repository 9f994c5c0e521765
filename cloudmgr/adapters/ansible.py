"""Runs one playbook on several servers and tells what each task did; a run ends with the call, or with the worker.

It never runs two playbooks on one server at a time (a lock file a server, across processes of this machine), keeps
Ansible out of this process (see playbook_guard), and gives no secret to a command line, an environment, an event or a log.
What it does not do: decide which playbook is allowed, or keep events; that is the caller's.
"""

import contextlib
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from cloudmgr.adapters import playbook_guard
from cloudmgr.adapters.ansible_results import Host, HostResult, RunResult, Tally, TaskEvent
from cloudmgr.adapters.run_locks import hold_lock, kill_survivor, lock_path
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_

__all__ = ["Host", "HostResult", "RunResult", "TaskEvent", "forget_server", "run_playbook"]

FORKS = 5
REHEARSAL_FORKS = 2
LOCK_WAIT_S = 15.0
"""Longer than a dead worker's guard needs to kill its run, so that a restarted step waits instead of failing."""

_KILL_WITHIN_S = playbook_guard.KILL_WITHIN_S
_POLL_S = 0.25
_ASK_EVERY_S = 1.0
"""How often the caller is asked whether to go on: it may ask a database."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RESERVED = re.compile(r"ansible_.*|cloudmgr_.*|server|os_profile.*|role_versions")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV")


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
    tally = Tally(hosts, rehearse, on_event)
    if not reachable:
        return tally.result("succeeded")
    playbook_guard.sweep(_bases(work_dir))
    with contextlib.ExitStack() as stack:
        wait_until = time.monotonic() + lock_wait_s
        locks = [
            stack.enter_context(hold_lock(work_dir, host, wait_until))
            for host in sorted(reachable, key=lambda host: host.server_id)
        ]
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
            "locks": [str(lock_path(work_dir, host)) for host in reachable],
            "lock_fds": locks,
        }
        return _supervise(order, tally, deadline, timeout_s, is_cancelled)


def forget_server(work_dir: Path, server_id: UUID) -> None:
    """Remove what is kept here of a server that is no more: its host key and its lock file. Absent is fine."""
    (work_dir / "known_hosts" / str(server_id)).unlink(missing_ok=True)
    (work_dir / "locks" / f"{server_id}.lock").unlink(missing_ok=True)


def _supervise(
    order: Mapping[str, Any], tally: Tally, deadline: float, timeout_s: float, is_cancelled: Callable[[], bool]
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
    tally: Tally,
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
        ask_at = 0.0
        while True:
            now = time.monotonic()
            if now >= ask_at and is_cancelled():
                return "cancelled"
            if now >= ask_at:
                ask_at = now + _ASK_EVERY_S
            if now >= deadline:
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
            kill_survivor(Path(lock))


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
