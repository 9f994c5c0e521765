"""Organizations and projects: the tree of who owns what."""

import uuid

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.phases import MlpsLevel, OrganizationKind
from cloudmgr.models.base import Row, one_of


class Organization(Row, table=True):
    """单位. `path` is the chain of ids from the root, `/a/b/`, so that a subtree is one prefix."""

    __tablename__ = "organizations"
    __table_args__ = (
        one_of("kind", OrganizationKind),
        sa.CheckConstraint("path LIKE '/%/'", name="path_shape"),
        sa.Index("ix_organizations_path", "path"),
    )

    code: str = Field(unique=True, max_length=64)
    name: str = Field(max_length=200)
    name_en: str = Field(default="", max_length=200)
    kind: str = Field(max_length=32)
    parent_id: uuid.UUID | None = Field(default=None, foreign_key="organizations.id", index=True)
    path: str = Field(max_length=2000)
    district_id: uuid.UUID | None = Field(default=None, foreign_key="organizations.id")
    """The district-level organization this one belongs to: itself, its nearest such ancestor, or none at the root."""
    account_id: uuid.UUID = Field(unique=True, foreign_key="quota_accounts.id")
    uscc: str | None = Field(default=None, max_length=18)
    administered_by_id: uuid.UUID | None = Field(default=None, foreign_key="organizations.id")
    is_active: bool = True


class Project(Row, table=True):
    """信息系统: the leaf that owns servers."""

    __tablename__ = "projects"
    __table_args__ = (
        one_of("mlps_level", MlpsLevel),
        one_of("stage", ("planning", "trial", "live", "closing")),
        sa.UniqueConstraint("organization_id", "name"),
    )

    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    account_id: uuid.UUID = Field(unique=True, foreign_key="quota_accounts.id")
    name: str = Field(max_length=200)
    system_code: str | None = Field(default=None, max_length=64)
    mlps_level: str = Field(max_length=16)
    mlps_record_no: str | None = Field(default=None, max_length=64)
    project_no: str | None = Field(default=None, max_length=128)
    is_classified: bool = False
    owner_name: str = Field(default="", max_length=64)
    owner_phone: str = Field(default="", max_length=32)
    ops_vendor: str | None = Field(default=None, max_length=200)
    network_zone: str | None = Field(default=None, foreign_key="network_zones.name")
    stage: str = "planning"
    is_active: bool = True


class ProjectSshKey(Row, table=True):
    """A public key put on a project's new servers."""

    __tablename__ = "project_ssh_keys"
    __table_args__ = (sa.UniqueConstraint("project_id", "fingerprint"),)

    project_id: uuid.UUID = Field(foreign_key="projects.id", index=True)
    name: str = Field(default="", max_length=100)
    public_key: str = Field(max_length=4096)
    fingerprint: str = Field(max_length=64)
    created_by_id: uuid.UUID | None = Field(default=None, foreign_key="users.id")


class ProjectCredential(Row, table=True):
    """The key pair with which playbooks reach a project's servers; the private half is sealed with `[security] key_file`."""

    __tablename__ = "project_credentials"

    project_id: uuid.UUID = Field(foreign_key="projects.id", unique=True)
    public_key: str = Field(max_length=4096)
    sealed_private_key: str
    key_id: str = Field(max_length=32)
