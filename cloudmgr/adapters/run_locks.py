"""At most one playbook run a server on this machine: a lock file each, which also names what a dead run left behind."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cloudmgr.adapters import playbook_guard
from cloudmgr.adapters.ansible_results import Host
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_


def lock_path(work_dir: Path, host: Host) -> Path:
    return work_dir.absolute() / "locks" / f"{host.server_id}.lock"


@contextlib.contextmanager
def hold_lock(work_dir: Path, host: Host, wait_until: float) -> Iterator[int]:
    """Hold a server's lock; the guard holds it with us and, when we are gone, until everything is killed.

    A survivor named in the file belongs to a guard that died without killing it, and is killed first.
    """
    path = lock_path(work_dir, host)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= wait_until:
                    raise Conflict(N_("A playbook is already running on server {name}."), name=host.name) from None
                time.sleep(0.1)
        kill_survivor(path)
        yield descriptor
    finally:
        os.close(descriptor)


def kill_survivor(lock: Path) -> None:
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        left = json.loads(lock.read_text())
        playbook_guard.kill_survivors(left["pid"], left["started"], left["folder"])
    with contextlib.suppress(FileNotFoundError):
        os.truncate(lock, 0)
