"""A process that has imported everything and forks one worker after another, so that a proof of a crash costs no imports.

Reads one JSON order a line: {"data_dir", "url", "settings", "request", "kill_at", "occurrence", "timeout_s"}; forks a worker that
runs until the request has come to rest (without one: until its clouds were seen, with "until_idle" until all work is done);
answers {"died_by": signal or null, "status": exit status, "points": [...]}. With "without_ansible" playbooks are stood
in for: each rehearsal starts several processes, and changes nothing in a simulated cloud. With "stay" the worker runs in the
forking process itself: what it works out for its statements all later forks begin with.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import configure_mappers
from sqlmodel import Session, select

from cloudmgr.adapters import ansible
from cloudmgr.domain import clock
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import Backend, Delivery, Happening, ResourceRequest
from cloudmgr.settings import Settings, load_settings
from cloudmgr.store.db import make_engine, new_session
from cloudmgr.worker import Worker
from cloudmgr.workflows import engine, reaper, steps
from providers.simulated import provider  # noqa: F401 - imported so that forks need not
from tests import shared_sql
from tests.drills.without_ansible import playbook_ends_well

RESTING = {RequestPhase.FULFILLED, RequestPhase.PARTLY_FULFILLED, RequestPhase.FAILED}


def main() -> None:
    shared_sql.share()
    engine.define_workflows()
    configure_mappers()
    _set_aside()
    for line in sys.stdin:
        order = json.loads(line)
        record = Path(order["data_dir"]) / "points"
        record.unlink(missing_ok=True)
        if order.get("stay"):
            print(json.dumps({"died_by": None, "status": stay(order, record), "points": []}), flush=True)
            continue
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = work(order, record)
            except BaseException:  # noqa: BLE001 - the child must tell before it ends
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        died_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        points = record.read_text().split() if record.exists() else []
        print(
            json.dumps({"died_by": died_by, "status": os.waitstatus_to_exitcode(status), "points": points}), flush=True
        )


def _set_aside() -> None:
    """What is shared with every fork need not be looked over, and copied by that, in each."""
    gc.collect()
    gc.freeze()


def stay(order: dict, record: Path) -> int:
    """Work in this process, and leave it as it was but for what it knows."""
    streams, playbook = (os.dup(1), os.dup(2)), ansible.run_playbook
    try:
        status = work(order, record)
    finally:
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
            os.close(stream)
        steps.listen(None)
        ansible.run_playbook = playbook
    assert threading.active_count() == 1, "a fork would have locks that nobody opens"
    _set_aside()
    return status


def work(order: dict, record: Path) -> int:
    log = (Path(order["data_dir"]) / "worker.log").open("a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    settings = load_settings(Path(order["data_dir"]), **order["settings"])
    seen: Counter[str] = Counter()
    counting = threading.Lock()

    def probe(point: str) -> None:
        with counting:  # steps of several servers come by at once, and none may be counted past
            seen[point] += 1
            with record.open("a") as file:
                file.write(point + "\n")
            if point == order.get("kill_at") and seen[point] == order.get("occurrence", 1):
                os.kill(os.getpid(), signal.SIGKILL)
        if point == order.get("cut_lock_at"):
            cut_lock(settings)

    steps.listen(probe)
    if order.get("without_ansible"):
        ansible.run_playbook = playbook_ends_well
    if order.get("leases_at"):
        return on_a_day(order, settings)
    worker = Worker(settings, is_draining=order.get("drain", False))
    worker.start()
    engine_ = make_engine(settings.database_url)
    deadline = time.monotonic() + order.get("timeout_s", 60)
    while time.monotonic() < deadline:
        with new_session(engine_) as session:
            request = session.get_one(ResourceRequest, uuid.UUID(order["request"])) if order.get("request") else None
            untold = order.get("until_told") and still_to_tell(session)
            seen_all = all(backend.health == "ok" for backend in session.exec(select(Backend)))
        if untold:
            time.sleep(0.05)
            continue
        is_done = seen_all and (not order.get("until_idle") or worker.is_idle())
        if (request is None and is_done) or (
            request and request.phase in RESTING and request.finished_at and worker.is_idle()
        ):
            if order.get("stay"):
                worker.stop()
                engine_.dispose()
            return 0  # else without taking leave: nothing runs any more, and the next process must bear a sudden end anyhow
        time.sleep(0.05)
    return 3


def still_to_tell(session: Session) -> bool:
    """Whether a notice is not spread, or a delivery neither arrived nor given up."""
    unspread = session.exec(select(Happening).where(Happening.spread_at.is_(None))).first()
    waiting = session.exec(select(Delivery).where(Delivery.state == "waiting")).first()
    return unspread is not None or waiting is not None


def on_a_day(order: dict, settings: Settings) -> int:
    """Run a worker whose clock stands at a moment, and have leases acted on for that day, until nothing is left to do."""
    with clock.stepped(datetime.fromisoformat(order["leases_at"])):
        worker = Worker(settings)
        worker.start()
        worker._act_on_leases()
        deadline = time.monotonic() + order.get("timeout_s", 60)
        while time.monotonic() < deadline:
            if worker.is_idle():
                worker.stop(wait_s=2)
                return 0
            time.sleep(0.05)
    return 3


def cut_lock(settings: Settings) -> None:
    """End the connection on which this worker holds its lock, as a broken network would; then be slow."""
    engine_ = make_engine(settings.database_url, pool_size=2)
    with engine_.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND ((classid::bigint << 32) | objid::bigint) = :key"
            ),
            {"key": reaper.lock_key(settings.worker.executor_id or "")},
        )
    time.sleep(30)


if __name__ == "__main__":
    main()
