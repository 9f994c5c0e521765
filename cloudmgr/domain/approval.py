"""Which stages a submission must pass: the rules of an approval policy, and what they are asked about. Knows no files, no tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from enum import StrEnum

from cloudmgr.domain.access import Role
from cloudmgr.domain.messages import N_

MAX_STAGES = 6


class Level(StrEnum):
    """At which organization a seat's role must be held."""

    UNIT = "unit"
    DISTRICT = "district"
    CITY = "city"
    TECHNICAL = "technical"
    PARENT = "parent"
    """The organization above the one whose quota a quota change asks to raise."""
    PERSON = "person"


class Mode(StrEnum):
    """How many of a stage's seats must approve."""

    ANY = "any"
    ALL = "all"


class OnTimeout(StrEnum):
    """What happens to a stage that nobody decides: nothing but a mark, the next level as well, or back to the requester."""

    NONE = "none"
    ESCALATE = "escalate"
    RETURN = "return"


class OwnQuota(StrEnum):
    """How a request stands to the quota of its own district (of the city, for what belongs to no district)."""

    WITHIN = "within"
    NONE = "none"
    """Something the request takes is limited above the district and not at it: it draws on the levels above alone."""
    OVER = "over"
    """It asks for more than there is: a quota change. What passes a limit is refused before anybody decides on it."""


ROLES: Mapping[Level, Role] = {
    Level.UNIT: Role.UNIT_REVIEWER,
    Level.DISTRICT: Role.DISTRICT_ADMIN,
    Level.CITY: Role.CITY_APPROVER,
    Level.TECHNICAL: Role.TECHNICAL_APPROVER,
    Level.PARENT: Role.QUOTA_ADMIN,
}
"""The role a level means where the policy names no other. No other role decides."""

NAMES: Mapping[Level, str] = {
    Level.UNIT: N_("Unit review"),
    Level.DISTRICT: N_("District review"),
    Level.CITY: N_("City approval"),
    Level.TECHNICAL: N_("Technical approval"),
    Level.PARENT: N_("Quota approval"),
    Level.PERSON: N_("Named approver"),
}
"""What a stage is called where the policy gives it no name."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy may ask of a submission."""

    kind: str
    own_quota: OwnQuota = OwnQuota.WITHIN
    totals: Mapping[str, int] = field(default_factory=dict)
    archs: frozenset[str] = frozenset()
    network_zones: frozenset[str] = frozenset()
    mlps_level: str | None = None
    env: str | None = None
    organization_codes: frozenset[str] = frozenset()
    """Codes of the owner and of everything above it."""
    is_emergency: bool = False


@dataclass(frozen=True, slots=True)
class When:
    """The conditions of a rule; what is empty or None is not asked, and all that is asked must hold."""

    kinds: frozenset[str] = frozenset()
    own_quota: frozenset[OwnQuota] = frozenset()
    at_least: Mapping[str, int] = field(default_factory=dict)
    """Holds where any of these totals is reached."""
    archs: frozenset[str] = frozenset()
    network_zones: frozenset[str] = frozenset()
    mlps_levels: frozenset[str] = frozenset()
    envs: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    emergency: bool | None = None

    def holds(self, facts: Facts) -> bool:
        """Whether a submission meets every condition."""
        return (
            (not self.kinds or facts.kind in self.kinds)
            and (not self.own_quota or facts.own_quota in self.own_quota)
            and (not self.at_least or any(facts.totals.get(key, 0) >= least for key, least in self.at_least.items()))
            and (not self.archs or bool(self.archs & facts.archs))
            and (not self.network_zones or bool(self.network_zones & facts.network_zones))
            and (not self.mlps_levels or facts.mlps_level in self.mlps_levels)
            and (not self.envs or facts.env in self.envs)
            and (not self.organizations or bool(self.organizations & facts.organization_codes))
            and (self.emergency is None or self.emergency is facts.is_emergency)
        )

    def told(self) -> dict[str, list[str] | dict[str, int] | bool]:
        """Return the conditions that are asked, by name, as plain values."""
        found: dict[str, list[str] | dict[str, int] | bool] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, frozenset) and value:
                found[each.name] = sorted(str(item) for item in value)
            elif isinstance(value, Mapping) and value:
                found[each.name] = dict(value)
            elif isinstance(value, bool):
                found[each.name] = value
        return found


@dataclass(frozen=True, slots=True)
class SeatRule:
    """Who decides: a role at a level, or one person by username."""

    level: Level
    role: Role | None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class StageRule:
    """One stage: its name for people, its seats, how many must approve, and how long it may take."""

    name: str
    seats: tuple[SeatRule, ...]
    mode: Mode = Mode.ANY
    sla_working_days: int | None = None
    escalate_after_working_days: int | None = None
    on_timeout: OnTimeout = OnTimeout.NONE


@dataclass(frozen=True, slots=True)
class Rule:
    """Submissions that meet `when` pass these stages, in order."""

    name: str
    when: When
    stages: tuple[StageRule, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of the rules. The first rule that holds decides; the last one holds for everything."""

    version: str
    title: str
    valid_from: date
    valid_until: date | None
    rules: tuple[Rule, ...]

    def rule_for(self, facts: Facts) -> Rule:
        """Return the first rule that holds."""
        return next(rule for rule in self.rules if rule.when.holds(facts))

    def is_expired(self, today: date) -> bool:
        """Whether its last day has passed; it stays in force until another one follows, and everybody is told."""
        return self.valid_until is not None and today > self.valid_until
