"""The processes of one installation for drills: each on its own port, killed with SIGKILL and started again at will."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from cloudmgr.models import User
from tests import support
from tests.ports import free_port
from tests.served import ROOT, Served, is_ready, until
from tests.world import World

PATIENCE_S = 1800.0
"""For all processes to start at once on a machine that is busy with others; it takes ten seconds on an idle one."""


class Fleet:
    """`serve` processes that each have an address, and `worker` processes; without workers, the one serve has one inside."""

    def __init__(self, world: World, *, serves: int, workers: int, with_ansible: bool = False) -> None:
        self.world = world
        self._program = (
            ["-c", "from cloudmgr.cli import main; main()"] if with_ansible else ["-m", "tests.drills.without_ansible"]
        )
        self.served = Served(world)
        self._guard = threading.Lock()
        self._opening = threading.Lock()
        self._tokens: dict[str, str] = {}
        self._environment = os.environ | {
            "CLOUDMGR_DATA_DIR": str(world.settings.data_dir),
            "CLOUDMGR_BACKENDS": json.dumps(list(world.settings.backends)),
            "CLOUDMGR_DATABASE__POOL_SIZE": "5",  # all together stay below PostgreSQL's default of 100
            "CLOUDMGR_WORKER__POLL_S": "0.3",
            "CLOUDMGR_WORKER__BOOT_POLL_S": "0.1",
        }
        if not world.settings.is_sqlite:
            self._environment["CLOUDMGR_DATABASE__URL"] = world.settings.database_url
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for number in range(serves):
            port = free_port()
            self.served.addresses.append(f"http://127.0.0.1:{port}")
            command = ["serve", "--no-worker"] if workers else ["serve"]
            self._commands[f"serve{number}"] = (command, {"CLOUDMGR_WEB__PORT": str(port)})
        for number in range(workers):
            self._commands[f"worker{number}"] = (["worker"], {})
        for name in self._commands:
            self._start(name)

    def _start(self, name: str) -> None:
        command, more = self._commands[name]
        with (self.world.settings.data_dir / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *self._program, *command],
                cwd=ROOT,
                env=self._environment | more,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def client(self, who: str, place: int = 0) -> httpx.Client:
        """Return a client that acts for somebody. A person's token is opened once: that writes into the database raced for."""
        with self._opening:
            if who not in self._tokens:
                with self.world.session() as session:
                    self._tokens[who] = support.open_token(session, session.get_one(User, self.world.people[who]))
                    session.commit()
        return self.served.client(None, place, Authorization=f"Bearer {self._tokens[who]}")

    def await_ready(self) -> None:
        """Wait until every address answers that it is ready, and a cloud was seen: nothing can be asked for before."""
        for address in self.served.addresses:
            until(lambda address=address: is_ready(address), PATIENCE_S)
        with self.client("auditor") as client:
            until(lambda: client.get("/zones").json()["items"], PATIENCE_S)

    def answers(self) -> bool:
        """Whether every address is ready at this moment."""
        return all(is_ready(address) for address in self.served.addresses)

    @property
    def names(self) -> list[str]:
        """Of all processes."""
        return sorted(self._commands)

    def kill(self, name: str) -> None:
        """Kill one process as the kernel would, and start it again."""
        with self._guard:
            process = self._running[name]
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            self._start(name)

    def close(self) -> None:
        """End every process."""
        with self._guard:
            for process in self._running.values():
                process.terminate()
            for process in self._running.values():
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def log(self, name: str) -> str:
        """Return all that a process has written."""
        return (self.world.settings.data_dir / f"{name}.log").read_text()

    def logs(self) -> dict[str, str]:
        """Return what every process has written, by its name."""
        return {name: self.log(name) for name in self._commands}


@contextmanager
def killing(
    fleet: Fleet, chance: random.Random, kills: Counter[str], every_s: tuple[float, float], *, each_once: bool = False
) -> Iterator[None]:
    """Kill processes at random until the block ends, the first soon; the killed one comes back before the next is killed.

    With `each_once` every process is killed one time, and the block does not end before.
    """
    ended = threading.Event()
    victims = iter(chance.sample(fleet.names, len(fleet.names))) if each_once else _any_of(fleet, chance)

    def keep() -> None:
        pause_s = chance.uniform(0.0, every_s[0])
        for name in victims:
            if ended.wait(pause_s):
                break
            fleet.kill(name)
            kills[name.rstrip("0123456789")] += 1
            killed = time.monotonic()
            while not ended.wait(0.5) and not fleet.answers():
                pass  # on a busy machine a start takes longer than the time between kills
            pause_s = chance.uniform(*every_s)
            if not each_once:
                pause_s += time.monotonic() - killed  # and there is something to do meanwhile

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
        if each_once:
            thread.join(PATIENCE_S)
    finally:
        ended.set()
        thread.join(60)


def _any_of(fleet: Fleet, chance: random.Random) -> Iterator[str]:
    while True:
        yield chance.choice(fleet.names)
