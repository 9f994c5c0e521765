"""A process that has imported the engine and the SDKs and forks one real worker an order; told when to stop short, wait or die.

Reads one JSON order a line: {"data_dir", "settings", "request", "kill_at", "halt_at", "timeout_s"}. A worker that comes to
the point `halt_at` for the first time writes the file `halted` into its folder and waits for a file `go`; a file `stop` ends
it. Answers {"died_by": signal or null, "status": exit status}: 0 when the request has come to rest, 3 when time was up, 4
when it was stopped. Ansible is stood in for: rehearsals on these peers start a process each and touch no cloud.
"""

import gc
import json
import os
import signal
import sys
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy.orm import configure_mappers
from sqlmodel import select

from cloudmgr.adapters import ansible
from cloudmgr.models import Backend, ResourceRequest
from cloudmgr.settings import load_settings
from cloudmgr.store.db import make_engine, new_session
from cloudmgr.worker import Worker
from cloudmgr.workflows import engine, steps
from providers import registry
from tests.drills.without_ansible import playbook_ends_well
from tests.workflows.zygote import RESTING

LIMIT_S = 300.0
"""For a worker to end what it has to do, on a machine that is busy with others; it takes some ten seconds on an idle one."""


def main(drivers: list[str]) -> None:
    for name in drivers:
        registry.load(name)  # imported so that forks need not
    engine.define_workflows()
    configure_mappers()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = work(order, Path(order["data_dir"]))
            except BaseException:  # noqa: BLE001 - the child must tell before it ends
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        died_by = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else None
        print(json.dumps({"died_by": died_by, "status": os.waitstatus_to_exitcode(ended)}), flush=True)


def work(order: dict[str, Any], folder: Path) -> int:
    log = (folder / "worker.log").open("a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    steps.listen(Probe(order, folder))
    ansible.run_playbook = playbook_ends_well
    settings = load_settings(folder, **order["settings"])
    worker = Worker(settings)
    worker.start()
    engine = make_engine(settings.database_url)
    request_id = uuid.UUID(order["request"]) if order.get("request") else None
    deadline = time.monotonic() + order.get("timeout_s", LIMIT_S)
    while time.monotonic() < deadline:
        if (folder / "stop").exists():
            worker.stop(wait_s=0)
            return 4
        with new_session(engine) as session:
            request = session.get_one(ResourceRequest, request_id) if request_id else None
            seen = all(backend.health == "ok" for backend in session.exec(select(Backend)))
        if (request is None and seen) or (request and request.phase in RESTING and worker.is_idle()):
            worker.stop(wait_s=2)
            return 0
        time.sleep(0.1)
    return 3


class Probe:
    """Hears of every point the workflows reach; dies or waits at the one that was named, once."""

    def __init__(self, order: dict[str, Any], folder: Path) -> None:
        self._kill_at, self._halt_at, self._folder = order.get("kill_at"), order.get("halt_at"), folder

    def __call__(self, point: str) -> None:
        if point == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if point == self._halt_at:
            self._halt_at = None
            (self._folder / "halted").touch()
            deadline = time.monotonic() + LIMIT_S
            while not (self._folder / "go").exists() and time.monotonic() < deadline:
                time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1:])
