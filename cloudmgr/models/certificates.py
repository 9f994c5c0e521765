"""Deletion certificates 销毁证明: what a backend kept for a server, and what it says of each piece after the end."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.models.base import Row, json_field, one_of
from providers.base import ResourceKind


class DeletionCertificate(Row, table=True):
    """One end of one server. Issued when the backend has said of every piece that it is gone."""

    __tablename__ = "deletion_certificates"
    __table_args__ = (one_of("state", ("open", "complete", "incomplete")), sa.UniqueConstraint("server_id"))

    number: str = Field(unique=True, max_length=32)
    server_id: uuid.UUID = Field(foreign_key="servers.id")
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id")
    backend_id: uuid.UUID | None = Field(default=None, foreign_key="backends.id")
    state: str = Field(default="open", max_length=16)
    evidence: str = Field(default="asked", max_length=16)
    """asked: the backend was asked for each piece. none: its driver cannot say more than that the server is gone."""
    server: dict[str, Any] = json_field(dict)
    """What the ledger held of the server at its end: number, name, system, addresses, sizes."""
    checks: int = 0
    checked_at: datetime | None = None
    issued_at: datetime | None = None


class CertificateItem(Row, table=True):
    """One piece: what it was, and whether the backend still has it."""

    __tablename__ = "certificate_items"
    __table_args__ = (
        one_of("kind", [*ResourceKind, "dns"]),
        one_of("state", ("there", "gone", "unknown")),
        sa.UniqueConstraint("certificate_id", "kind", "ref"),
    )

    certificate_id: uuid.UUID = Field(foreign_key="deletion_certificates.id", index=True)
    kind: str = Field(max_length=16)
    ref: str = Field(max_length=300)
    name: str = Field(default="", max_length=300)
    size_gib: int | None = None
    state: str = Field(default="there", max_length=16)
    checked_at: datetime | None = None
    gone_at: datetime | None = None
