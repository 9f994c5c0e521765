"""Reading and writing approval policies, stages, their seats, and decisions."""

import functools
import uuid
from collections.abc import Iterable
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.models import Approval, ApprovalPolicy, ApprovalSeat, ApprovalStage, User
from cloudmgr.store import inserts


def add(session: Session, *rows: Any) -> None:
    """Write new rows at once, or with the others inside `inserts.together`."""
    inserts.add(session, *rows)


def policy_by_version(session: Session, version: str) -> ApprovalPolicy | None:
    """Return one version of the approval policy."""
    return session.exec(select(ApprovalPolicy).where(ApprovalPolicy.version == version)).first()


@functools.cache
def _in_force() -> sa.Select[str]:
    today = sa.bindparam("today", type_=sa.Date())
    is_over = sa.case((col(ApprovalPolicy.valid_until) < today, 1), else_=0)
    return (
        sa.select(col(ApprovalPolicy.text))
        .where(col(ApprovalPolicy.valid_from) <= today)
        .order_by(is_over, col(ApprovalPolicy.valid_from).desc(), col(ApprovalPolicy.id).desc())
        .limit(1)
    )


def policy_in_force(session: Session, today: date) -> str | None:
    """Return the text of the version begun last among those not over, else begun last; None where none has begun."""
    return session.execute(_in_force(), {"today": today}).scalar()


def policies(session: Session) -> list[ApprovalPolicy]:
    """Return every version, the newest first."""
    return list(
        session.exec(
            select(ApprovalPolicy).order_by(col(ApprovalPolicy.valid_from).desc(), col(ApprovalPolicy.id).desc())
        )
    )


def seats(session: Session, stage_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[ApprovalSeat]]:
    """Return the seats of stages, in order, by stage."""
    found: dict[uuid.UUID, list[ApprovalSeat]] = {}
    query = select(ApprovalSeat).where(col(ApprovalSeat.stage_id).in_(list(stage_ids)))
    for seat in session.exec(query.order_by(col(ApprovalSeat.position))):
        found.setdefault(seat.stage_id, []).append(seat)
    return found


def people(session: Session, ids: Iterable[uuid.UUID | None]) -> dict[uuid.UUID | None, User]:
    """Return people by their ids."""
    return {person.id: person for person in session.exec(select(User).where(col(User.id).in_(set(ids))))}


def stage_at(session: Session, request_id: uuid.UUID, submission: int, position: int) -> ApprovalStage | None:
    """Return one stage of a submission."""
    return session.exec(
        select(ApprovalStage).where(
            ApprovalStage.request_id == request_id,
            ApprovalStage.submission == submission,
            ApprovalStage.position == position,
        )
    ).first()


def decided(session: Session, request_id: uuid.UUID, submission: int) -> list[Approval]:
    """Return the decisions of one submission, oldest first."""
    return list(
        session.exec(
            select(Approval)
            .where(Approval.request_id == request_id, Approval.submission == submission)
            .order_by(col(Approval.created_at))
        )
    )


def seats_decided(session: Session, stage_id: uuid.UUID) -> set[uuid.UUID]:
    """Return the seats of a stage that have decided."""
    return set(session.exec(select(Approval.seat_id).where(Approval.stage_id == stage_id)))
