"""A full look at one simulated cloud of many servers, as a worker takes it: time and memory.

    python -m tests.benchmarks.sync_servers [--servers 10000] [--url postgresql://…]

Prints one JSON line a look: seconds, servers, changed, and the most memory the process ever had, in MiB.
"""

import argparse
import json
import tempfile
import time
from contextlib import closing
from pathlib import Path

from cloudmgr.domain.architectures import Architecture
from providers.base import ServerSpec
from providers.simulated import servers
from providers.simulated.servers import Native
from providers.simulated.state import StateFile
from tests.benchmarks.memory import peak_mib
from tests.workflows.looking import Watched, watched


def fill(one: Watched, number: int) -> None:
    """Put running servers there that cloudmgr did not make."""
    with closing(StateFile(one.state_dir())) as state, state.writing() as db:
        for each in range(number):
            spec = ServerSpec(
                name=f"vm-{each:05d}",
                arch=Architecture.AARCH64,
                vcpus=4,
                memory_mib=8192,
                system_disk_gib=40,
                zone="kp-z1",
                image="img-kylin-arm",
            )
            servers.add(db, spec, None, host="kp-host-01", state=Native.ACTIVE)


def measure(one: Watched, what: str) -> dict[str, object]:
    began = time.monotonic()
    outcome = one.look()
    run = one.runs()[-1]
    return {
        "look": what,
        "outcome": outcome,
        "seconds": round(time.monotonic() - began, 2),
        "servers": run.servers,
        "changed": run.changed,
        "peak_mib": round(peak_mib()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=10_000)
    parser.add_argument("--url", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, watched(Path(home) / "city", options.url) as one:
        fill(one, options.servers)
        for what in ("first", "unchanged"):
            print(json.dumps(measure(one, what)), flush=True)
        with closing(StateFile(one.state_dir())) as state, state.writing() as db:
            db.execute("UPDATE servers SET vcpus = 8 WHERE name LIKE 'vm-0000%'")
        print(json.dumps(measure(one, "ten changed")), flush=True)


if __name__ == "__main__":
    main()
