"""A process that has imported everything and forks one served city after another: HTTP and worker in one, on a clock that a test moves.

Reads one JSON order a line. {"serve": {"data_dir", "settings"}} forks `cloudmgr serve` and answers {"pid"}; {"await": pid} waits for
its end and answers {"signal"} or null. The city's time is the machine's and what `data_dir/clock` says more; it dies by SIGKILL at
the point that `data_dir/die_at` names, once.
"""

import gc
import json
import mmap
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import configure_mappers

import cloudmgr.main
from cloudmgr import worker
from cloudmgr.domain import clock
from cloudmgr.settings import load_settings
from cloudmgr.workflows import engine, steps
from providers.simulated import provider  # noqa: F401 - imported so that forks need not

_OFFSET = struct.Struct("d")


class Shift:
    """By how much a city's clock differs from the machine's, in seconds: one number in a file, shared by its processes."""

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / "clock"
        if not path.exists():
            path.write_bytes(_OFFSET.pack(0.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _OFFSET.size)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=_OFFSET.unpack_from(self._memory)[0])

    def set(self, moment: datetime) -> None:
        """Let it be this moment now; time goes on from there."""
        _OFFSET.pack_into(self._memory, 0, (moment - datetime.now(UTC)).total_seconds())

    def install(self) -> None:
        """Let everything in this process tell the city's time. Its one source of time is private: only a city on trial moves it."""
        clock._source = self.now

    @staticmethod
    def uninstall() -> None:
        clock._source = None


def main() -> None:
    engine.define_workflows()
    configure_mappers()
    gc.collect()
    gc.freeze()  # what is shared with every fork need not be looked over, and copied by that, in each
    for line in sys.stdin:
        order = json.loads(line)
        if "await" in order:
            _, status = os.waitpid(order["await"], 0)
            answer = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None}
        else:
            answer = {"pid": _fork(order["serve"])}
        print(json.dumps(answer), flush=True)


def _fork(order: dict) -> int:
    child = os.fork()
    if child:
        return child
    try:
        _serve(Path(order["data_dir"]), order["settings"])
    except BaseException:  # noqa: BLE001 - the child must tell before it ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _serve(data_dir: Path, settings: dict) -> None:
    log = (data_dir / "city.log").open("a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    Shift(data_dir).install()
    worker.LEASES_S, worker.FIRST_S = 1.0, {}
    steps.listen(_dying_at(data_dir / "die_at"))
    cloudmgr.main.serve(load_settings(data_dir, **settings))


def _dying_at(order: Path) -> Callable[[str], None]:
    def probe(point: str) -> None:
        if order.exists() and order.read_text() == point:
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    return probe


if __name__ == "__main__":
    main()
