"""Recounts of the ledger as stored, and the quota held beside the things it is held for. Repairs nothing."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain.openings import PublicIpPhase
from cloudmgr.domain.phases import HOLDING_REQUESTS, RequestPhase, ServerPhase
from cloudmgr.domain.volumes import SnapshotPhase, VolumePhase
from cloudmgr.models import PublicIp, QuotaVerification, ResourceRequest, Server, Snapshot, Volume
from cloudmgr.store.db import is_sqlite
from quotas.tables import PartAmountRow, PartRow, ReservationRow

ROWS_TOLD = 200
"""The most rows of each comparison that are read back; one wrong number is an alarm, more only help to find it."""

_SIZES = ("servers", "vcpus", "memory_mib", "disk_gib")
_HELD = ("pending", "posted")
_OPEN = (*HOLDING_REQUESTS, RequestPhase.FULFILLING)
_PENDING_SERVERS = (ServerPhase.REQUESTED, ServerPhase.PLACED, ServerPhase.CREATING)
_POSTED_SERVERS = (ServerPhase.CONFIGURING, ServerPhase.ACTIVE, ServerPhase.SUSPENDED)
_STANDING_AFTER = ("configure", "undo")
"""Steps after whose failure something stands, so that its share stays held."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing whose share of the quota is not what the thing is."""

    kind: str
    thing_id: uuid.UUID
    name: str
    phase: str
    held_as: str | None
    """State of its part; None: it has none."""
    is_amount: dict[str, int]
    held_amount: dict[str, int]


def add(session: Session, row: QuotaVerification) -> bool:
    """Write a recount that is asked for; False when the same period's stands already."""
    insert = sqlite.insert(QuotaVerification) if is_sqlite(session) else postgresql.insert(QuotaVerification)
    values = row.model_dump()
    made = session.execute(
        insert.values(**values)
        .on_conflict_do_nothing(index_elements=["period"])
        .returning(col(QuotaVerification.id))
        .execution_options(synchronize_session=False)
    )
    return made.scalar() is not None


def get(session: Session, verification_id: uuid.UUID) -> QuotaVerification | None:
    """Return one recount."""
    return session.get(QuotaVerification, verification_id)


def latest(session: Session) -> QuotaVerification | None:
    """Return the recount that ended last."""
    return session.exec(
        select(QuotaVerification)
        .where(QuotaVerification.state == "done")
        .order_by(col(QuotaVerification.finished_at).desc())
        .limit(1)
    ).first()


def waiting(session: Session) -> QuotaVerification | None:
    """Return a recount that was asked for and has not ended."""
    return session.exec(
        select(QuotaVerification)
        .where(QuotaVerification.state == "waiting")
        .order_by(col(QuotaVerification.created_at).desc())
        .limit(1)
    ).first()


def reread(session: Session, verification_id: uuid.UUID) -> QuotaVerification:
    """Return one recount as it stands in the database now."""
    session.flush()
    return session.get_one(QuotaVerification, verification_id, populate_existing=True)


def remove(session: Session, before: datetime, *, at_once: int) -> int:
    """Delete recounts without a finding that ended before a moment; the last one of all stays."""
    last = latest(session)
    chosen = (
        sa.select(col(QuotaVerification.id))
        .where(
            col(QuotaVerification.finished_at) < before,
            col(QuotaVerification.mismatch_count) == 0,
            col(QuotaVerification.id) != (last.id if last else None),
        )
        .limit(at_once)
    )
    removed = session.execute(
        sa.delete(QuotaVerification)
        .where(col(QuotaVerification.id).in_(chosen))
        .execution_options(synchronize_session=False)
    )
    return int(removed.rowcount)  # type: ignore[attr-defined]


def things(session: Session) -> int:
    """Return how many servers, volumes, snapshots and public addresses there are."""
    counts = (sa.select(sa.func.count()).select_from(model).scalar_subquery() for model in _THINGS)
    return sum(int(count) for count in session.execute(sa.select(*counts)).one())


def disagreements(session: Session) -> Iterator[Disagreement]:
    """Yield what is held for things that are not so, and things for which too little or too much is held.

    One statement a kind, so each is of one snapshot. What is being given back piece by piece, and what failed with
    something still standing, is not judged.
    """
    yield from _servers(session)
    for model, gone, standing in (
        (Volume, (VolumePhase.DELETED,), (VolumePhase.AVAILABLE, VolumePhase.ATTACHING, VolumePhase.ATTACHED)),
        (Snapshot, (SnapshotPhase.DELETED,), (SnapshotPhase.AVAILABLE, SnapshotPhase.REVERTING)),
        (PublicIp, (PublicIpPhase.RELEASED,), (PublicIpPhase.ACTIVE,)),
    ):
        yield from _others(session, model, gone, standing)
    yield from _ownerless(session)
    yield from _overdue(session)


_PART = PartRow.__table__  # type: ignore[attr-defined]
_AMOUNT = PartAmountRow.__table__  # type: ignore[attr-defined]
_RESERVATION = ReservationRow.__table__  # type: ignore[attr-defined]
_THINGS = (Server, Volume, Snapshot, PublicIp)


def _shares() -> sa.Subquery:
    """Return every part with what it still holds, a column a size."""
    total = sa.func.coalesce(sa.func.sum(_AMOUNT.c.remaining), 0)
    sizes = [
        sa.func.coalesce(sa.func.sum(_AMOUNT.c.remaining).filter(_AMOUNT.c.resource == name), 0).label(name)
        for name in _SIZES
    ]
    return (
        sa.select(_PART.c.reservation_id, _PART.c.part_id, _PART.c.state, total.label("total"), *sizes)
        .select_from(
            _PART.outerjoin(
                _AMOUNT,
                sa.and_(_AMOUNT.c.reservation_id == _PART.c.reservation_id, _AMOUNT.c.part_id == _PART.c.part_id),
            )
        )
        .group_by(_PART.c.reservation_id, _PART.c.part_id, _PART.c.state)
        .subquery("shares")
    )


def _servers(session: Session) -> Iterator[Disagreement]:
    shares = _shares()
    server = Server.__table__  # type: ignore[attr-defined]
    disk = server.c.system_disk_gib + server.c.data_disk_gib
    is_other = sa.or_(
        shares.c.servers != 1,
        shares.c.vcpus != server.c.vcpus,
        shares.c.memory_mib != server.c.memory_mib,
        shares.c.disk_gib != disk,
    )
    is_wrong = sa.case(
        (server.c.phase.in_(_POSTED_SERVERS) & ~server.c.counts_quota, sa.func.coalesce(shares.c.total, 0) != 0),
        (server.c.phase.in_(_POSTED_SERVERS), sa.or_(shares.c.state.is_distinct_from("posted"), is_other)),
        (server.c.phase.in_(_PENDING_SERVERS), sa.or_(shares.c.state.is_distinct_from("pending"), is_other)),
        (server.c.phase == ServerPhase.RETIRED, sa.func.coalesce(shares.c.total, 0) != 0),
        (
            sa.and_(
                server.c.phase == ServerPhase.FAILED,
                sa.func.coalesce(server.c.failed_step, "").not_in(_STANDING_AFTER),
            ),
            sa.func.coalesce(shares.c.total, 0) != 0,
        ),
        else_=sa.false(),
    )
    rows = session.execute(
        sa.select(
            server.c.id,
            server.c.name,
            server.c.phase,
            shares.c.state,
            server.c.vcpus,
            server.c.memory_mib,
            disk.label("disk_gib"),
            shares.c.servers,
            shares.c.vcpus.label("held_vcpus"),
            shares.c.memory_mib.label("held_memory_mib"),
            shares.c.disk_gib.label("held_disk_gib"),
        )
        .select_from(
            server.outerjoin(
                shares,
                sa.and_(shares.c.reservation_id == server.c.reservation_id, shares.c.part_id == server.c.id),
            )
        )
        .where(is_wrong)
        .order_by(server.c.id)
        .limit(ROWS_TOLD)
    )
    for row in rows:
        yield Disagreement(
            "server",
            row.id,
            row.name,
            row.phase,
            row.state,
            {"servers": 1, "vcpus": row.vcpus, "memory_mib": row.memory_mib, "disk_gib": row.disk_gib},
            {
                "servers": int(row.servers or 0),
                "vcpus": int(row.held_vcpus or 0),
                "memory_mib": int(row.held_memory_mib or 0),
                "disk_gib": int(row.held_disk_gib or 0),
            },
        )


def _others(session: Session, model: Any, gone: Any, standing: Any) -> Iterator[Disagreement]:
    shares = _shares()
    thing = model.__table__
    held = sa.func.coalesce(shares.c.total, 0)
    rows = session.execute(
        sa.select(thing.c.id, thing.c.phase, shares.c.state, held.label("held"))
        .select_from(
            thing.outerjoin(
                shares, sa.and_(shares.c.reservation_id == thing.c.reservation_id, shares.c.part_id == thing.c.id)
            )
        )
        .where(
            sa.or_(
                sa.and_(thing.c.phase.in_(gone), held != 0),
                sa.and_(thing.c.phase.in_(standing), shares.c.state.is_distinct_from("posted")),
            )
        )
        .order_by(thing.c.id)
        .limit(ROWS_TOLD)
    )
    for row in rows:
        yield Disagreement(thing.name.rstrip("s"), row.id, "", row.phase, row.state, {}, {"held": int(row.held)})


def _ownerless(session: Session) -> Iterator[Disagreement]:
    """Yield what requests hold for things that are not there at all."""
    known = sa.union_all(*(sa.select(col(model.id)) for model in _THINGS)).subquery("known")
    rows = session.execute(
        sa.select(_PART.c.part_id, _PART.c.state)
        .join(_RESERVATION, _RESERVATION.c.id == _PART.c.reservation_id)
        .outerjoin(known, known.c.id == _PART.c.part_id)
        .where(_RESERVATION.c.kind == "request", _PART.c.state.in_(_HELD), known.c.id.is_(None))
        .order_by(_PART.c.part_id)
        .limit(ROWS_TOLD)
    )
    for part_id, state in rows:
        yield Disagreement("nothing", part_id, "", "", state, {}, {})


def _overdue(session: Session) -> Iterator[Disagreement]:
    """Yield what is held for the growth of a server by a request that is not open any more."""
    server = Server.__table__  # type: ignore[attr-defined]
    rows = session.execute(
        sa.select(server.c.id, server.c.name, server.c.phase, _PART.c.state, _PART.c.reservation_id)
        .join(_PART, sa.and_(_PART.c.part_id == server.c.id, _PART.c.reservation_id != server.c.reservation_id))
        .where(_PART.c.state.in_(_HELD))
        .order_by(server.c.id)
    ).all()
    if not rows:
        return
    open_requests = session.execute(
        select(ResourceRequest.id, ResourceRequest.submission, ResourceRequest.revision, ResourceRequest.attempt).where(
            col(ResourceRequest.phase).in_(_OPEN)
        )
    )
    holding = {
        id_
        for request_id, submission, revision, attempt in open_requests
        for id_ in (
            uuid.uuid5(request_id, f"submission:{submission}" + (f":{revision}" if revision else "")),
            uuid.uuid5(request_id, f"retry:{attempt}"),
        )
    }
    for row in rows[: len(holding) + ROWS_TOLD]:
        if row.reservation_id not in holding:
            yield Disagreement("server", row.id, row.name, row.phase, row.state, {}, {})
