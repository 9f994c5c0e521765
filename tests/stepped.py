"""`cloudmgr` under a clock that a test moves on while it runs: `python -m tests.stepped <file> serve …`.

The file holds how many seconds our clock is ahead. Whether a day has begun on which leases act is looked at every second, so
that nobody waits for it.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloudmgr import worker
from cloudmgr.cli import main
from cloudmgr.domain import clock


def run(ahead: Path, arguments: list[str]) -> None:
    clock._source = lambda: datetime.now(UTC) + timedelta(seconds=float(ahead.read_text()))
    worker.LEASES_S = worker.FIRST_S["_act_on_leases"] = 1.0
    sys.argv = ["cloudmgr", *arguments]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
