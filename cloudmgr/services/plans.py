"""What a request would cost at every level and where its servers could go, before anything is sent. Changes nothing."""

from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.services.request_inputs import Command
from cloudmgr.services.request_kinds import kind_of
from cloudmgr.services.request_kinds.base import EntryPlan, Plan

__all__ = ["EntryPlan", "Plan", "plan"]


def plan(session: Session, actor: Actor, command: Command) -> Plan:
    """Preview a request with the very rules that submitting it will ask.

    Raises:
        The refusals of `resolution`, for what can never be accepted as written. Quota and capacity are told in the plan.
    """
    return kind_of(command.kind).plan(session, actor, command)
