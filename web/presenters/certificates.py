"""Deletion certificates 销毁证明 for their pages: made to be printed and signed."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloudmgr.domain.certificates import ItemState
from cloudmgr.domain.messages import N_
from cloudmgr.models import CertificateItem
from cloudmgr.services.certificates import CertificateRow, CertificateView, QuotaShare
from web import formats
from web.presenters import words as phrases
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class CertificateLine:
    """One row of the list."""

    id: uuid.UUID
    number: str
    state: str
    server_id: uuid.UUID
    server: str
    resource_no: str
    organization: str
    backend: str
    checked_at: datetime | None
    issued_at: datetime | None


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing the cloud kept for the server: what became of it, when that was said."""

    kind: str
    name: str
    ref: str
    size: str
    state: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Quota:
    """What became of one resource of the server's quota, and what it waits for."""

    key: str
    released: str
    held: str
    kept_by: str


@dataclass(frozen=True, slots=True)
class CertificatePage:
    """The whole certificate. Empty is what was never known."""

    id: uuid.UUID
    number: str
    state: str
    evidence: str
    reason: str
    due_at: datetime | None
    checked_at: datetime | None
    issued_at: datetime | None
    server_id: uuid.UUID
    server: str
    resource_no: str
    project: str
    system_code: str
    mlps_level: str
    organization: str
    backend: str
    datacenter: str
    zone: str
    host: str
    native_ref: str
    addresses: str
    network_zone: str
    size: str
    disk: str
    arch: str
    system: str
    env: str
    source: str
    in_service: str
    request_id: uuid.UUID | None
    request_number: str
    requested_by: str
    decided_by: str
    purpose: str
    pieces: list[Piece]
    gone: int
    left: int
    kept: int
    quota: list[Quota]
    is_quota_free: bool


def line(row: CertificateRow) -> CertificateLine:
    """Arrange one row of the list."""
    certificate, server, organization, backend = row
    return CertificateLine(
        id=certificate.id,
        number=certificate.number or "",
        state=certificate.state,
        server_id=server.id,
        server=server.name,
        resource_no=server.resource_no or "",
        organization=organization.name,
        backend=(backend.title or backend.name) if backend else "",
        checked_at=certificate.checked_at,
        issued_at=certificate.issued_at,
    )


def page(words: Words, view: CertificateView) -> CertificatePage:
    """Arrange one certificate: of the server, what the ledger held at its end."""
    row, held, backend, request = view.certificate, view.held, view.backend, view.request
    told = {name: _text(held.get(name)) for name in held}
    states = [item.state for item in view.items]
    return CertificatePage(
        id=row.id,
        number=row.number or "",
        state=row.state,
        evidence=row.evidence,
        reason=phrases.failure(words, row.reason),
        due_at=row.due_at,
        checked_at=row.checked_at,
        issued_at=row.issued_at,
        server_id=view.server.id,
        server=told.get("name", view.server.name),
        resource_no=told.get("resource_no", ""),
        project=told.get("project_name", view.project.name),
        system_code=told.get("system_code", ""),
        mlps_level=told.get("mlps_level", ""),
        organization=told.get("organization_name", view.organization.name),
        backend=(backend.title or backend.name) if backend else "",
        datacenter=told.get("datacenter", ""),
        zone=told.get("zone", ""),
        host=told.get("host", ""),
        native_ref=told.get("native_ref", ""),
        addresses=" ".join([*(held.get("ipv4") or ()), *(held.get("ipv6") or ())]),
        network_zone=told.get("network_zone", ""),
        size=phrases.size(view.server),
        disk=_disk(held),
        arch=told.get("arch", view.server.arch),
        system=" ".join(part for part in (told.get("os_name", ""), told.get("os_version", "")) if part),
        env=view.server.env,
        source=view.server.source,
        in_service=formats.day(view.server.activated_at),
        request_id=request.id if request else None,
        request_number=(request.number or "") if request else "",
        requested_by=view.requester.display_name if view.requester else "",
        decided_by=words.joined([f"{person.display_name} {formats.day(each.created_at)}" for each, person in view.approvals]),
        purpose=request.purpose if request else "",
        pieces=[_piece(item) for item in view.items],
        gone=states.count(ItemState.GONE),
        left=sum(state in (ItemState.THERE, ItemState.UNKNOWN) for state in states),
        kept=states.count(ItemState.KEPT),
        quota=[_quota(words, share) for share in view.quota],
        is_quota_free=not any(share.held for share in view.quota),
    )  # fmt: skip


def _piece(item: CertificateItem) -> Piece:
    return Piece(
        kind=item.kind,
        name=item.name,
        ref=item.ref,
        size=formats.amount(item.size_gib, "disk_gib"),
        state=item.state,
        at=item.gone_at or item.checked_at,
    )


def _quota(words: Words, share: QuotaShare) -> Quota:
    kinds = [words.label("resource_kind", kind) for kind in share.kept_by]
    return Quota(
        key=share.resource,
        released=formats.amount(share.released, share.resource),
        held=formats.amount(share.held, share.resource) if share.held else "",
        kept_by=(words.joined(kinds) or words.translate(N_("the whole server"))) if share.held else "",
    )


def _disk(held: dict[str, Any]) -> str:
    sizes = [held.get("system_disk_gib"), held.get("data_disk_gib")]
    return " + ".join(formats.amount(size, "disk_gib") for size in sizes if size)


def _text(value: object) -> str:
    return "" if value is None else str(value)
