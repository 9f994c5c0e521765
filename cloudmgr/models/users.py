"""People, their roles and their sessions."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.access import EXCLUSIVE_ROLES, Role
from cloudmgr.models.base import Row, one_of

_EXCLUSIVE = ", ".join(f"'{role}'" for role in sorted(EXCLUSIVE_ROLES))


class User(Row, table=True):
    """One person; `username_key` is the case-folded name, never used twice."""

    __tablename__ = "users"

    username: str = Field(max_length=64)
    username_key: str = Field(unique=True, max_length=64)
    display_name: str = Field(max_length=100)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    phone: str = Field(default="", max_length=32)
    password_hash: str = Field(max_length=256)
    password_set_at: datetime
    must_change_password: bool = False
    disabled: bool = False
    expires_at: datetime | None = None
    failed_logins: int = 0
    locked_until: datetime | None = None
    last_login_at: datetime | None = None
    last_login_source: str | None = Field(default=None, max_length=64)
    language: str = Field(default="zh_CN", max_length=16)


class RoleGrant(Row, table=True):
    """One role on one organization's subtree. A revoked grant stays as history."""

    __tablename__ = "role_grants"
    __table_args__ = (
        one_of("role", Role),
        # 三权分立 in the database: at most one standing grant of the three exclusive roles a person.
        sa.Index(
            "uq_role_grants_one_exclusive_role",
            "user_id",
            unique=True,
            sqlite_where=sa.text(f"role IN ({_EXCLUSIVE}) AND revoked_at IS NULL"),
            postgresql_where=sa.text(f"role IN ({_EXCLUSIVE}) AND revoked_at IS NULL"),
        ),
        sa.Index(
            "uq_role_grants_standing",
            "user_id",
            "role",
            "organization_id",
            unique=True,
            sqlite_where=sa.text("revoked_at IS NULL"),
            postgresql_where=sa.text("revoked_at IS NULL"),
        ),
    )

    user_id: uuid.UUID = Field(foreign_key="users.id", index=True)
    role: str = Field(max_length=32)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id")
    valid_until: datetime | None = None
    granted_by: str = Field(max_length=100)
    revoked_at: datetime | None = None
    revoked_by: str | None = Field(default=None, max_length=100)


class UserSession(Row, table=True):
    """A console session (cookie) or an API token (bearer); only the SHA-256 of the secret is kept."""

    __tablename__ = "user_sessions"
    __table_args__ = (one_of("kind", ("console", "token")),)

    user_id: uuid.UUID = Field(foreign_key="users.id", index=True)
    kind: str = Field(max_length=16)
    token_hash: str = Field(unique=True, max_length=64)
    csrf_token: str = Field(default="", max_length=64)
    expires_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None = None
    source: str = Field(default="", max_length=64)


class LoginSource(Row, table=True):
    """Failed logins from one network address."""

    __tablename__ = "login_sources"

    source: str = Field(unique=True, max_length=64)
    failed_logins: int = 0
    locked_until: datetime | None = None
    updated_at: datetime


class IdempotencyKey(Row, table=True):
    """A POST that carried Idempotency-Key: its body's digest and, once it succeeded, its answer. Kept 24 hours."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (sa.UniqueConstraint("user_id", "key"),)

    user_id: uuid.UUID = Field(foreign_key="users.id")
    key: str = Field(max_length=200)
    route: str = Field(max_length=300)
    body_digest: str = Field(max_length=64)
    status: int | None = None
    answer: str | None = None
