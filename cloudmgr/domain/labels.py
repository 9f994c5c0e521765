"""The words for closed sets of values inside sentences: one English template each, translated by the catalogues."""

from collections.abc import Mapping

from cloudmgr.domain.access import Role
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestKind, RequestPhase, ServerPhase

REQUEST_KINDS: Mapping[str, str] = {
    RequestKind.CREATE: N_("New servers"),
    RequestKind.RETIRE: N_("Retire servers"),
    RequestKind.RESIZE: N_("Change sizes"),
    RequestKind.RENEW: N_("Renew leases"),
    RequestKind.FREEZE: N_("Freeze servers"),
    RequestKind.UNFREEZE: N_("Unfreeze servers"),
    RequestKind.IMPORT: N_("Take servers over"),
    RequestKind.VOLUME: N_("Volumes"),
    RequestKind.SNAPSHOT: N_("Snapshots"),
    RequestKind.PORTS: N_("Open ports"),
    RequestKind.PUBLIC_IP: N_("Public addresses"),
    RequestKind.QUOTA_CHANGE: N_("Quota change"),
}

REQUEST_PHASES: Mapping[str, str] = {
    RequestPhase.DRAFT: N_("Draft"),
    RequestPhase.SUBMITTED: N_("Submitted"),
    RequestPhase.IN_REVIEW: N_("In review"),
    RequestPhase.APPROVED: N_("Approved, waiting to be provisioned"),
    RequestPhase.FULFILLING: N_("Provisioning"),
    RequestPhase.FULFILLED: N_("Provisioned"),
    RequestPhase.PARTLY_FULFILLED: N_("Partly provisioned"),
    RequestPhase.RETURNED: N_("Returned for correction"),
    RequestPhase.REJECTED: N_("Not approved"),
    RequestPhase.WITHDRAWN: N_("Withdrawn"),
    RequestPhase.FAILED: N_("Provisioning failed"),
}

SERVER_PHASES: Mapping[str, str] = {
    ServerPhase.REQUESTED: N_("Waiting for provisioning"),
    ServerPhase.PLACED: N_("Pool chosen"),
    ServerPhase.CREATING: N_("Creating"),
    ServerPhase.CONFIGURING: N_("Configuring"),
    ServerPhase.ACTIVE: N_("In service"),
    ServerPhase.SUSPENDED: N_("Frozen"),
    ServerPhase.RETIRING: N_("Being retired"),
    ServerPhase.RETIRED: N_("Retired"),
    ServerPhase.FAILED: N_("Failed"),
}

ROLES: Mapping[str, str] = {
    Role.REQUESTER: N_("Requester"),
    Role.UNIT_REVIEWER: N_("Unit reviewer"),
    Role.DISTRICT_ADMIN: N_("District administrator"),
    Role.QUOTA_ADMIN: N_("Quota administrator"),
    Role.CITY_APPROVER: N_("City approver"),
    Role.TECHNICAL_APPROVER: N_("Technical approver"),
    Role.SYSTEM_ADMIN: N_("System administrator"),
    Role.SECURITY_ADMIN: N_("Security administrator"),
    Role.AUDIT_ADMIN: N_("Audit administrator"),
    Role.EXTERNAL_AUDITOR: N_("External auditor"),
}

FINDING_FIELDS: Mapping[str, str] = {
    "vcpus": N_("vCPU"),
    "memory_mib": N_("memory in MiB"),
    "power": N_("Power state"),
    "name": N_("Name"),
    "image": N_("Image"),
    "networks": N_("Networks"),
    "addresses": N_("Addresses"),
}

TASK_STATES: Mapping[str, str] = {
    "ok": N_("Unchanged"),
    "changed": N_("Changed"),
    "skipped": N_("Skipped"),
    "failed": N_("Failed"),
    "unreachable": N_("Unreachable"),
}


def word(labels: Mapping[str, str], value: str) -> Message:
    """Return the word for a value as a message of its own; a value without one is told as it is."""
    return Message(labels.get(value, value))
