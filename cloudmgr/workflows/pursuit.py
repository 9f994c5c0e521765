"""Asking a backend until a thing is as wanted: the call that brings it about, again and again, within a stated limit."""

from collections.abc import Callable
from typing import Any

from cloudmgr.domain.messages import N_, Message
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, pause
from providers.errors import Remedy

TRIES = 14
"""With pauses of up to 20 s some three minutes at the usual pace."""


def pursue(name: str, deed: Callable[..., Outcome], *args: Any, tries: int = TRIES) -> Outcome:
    """Call `deed` until its result says `done`, inside a workflow; what waiting does not change ends it at once.

    The deed brings about what is not yet so, and looks: it is right whether it never ran, ran half, or ran before.
    """
    outcome: Outcome = {}
    for number in range(tries):
        outcome = call(name, deed, *args)
        if outcome["ok"] and outcome["result"]["done"]:
            return outcome
        if not outcome["ok"] and outcome["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
            return outcome
        if number < tries - 1:
            pause(number, first_s=runtime().settings.worker.boot_poll_s / 2, most_s=20)
    return outcome if not outcome["ok"] else _unfinished()


def deed(action: Callable[[], dict[str, Any] | None]) -> Outcome:
    """Run an action that returns what there is, or None while it is not as wanted."""

    def run() -> dict[str, Any]:
        seen = action()
        return {"done": seen is not None, **(seen or {})}

    return attempt(run)


def _unfinished() -> Outcome:
    message = Message(N_("The cloud did not finish this in time."))
    return {"ok": False, "remedy": Remedy.RETRY.value, "code": "not_settled", "message": message.as_json()}
