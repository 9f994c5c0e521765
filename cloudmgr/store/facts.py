"""SQL about facts of the installation: named values that are neither settings nor anybody's data."""

from typing import Any

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.models import Fact

SEED = "seed"
"""`{"done": true}` once the demonstration's seed is complete; /readyz of a demonstration waits for it."""
PAUSED = "paused"
"""`{"paused": true, "at": …}` from a restore until an administrator has reconciled: workers take no work."""
AUDIT_VERIFICATION = "audit_verification"
"""What the last look at the audit log found."""
XINCHUANG_MIN_PCT = "xinchuang_min_pct"
"""By organization code: the least share of domestic capacity it promised. Kept for reports; enforces nothing yet."""


def read(session: Session, name: str) -> dict[str, Any] | None:
    """Return a fact, None when it was never written."""
    fact = session.get(Fact, name)
    return dict(fact.value) if fact else None


def write(session: Session, name: str, value: dict[str, Any]) -> None:
    """Write a fact over what it was."""
    fact = session.get(Fact, name)
    if fact is None:
        session.add(Fact(name=name, value=value))
    else:
        fact.value, fact.updated_at = value, clock.now()
        session.add(fact)
    session.flush()
