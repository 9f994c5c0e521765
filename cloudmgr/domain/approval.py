"""Which stages a submission must pass. One stage today: the district administrator; more will be data, not code."""

from dataclasses import dataclass

from cloudmgr.domain.access import Role
from cloudmgr.domain.messages import N_

POLICY_VERSION = "2026-11/1"


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage: its name for people, the role that decides, and at which level of the tree."""

    name: str
    role: Role
    level: str
    """`district`: the district-level organization of the project's owner; `root`: the city itself."""


def stages_for(*, has_district: bool) -> list[StagePlan]:
    """Return the stages in order; an owner outside every district is decided on at the root."""
    return [StagePlan(N_("District review"), Role.DISTRICT_ADMIN, "district" if has_district else "root")]
