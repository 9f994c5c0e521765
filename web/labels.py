"""The words people read for every closed set of values: one English template each, translated by the catalogues.

A vocabulary is named after what it describes. A guard test holds the sets complete; a value not in them is shown verbatim.
"""

from collections.abc import Mapping
from enum import StrEnum

from cloudmgr.domain.access import Role
from cloudmgr.domain.approval import Level, Mode, OnTimeout, OwnQuota
from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.certificates import CertificateState, EvidenceKind, ItemState
from cloudmgr.domain.deadlines import PUNCTUALITY, EmergencyState, MarkKind, Punctuality
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.findings import (
    FindingDecision,
    FindingKind,
    FindingState,
    ResourceType,
    ServerSource,
    SyncKind,
    SyncOutcome,
)
from cloudmgr.domain.freshness import Freshness
from cloudmgr.domain.labels import FINDING_FIELDS, REQUEST_KINDS, REQUEST_PHASES, ROLES, SERVER_PHASES
from cloudmgr.domain.messages import N_
from cloudmgr.domain.notices import NOTICE_EVENTS
from cloudmgr.domain.openings import OpeningState, PublicIpPhase
from cloudmgr.domain.phases import (
    Decision,
    Environment,
    Health,
    MlpsLevel,
    OrganizationKind,
    PurposeKind,
    RequestKind,
    RequestPhase,
    ServerPhase,
    Spread,
    Tier,
)
from cloudmgr.domain.server_changes import ChangeKind, ChangeState, FrozenBy
from cloudmgr.domain.volumes import SnapshotPhase, VolumePhase
from web.approval_labels import APPROVAL_WORDS
from web.change_labels import CHANGE_STATES, CHANGES, FROZEN_BY
from web.done_labels import DONE
from web.event_labels import EVENTS
from web.movement_labels import QUOTA_MOVEMENTS
from web.notice_labels import CHANNELS, DELIVERY_CHANNELS, DELIVERY_STATES, NOTICE_ENUMS
from web.recount_labels import RECOUNT_COLUMNS, RECOUNT_SOURCES

NOT_COLLECTED = N_("Not collected")
"""Shown for whatever is not known: never a zero, never an empty cell."""

_RETIRE_PHASE: Mapping[str, str] = {
    **REQUEST_PHASES,
    RequestPhase.APPROVED: N_("Approved, waiting to be retired"),
    RequestPhase.FULFILLING: N_("Being retired"),
    RequestPhase.FULFILLED: N_("Retired"),
    RequestPhase.PARTLY_FULFILLED: N_("Partly retired"),
    RequestPhase.FAILED: N_("Retiring failed"),
}

VOCABULARIES: Mapping[str, Mapping[str, str]] = {
    "request_phase": REQUEST_PHASES,
    "retire_phase": _RETIRE_PHASE,
    "request_kind": REQUEST_KINDS,
    "notice_event": NOTICE_EVENTS,
    "notice_channel": CHANNELS,
    "delivery_channel": DELIVERY_CHANNELS,
    "delivery_state": DELIVERY_STATES,
    "server_change": CHANGES,
    "change_state": CHANGE_STATES,
    "frozen_by": FROZEN_BY,
    "finding_kind": {
        FindingKind.UNMANAGED: N_("Not managed"),
        FindingKind.UNAUTHORISED: N_("Made without authorisation"),
        FindingKind.REVIVED: N_("Runs again without authorisation"),
        FindingKind.ORPHAN: N_("Gone from the cloud"),
        FindingKind.LEFTOVER: N_("Left over"),
        FindingKind.DRIFT: N_("Differs from the ledger"),
        FindingKind.ADDRESS_CONFLICT: N_("Address used twice"),
    },
    "finding_state": {
        FindingState.OPEN: N_("Open"),
        FindingState.RESTORING: N_("Being restored"),
        FindingState.ACCEPTED: N_("Accepted"),
        FindingState.RESTORED: N_("Restored"),
        FindingState.IGNORED: N_("Ignored"),
        FindingState.RESOLVED: N_("Settled"),
    },
    "finding_decision": {
        FindingDecision.ACCEPT: N_("Accept what the cloud shows"),
        FindingDecision.RESTORE: N_("Put the cloud back"),
        FindingDecision.IGNORE: N_("Leave as it is"),
        FindingDecision.CONFIRM_LOSS: N_("Confirm the loss"),
        FindingDecision.WAIT: N_("Wait for it"),
    },
    "finding_field": {**FINDING_FIELDS, "vcpus": N_("vCPUs"), "memory_mib": N_("Memory")},
    "freshness": {
        Freshness.FRESH: N_("Up to date"),
        Freshness.STALE: N_("Out of date"),
        Freshness.AWAY: N_("Away, as expected"),
        Freshness.NEVER: NOT_COLLECTED,
    },
    "capability": {
        "power": N_("Switch on and off, restart"),
        "resize": N_("Change sizes"),
        "snapshots": N_("Snapshots"),
        "volumes": N_("Volumes"),
        "fixed_addresses": N_("Addresses we choose"),
        "port_rules": N_("Open and close ports"),
        "public_ips": N_("Public addresses"),
        "console": N_("Server console"),
        "evidence": N_("Proof of deletion, piece by piece"),
        "incremental": N_("Tells only what changed"),
        "cloud_quota": N_("Tells its own quota"),
    },
    "sync_kind": {SyncKind.FULL: N_("Everything"), SyncKind.INCREMENTAL: N_("Changes only")},
    "sync_outcome": {
        SyncOutcome.OK: N_("Complete"),
        SyncOutcome.FAILED: N_("Failed"),
        SyncOutcome.SUSPECT: N_("Not believed"),
    },
    "resource_type": {ResourceType.VM: N_("Virtual machine"), ResourceType.BAREMETAL: N_("Physical machine")},
    "server_source": {
        ServerSource.BUILT: N_("Built on request"),
        ServerSource.IMPORTED: N_("Taken over"),
        ServerSource.MANUAL: N_("Registered by hand"),
    },
    "opening_state": {
        OpeningState.REQUESTED: N_("Requested"),
        OpeningState.ACTIVE: N_("Open to its source"),
        OpeningState.RECORDED: N_("Recorded only"),
        OpeningState.CLOSING: N_("Being closed"),
        OpeningState.CLOSED: N_("Closed"),
        OpeningState.EXPIRED: N_("Expired"),
        OpeningState.FAILED: N_("Failed"),
    },
    "ip_family": {"4": N_("IPv4"), "6": N_("IPv6")},
    "range_kind": {"pool": N_("Address pool"), "excluded": N_("Kept out of use")},
    "address_state": {"allocated": N_("Allocated"), "reserved": N_("Reserved")},
    "reported_address": {
        "conflict": N_("Conflict: ours, and somebody else uses it"),
        "reserved": N_("In use, as reserved"),
        "unknown": N_("In use, unknown to us"),
    },
    "public_ip_phase": {
        PublicIpPhase.REQUESTED: N_("Requested"),
        PublicIpPhase.ACTIVE: N_("In use"),
        PublicIpPhase.RELEASING: N_("Being released"),
        PublicIpPhase.RELEASED: N_("Released"),
        PublicIpPhase.FAILED: N_("Failed"),
    },
    "certificate_state": {
        CertificateState.OPEN: N_("Being checked"),
        CertificateState.INCOMPLETE: N_("Something is still there"),
        CertificateState.COMPLETE: N_("Issued"),
    },
    "evidence": {
        EvidenceKind.ASKED: N_("The cloud was asked for each piece"),
        EvidenceKind.NONE: N_("The cloud can only say that the server is gone"),
    },
    "item_state": {
        ItemState.THERE: N_("Still there"),
        ItemState.GONE: N_("Gone"),
        ItemState.UNKNOWN: N_("The cloud does not answer"),
        ItemState.KEPT: N_("Kept on purpose"),
    },
    "resource_kind": {
        "server": N_("Server"),
        "disk": N_("Disk"),
        "volume": N_("Volume"),
        "snapshot": N_("Snapshot"),
        "nic": N_("Network interface"),
        "address": N_("Address"),
        "port_rules": N_("Port rules"),
        "seed": N_("First-boot data"),
        "dns": N_("DNS record"),
        "other": N_("Other"),
    },
    "volume_phase": {
        VolumePhase.REQUESTED: N_("Requested"),
        VolumePhase.CREATING: N_("Being made"),
        VolumePhase.AVAILABLE: N_("Available"),
        VolumePhase.ATTACHING: N_("Being attached"),
        VolumePhase.ATTACHED: N_("Attached"),
        VolumePhase.DETACHING: N_("Being detached"),
        VolumePhase.DELETING: N_("Being deleted"),
        VolumePhase.DELETED: N_("Deleted"),
        VolumePhase.FAILED: N_("Failed"),
    },
    "snapshot_phase": {
        SnapshotPhase.REQUESTED: N_("Requested"),
        SnapshotPhase.CREATING: N_("Being made"),
        SnapshotPhase.AVAILABLE: N_("Available"),
        SnapshotPhase.REVERTING: N_("Being reverted to"),
        SnapshotPhase.DELETING: N_("Being deleted"),
        SnapshotPhase.DELETED: N_("Deleted"),
        SnapshotPhase.FAILED: N_("Failed"),
    },
    "server_phase": SERVER_PHASES,
    "server_state": {
        "running": N_("Running"),
        "stopped": N_("Stopped"),
        "paused": N_("Paused"),
        "building": N_("Booting"),
        "error": N_("Abnormal"),
        "unknown": NOT_COLLECTED,
    },
    "power_action": {"start": N_("Start"), "stop": N_("Stop"), "reboot": N_("Reboot")},
    "run_state": {
        "queued": N_("Queued"),
        "running": N_("In progress"),
        "succeeded": N_("Succeeded"),
        "failed": N_("Failed"),
        "cancelled": N_("Cancelled"),
        "timed_out": N_("Timed out"),
    },
    "task_state": {
        "ok": N_("Unchanged"),
        "changed": N_("Changed"),
        "failed": N_("Failed"),
        "skipped": N_("Skipped"),
        "unreachable": N_("Unreachable"),
    },
    "role": ROLES,
    **APPROVAL_WORDS,
    "notice": DONE,
    "event": EVENTS,
    "outcome": {Outcome.SUCCESS: N_("Succeeded"), Outcome.DENIED: N_("Denied"), Outcome.FAILURE: N_("Failed")},
    "environment": {
        Environment.PRD: N_("Production"),
        Environment.TST: N_("Test"),
        Environment.DEV: N_("Development"),
        Environment.DR: N_("Disaster recovery"),
    },
    "purpose_kind": {
        PurposeKind.APP: N_("Application"),
        PurposeKind.DB: N_("Database"),
        PurposeKind.MID: N_("Middleware"),
        PurposeKind.WEB: N_("Web"),
        PurposeKind.FS: N_("File storage"),
        PurposeKind.OTHER: N_("Other"),
    },
    "mlps_level": {
        MlpsLevel.LEVEL_1: N_("Level 1"),
        MlpsLevel.LEVEL_2: N_("Level 2"),
        MlpsLevel.LEVEL_3: N_("Level 3"),
        MlpsLevel.LEVEL_4: N_("Level 4"),
        MlpsLevel.LEVEL_5: N_("Level 5"),
        MlpsLevel.UNRATED: N_("Not rated"),
    },
    "tier": {
        Tier.CITY: N_("City cloud"),
        Tier.DISTRICT: N_("District cloud"),
        Tier.EDGE: N_("Edge cloud"),
        Tier.PUBLIC: N_("Public cloud"),
    },
    "health": {
        Health.UNKNOWN: NOT_COLLECTED,
        Health.OK: N_("Healthy"),
        Health.DEGRADED: N_("Degraded"),
        Health.DOWN: N_("Not reachable"),
    },
    "spread": {
        Spread.HOST: N_("On different hosts"),
        Spread.ZONE: N_("In different pools"),
        Spread.NONE: N_("No requirement"),
    },
    "architecture": {
        Architecture.AARCH64: N_("Arm (aarch64)"),
        Architecture.X86_64: N_("x86 (x86_64)"),
        Architecture.LOONGARCH64: N_("LoongArch (loongarch64)"),
        Architecture.MIPS64EL: N_("MIPS (mips64el)"),
        Architecture.SW_64: N_("SW (sw_64)"),
    },
    "cpu_family": {
        CpuFamily.KUNPENG: N_("Kunpeng"),
        CpuFamily.PHYTIUM: N_("Phytium"),
        CpuFamily.HYGON: N_("Hygon"),
        CpuFamily.ZHAOXIN: N_("Zhaoxin"),
        CpuFamily.LOONGSON: N_("Loongson"),
        CpuFamily.SUNWAY: N_("Sunway"),
        CpuFamily.INTEL: N_("Intel"),
        CpuFamily.AMD: N_("AMD"),
        CpuFamily.UNKNOWN: NOT_COLLECTED,
    },
    "organization_kind": {
        OrganizationKind.CITY: N_("City"),
        OrganizationKind.MUNICIPAL: N_("Municipal level"),
        OrganizationKind.DISTRICT: N_("District"),
        OrganizationKind.COUNTY: N_("County"),
        OrganizationKind.COUNTY_LEVEL_CITY: N_("County-level city"),
        OrganizationKind.NEW_AREA: N_("State-level new area"),
        OrganizationKind.NATIONAL_ZONE: N_("National zone"),
        OrganizationKind.PARK: N_("Park"),
        OrganizationKind.FTZ: N_("Free trade zone"),
        OrganizationKind.ZONE: N_("Zone"),
        OrganizationKind.DEPARTMENT: N_("Department"),
    },
    "project_stage": {
        "planning": N_("Planned"),
        "trial": N_("Trial operation"),
        "live": N_("Live"),
        "closing": N_("Closing down"),
    },
    "resource": {
        "servers": N_("Servers"),
        "vcpus": N_("vCPUs"),
        "memory_mib": N_("Memory"),
        "disk_gib": N_("Disk"),
        "ip_addresses": N_("IP addresses"),
        "public_ips": N_("Public IPs"),
        "volumes": N_("Volumes"),
        "snapshots": N_("Snapshots"),
        "images": N_("Private images"),
        "networks": N_("Private networks"),
        "subnets": N_("Subnets"),
        "bandwidth_mbps": N_("Bandwidth (Mbit/s)"),
        "security_groups": N_("Security groups"),
        "load_balancers": N_("Load balancers"),
        "gpus": N_("GPUs"),
        "backups_gib": N_("Backups"),
    },
    "dimension": {
        "arch": N_("architecture"),
        "cpu_family": N_("processor"),
        "backend": N_("cloud platform"),
        "tier": N_("tier"),
        "network_zone": N_("network zone"),
        "is_xinchuang": N_("Xinchuang"),
        "environment": N_("environment"),
    },
    "quota_movement": QUOTA_MOVEMENTS,
    "recount_column": RECOUNT_COLUMNS,
    "recount_source": RECOUNT_SOURCES,
    "loan_state": {
        "offered": N_("waits for the other side"),
        "active": N_("lent"),
        "overdue": N_("overdue"),
        "returned": N_("given back"),
        "declined": N_("declined"),
        "cancelled": N_("taken back"),
        "expired": N_("not signed in time"),
    },
    "quota_target": {
        "xinchuang_share_pct": N_("Share of domestic (xinchuang) servers"),
        "aarch64_share_pct": N_("Share of aarch64"),
        "loongarch64_share_pct": N_("Share of loongarch64"),
        "city_cloud_share_pct": N_("Share of the city's clouds"),
    },
    "export_state": {"running": N_("In progress"), "done": N_("Complete"), "broken": N_("Broken off")},
    "punctuality": PUNCTUALITY,
    "field": {
        "project": N_("Information system"),
        "purpose": N_("Purpose"),
        "env": N_("Environment"),
        "network_zone": N_("Network zone"),
        "lease_end": N_("Lease ends"),
        "lease_reason": N_("Reason for a long term"),
        "owner.name": N_("Responsible person"),
        "owner.phone": N_("Phone"),
        "ssh_keys": N_("SSH public keys"),
        "servers": N_("Servers"),
        "name": N_("Name"),
        "count": N_("How many"),
        "flavor": N_("Flavor"),
        "image": N_("Image"),
        "arch": N_("Architecture"),
        "data_disk_gib": N_("Data disk (GiB)"),
        "purpose_kind": N_("Used as"),
        "spread": N_("Keep apart"),
        "backend": N_("Cloud platform"),
    },
    "yes_no": {"true": N_("Yes"), "false": N_("No")},
    "step": {
        "place": N_("Choose pool"),
        "create": N_("Create"),
        "await_running": N_("Wait for boot"),
        "post": N_("Count"),
        "configure": N_("Configure"),
        "activate": N_("Put into service"),
        "delete": N_("Delete"),
        "release": N_("Release"),
    },
}

ENUMS: Mapping[type[StrEnum], str] = {
    **NOTICE_ENUMS,
    RequestPhase: "request_phase",
    RequestKind: "request_kind",
    ServerPhase: "server_phase",
    ChangeKind: "server_change",
    ChangeState: "change_state",
    FrozenBy: "frozen_by",
    Decision: "decision",
    Level: "approval_level",
    Mode: "approval_mode",
    OnTimeout: "on_timeout",
    OwnQuota: "own_quota",
    Role: "role",
    Event: "event",
    Outcome: "outcome",
    Environment: "environment",
    PurposeKind: "purpose_kind",
    MlpsLevel: "mlps_level",
    Tier: "tier",
    Health: "health",
    Spread: "spread",
    Punctuality: "punctuality",
    EmergencyState: "emergency_state",
    MarkKind: "stage_mark",
    Architecture: "architecture",
    CpuFamily: "cpu_family",
    OrganizationKind: "organization_kind",
    FindingKind: "finding_kind",
    FindingDecision: "finding_decision",
    Freshness: "freshness",
    FindingState: "finding_state",
    SyncKind: "sync_kind",
    SyncOutcome: "sync_outcome",
    ServerSource: "server_source",
    ResourceType: "resource_type",
    OpeningState: "opening_state",
    PublicIpPhase: "public_ip_phase",
    VolumePhase: "volume_phase",
    CertificateState: "certificate_state",
    EvidenceKind: "evidence",
    ItemState: "item_state",
    SnapshotPhase: "snapshot_phase",
}
"""Which vocabulary words which enumeration; the guard test walks it."""

_TONES: Mapping[str, Mapping[str, str]] = {
    "request_phase": {
        "in_review": "info", "submitted": "info", "approved": "info", "fulfilling": "busy", "fulfilled": "ok",
        "partly_fulfilled": "warn", "returned": "warn", "rejected": "bad", "failed": "bad",
    },
    "server_phase": {
        "requested": "info", "placed": "info", "creating": "busy", "configuring": "busy", "active": "ok",
        "suspended": "warn", "retiring": "busy", "failed": "bad",
    },
    "delivery_state": {"waiting": "busy", "sent": "ok", "failed": "bad"},
    "punctuality": {"in_time": "ok", "due_soon": "warn", "overdue": "bad"},
    "freeze_state": {"announced": "info", "in_force": "warn"},
    "server_state": {"running": "ok", "building": "busy", "paused": "warn", "error": "bad"},
    "stage_state": {"open": "info", "approve": "ok", "change": "ok", "return": "warn", "reject": "bad"},
    "run_state": {"running": "busy", "succeeded": "ok", "failed": "bad", "timed_out": "bad", "cancelled": "warn"},
    "task_state": {"changed": "info", "ok": "ok", "failed": "bad", "unreachable": "bad"},
    "export_state": {"running": "busy", "done": "ok", "broken": "bad"},
    "outcome": {"success": "ok", "denied": "warn", "failure": "bad"},
    "health": {"ok": "ok", "degraded": "warn", "down": "bad"},
    "freshness": {"fresh": "ok", "stale": "bad", "away": "warn"},
    "sync_outcome": {"ok": "ok", "failed": "bad", "suspect": "warn"},
    "finding_kind": {
        "unauthorised": "bad", "revived": "bad", "orphan": "bad", "address_conflict": "bad", "drift": "warn",
        "unmanaged": "info", "leftover": "warn",
    },
    "finding_state": {"open": "warn", "restoring": "busy", "accepted": "ok", "restored": "ok", "resolved": "ok"},
    "opening_state": {
        "requested": "info", "active": "ok", "recorded": "warn", "closing": "busy", "expired": "neutral", "failed": "bad",
    },
    "address_state": {"allocated": "ok", "reserved": "info"},
    "reported_address": {"conflict": "bad", "unknown": "warn"},
    "public_ip_phase": {"requested": "info", "active": "ok", "releasing": "busy", "failed": "bad"},
    "certificate_state": {"open": "busy", "incomplete": "bad", "complete": "ok"},
    "item_state": {"there": "bad", "gone": "ok", "unknown": "warn"},
    "volume_phase": {
        "requested": "info", "creating": "busy", "available": "ok", "attaching": "busy", "attached": "ok",
        "detaching": "busy", "deleting": "busy", "failed": "bad",
    },
    "snapshot_phase": {
        "requested": "info", "creating": "busy", "available": "ok", "reverting": "busy", "deleting": "busy",
        "failed": "bad",
    },
}  # fmt: skip


def label(vocabulary: str, value: object) -> str:
    """Return the English template for a value; None is `Not collected`, an unlisted value is itself."""
    if value is None or value == "":
        return NOT_COLLECTED
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return VOCABULARIES[vocabulary].get(text, text)


def tone(vocabulary: str, value: object) -> str:
    """Return how a badge looks: neutral, info, busy, ok, warn or bad. Colour never stands alone: the word is there too."""
    return _TONES.get("request_phase" if vocabulary == "retire_phase" else vocabulary, {}).get(str(value), "neutral")
