"""Who uses a data directory: every process that serves or works holds it together with others, a restore holds it alone.

Locks of the operating system: they end with the process, however it ends. They tell of this machine only.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_

FILE_NAME = "in-use.lock"


@contextlib.contextmanager
def sharing(data_dir: Path) -> Iterator[None]:
    """Hold the data directory beside others; nothing is held where nothing can be written there.

    Raises:
        Conflict: a restore is replacing it at this moment.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (data_dir / FILE_NAME).open("a")
    except OSError:  # a read-only folder of a process that keeps everything on PostgreSQL
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                N_("A restore into {data_dir} is under way; start again when it has ended."), data_dir=str(data_dir)
            ) from error
        yield


@contextlib.contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Hold the data directory against everybody else.

    Raises:
        Conflict: a process of cloudmgr runs on it.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / FILE_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                N_("A process of cloudmgr runs on {data_dir}; stop it first."), data_dir=str(data_dir)
            ) from error
        yield
