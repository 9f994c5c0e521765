"""The seats of a request's stages as they are shown: who has decided and for whom, and who still may. Decides nothing."""

import uuid
from dataclasses import dataclass

from sqlmodel import Session

from cloudmgr.models import Approval, ApprovalSeat, ApprovalStage, User
from cloudmgr.services.request_view import RequestView
from cloudmgr.store import approvals


@dataclass(frozen=True, slots=True)
class SeatView:
    """One seat. `person` is the one named, `absent` whose deputy the decider was; None: nobody, or not yet."""

    seat: ApprovalSeat
    person: User | None = None
    decision: Approval | None = None
    decider: User | None = None
    absent: User | None = None


def seats_of(session: Session, view: RequestView) -> dict[uuid.UUID, list[SeatView]]:
    """Return the seats of each stage: those that decided, in turn, then those whose decision would still count."""
    decided = {approval.seat_id: (approval, person) for approval, person in view.approvals}
    people = approvals.people(session, [each.on_behalf_of_id for each, _ in decided.values() if each.on_behalf_of_id])
    people |= {person.id: person for _, person in view.seats if person is not None}
    found = {}
    for stage in view.stages:
        of_stage = [seat for seat, _ in view.seats if seat.stage_id == stage.id]
        done = [_decided(seat, *decided[seat.id], people) for seat in of_stage if seat.id in decided]
        done.sort(key=lambda each: each.decision.created_at if each.decision else stage.created_at)
        found[stage.id] = [
            *done,
            *(
                SeatView(seat, people.get(seat.person_id))
                for seat in _left(stage, of_stage, [each.seat for each in done])
            ),
        ]
    return found


def _left(stage: ApprovalStage, seats: list[ApprovalSeat], done: list[ApprovalSeat]) -> list[ApprovalSeat]:
    if done and stage.state != "open":
        return []
    met = {seat.stands_for_id or seat.id for seat in done}
    return [seat for seat in seats if (seat.stands_for_id or seat.id) not in met]


def _decided(seat: ApprovalSeat, decision: Approval, decider: User, people: dict[uuid.UUID | None, User]) -> SeatView:
    return SeatView(seat, people.get(seat.person_id), decision, decider, people.get(decision.on_behalf_of_id))
