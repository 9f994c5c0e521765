"""The end of one server: list what is kept for it, delete by token, ask for every piece until the backend has none of it.

What cannot be finished now waits as `retiring` with the reason; a scheduled look takes it up again, for as long as it needs.
"""

from typing import Any

from dbos import DBOS

from cloudmgr.workflows import certify, evidence, provision, public_ips, request_facts, volume_facts, volumes
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, pause, write
from providers.errors import Remedy

TRIES = 6
"""Looks within the first run, with pauses of up to 20 s; what lasts longer is taken up again by the schedule."""
AGAIN_TRIES = 2
"""Looks within a later run: many servers may wait for one cloud that is away, and must not hold the queue."""


@DBOS.workflow(name="retire_server", max_recovery_attempts=1000)
def retire_server(server_id: str, number: int) -> bool:
    """Retire one server; True when it is gone and counted no more, False while it waits."""
    return _retire(server_id, number, TRIES)


@DBOS.workflow(name="recheck_retire", max_recovery_attempts=1000)
def recheck_retire(server_id: str, number: int) -> bool:
    """Take up a server that waits; the last one of a request fulfils it. `number` counts the looks."""
    is_gone = _retire(server_id, number, AGAIN_TRIES)
    if is_gone:
        write("settle", request_facts.settle_retired, server_id, number)
    return is_gone


def _retire(server_id: str, number: int, tries: int) -> bool:
    where = write("retire_begin", certify.begin, server_id, number)
    if where is None:
        return True
    if where["backend"] is not None and not _clear(server_id, where, number, tries):
        return False
    write("retired", certify.retired, server_id, number)
    return True


def _clear(server_id: str, where: dict[str, Any], number: int, most: int) -> bool:
    """Leave nothing of the server at its backend; True when the backend says so of every piece."""
    backend = where["backend"]
    found = _until(most, lambda: call("evidence", evidence.gather, server_id, backend, where["ref"]))
    if not found["ok"]:
        write("retire_waits", certify.waits, server_id, number, found)
        return False
    left = write("list_pieces", certify.list_pieces, server_id, found["result"])
    parted = _part_with(where, number)
    if not parted["ok"]:
        write("retire_waits", certify.waits, server_id, number, parted)
        return False
    for tries in range(most):
        done = call("delete", provision.delete, server_id, backend, where["ref"])
        seen = call("ask", evidence.ask, server_id, backend, left, where["ref"]) if done["ok"] else done
        left = write("checked", certify.checked, server_id, seen)
        if not left:
            return True
        failure = None if seen["ok"] else seen
        if failure is not None and failure["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
            break
        if tries < most - 1:
            _rest(tries)
    write("retire_waits", certify.waits, server_id, number, failure)
    return False


def _part_with(where: dict[str, Any], number: int) -> Outcome:
    """Give back public addresses; detach volumes, and delete those that go with the server."""
    backend = where["backend"]
    for ip_id in where["public_ips"]:
        freed = public_ips.release(ip_id, backend)
        if not freed["ok"]:
            return freed
    for volume in where["volumes"]:
        done = volumes.detach(volume["id"], backend)
        if done["ok"] and volume["is_end"]:
            done = volumes.delete(volume["id"], backend)
            write("volume_deleted", volume_facts.deleted, volume["id"], number, done)
        elif done["ok"]:
            write("volume_detached", volume_facts.detached, volume["id"], number, done)
        if not done["ok"]:
            return done
    return {"ok": True}


def _until(most: int, deed: Any) -> Outcome:
    """Ask until there is an answer, or one that waiting does not change."""
    outcome: Outcome = deed()
    for tries in range(most - 1):
        if outcome["ok"] or outcome["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
            break
        _rest(tries)
        outcome = deed()
    return outcome


def _rest(tries: int) -> None:
    pause(tries, first_s=runtime().settings.worker.boot_poll_s / 2, most_s=20)
