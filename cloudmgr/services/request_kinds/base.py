"""What every kind of request answers: what it resolves to, costs, writes, gives up, and tries again. Commits nothing."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel

import quotas
from cloudmgr.domain import leases, placement
from cloudmgr.domain.access import Actor
from cloudmgr.domain.approval import Facts, OwnQuota
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import Organization, Project, ResourceRequest
from cloudmgr.services.inputs import Input
from cloudmgr.services.quota_offers import Offer
from cloudmgr.services.resolution import Concerned
from cloudmgr.store import servers
from quotas import Part, Preview

C = TypeVar("C", bound=Input)
R = TypeVar("R", bound=Concerned)


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """One line of the request: what it asks and how every zone answers."""

    index: int
    name: str
    count: int
    arch: str
    verdicts: list[placement.Verdict]
    fits: int
    """How many of the servers have room now, over all candidate zones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The preview of a request. `quota` is None for kinds that cost nothing."""

    kind: str
    totals: dict[str, int]
    quota: Preview | None
    entries: list[EntryPlan] = field(default_factory=list)
    warnings: list[Message] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    shows_capacity: bool = False
    offers: list[Offer] = field(default_factory=list)
    """What would fit instead where the quota refuses, cheapest first."""

    @property
    def would_be_accepted(self) -> bool:
        return not self.refusals


@dataclass(frozen=True, slots=True)
class Told:
    """What a request's page shows of what it is about."""

    servers: list[servers.ServerRow]
    amounts: dict[str, int]
    changes: list[Message]


class Kind(ABC, Generic[C, R]):
    """One kind of request. Every function runs in the caller's transaction.

    A request is submitted as `resolve` → `prepare` → `hold` → its number is taken → `write`; it ends before fulfilment by `give_up`,
    is approved with `approved`, and tried again with `rearm`.
    """

    name: ClassVar[str]
    counted: ClassVar[str] = "items"
    """What the audit event of a submission counts."""
    told: ClassVar[str] = N_("Submitted by {person} as {number}; quota is held.")
    """What the request's progress says first."""
    writes_together: ClassVar[bool] = False
    """`hold` and `write` read nothing of what a submission writes, so that all of it goes to the database at once."""

    @abstractmethod
    def resolve(self, session: Session, actor: Actor, command: C) -> R:
        """Look up everything the request names and ask every rule; write nothing.

        Raises:
            The refusals of `resolution`.
        """

    @abstractmethod
    def plan(self, session: Session, actor: Actor, command: C) -> Plan:
        """Preview the request with the rules of `resolve`; change nothing."""

    def prepare(self, session: Session, request: ResourceRequest, command: C, resolved: R) -> None:
        """Set the request's own columns and ask the rules that only a submission is asked; nothing is held yet."""

    def hold(self, session: Session, request: ResourceRequest, command: C, resolved: R) -> None:
        """Set the request's own columns and hold its quota. The request has no row yet when it is new.

        Raises:
            QuotaExceeded: nothing is held then.
        """

    def hold_along(
        self,
        session: Session,  # noqa: ARG002 - the default
        request: ResourceRequest,  # noqa: ARG002
        command: C,  # noqa: ARG002
        resolved: R,  # noqa: ARG002
        along: quotas.Along,  # noqa: ARG002
    ) -> bool:
        """Hold the quota and write what goes along with it, in one round trip; False: neither, ask `hold`."""
        return False

    def stands_alone(self, resolved: R) -> bool:  # noqa: ARG002 - the default
        """Whether `write` only makes rows that nothing else must be written after."""
        return False

    @abstractmethod
    def write(self, session: Session, request: ResourceRequest, resolved: R) -> int:
        """Write the rows the request is about, and return how many things it asks for."""

    def refused(self, error: IntegrityError, resolved: R) -> Refusal | None:  # noqa: ARG002 - the default
        """Say in words which rule the database itself found broken when a submission was written; None: it is ours."""
        return None

    def parts(self, command: C, resolved: R) -> Sequence[Part]:  # noqa: ARG002 - the default
        """Return what the request holds of the quota, which is what an emergency order counts; empty for kinds that cost nothing."""
        return ()

    def undoing(self, session: Session, request: ResourceRequest) -> dict[str, Any] | None:  # noqa: ARG002 - the default
        """Return the fields, `kind` among them, of the request that takes back what this one did; None: nothing is to be taken back."""
        return None

    def by_rule(self, session: Session, request: ResourceRequest, resolved: R) -> Message | None:  # noqa: ARG002 - the default
        """Say which rule grants the submission without anybody's decision; None: it passes its stages."""
        return None

    def ended(self, session: Session, request: ResourceRequest, phase: RequestPhase) -> None:
        """Do what follows from an end before fulfilment; the request is in `phase` already."""

    @abstractmethod
    def give_up(self, session: Session, request: ResourceRequest) -> None:
        """Give back what the present submission holds and remove what was never begun."""

    def approved(self, session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> None:
        """Note that the last approval was given; fulfilment is enqueued in the same transaction."""

    @abstractmethod
    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:
        """Make what has failed ready for another attempt, `request.attempt` being its number; False: nothing has failed.

        Raises:
            QuotaExceeded: what was given back no longer fits.
        """

    def facts(self, session: Session, request: ResourceRequest, command: C, resolved: R) -> Facts:  # noqa: ARG002 - the default
        """Say what the approval policy may ask of a submission that was just written, or is about to be."""
        return self.facts_of(request, resolved, self.amounts(session, request))

    @staticmethod
    def facts_of(request: ResourceRequest, resolved: Concerned, totals: dict[str, int]) -> Facts:
        """Put together what every kind tells the policy."""
        return Facts(
            kind=request.kind,
            own_quota=OwnQuota.OVER if request.kind == "quota_change" else OwnQuota.WITHIN,
            totals=totals,
            network_zones=frozenset({request.network_zone} if request.network_zone else ()),
            mlps_level=resolved.project.mlps_level if resolved.project else None,
            env=request.env,
            is_emergency=request.is_emergency,
        )

    def new(
        self,
        session: Session,  # noqa: ARG002 - the default
        request: ResourceRequest,  # noqa: ARG002
        resolved: R,  # noqa: ARG002
        written: Sequence[SQLModel],  # noqa: ARG002
    ) -> Told | None:
        """Tell of a submission that was just written what `servers`, `amounts` and `changes` would read; None: read it."""
        return None

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:  # noqa: ARG002 - the default
        """Return the servers the request is about, by name."""
        return []

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:  # noqa: ARG002 - the default
        """Say line by line what is to be changed, for whoever decides; empty where the servers say it all."""
        return []

    def amounts(self, session: Session, request: ResourceRequest) -> dict[str, int]:  # noqa: ARG002 - the default
        """Return what the request takes of the quota; empty for kinds that cost nothing."""
        return {}


def reservation_id(request: ResourceRequest) -> uuid.UUID:
    """Return the id of the reservation that a request's present submission holds."""
    revised = f":{request.revision}" if request.revision else ""
    return uuid.uuid5(request.id, f"submission:{request.submission}{revised}")


def retry_reservation_id(request: ResourceRequest) -> uuid.UUID:
    """Return the id of the reservation of the present attempt, for what gave its share back before."""
    return uuid.uuid5(request.id, f"retry:{request.attempt}")


def project_of(session: Session, request: ResourceRequest) -> Project:
    """Return the project of a request that has one."""
    return session.get_one(Project, request.project_id)


def quota_refusals(quota: Preview) -> list[dict[str, Any]]:
    """Return what a preview says against a request, as a plan tells it."""
    return [
        {"code": "quota_exceeded", **binding.as_json(), "message": binding.describe()} for binding in quota.bindings
    ]


def loan_refusals(
    session: Session, project: Project, parts: Sequence[Part], lease_end: date | None
) -> list[dict[str, Any]]:
    """Return what stands against a lease that would outlive a loan of quota it needs, as a plan tells it."""
    found = quotas.outliving(session, account_id=project.account_id, parts=parts, until=leases.ends_at(lease_end))
    return [{"code": quotas.LoanEndsFirst.code, **each.as_json(), "message": each.describe()} for each in found]


def summed(*amounts: dict[str, int]) -> dict[str, int]:
    """Add up amounts by key."""
    totals: dict[str, int] = {}
    for each in amounts:
        for key, amount in each.items():
            totals[key] = totals.get(key, 0) + amount
    return totals
