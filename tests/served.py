"""A whole installation as users run it: `cloudmgr serve` and `cloudmgr worker` in processes of their own, over loopback HTTP."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from dbos import run_dbos_database_migrations

from cloudmgr.adapters import crypto
from cloudmgr.models import User
from cloudmgr.store.db import new_session
from tests import support
from tests.ports import free_port
from tests.world import World, build, simulated_backend

ROOT = Path(__file__).resolve().parent.parent
START_S = 300.0
"""A cold start on a busy machine; it takes two or three seconds on an idle one."""

UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain HTTP: a client that makes its own reads all root certificates, for 30 ms of CPU each."""


@dataclass
class Served:
    """A running installation: its city and the addresses that answer."""

    world: World
    addresses: list[str] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    program: list[str] = field(default_factory=list)
    """What Python runs as `cloudmgr`."""

    def client(self, who: str | None, place: int = 0, **headers: str) -> httpx.Client:
        """Return a client that acts for somebody by a token; the caller closes it."""
        if who is not None:
            with self.world.session() as session:
                headers["Authorization"] = (
                    f"Bearer {support.open_token(session, session.get_one(User, self.world.people[who]))}"
                )
                session.commit()
        return httpx.Client(
            base_url=f"{self.addresses[place]}/api/v1", headers=headers, timeout=60, trust_env=False, verify=UNUSED_TLS
        )

    def log(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()[-4000:]}" for log in self.logs)


def prepare(home: Path, url: str | None = None, **what: Any) -> World:
    """Make a city that people can log into and a worker can begin in."""
    backends = what.pop("backends", [simulated_backend("kp"), simulated_backend("hg", model="hygon-7285")])
    world = build(home, url, backends=backends, **what)
    run_dbos_database_migrations(world.settings.database_url)
    hashed = crypto.hash_password(support.PASSWORD)
    with world.session() as session:
        for user_id in world.people.values():
            session.get_one(User, user_id).password_hash = hashed
        session.commit()
    return world


@contextmanager
def serving(
    world: World, *, serves: int = 1, workers: int = 0, ahead: Path | None = None, **environment: str
) -> Iterator[Served]:
    """Start the processes and yield the installation once every one is ready; without workers, serve has one inside.

    `ahead` is a file with the seconds that its clock is ahead: see `tests/stepped.py`.
    """
    found = Served(world)
    settings = world.settings
    base = {
        **os.environ,
        "CLOUDMGR_DATA_DIR": str(settings.data_dir),
        "CLOUDMGR_BACKENDS": json.dumps(list(settings.backends)),
        "CLOUDMGR_WORKER__POLL_S": "0.2",
        "CLOUDMGR_WORKER__BOOT_POLL_S": "0.1",
        **environment,
    }
    found.program = (
        ["-c", "from cloudmgr.cli import main; main()"] if ahead is None else ["-m", "tests.stepped", str(ahead)]
    )
    if not settings.is_sqlite:
        base["CLOUDMGR_DATABASE__URL"] = settings.database_url
    with ExitStack() as stack:
        for number in range(workers):
            _start(stack, found, f"worker{number}", ["worker"], base)
        for number in range(serves):
            port = free_port()
            found.addresses.append(f"http://127.0.0.1:{port}")
            command = ["serve", "--no-worker"] if workers else ["serve"]
            _start(stack, found, f"serve{number}", command, base | {"CLOUDMGR_WEB__PORT": str(port)})
        stack.callback(lambda: [process.send_signal(signal.SIGTERM) for process in found.processes])  # all, then wait
        _await_ready(found)
        yield found


def _start(stack: ExitStack, found: Served, name: str, command: list[str], environment: dict[str, str]) -> None:
    log = found.world.settings.data_dir / f"{name}.log"
    found.logs.append(log)
    process = subprocess.Popen(
        [sys.executable, *found.program, *command],
        cwd=ROOT,
        env=environment,
        stdout=stack.enter_context(log.open("w")),
        stderr=subprocess.STDOUT,
    )
    found.processes.append(process)
    stack.callback(_await_end, process)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def _await_ready(found: Served) -> None:
    """Wait until every process answers that it is ready, and every cloud was seen."""
    deadline = time.monotonic() + START_S
    for address in found.addresses:
        while time.monotonic() < deadline:
            if is_ready(address):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"{address} is not ready\n{found.log()}")
    wanted = {str(section["name"]) for section in found.world.settings.backends}
    with found.client("auditor") as client:
        until(lambda: {zone["backend"] for zone in client.get("/zones").json()["items"]} == wanted)


def is_ready(address: str) -> bool:
    """Whether a process answers that it is ready."""
    try:
        answer = httpx.get(f"{address}/readyz", timeout=5, trust_env=False, verify=UNUSED_TLS)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def until(is_so: Any, seconds: float = 60.0, every: float = 0.1) -> Any:
    """Ask until the answer is truthy, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = is_so()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"not so after {seconds} s")


def sent_events(response: httpx.Response) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Read server-sent events from a stream: id, event, data. Comments and `retry` are passed over."""
    told: dict[str, str] = {}
    for line in response.iter_lines():
        if line == "" and "event" in told:
            yield told.get("id", ""), told["event"], json.loads(told.get("data", "{}"))
            told = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            told[name] = value


def opened(world: World) -> Any:
    """Open a session for reading what a test looks at behind the API."""
    return new_session(world.engine)
