"""The rounds of time over quota: one a period, enqueued only when something is due; its steps are transactions of a batch.

A round that is killed goes on behind its last step. What two rounds meet at is done by one of them: each deed looks again
under the ledger's lock, and a crossing has one standing row.
"""

from collections.abc import Callable

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.services import quota_turns
from cloudmgr.workflows.steps import write

BATCH = 50
MOST_BATCHES = 200
"""Of one kind of deed in one round; what is left is due in the next."""

_DEEDS: tuple[tuple[str, Callable[[Session, int], int]], ...] = (
    ("turn_terms", quota_turns.turn_terms),
    ("settle_loans", quota_turns.settle_loans),
    ("end_holds", quota_turns.end_holds),
    ("note_crossings", quota_turns.note_crossings),
)


@DBOS.workflow(name="turn_quotas", max_recovery_attempts=1000)
def turn_quotas(_period: str) -> int:
    """Do everything that is due now; returns how many deeds."""
    done = 0
    for name, deed in _DEEDS:
        for _ in range(MOST_BATCHES):
            count = int(write(name, deed, BATCH))
            done += count
            if not count:
                break
    return done


def schedule(session: Session, interval_s: float) -> bool:
    """Enqueue the round of the present period where something is due; all workers' rounds of a period are one."""
    if not quota_turns.is_anything_due(session):
        return False
    period = str(int(clock.now().timestamp() // interval_s))
    queue.enqueue(session, "turn_quotas", f"turn_quotas:{period}", period)
    return True
