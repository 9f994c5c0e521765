"""What is thrown away, and when: only what has a stated retention, never audit events, ledger entries or server versions."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from cloudmgr.domain import clock
from cloudmgr.models import IdempotencyKey, PlaybookEvent, RequestEvent, UserSession, Worker
from cloudmgr.settings import Settings
from cloudmgr.workflows import engine as engines

_BATCH = 5000


def sweep(session: Session, settings: Settings) -> dict[str, int]:
    """Delete what is past its retention, at most 5,000 rows of a kind at a time; return how many of each."""
    policy = settings.policy
    now = clock.now()
    removed = {
        "idempotency_keys": _delete(
            session, IdempotencyKey, col(IdempotencyKey.created_at) < now - timedelta(hours=policy.idempotency_hours)
        ),
        "request_events": _delete(
            session, RequestEvent, col(RequestEvent.at) < now - timedelta(days=policy.event_retention_days)
        ),
        "playbook_events": _delete(
            session, PlaybookEvent, col(PlaybookEvent.at) < now - timedelta(days=policy.playbook_event_retention_days)
        ),
        "user_sessions": _delete(session, UserSession, col(UserSession.expires_at) < now - timedelta(days=30)),
        "workers": _delete(session, Worker, col(Worker.last_seen_at) < now - timedelta(days=7)),
    }
    table = engines.status_table(session.get_bind())  # type: ignore[arg-type]
    if table is not None:
        before_ms = int((now - timedelta(days=policy.workflow_retention_days)).timestamp() * 1000)
        ended = session.execute(
            sa.text(
                f"DELETE FROM {table} WHERE workflow_uuid IN (SELECT workflow_uuid FROM {table} WHERE status IN "  # noqa: S608 - constants
                "('SUCCESS', 'ERROR', 'CANCELLED') AND updated_at < :before LIMIT :batch)"
            ),
            {"before": before_ms, "batch": _BATCH},
        )
        removed["workflows"] = int(ended.rowcount)  # type: ignore[attr-defined]
    return removed


def _delete(session: Session, table: Any, condition: Any) -> int:
    key = list(sa.inspect(table).primary_key)
    chosen = sa.select(*key).where(condition).limit(_BATCH)
    result = session.execute(
        sa.delete(table)
        .where(sa.tuple_(*key).in_(chosen) if len(key) > 1 else key[0].in_(chosen))
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]
