"""Who may do what: roles bound to organization subtrees, deny by default.

The same table stands in docs/access.md; a guard test holds them equal and walks every route with every role.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cloudmgr.domain.errors import Forbidden, Hidden
from cloudmgr.domain.messages import N_


class Role(StrEnum):
    """Roles a person can be granted on an organization and everything below it."""

    REQUESTER = "requester"
    UNIT_REVIEWER = "unit_reviewer"
    DISTRICT_ADMIN = "district_admin"
    QUOTA_ADMIN = "quota_admin"
    CITY_APPROVER = "city_approver"
    TECHNICAL_APPROVER = "technical_approver"
    SYSTEM_ADMIN = "system_admin"
    SECURITY_ADMIN = "security_admin"
    AUDIT_ADMIN = "audit_admin"
    EXTERNAL_AUDITOR = "external_auditor"


EXCLUSIVE_ROLES = frozenset({Role.SYSTEM_ADMIN, Role.SECURITY_ADMIN, Role.AUDIT_ADMIN})
"""三权分立: one person holds at most one of these (GB/T 22239-2019); the database refuses a second."""


class Action(StrEnum):
    """What a role can allow."""

    CATALOGUE_READ = "catalogue.read"
    CATALOGUE_WRITE = "catalogue.write"
    CAPACITY_READ = "capacity.read"
    ORGANIZATION_READ = "organization.read"
    ORGANIZATION_WRITE = "organization.write"
    REQUEST_READ = "request.read"
    REQUEST_MAKE = "request.make"
    REQUEST_DECIDE = "request.decide"
    SERVER_READ = "server.read"
    SERVER_POWER = "server.power"
    FINDING_READ = "finding.read"
    FINDING_DECIDE = "finding.decide"
    HOST_READ = "host.read"
    PERSONAL_READ = "personal.read"
    PERSONAL_REVEAL = "personal.reveal"
    QUOTA_READ = "quota.read"
    QUOTA_SPLIT = "quota.split"
    QUOTA_WRITE = "quota.write"
    PLAYBOOK_READ = "playbook.read"
    PLAYBOOK_RUN = "playbook.run"
    USER_READ = "user.read"
    USER_WRITE = "user.write"
    ROLE_WRITE = "role.write"
    AUDIT_READ = "audit.read"
    AUDIT_READ_OWN = "audit.read_own"
    INVENTORY_EXPORT = "inventory.export"
    INVENTORY_IMPORT = "inventory.import"
    EXPORTS_READ = "exports.read"
    FREEZE_WRITE = "freeze.write"
    DELIVERY_MANAGE = "delivery.manage"


_COMMON = frozenset({Action.CATALOGUE_READ, Action.ORGANIZATION_READ, Action.AUDIT_READ_OWN, Action.PLAYBOOK_READ})
_READ_OWN = _COMMON | {Action.REQUEST_READ, Action.SERVER_READ, Action.QUOTA_READ, Action.INVENTORY_EXPORT}

ROLE_ACTIONS: Mapping[Role, frozenset[Action]] = {
    Role.REQUESTER: _READ_OWN | {Action.REQUEST_MAKE, Action.PERSONAL_READ},
    Role.UNIT_REVIEWER: _READ_OWN | {Action.REQUEST_DECIDE, Action.PERSONAL_READ, Action.AUDIT_READ},
    Role.DISTRICT_ADMIN: _READ_OWN
    | {
        Action.REQUEST_DECIDE,
        Action.SERVER_POWER,
        Action.PLAYBOOK_RUN,
        Action.QUOTA_SPLIT,
        Action.PERSONAL_READ,
        Action.AUDIT_READ,
        Action.CAPACITY_READ,
        Action.USER_READ,
        Action.FINDING_READ,
        Action.FINDING_DECIDE,
        Action.INVENTORY_IMPORT,
    },
    Role.QUOTA_ADMIN: _READ_OWN
    | {Action.QUOTA_WRITE, Action.FREEZE_WRITE, Action.CAPACITY_READ, Action.INVENTORY_IMPORT},
    Role.CITY_APPROVER: _READ_OWN | {Action.REQUEST_DECIDE, Action.CAPACITY_READ, Action.PERSONAL_READ},
    Role.TECHNICAL_APPROVER: _READ_OWN
    | {
        Action.REQUEST_DECIDE,
        Action.CAPACITY_READ,
        Action.PERSONAL_READ,
        Action.FINDING_READ,
        Action.HOST_READ,
    },
    Role.SYSTEM_ADMIN: _READ_OWN
    | {
        Action.CATALOGUE_WRITE,
        Action.FREEZE_WRITE,
        Action.DELIVERY_MANAGE,
        Action.CAPACITY_READ,
        Action.SERVER_POWER,
        Action.PLAYBOOK_RUN,
        Action.USER_READ,
        Action.USER_WRITE,
        Action.ORGANIZATION_WRITE,
        Action.PERSONAL_READ,
        Action.FINDING_READ,
        Action.FINDING_DECIDE,
        Action.HOST_READ,
        Action.INVENTORY_IMPORT,
    },
    Role.SECURITY_ADMIN: _COMMON | {Action.USER_READ, Action.ROLE_WRITE},
    Role.AUDIT_ADMIN: _READ_OWN
    | {
        Action.AUDIT_READ,
        Action.EXPORTS_READ,
        Action.CAPACITY_READ,
        Action.PERSONAL_REVEAL,
        Action.USER_READ,
        Action.FINDING_READ,
        Action.HOST_READ,
    },
    Role.EXTERNAL_AUDITOR: _READ_OWN | {Action.AUDIT_READ, Action.EXPORTS_READ},
}


DEPUTY_ACTIONS = frozenset(
    {
        Action.REQUEST_READ,
        Action.REQUEST_DECIDE,
        Action.QUOTA_READ,
        Action.SERVER_READ,
        Action.ORGANIZATION_READ,
        Action.CATALOGUE_READ,
        Action.CAPACITY_READ,
        Action.PERSONAL_READ,
    }
)
"""What a deputy may do with the roles of somebody away: decide, and see what a decision needs."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One role on one organization and its subtree; `path` is the organization's path of ids, `/a/b/`."""

    role: Role
    organization_id: uuid.UUID
    path: str
    valid_until: datetime | None = None
    for_user_id: uuid.UUID | None = None
    """Whose grant it is, where the actor is the deputy of somebody away: it allows `DEPUTY_ACTIONS` only."""

    def allows(self, action: "Action") -> bool:
        """Whether the role, or the part of it that a deputy has, allows `action`."""
        return action in ROLE_ACTIONS[self.role] and (self.for_user_id is None or action in DEPUTY_ACTIONS)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, from where, in which HTTP request or command. `grants` are those valid now."""

    user_id: uuid.UUID | None
    username: str
    display_name: str
    organization_id: uuid.UUID | None
    organization_path: str
    grants: tuple[Grant, ...] = ()
    source: str = "local"
    request_id: str = ""
    session_id: uuid.UUID | None = None
    must_change_password: bool = False
    language: str = "zh_CN"

    @property
    def roles(self) -> list[str]:
        """Role names of one's own, sorted, each once."""
        return sorted({grant.role.value for grant in self.grants if grant.for_user_id is None})

    @property
    def is_local(self) -> bool:
        """Whether this is somebody at the machine's own command line, who may do everything and is audited by name."""
        return self.user_id is None and self.username.startswith(LOCAL)

    def may(self, action: Action, path: str | None = None) -> bool:
        """Whether a grant allows `action` on an organization path; None asks whether it is allowed anywhere."""
        return self.is_local or any(
            grant.allows(action) and (path is None or path.startswith(grant.path)) for grant in self.grants
        )

    def scope(self, action: Action) -> list[str]:
        """Return the organization paths on whose subtrees `action` is allowed, widest only; `/` is everything."""
        if self.is_local:
            return ["/"]
        paths = sorted({grant.path for grant in self.grants if grant.allows(action)})
        return [path for path in paths if not any(path != other and path.startswith(other) for other in paths)]


LOCAL = "local:"
"""Prefix of the actor name of somebody at the machine's own command line."""


def require(actor: Actor, action: Action, path: str | None = None, *, see: Action | None = None) -> None:
    """Refuse unless `actor` may do `action` on the organization at `path`.

    Where `see` is given and not allowed either, the thing does not exist for the actor: 404 and not 403.

    Raises:
        Hidden: the actor may not even see it (a NotFound).
        Forbidden: the actor may see it but not do this.
    """
    if actor.may(action, path):
        return
    if see is not None and not actor.may(see, path):
        raise Hidden(N_("There is no such object."), detail=f"{actor.username} lacks {see} on {path}")
    raise Forbidden(
        N_("Your roles do not allow this. Ask the security administrator if your work needs it."),
        detail=f"{actor.username} lacks {action} on {path}",
    )
