"""审批办法 as data: read a policy file, load it as a version, tell which version is in force. Decides no request."""

import functools
import hashlib
import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from cloudmgr.domain import approval, clock
from cloudmgr.domain.access import Action, Actor, Role, require
from cloudmgr.domain.approval import Level, Mode, OnTimeout, OwnQuota, Policy
from cloudmgr.domain.errors import Conflict, InvalidInput, Refusal
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import About, NoticeEvent, RoleAt
from cloudmgr.domain.phases import Environment, MlpsLevel
from cloudmgr.models import ApprovalPolicy
from cloudmgr.services import audit, policy_terms
from cloudmgr.services.inputs import Closed, Code, Input, Name
from cloudmgr.services.notices import notify
from cloudmgr.services.policy import policy_of
from cloudmgr.services.usernames import username_key
from cloudmgr.store import approvals, organizations, users

MAX_RULES, MAX_SEATS, MAX_TEXT = 100, 10, 200_000
_PACKAGED = "approval_policy.toml"
logger = logging.getLogger(__name__)

StageName = Annotated[Code, StringConstraints(pattern=r"^[^{}]*$")]
"""No braces: a stage's name is told as a message."""
Days = Annotated[int, Field(ge=0, le=250)]
Listed = Annotated[tuple[Code, ...], Field(max_length=100), Closed]


class Seat(Input):
    """`by`: a role at a level (the level's own role where none is named), or one person by username."""

    level: Annotated[Level, Closed] | None = None
    role: Annotated[Role, Closed] | None = None
    person: Code | None = None

    @model_validator(mode="after")
    def _one_or_other(self) -> "Seat":
        if (self.person is None) == (self.level is None) or (self.person is not None and self.role is not None):
            raise PydanticCustomError("seat", "Name either a level (and perhaps a role) or a person.")
        if self.level is Level.PERSON:
            raise PydanticCustomError("seat", "Name either a level (and perhaps a role) or a person.")
        return self

    def rule(self) -> approval.SeatRule:
        if self.level is None:
            return approval.SeatRule(Level.PERSON, None, self.person)
        return approval.SeatRule(self.level, self.role or approval.ROLES[self.level])


class Stage(Input):
    """One stage."""

    name: StageName | None = None
    by: Annotated[tuple[Seat, ...], Field(min_length=1, max_length=MAX_SEATS), Closed]
    mode: Annotated[Mode, Closed] = Mode.ANY
    sla_working_days: Days | None = None
    escalate_after_working_days: Days | None = None
    on_timeout: Annotated[OnTimeout, Closed] = OnTimeout.NONE

    def rule(self) -> approval.StageRule:
        seats = tuple(seat.rule() for seat in self.by)
        return approval.StageRule(
            self.name or approval.NAMES[seats[0].level],
            seats,
            self.mode,
            self.sla_working_days,
            self.escalate_after_working_days,
            self.on_timeout,
        )


class Conditions(Input):
    """`when`: what is left out is not asked; all that is given must hold."""

    kinds: Listed = ()
    own_quota: Annotated[tuple[Annotated[OwnQuota, Closed], ...], Closed] = ()
    at_least: dict[Code, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    archs: Listed = ()
    network_zones: Listed = ()
    mlps_levels: Annotated[tuple[Annotated[MlpsLevel, Closed], ...], Closed] = ()
    envs: Annotated[tuple[Annotated[Environment, Closed], ...], Closed] = ()
    organizations: Listed = ()
    emergency: bool | None = None

    def rule(self) -> approval.When:
        return approval.When(
            kinds=frozenset(self.kinds),
            own_quota=frozenset(self.own_quota),
            at_least=dict(self.at_least),
            archs=frozenset(self.archs),
            network_zones=frozenset(self.network_zones),
            mlps_levels=frozenset(level.value for level in self.mlps_levels),
            envs=frozenset(env.value for env in self.envs),
            organizations=frozenset(self.organizations),
            emergency=self.emergency,
        )


class PolicyRule(Input):
    """One rule: submissions that meet `when` pass `stages` in order."""

    name: Name
    when: Conditions = Conditions()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=approval.MAX_STAGES), Closed]

    def rule(self) -> approval.Rule:
        return approval.Rule(self.name, self.when.rule(), tuple(stage.rule() for stage in self.stages))


class PolicyFile(Input):
    """The whole file. The last rule has no conditions, so that every request has stages."""

    version: Code
    title: Name
    valid_from: date
    valid_until: date | None = None
    rules: Annotated[tuple[PolicyRule, ...], Field(min_length=1, max_length=MAX_RULES), Closed]

    @model_validator(mode="after")
    def _complete(self) -> "PolicyFile":
        if self.rules[-1].when != Conditions():
            raise PydanticCustomError("last_rule", "The last rule must have no conditions, so that it holds for all.")
        if self.valid_until is not None and self.valid_until < self.valid_from:
            raise PydanticCustomError("dates", "It would end before it begins.")
        return self


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that decides now. `is_expired`: its last day has passed and nothing follows it."""

    policy: Policy
    is_expired: bool


def packaged_text() -> str:
    """Return the policy file that comes with the product."""
    return (resources.files("cloudmgr") / "data" / _PACKAGED).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=32)
def parse(text: str) -> Policy:
    """Read a policy file.

    Raises:
        InvalidInput: it is no TOML, or breaks a rule of the file; `invalid` names every place.
    """
    try:
        found = PolicyFile.model_validate(_read(text))
    except ValidationError as error:
        refusal = InvalidInput(N_("The policy file breaks rules of its format; mend the places named below."))
        refusal.invalid = error.errors(include_url=False, include_input=False)
        raise refusal from error
    return Policy(
        found.version, found.title, found.valid_from, found.valid_until, tuple(rule.rule() for rule in found.rules)
    )


def _read(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_TEXT:
        raise InvalidInput(N_("The policy file is longer than {limit} characters."), limit=MAX_TEXT)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(N_("The policy file is no TOML: {reason}"), reason=str(error)) from error


def check(session: Session, text: str) -> tuple[Policy, list[str]]:
    """Read a policy file against the database; returns it and the usernames it names that do not exist.

    Raises:
        InvalidInput: the file itself is wrong, or asks for what can never be.
    """
    policy = parse(text)
    if found := policy_terms.unmeant(session, policy):
        raise InvalidInput(
            N_("The policy asks for what can never be, so that a rule or a seat would stay without effect."),
            errors=found,
        )
    named = {
        seat.person for rule in policy.rules for stage in rule.stages for seat in stage.seats if seat.person is not None
    }
    return policy, sorted(name for name in named if users.by_key(session, username_key(name)) is None)


def load(session: Session, actor: Actor, text: str) -> ApprovalPolicy:
    """Load a policy file as a version; the same file twice is once. It holds from its first day on.

    Raises:
        InvalidInput: the file is wrong, or names people or anything else that does not exist.
        Conflict: the version is there with another text.
    """
    policy = parse(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = approvals.policy_by_version(session, policy.version)
    if found is not None:
        if found.sha256 != digest:
            raise Conflict(
                N_("Version {version} of the approval policy is loaded already with another text; raise the version."),
                version=policy.version,
            )
        return found
    _, unknown = check(session, text)
    if unknown:
        raise InvalidInput(N_("The policy names people who do not exist: {names}."), names=unknown)
    row = ApprovalPolicy(
        version=policy.version,
        title=policy.title,
        valid_from=policy.valid_from,
        valid_until=policy.valid_until,
        text=text,
        sha256=digest,
        loaded_by=actor.username,
    )
    approvals.add(session, row)
    audit.record(
        session,
        actor,
        Event.POLICY_LOAD,
        object_type="approval_policy",
        object_id=row.id,
        object_name=row.version,
        sha256=digest,
    )
    return row


def in_force(session: Session) -> InForce:
    """Return the policy that decides today: of those begun and not over the one begun last, else the last that was.

    Where none was loaded, or none has begun, the packaged one holds.
    """
    today = clock.today()
    policy = parse(approvals.policy_in_force(session, today) or packaged_text())
    return InForce(policy, policy.is_expired(today))


def list_policies(session: Session, actor: Actor) -> list[ApprovalPolicy]:
    """Return every version that was loaded, the newest first."""
    require(actor, Action.CATALOGUE_READ)
    return approvals.policies(session)


def read_current(session: Session, actor: Actor) -> InForce:
    """Return the policy that decides today, for somebody to read."""
    require(actor, Action.CATALOGUE_READ)
    return in_force(session)


def deciding(session: Session) -> Policy:
    """Return the policy in force for a submission; where it has expired, say so loudly: in the log, and to administrators."""
    found = in_force(session)
    policy = found.policy
    if found.is_expired:
        logger.error(
            "the approval policy %s expired on %s and stays in force: load the next one",
            policy.version,
            policy.valid_until,
        )
        root = organizations.root(session)
        if root is not None:
            notify(
                session,
                NoticeEvent.POLICY_EXPIRED,
                Message(
                    N_("The approval policy {version} expired on {day} and stays in force; load the next one."),
                    {"version": policy.version, "day": str(policy.valid_until)},
                ),
                to=[RoleAt(Role.SYSTEM_ADMIN, root.id), RoleAt(Role.QUOTA_ADMIN, root.id)],
                about=About("approval_policy", "", policy.version, "/approval-policy"),
                dedupe=policy.version,
            )
    return policy


def prepare(session: Session, actor: Actor) -> None:
    """Load the packaged policy where none is, and the file of `[policy] approval_file` where it is not; at every start.

    A file that is wrong, or that names a loaded version with another text, is logged and changes nothing.
    """
    texts = [] if approvals.policies(session) else [packaged_text()]
    file = policy_of(session).approval_file
    if file is not None:
        try:
            texts.append(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("the approval policy file %s cannot be read: %s", file, error)
    for text in texts:
        try:
            with session.begin_nested():
                load(session, actor, text)
        except IntegrityError:
            logger.info("another worker has loaded the approval policy at this moment")
        except Refusal as refusal:
            logger.warning(
                "the approval policy is not loaded: %s %s", refusal.message, list(getattr(refusal, "invalid", ()))
            )


def gauges(session: Session) -> dict[str, float]:
    """Return what /metrics tells: whether the policy in force has expired, and how many days it has left."""
    found = in_force(session)
    told = {"cloudmgr_approval_policy_expired": float(found.is_expired)}
    if found.policy.valid_until is not None:
        told["cloudmgr_approval_policy_days_left"] = float((found.policy.valid_until - clock.today()).days)
    return told
