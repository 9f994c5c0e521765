"""The recount of the quota ledger in the worker: read once, published once. What it reads it does not lock."""

import uuid
from typing import Any

from dbos import DBOS
from sqlmodel import Session

from cloudmgr.services import quota_proofs
from cloudmgr.store.db import is_sqlite, new_session
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, write


@DBOS.workflow(name="verify_quotas", max_recovery_attempts=100)
def verify_quotas(verification_id: str) -> int:
    """Recount the ledger and publish the result; returns how many numbers are wrong."""
    found = call("recount", _recount)
    write("publish", _publish, verification_id, found)
    return int(found["count"])


def _recount() -> dict[str, Any]:
    """Recount in one snapshot of the database, so that what moves meanwhile is no mismatch."""
    with new_session(runtime().engine) as session:
        if not is_sqlite(session):
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return quota_proofs.recount(session).as_json()


def _publish(session: Session, verification_id: str, found: dict[str, Any]) -> None:
    quota_proofs.record(session, SYSTEM, uuid.UUID(verification_id), found)
