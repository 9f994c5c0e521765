"""What people and systems are told of: the closed vocabulary of notices, its words, its channels, and who is meant. No I/O."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cloudmgr.domain.access import Role
from cloudmgr.domain.messages import N_


class NoticeEvent(StrEnum):
    """What a notice tells of. Webhooks and preferences name these."""

    REQUEST_TO_DECIDE = "request.to_decide"
    REQUEST_APPROVED = "request.approved"
    REQUEST_RETURNED = "request.returned"
    REQUEST_REJECTED = "request.rejected"
    REQUEST_CHANGED = "request.changed"
    REQUEST_WITHDRAWN = "request.withdrawn"
    REQUEST_FULFILLED = "request.fulfilled"
    REQUEST_FAILED = "request.failed"
    REQUEST_WAITING = "request.waiting"
    REQUEST_COMMENTED = "request.commented"
    REQUEST_URGED = "request.urged"
    REQUEST_DUE = "request.due"
    REQUEST_OVERDUE = "request.overdue"
    REQUEST_ESCALATED = "request.escalated"
    EMERGENCY_PENDING = "emergency.pending"
    EMERGENCY_OVERDUE = "emergency.overdue"
    LEASE_REMINDER = "lease.reminder"
    LEASE_FROZEN = "lease.frozen"
    LEASE_RETIRING = "lease.retiring"
    QUOTA_WARNING = "quota.warning"
    QUOTA_HOLD_ENDED = "quota.hold_ended"
    QUOTA_MISMATCH = "quota.mismatch"
    LOAN_OFFERED = "loan.offered"
    LOAN_SIGNED = "loan.signed"
    LOAN_DECLINED = "loan.declined"
    LOAN_ENDING = "loan.ending"
    LOAN_OVERDUE = "loan.overdue"
    LOAN_RETURNED = "loan.returned"
    POLICY_EXPIRED = "policy.expired"
    FREEZE_ANNOUNCED = "freeze.announced"
    DEPUTY_NAMED = "deputy.named"
    DEPUTY_BEGINS = "deputy.begins"


NOTICE_EVENTS: Mapping[str, str] = {
    NoticeEvent.REQUEST_TO_DECIDE: N_("A request waits for your decision"),
    NoticeEvent.REQUEST_APPROVED: N_("Your request is approved"),
    NoticeEvent.REQUEST_RETURNED: N_("Your request was returned for correction"),
    NoticeEvent.REQUEST_REJECTED: N_("Your request is not approved"),
    NoticeEvent.REQUEST_CHANGED: N_("A change of your request waits for your confirmation"),
    NoticeEvent.REQUEST_WITHDRAWN: N_("A request was withdrawn"),
    NoticeEvent.REQUEST_FULFILLED: N_("Your request is done"),
    NoticeEvent.REQUEST_FAILED: N_("Your request failed or is only partly done"),
    NoticeEvent.REQUEST_WAITING: N_("A request that waited for quota goes on or ends"),
    NoticeEvent.REQUEST_COMMENTED: N_("A comment on your request"),
    NoticeEvent.REQUEST_URGED: N_("A request is urged"),
    NoticeEvent.REQUEST_DUE: N_("A decision is due soon"),
    NoticeEvent.REQUEST_OVERDUE: N_("A decision is overdue"),
    NoticeEvent.REQUEST_ESCALATED: N_("A request was escalated"),
    NoticeEvent.EMERGENCY_PENDING: N_("An emergency order waits for its approval"),
    NoticeEvent.EMERGENCY_OVERDUE: N_("An emergency order was not approved in time"),
    NoticeEvent.LEASE_REMINDER: N_("A lease ends soon"),
    NoticeEvent.LEASE_FROZEN: N_("A server was frozen at the end of its lease"),
    NoticeEvent.LEASE_RETIRING: N_("A server is retired after its lease"),
    NoticeEvent.QUOTA_WARNING: N_("Quota is nearly used up"),
    NoticeEvent.QUOTA_HOLD_ENDED: N_("Held quota was given back"),
    NoticeEvent.QUOTA_MISMATCH: N_("The quota ledger does not agree"),
    NoticeEvent.LOAN_OFFERED: N_("A quota loan is offered"),
    NoticeEvent.LOAN_SIGNED: N_("A quota loan is signed"),
    NoticeEvent.LOAN_DECLINED: N_("A quota loan was declined"),
    NoticeEvent.LOAN_ENDING: N_("A quota loan ends soon"),
    NoticeEvent.LOAN_OVERDUE: N_("A quota loan is overdue"),
    NoticeEvent.LOAN_RETURNED: N_("A quota loan was returned"),
    NoticeEvent.POLICY_EXPIRED: N_("The approval policy has expired"),
    NoticeEvent.FREEZE_ANNOUNCED: N_("A change freeze is announced"),
    NoticeEvent.DEPUTY_NAMED: N_("You are named as a deputy"),
    NoticeEvent.DEPUTY_BEGINS: N_("Your days as a deputy have begun"),
}
"""The subject of each, as an English template; also the words of preferences."""


TO_DECIDERS = frozenset(
    {
        NoticeEvent.REQUEST_TO_DECIDE,
        NoticeEvent.REQUEST_WITHDRAWN,
        NoticeEvent.REQUEST_URGED,
        NoticeEvent.REQUEST_DUE,
        NoticeEvent.REQUEST_OVERDUE,
        NoticeEvent.REQUEST_ESCALATED,
        NoticeEvent.EMERGENCY_PENDING,
        NoticeEvent.EMERGENCY_OVERDUE,
    }
)
"""Events of a request that are told to those who may decide on it, and to whoever stands in for them that day."""


class Channel(StrEnum):
    """How one person is told. The inbox is the console's own."""

    INBOX = "inbox"
    EMAIL = "email"


class DeliveryChannel(StrEnum):
    """How something leaves this system."""

    EMAIL = "email"
    WEBHOOK = "webhook"


class DeliveryState(StrEnum):
    """What became of a delivery. `waiting` is tried again at `next_at`; `failed` and `sent` can be replayed by hand."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RoleAt:
    """Everybody who holds a role on an organization, by a grant there or above, at the moment the notice is spread."""

    role: Role
    organization_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class About:
    """What a notice is about: `type` and `id` as in the audit log, `name` for people, `link` a path of the console."""

    type: str
    id: str = ""
    name: str = ""
    link: str = ""


def backoff(attempt: int, *, first: timedelta, most: timedelta) -> timedelta:
    """Return how long to wait after the `attempt`-th try (from 1): doubled each time, `most` at most."""
    return min(first * (1 << min(attempt - 1, 30)), most)
