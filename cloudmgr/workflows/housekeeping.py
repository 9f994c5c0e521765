"""What is thrown away, and when: only what has a stated retention, never audit events, ledger entries or server versions."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from cloudmgr.domain import clock
from cloudmgr.models import (
    Happening,
    IdempotencyKey,
    ObservedServer,
    PlaybookEvent,
    RequestEvent,
    SyncRun,
    UserSession,
    Worker,
)
from cloudmgr.services import quota_proofs
from cloudmgr.settings import Settings
from cloudmgr.workflows import engine as engines

_BATCH = 5000
_LOOK_DAYS = 1
"""Workflows that looked at a backend are of no use to anybody after it: `sync_runs` tells what they saw."""
_ENGINE_TABLES = (
    ("operation_outputs", "workflow_uuid"),
    ("datasource_outputs", "workflow_id"),
    ("workflow_input", "workflow_uuid"),
    ("workflow_output", "workflow_uuid"),
    ("workflow_status", "workflow_uuid"),
)
"""The engine keeps these apart without foreign keys; its other tables follow the last one by theirs."""


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
        "sync_runs": _delete(
            session, SyncRun, col(SyncRun.finished_at) < now - timedelta(days=policy.sync_retention_days)
        ),
        "observed_servers": _delete(
            session,
            ObservedServer,
            sa.and_(
                col(ObservedServer.server_id).is_(None),
                col(ObservedServer.missing_since) < now - timedelta(days=policy.sync_retention_days),
            ),
        ),
        "quota_verifications": quota_proofs.forget(
            session, now - timedelta(days=policy.sync_retention_days), at_once=_BATCH
        ),
        "happenings": _delete(
            session, Happening, col(Happening.created_at) < now - timedelta(days=settings.notices.retention_days)
        ),
        "workers": _delete(session, Worker, col(Worker.last_seen_at) < now - timedelta(days=7)),
    }
    removed["workflows"] = _delete_workflows(session, now - timedelta(days=policy.workflow_retention_days))
    return removed


def _delete_workflows(session: Session, before: datetime) -> int:
    """Delete the engine's rows of workflows that ended before a moment, a batch at a time; return how many workflows.

    A child is kept for as long as its parent runs: the parent may ask for its result again after a restart.
    """
    bind = session.get_bind()
    table = engines.status_table(bind)  # type: ignore[arg-type]
    if table is None:
        return 0
    connection = session.connection()
    ended = list(
        connection.execute(
            sa.text(
                f"SELECT w.workflow_uuid FROM {table} w LEFT JOIN {table} p ON p.workflow_uuid = w.parent_workflow_id "  # noqa: S608 - constants
                "WHERE w.status IN ('SUCCESS', 'ERROR', 'CANCELLED') "
                "AND (w.updated_at < :before OR (w.name = 'sync_backend' AND w.updated_at < :looked_before)) "
                "AND (p.status IS NULL OR p.status NOT IN ('PENDING', 'ENQUEUED', 'DELAYED')) LIMIT :batch"
            ),
            {
                "before": int(before.timestamp() * 1000),
                "looked_before": int((clock.now() - timedelta(days=_LOOK_DAYS)).timestamp() * 1000),
                "batch": _BATCH,
            },
        ).scalars()
    )
    schema = table.rpartition(".")[0] or None
    standing = set(sa.inspect(connection).get_table_names(schema=schema)) if ended else set()
    for name, column in _ENGINE_TABLES:
        if name in standing:
            place = f"{schema}.{name}" if schema else name
            statement = sa.text(f"DELETE FROM {place} WHERE {column} IN :ended")  # noqa: S608 - constants
            connection.execute(statement.bindparams(sa.bindparam("ended", expanding=True)), {"ended": ended})
    return len(ended)


def _delete(session: Session, table: Any, condition: Any) -> int:
    key = list(sa.inspect(table).primary_key)
    chosen = sa.select(*key).where(condition).limit(_BATCH)
    result = session.execute(
        sa.delete(table)
        .where(sa.tuple_(*key).in_(chosen) if len(key) > 1 else key[0].in_(chosen))
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]
