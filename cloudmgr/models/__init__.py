"""SQLModel tables and their constraints: no queries. Importing this registers every table on SQLModel.metadata."""

import quotas.tables
import quotas.timed_tables
from cloudmgr.models.addresses import Address, AddressRange, Subnet
from cloudmgr.models.approvals import (
    Approval,
    ApprovalPolicy,
    ApprovalSeat,
    ApprovalStage,
    Deputy,
    RequestChange,
)
from cloudmgr.models.catalogue import (
    Allocation,
    Backend,
    BackendShare,
    Flavor,
    Image,
    ImageVariant,
    Network,
    NetworkZone,
    Zone,
    ZoneInventory,
    ZoneNetworkZone,
)
from cloudmgr.models.certificates import CertificateItem, DeletionCertificate
from cloudmgr.models.change_freezes import ChangeFreeze, HeldRequest
from cloudmgr.models.deadlines import StageMark
from cloudmgr.models.discovery import Finding, ObservedAddress, ObservedImage, ObservedServer, SyncRun
from cloudmgr.models.emergencies import EmergencyOrder
from cloudmgr.models.notices import Delivery, DeliveryAttempt, Happening, Notice, NoticeAddress, NoticePreference
from cloudmgr.models.openings import PortOpening, PublicIp
from cloudmgr.models.organizations import Organization, Project, ProjectCredential, ProjectSshKey
from cloudmgr.models.quota_changes import QuotaChange
from cloudmgr.models.quota_verifications import QuotaVerification
from cloudmgr.models.records import AuditEvent, Export, Fact, Worker
from cloudmgr.models.remarks import Attachment, AttachmentContent, RequestComment, RequestFeedback
from cloudmgr.models.requests import NumberSequence, RequestEvent, ResourceRequest
from cloudmgr.models.server_changes import LeaseReminder, ServerChange
from cloudmgr.models.servers import PlaybookEvent, PlaybookRun, PlaybookRunServer, Server, ServerVersion
from cloudmgr.models.users import IdempotencyKey, LoginSource, RoleGrant, User, UserSession
from cloudmgr.models.volumes import Snapshot, Volume

APPEND_ONLY = ("audit_events", "server_versions", *quotas.tables.APPEND_ONLY)
"""Tables whose rows refuse UPDATE and DELETE by trigger."""

__all__ = [
    "APPEND_ONLY",
    "Address",
    "AddressRange",
    "Allocation",
    "Approval",
    "ApprovalPolicy",
    "ApprovalSeat",
    "ApprovalStage",
    "Attachment",
    "AttachmentContent",
    "AuditEvent",
    "Backend",
    "BackendShare",
    "CertificateItem",
    "ChangeFreeze",
    "DeletionCertificate",
    "Delivery",
    "DeliveryAttempt",
    "Deputy",
    "EmergencyOrder",
    "Export",
    "Fact",
    "Finding",
    "Flavor",
    "Happening",
    "HeldRequest",
    "IdempotencyKey",
    "Image",
    "ImageVariant",
    "LeaseReminder",
    "LoginSource",
    "Network",
    "NetworkZone",
    "Notice",
    "NoticeAddress",
    "NoticePreference",
    "NumberSequence",
    "ObservedAddress",
    "ObservedImage",
    "ObservedServer",
    "Organization",
    "PlaybookEvent",
    "PlaybookRun",
    "PlaybookRunServer",
    "PortOpening",
    "Project",
    "ProjectCredential",
    "ProjectSshKey",
    "PublicIp",
    "QuotaChange",
    "QuotaVerification",
    "RequestChange",
    "RequestComment",
    "RequestEvent",
    "RequestFeedback",
    "ResourceRequest",
    "RoleGrant",
    "Server",
    "ServerChange",
    "ServerVersion",
    "Snapshot",
    "StageMark",
    "Subnet",
    "SyncRun",
    "User",
    "UserSession",
    "Volume",
    "Worker",
    "Zone",
    "ZoneInventory",
    "ZoneNetworkZone",
]
