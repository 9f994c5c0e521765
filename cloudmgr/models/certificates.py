"""Deletion certificates 销毁证明: what a backend kept for a server, and what it says of each piece after the end."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.certificates import CertificateState, EvidenceKind, ItemState
from cloudmgr.models.base import Row, json_field, one_of
from providers.base import ResourceKind


class DeletionCertificate(Row, table=True):
    """One end of one server. Numbered and issued when the backend has said of every piece that it is gone.

    open: it has not been asked about every piece yet, or does not answer. incomplete: it answers, and keeps something.
    """

    __tablename__ = "deletion_certificates"
    __table_args__ = (
        one_of("state", CertificateState),
        one_of("evidence", EvidenceKind),
        sa.UniqueConstraint("server_id"),
        sa.CheckConstraint("(number IS NULL) = (issued_at IS NULL)", name="numbered_when_issued"),
    )

    number: str | None = Field(default=None, unique=True, max_length=32)
    server_id: uuid.UUID = Field(foreign_key="servers.id")
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    request_id: uuid.UUID | None = Field(default=None, foreign_key="resource_requests.id")
    backend_id: uuid.UUID | None = Field(default=None, foreign_key="backends.id")
    state: str = Field(default=CertificateState.OPEN.value, max_length=16)
    evidence: str = Field(default=EvidenceKind.ASKED.value, max_length=16)
    server: dict[str, Any] = json_field(dict)
    """What the ledger held of the server at its end: number, name, system, addresses, sizes."""
    reason: dict[str, Any] | None = json_field()
    """Why it is not issued yet: {"code", "message"}."""
    checks: int = 0
    """How often it was taken up again; part of the workflow's id."""
    checked_at: datetime | None = None
    due_at: datetime | None = Field(default=None, index=True)
    """When it is taken up again, whatever became of the last time; None once it is issued."""
    unanswered_at: datetime | None = None
    """When the backend last gave no answer: it is taken up again as soon as the backend is seen after that."""
    issued_at: datetime | None = None


class CertificateItem(Row, table=True):
    """One piece: what it was, and whether the backend still has it."""

    __tablename__ = "certificate_items"
    __table_args__ = (
        one_of("kind", [*ResourceKind, "dns"]),
        one_of("state", ItemState),
        sa.UniqueConstraint("certificate_id", "kind", "ref"),
    )

    certificate_id: uuid.UUID = Field(foreign_key="deletion_certificates.id", index=True)
    kind: str = Field(max_length=16)
    ref: str = Field(max_length=300)
    name: str = Field(default="", max_length=300)
    size_gib: int | None = None
    token: uuid.UUID | None = None
    attached_to: str | None = Field(default=None, max_length=300)
    """The backend's reference of the server it was attached to."""
    state: str = Field(default=ItemState.THERE.value, max_length=16)
    checked_at: datetime | None = None
    gone_at: datetime | None = None
