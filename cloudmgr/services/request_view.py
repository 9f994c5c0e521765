"""What is shown of a request. Reads nothing itself: `requests` fills it."""

import uuid
from dataclasses import dataclass

from cloudmgr.domain.messages import Message
from cloudmgr.models import (
    Approval,
    ApprovalSeat,
    ApprovalStage,
    ChangeFreeze,
    EmergencyOrder,
    Organization,
    Project,
    RequestEvent,
    ResourceRequest,
    User,
)
from cloudmgr.store import servers


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request with everything its page shows."""

    request: ResourceRequest
    project: Project | None
    """None: the request is about an organization's own quota account."""
    organization: Organization
    requester: User
    stages: list[ApprovalStage]
    seats: list[tuple[ApprovalSeat, User | None]]
    """Who decides each stage: a role, or the person."""
    approvals: list[tuple[Approval, User]]
    servers: list[servers.ServerRow]
    events: list[RequestEvent]
    amounts: dict[str, int]
    """What it takes of the quota; empty for kinds that cost nothing."""
    changes: list[Message]
    """What it changes of things that stand, line by line."""
    emergency: EmergencyOrder | None = None
    held_by: ChangeFreeze | None = None
    """The change freeze for whose end it waits."""


def account_of(view: RequestView) -> uuid.UUID:
    """Return the quota account a request is about: the one it asks to change, else its project's."""
    if view.project is None or view.request.account_id is not None:
        return view.request.account_id or view.organization.account_id
    return view.project.account_id
