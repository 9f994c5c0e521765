"""SQLModel tables and their constraints: no queries. Importing this registers every table on SQLModel.metadata."""

import quotas.tables
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
from cloudmgr.models.organizations import Organization, Project, ProjectCredential, ProjectSshKey
from cloudmgr.models.records import AuditEvent, Export, Fact, Worker
from cloudmgr.models.requests import Approval, ApprovalStage, NumberSequence, RequestEvent, ResourceRequest
from cloudmgr.models.servers import PlaybookEvent, PlaybookRun, PlaybookRunServer, Server, ServerVersion
from cloudmgr.models.users import IdempotencyKey, LoginSource, RoleGrant, User, UserSession

APPEND_ONLY = ("audit_events", "server_versions", *quotas.tables.APPEND_ONLY)
"""Tables whose rows refuse UPDATE and DELETE by trigger."""

__all__ = [
    "APPEND_ONLY",
    "Allocation",
    "Approval",
    "ApprovalStage",
    "AuditEvent",
    "Backend",
    "BackendShare",
    "Export",
    "Fact",
    "Flavor",
    "IdempotencyKey",
    "Image",
    "ImageVariant",
    "LoginSource",
    "Network",
    "NetworkZone",
    "NumberSequence",
    "Organization",
    "PlaybookEvent",
    "PlaybookRun",
    "PlaybookRunServer",
    "Project",
    "ProjectCredential",
    "ProjectSshKey",
    "RequestEvent",
    "ResourceRequest",
    "RoleGrant",
    "Server",
    "ServerVersion",
    "User",
    "UserSession",
    "Worker",
    "Zone",
    "ZoneInventory",
    "ZoneNetworkZone",
]
