"""A look at ten thousand servers in a process of its own: memory, and that what did not change is not written again."""

import json
import subprocess
import sys

from tests.workflows.proofs import ROOT

MOST_MIB = 250
"""Of resident memory, ever, in a worker's process (with everything it imports)."""


def test_ten_thousand_servers_fit_a_small_worker() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.sync_servers", "--servers", "10000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    looks = {line["look"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert {line["outcome"] for line in looks.values()} == {"ok"}
    assert {name: line["changed"] for name, line in looks.items()} == {
        "first": 10000,
        "unchanged": 0,
        "ten changed": 10,
    }
    assert max(line["peak_mib"] for line in looks.values()) <= MOST_MIB
