"""The fulfilment of one request: its servers are made side by side, then configured by one playbook run, then handed over.

Of ten servers nine that succeed stay, and the tenth gives back its own share: the request is partly fulfilled.
"""

from typing import Any

from dbos import DBOS, SetWorkflowID

from cloudmgr.adapters import queue
from cloudmgr.workflows import playbook_runs, request_facts
from cloudmgr.workflows.provision import provision_server
from cloudmgr.workflows.retire import retire_server
from cloudmgr.workflows.steps import call, write


@DBOS.workflow(name="fulfil_request", max_recovery_attempts=1000)
def fulfil_request(request_id: str, attempt: int) -> str:
    """Do what an approved request asks for; returns its final phase."""
    begun = write("begin", request_facts.begin, request_id)
    if begun["kind"] == "retire":
        _each(begun["servers"], retire_server, "retire_server")
    else:
        _each(begun["servers"], provision_server, "provision_server")
        _configure(request_id, attempt)
    phase: str = write("finish", request_facts.finish, request_id, attempt)
    return phase


def _each(servers: list[dict[str, Any]], workflow: Any, kind: str) -> None:
    """Start one workflow a server and wait for all; the queue bounds how many run at once."""
    handles = []
    for server in servers:
        with SetWorkflowID(f"{kind}:{server['id']}:{server['attempt']}"):
            handles.append(DBOS.enqueue_workflow(queue.SERVERS, workflow, server["id"], server["attempt"]))
    for handle in handles:
        handle.get_result()


def _configure(request_id: str, attempt: int) -> None:
    """Run the playbooks over the servers that stand; one run for all servers that share a playbook and its variables."""
    for run_id in write("plan_runs", playbook_runs.plan, request_id, attempt):
        began = write("run_begin", playbook_runs.begin, run_id)
        if began is not None:
            outcome = call("configure", playbook_runs.execute, run_id)
            write("activate", playbook_runs.finish, run_id, outcome)
