"""A worker in a process of its own, to be killed: runs one playbook and prints each event's state, then the result's."""

import sys
import uuid
from pathlib import Path

from cloudmgr.adapters.ansible import Host, run_playbook


def main() -> None:
    work_dir, playbook, server, seconds = sys.argv[1:]
    result = run_playbook(
        run_id=uuid.uuid4(),
        playbook=playbook,
        hosts=[Host(uuid.UUID(server), "app01", None)],
        variables={"seconds": int(seconds)},
        secrets={"agent_token": "s3cret-of-the-worker"},
        private_key=None,
        known_hosts=None,
        rehearse=True,
        check=False,
        timeout_s=600,
        work_dir=Path(work_dir),
        on_event=lambda event: print(event.state, flush=True),
        is_cancelled=lambda: False,
    )
    print(result.state, flush=True)


main()
