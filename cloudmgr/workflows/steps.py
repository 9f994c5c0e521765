"""The two kinds of step every workflow is made of: one writes our database, the other calls somebody else; never both.

`write` runs exactly once: its result is recorded in the same transaction. `call` runs at least once: what it does must be
right when it is done again. `reach` marks points at which proofs end the process; in production nothing listens.
"""

import random
from collections.abc import Callable
from typing import Any, cast

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.services import policy
from cloudmgr.store.db import begin_immediate
from cloudmgr.workflows.runtime import runtime

Probe = Callable[[str], None]
_probe: Probe | None = None


def listen(probe: Probe | None) -> None:
    """Let a proof hear of every point reached in this process; None stops it."""
    global _probe  # noqa: PLW0603 - one probe a process
    _probe = probe


def reach(point: str) -> None:
    """Tell the probe, where there is one, that execution is here."""
    if _probe is not None:
        _probe(point)


def write(name: str, change: Callable[..., Any], *args: Any) -> Any:
    """Run `change(session, *args)` in one transaction, recorded with it: exactly once. Returns its JSON-able result."""

    def body() -> Any:
        session = policy.attach(cast("Session", runtime().datasource.sql_session()), runtime().settings)
        begin_immediate(session)
        result = change(session, *args)
        reach(f"{name}:inside")
        return result

    reach(f"{name}:before")
    result = runtime().datasource.run_tx_step(
        {"name": name, "isolation_level": "SERIALIZABLE" if runtime().settings.is_sqlite else "READ COMMITTED"}, body
    )
    reach(f"{name}:after")
    return result


def call(name: str, deed: Callable[..., Any], *args: Any) -> Any:
    """Run `deed(*args)` against the outside and record its JSON-able result: at least once."""

    def body() -> Any:
        result = deed(*args)
        reach(f"{name}:inside")
        return result

    reach(f"{name}:before")
    result = DBOS.run_step({"name": name}, body)
    reach(f"{name}:after")
    return result


def pause(attempt: int, *, first_s: float = 1.0, most_s: float = 30.0) -> None:
    """Sleep durably, longer at each attempt, with a tenth of jitter so that many do not come back at once."""
    length = min(first_s * 2**attempt, most_s)
    DBOS.sleep(length * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
