"""What a deployment asks of a request for new servers beside what they are: project number, money, attachments, reasons."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.models import Project, ResourceRequest
from cloudmgr.services.policy import policy_of
from cloudmgr.services.request_inputs import CreateRequest
from cloudmgr.store import remarks


def check(session: Session, project: Project, command: CreateRequest) -> None:
    """Refuse what the project or the policy does not allow.

    Raises:
        Conflict: the project is being closed, or has no number where one is needed.
        InvalidInput: hosts of its own without a reason, or nobody named who pays.
    """
    policy = policy_of(session)
    if project.stage == "closing":
        raise Conflict(N_("{project} is being closed: it gets no new servers."), field="project", project=project.name)
    if policy.project_no_required and not project.project_no:
        raise Conflict(
            N_("{project} has no project number (立项文号): new servers need one. Have it put on record first."),
            field="project",
            project=project.name,
        )
    if command.exclusive and not command.exclusive_reason.strip():
        raise InvalidInput(N_("Hosts of its own need a reason."), field="exclusive_reason")
    if policy.funding_source_required and not command.funding_source.strip():
        raise InvalidInput(N_("Say where the money comes from."), field="funding_source")


def require_attachments(session: Session, request: ResourceRequest) -> None:
    """Refuse a submission with fewer attachments than the policy asks for.

    Raises:
        Conflict: with how many are missing; a draft takes them.
    """
    wanted = policy_of(session).attachments_required
    there = remarks.attached(session, request.id)[0] if wanted else 0
    if there < wanted:
        raise Conflict(
            N_("{wanted} attachments are needed and {there} are there: save a draft, attach them, then submit it."),
            wanted=wanted,
            there=there,
        )


def hints(session: Session) -> list[Message]:
    """Say what a submission will need beside what a plan can look at."""
    wanted = policy_of(session).attachments_required
    if not wanted:
        return []
    return [
        Message(N_("{wanted} attachments are needed: save a draft, attach them, then submit it."), {"wanted": wanted})
    ]


def told(body: Mapping[str, Any]) -> list[Message]:
    """Say what a request tells beside its servers, for whoever decides."""
    found = []
    if body.get("exclusive"):
        found.append(
            Message(N_("Hosts of its own are asked for: {reason}"), {"reason": body.get("exclusive_reason", "")})
        )
    if body.get("funding_source"):
        found.append(Message(N_("Money: {source}"), {"source": body["funding_source"]}))
    if body.get("priority") == "high":
        found.append(Message(N_("High priority is asked for.")))
    return found
