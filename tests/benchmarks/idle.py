"""What an idle demonstration costs: resident memory of all its processes, CPU over a minute, and the time of a second start.

Run: .venv/bin/python tests/benchmarks/idle.py [--data-dir DIR] [--seconds 60] [--port 8790]

Seeds a demonstration (or uses DIR, seeded before), lets it settle, then reads /proc: proportional (Pss, shared pages
divided) and resident (Rss, shared pages counted in each process) memory, and CPU time of the process and its children.
Other work on the machine makes starts slower but hardly changes CPU time; the load is printed so that you can judge.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

SETTLE_S = 20
PATIENCE_S = 600
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data-dir", type=Path)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--port", type=int, default=8790)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloudmgr-idle-") as made:
        folder = asked.data_dir or Path(made)
        first, _ = _run(folder, asked.port, measure_s=0)
        second, idle = _run(folder, asked.port, measure_s=asked.seconds)
    print(json.dumps({"first_start_s": first, "second_start_s": second, **idle}, indent=2))


def _run(folder: Path, port: int, *, measure_s: int) -> tuple[float, dict]:
    began = time.monotonic()
    command = [Path(sys.executable).parent / "cloudmgr", "demo", "--port", str(port), "--data-dir", folder]
    with (folder / "idle-benchmark.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await(f"http://127.0.0.1:{port}/login", process)
        started = round(time.monotonic() - began, 1)
        _await(f"http://127.0.0.1:{port}/readyz", process)
        idle = _measure(process.pid, measure_s) if measure_s else {}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    return started, idle


def _await(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the demonstration has ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise TimeoutError(address)


def _measure(pid: int, seconds: int) -> dict:
    time.sleep(SETTLE_S)
    before = _cpu_s(pid)
    switches = _switches(pid)
    time.sleep(seconds)
    spent = _cpu_s(pid) - before
    family = [pid, *_children(pid)]
    return {
        "processes": len(family),
        "rss_mib": round(sum(_kib(each, "Rss") for each in family) / 1024, 1),
        "pss_mib": round(sum(_kib(each, "Pss") for each in family) / 1024, 1),
        "cpu_pct_of_a_core": round(100 * spent / seconds, 2),
        "wakeups_per_s": round((_switches(pid) - switches) / seconds, 1),
        "seconds": seconds,
        "load_average": [round(each, 1) for each in os.getloadavg()],
    }


def _children(pid: int) -> list[int]:
    found = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return found + [further for child in found for further in _children(child)]


def _cpu_s(pid: int) -> float:
    total = 0
    for each in [pid, *_children(pid)]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])  # user and system, its own and its ended children's
    return total / _TICKS


def _switches(pid: int) -> int:
    counted = 0
    for task in Path(f"/proc/{pid}/task").glob("*/status"):
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", task.read_text(), re.MULTILINE)
        counted += int(found.group(1)) if found else 0
    return counted


def _kib(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found.group(1)) if found else 0


if __name__ == "__main__":
    main()
