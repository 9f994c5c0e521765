"""The fulfilment of one request: what it asks for is done side by side; new servers are then configured by one playbook run.

Of ten servers nine that succeed stay, and the tenth gives back its own share: the request is partly fulfilled.
"""

from collections.abc import Mapping
from typing import Any

from dbos import DBOS, SetWorkflowID

from cloudmgr.adapters import queue
from cloudmgr.domain.phases import RequestKind
from cloudmgr.workflows import playbook_runs, quota_changes, request_facts
from cloudmgr.workflows.freeze import freeze_server, unfreeze_server
from cloudmgr.workflows.openings import apply_openings
from cloudmgr.workflows.provision import provision_server
from cloudmgr.workflows.public_ips import assign_public_ip, release_public_ip
from cloudmgr.workflows.renew import renew_server
from cloudmgr.workflows.resize import resize_server
from cloudmgr.workflows.retire import retire_server
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.snapshots import delete_snapshot, revert_snapshot, take_snapshot
from cloudmgr.workflows.steps import call, write
from cloudmgr.workflows.volumes import attach_volume, delete_volume, detach_volume, make_volume


@DBOS.workflow(name="fulfil_request", max_recovery_attempts=1000)
def fulfil_request(request_id: str, attempt: int) -> str:
    """Do what an approved request asks for; returns its final phase."""
    begun = write("begin", request_facts.begin, request_id)
    if begun.get("held"):
        return str(begun["held"])  # another attempt begins when the change freeze is over
    _each(begun["items"])
    if begun["kind"] == RequestKind.CREATE:
        _configure(request_id, attempt)
    if begun["kind"] == RequestKind.QUOTA_CHANGE:
        write("grant", quota_changes.grant, request_id)
    phase: str = write("finish", request_facts.finish, request_id, attempt)
    if begun["kind"] == RequestKind.QUOTA_CHANGE:
        _submit_waiting(request_id)
    return phase


def _submit_waiting(request_id: str) -> None:
    """Submit the requests that waited for this quota; each is a transaction of its own, so that one refusal is only its."""
    for draft_id in write("waiting", quota_changes.waiting, request_id):
        write("submit_waiting", quota_changes.submit_waiting, draft_id)


_WORKFLOWS: Mapping[str, Any] = {
    "provision_server": provision_server,
    "retire_server": retire_server,
    "resize_server": resize_server,
    "renew_server": renew_server,
    "freeze_server": freeze_server,
    "unfreeze_server": unfreeze_server,
    "apply_openings": apply_openings,
    "assign_public_ip": assign_public_ip,
    "release_public_ip": release_public_ip,
    "make_volume": make_volume,
    "attach_volume": attach_volume,
    "detach_volume": detach_volume,
    "delete_volume": delete_volume,
    "take_snapshot": take_snapshot,
    "revert_snapshot": revert_snapshot,
    "delete_snapshot": delete_snapshot,
}


def _each(items: list[dict[str, Any]]) -> None:
    """Start one workflow an item and wait for all; the queue bounds how many run at once, and is asked as often."""
    poll_s = runtime().settings.worker.poll_s
    handles = []
    for item in items:
        with SetWorkflowID(f"{item['workflow']}:{item['key']}"):
            handles.append(DBOS.enqueue_workflow(queue.SERVERS, _WORKFLOWS[item["workflow"]], *item["args"]))
    for handle in handles:
        handle.get_result(polling_interval_sec=poll_s)


def _configure(request_id: str, attempt: int) -> None:
    """Run the playbooks over the servers that stand; one run for all servers that share a playbook and its variables."""
    for run_id in write("plan_runs", playbook_runs.plan, request_id, attempt):
        began = write("run_begin", playbook_runs.begin, run_id)
        if began is not None:
            outcome = call("configure", playbook_runs.execute, run_id)
            write("activate", playbook_runs.finish, run_id, outcome)
