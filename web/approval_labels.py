"""The words of approval: stages, decisions, policies, deadlines; `labels` has all other vocabularies."""

from collections.abc import Mapping

from cloudmgr.domain.approval import Level, Mode, OnTimeout, OwnQuota
from cloudmgr.domain.deadlines import EmergencyState, MarkKind
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Decision

APPROVAL_WORDS: Mapping[str, Mapping[str, str]] = {
    "stage_state": {
        "waiting": N_("Not its turn yet"),
        "open": N_("Waiting for a decision"),
        Decision.APPROVE: N_("Approved"),
        Decision.REJECT: N_("Not approved"),
        Decision.RETURN: N_("Returned for correction"),
        Decision.CHANGE: N_("Approved as changed"),
        "cancelled": N_("Cancelled"),
    },
    "decision": {
        Decision.APPROVE: N_("Approve"),
        Decision.REJECT: N_("Refuse"),
        Decision.RETURN: N_("Return"),
        Decision.CHANGE: N_("Approve with changes"),
    },
    "approval_level": {
        Level.UNIT: N_("Unit"),
        Level.DISTRICT: N_("District"),
        Level.CITY: N_("City"),
        Level.TECHNICAL: N_("Technical"),
        Level.PARENT: N_("The level above"),
        Level.PERSON: N_("A person"),
    },
    "approval_mode": {Mode.ANY: N_("one of them"), Mode.ALL: N_("all of them")},
    "priority": {"normal": N_("Ordinary"), "high": N_("High")},
    "on_timeout": {
        OnTimeout.NONE: N_("Only marked"),
        OnTimeout.ESCALATE: N_("The level above decides too"),
        OnTimeout.RETURN: N_("Goes back to the applicant"),
    },
    "own_quota": {
        OwnQuota.WITHIN: N_("Within the district's own quota"),
        OwnQuota.NONE: N_("Draws on quota above the district's own"),
        OwnQuota.OVER: N_("Beyond the district's own quota"),
    },
    "policy_condition": {
        "kinds": N_("Kind"),
        "own_quota": N_("Quota"),
        "at_least": N_("At least"),
        "archs": N_("Architecture"),
        "network_zones": N_("Network zone"),
        "mlps_levels": N_("MLPS level"),
        "envs": N_("Environment"),
        "organizations": N_("Organization"),
        "emergency": N_("Emergency order"),
    },
    "freeze_state": {
        "announced": N_("Announced"),
        "in_force": N_("In force"),
        "ended": N_("Over"),
        "lifted": N_("Lifted early"),
    },
    "emergency_state": {
        EmergencyState.OPEN: N_("To be approved afterwards"),
        EmergencyState.APPROVED: N_("Approved afterwards"),
        EmergencyState.REJECTED: N_("Not approved afterwards"),
    },
    "stage_mark": {
        MarkKind.REMINDER: N_("Reminded"),
        MarkKind.OVERDUE: N_("Overdue"),
        MarkKind.ESCALATION: N_("Escalated"),
        MarkKind.TIMEOUT: N_("Timed out"),
        MarkKind.URGE: N_("Urged"),
    },
}
