"""The clock's rounds: reminders, overdue marks, escalations, timeouts, late emergency orders, held requests, days of deputies.

One round a period, enqueued only when something is due; its steps work in batches, each in one transaction. A round that is
killed goes on behind its last step; what two rounds meet at is done by one of them, for the marks are unique.
"""

from collections.abc import Callable

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.services import change_freezes, deadlines, deputies
from cloudmgr.workflows.steps import write

BATCH = 100
MOST_BATCHES = 200
"""Of one kind of deed in one round; what is left is due in the next."""

_DEEDS: tuple[tuple[str, Callable[[Session, int], int]], ...] = (
    ("remind", deadlines.remind),
    ("mark_overdue", deadlines.mark_overdue),
    ("escalate_due", deadlines.escalate_due),
    ("time_out", deadlines.time_out),
    ("flag_emergencies", deadlines.flag_emergencies),
    ("release_held", change_freezes.release_due),
    ("tell_deputies", deputies.tell_begun),
)


@DBOS.workflow(name="watch_deadlines", max_recovery_attempts=1000)
def watch_deadlines(_period: str) -> int:
    """Do everything that is due now; returns how many deeds."""
    done = 0
    for name, deed in _DEEDS:
        for _ in range(MOST_BATCHES):
            count = int(write(name, deed, BATCH))
            done += count
            if count < BATCH:
                break
    return done


def schedule(session: Session, interval_s: float) -> bool:
    """Enqueue the round of the present period where something is due; all workers' rounds of a period are one."""
    if not deadlines.is_anything_due(session):
        return False
    period = str(int(clock.now().timestamp() // interval_s))
    queue.enqueue(session, "watch_deadlines", f"watch_deadlines:{period}", period)
    return True
