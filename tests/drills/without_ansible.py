"""`cloudmgr` with Ansible stood in for: `python -m tests.drills.without_ansible serve …`.

A playbook on a simulated server starts several processes and changes nothing there: it would cost more than all else in a
drill that is about something else.
"""

from typing import Any

from cloudmgr.adapters import ansible
from cloudmgr.adapters.ansible_results import HostResult, RunResult
from cloudmgr.cli import main


def playbook_ends_well(*, hosts: list[ansible.Host], **_: Any) -> RunResult:
    """Stand in for Ansible."""
    return RunResult("succeeded", {one.server_id: HostResult(one.server_id, "ok", ok=1) for one in hosts})


if __name__ == "__main__":
    ansible.run_playbook = playbook_ends_well
    main()
