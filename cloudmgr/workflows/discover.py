"""One look at one backend: how it is, what it holds, whether that may be believed, and what follows from it.

An answer that lost too much at once is unknown, never "all gone": nothing is marked missing by it (docs/discovery.md).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from sqlmodel import Session, col, select

from cloudmgr.adapters import queue
from cloudmgr.domain import clock, drift
from cloudmgr.domain.findings import SyncKind, SyncOutcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.models import Backend, SyncRun
from cloudmgr.store import discovery, servers
from cloudmgr.workflows import discover_compare, sync
from cloudmgr.workflows import engine as engines
from cloudmgr.workflows.discover_read import read_servers
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.steps import call, write

FOLLOWED = 200
"""Servers of one transaction whose state or host is brought up to what was seen."""
MOST_FOLLOWS = 500


@DBOS.workflow(name="sync_backend", max_recovery_attempts=100)
def sync_backend(backend: str, _asked: str, kind: str = "full", confirmed: bool = False) -> str:
    """Look at a backend: `check` asks how it is, `full` reads everything, `incremental` what changed.

    `confirmed`: a person says that servers which are not shown are really gone. Returns how it ended.
    """
    if kind != SyncKind.INCREMENTAL:
        seen = call("observe", sync.observe, backend)
        write("observed", sync.record, backend, seen)
        if kind != SyncKind.FULL:
            return SyncOutcome.OK if seen["ok"] else SyncOutcome.FAILED
        read = call("read_servers", read_servers, backend, kind) if seen["ok"] else seen
    else:
        read = call("read_servers", read_servers, backend, kind)
    settled = write("settled", settle, backend, kind, read, confirmed)
    if settled["outcome"] == SyncOutcome.OK:
        for _ in range(MOST_FOLLOWS):
            if not write("followed", follow, backend, settled["looked_at"]):
                break
    return str(settled["outcome"])


def settle(session: Session, name: str, kind: str, read: Outcome, confirmed: bool) -> dict[str, Any]:
    """Judge a look: believe it and draw every conclusion, or write down why it is not believed."""
    backend = session.exec(select(Backend).where(Backend.name == name).with_for_update()).one()
    now = clock.now()
    if not read["ok"]:
        backend.servers_message = read["message"]
        session.add(backend)
        _note(session, backend, kind, SyncOutcome.FAILED, read["message"], began=now)
        return {"outcome": SyncOutcome.FAILED.value}
    look = read["result"]
    looked_at = datetime.fromisoformat(look["looked_at"])
    present, lost = discovery.lost_of(session, backend.id, looked_at)
    lost = lost if look["complete"] else len(look["gone"])
    if not (confirmed or drift.is_believable(present, lost) or _is_confirmed(session, backend, looked_at)):
        message = _suspicion(present, lost)
        backend.servers_message, backend.sync_cursor = message, None
        session.add(backend)
        _note(session, backend, kind, SyncOutcome.SUSPECT, message, look=look, missing=lost)
        return {"outcome": SyncOutcome.SUSPECT.value}
    missing = discovery.mark_missing(session, backend.id, looked_at, None if look["complete"] else look["gone"])
    discovery.touch(session, backend.id, looked_at, everything=not look["complete"])
    if look["networks"]:
        discovery.forget_addresses(session, backend.id, look["networks"], looked_at)
    session.expire_all()
    if look["quota"] is not None:
        backend.cloud_quota = look["quota"]
    if backend.servers_synced_at is None or backend.servers_synced_at < looked_at:
        backend.servers_synced_at, backend.sync_cursor = looked_at, look["cursor"]
    backend.servers_known_since = backend.servers_known_since or looked_at
    backend.servers_message = look["notes"][0] if look["notes"] else None
    session.add(backend)
    session.flush()
    discover_compare.compare(session, backend, look, looked_at)
    _note(session, backend, kind, SyncOutcome.OK, backend.servers_message, look=look, missing=missing)
    return {"outcome": SyncOutcome.OK.value, "looked_at": look["looked_at"]}


def follow(session: Session, name: str, looked_at: str) -> bool:
    """Bring the state and host of some servers to what was seen; True when there may be more.

    Sizes, names and addresses are not followed: those are differences, and people decide on them.
    """
    backend_id = session.exec(select(Backend.id).where(Backend.name == name)).one()
    rows = discovery.to_follow(session, backend_id, datetime.fromisoformat(looked_at), FOLLOWED)
    for server, observed in rows:
        if observed.missing_since is not None:
            server.state = "unknown"
        else:
            server.state = observed.power
            server.host = observed.host or server.host
        servers.keep(session, server, actor=SYSTEM.username, change="observed")
    return len(rows) == FOLLOWED


def _is_confirmed(session: Session, backend: Backend, looked_at: datetime) -> bool:
    """Whether the looks before this one have said the same often and long enough."""
    before = []
    for run in discovery.last_runs(session, backend.id, 50):
        if run.outcome == SyncOutcome.OK:
            break
        if run.outcome == SyncOutcome.SUSPECT:
            before.append(run)
    enough = len(before) >= drift.CONFIRMED_BY_LOOKS - 1
    return enough and looked_at - before[-1].started_at >= drift.CONFIRMED_AFTER


def _suspicion(present: int, lost: int) -> dict[str, Any]:
    if lost >= present:
        template = N_(
            "It listed none of the {present} servers it had. That is not believed: nothing is marked as gone until it is confirmed."
        )
    else:
        template = N_(
            "It listed {lost} servers fewer than the {present} it had. That is not believed: nothing is marked as gone until it is confirmed."
        )
    return Message(template, {"present": present, "lost": lost}).as_json()


def _note(
    session: Session,
    backend: Backend,
    kind: str,
    outcome: SyncOutcome,
    message: dict[str, Any] | None,
    *,
    began: datetime | None = None,
    look: dict[str, Any] | None = None,
    missing: int = 0,
) -> None:
    seconds = look["seconds"] if look else 0
    started_at = datetime.fromisoformat(look["looked_at"]) if look else began or clock.now()
    session.add(
        SyncRun(
            backend_id=backend.id,
            kind=kind,
            outcome=outcome.value,
            message=message,
            servers=look["servers"] if look else 0,
            changed=look["changed"] if look else 0,
            missing=missing,
            duration_ms=round(seconds * 1000),
            started_at=started_at,
            finished_at=max(clock.now(), started_at + timedelta(seconds=seconds)),
        )
    )
    session.flush()


def due(names: Sequence[str], *, kind: SyncKind, interval_s: float) -> dict[str, str]:
    """Return the workflow id of the present period of each backend: who asks twice in one period asks once."""
    if interval_s <= 0:
        return {}
    period = int(clock.now().timestamp() // interval_s)
    return {name: f"look:{name}:{kind.value}:{period}" for name in names}


def schedule(session: Session, wanted: Sequence[tuple[str, SyncKind, str]]) -> set[str]:
    """Enqueue looks (backend, kind, workflow id); return the ids that need no further thought.

    Left for later: a backend that is being left in peace, and one of which a look is still under way. Changes are only
    asked of a backend that can tell them, and after it was once read completely.
    """
    backends = {row.name: row for row in session.exec(select(Backend).where(col(Backend.is_configured)))}
    busy = _under_way(session)
    done: set[str] = set()
    for name, kind, id_ in wanted:
        backend = backends.get(name)
        if backend is None or backend.retry_at is not None or name in busy:
            continue
        done.add(id_)
        if kind is SyncKind.INCREMENTAL and ("incremental" not in backend.capabilities or backend.sync_cursor is None):
            continue
        queue.enqueue(session, "sync_backend", id_, name, clock.now().isoformat(), kind.value, False)
        busy.add(name)
    return done


def _under_way(session: Session) -> set[str]:
    """Return the backends of which a scheduled look has not ended."""
    table = engines.status_table(session.get_bind())  # type: ignore[arg-type]
    if table is None:
        return set()
    rows = session.connection().execute(
        sa.text(
            f"SELECT workflow_uuid FROM {table} WHERE name = 'sync_backend' AND status IN ('PENDING', 'ENQUEUED')"  # noqa: S608 - a constant
        )
    )
    return {str(id_).split(":")[1] for (id_,) in rows if str(id_).startswith("look:")}
