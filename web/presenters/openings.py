"""The port-opening table and public addresses, for their lists and for a server's page."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from cloudmgr.domain import port_rules
from cloudmgr.domain.openings import OpeningState, PublicIpPhase
from cloudmgr.models import Backend, Organization, PortOpening, PublicIp, ResourceRequest, Server
from cloudmgr.services.openings import CAPABILITY, no_rules
from web.presenters import words as phrases
from web.rendering import Words

_CLOSABLE = (OpeningState.ACTIVE, OpeningState.RECORDED)


@dataclass(frozen=True, slots=True)
class OpeningLine:
    """One line of the table. `difference` says where the cloud does not do what the line says."""

    id: uuid.UUID
    server_id: uuid.UUID
    server: str
    organization: str
    source: str
    destinations: str
    port: str
    purpose: str
    reason: str
    until: date | None
    state: str
    difference: str
    backend: str
    request_id: uuid.UUID
    request_number: str
    can_close: bool


@dataclass(frozen=True, slots=True)
class PublicIpLine:
    """One public address, or one that is asked for."""

    id: uuid.UUID
    server_id: uuid.UUID
    server: str
    organization: str
    address: str
    inner: str
    bandwidth_mbps: int
    phase: str
    failure: str
    backend: str
    request_id: uuid.UUID
    request_number: str
    released_at: datetime | None
    can_release: bool


def line(
    words: Words,
    row: tuple[PortOpening, Server, Organization, ResourceRequest],
    backends: Mapping[uuid.UUID, Backend],
) -> OpeningLine:
    """Arrange one line; of one that is only asked for, what its cloud cannot do is said beforehand."""
    opening, server, organization, request = row
    backend = backends.get(server.backend_id) if server.backend_id else None
    difference = words.told(opening.message)
    is_asked = opening.state == OpeningState.REQUESTED
    if is_asked and not difference and backend is not None and CAPABILITY not in backend.capabilities:
        difference = words.told(no_rules(backend))
    return OpeningLine(
        id=opening.id,
        server_id=server.id,
        server=server.name,
        organization=organization.name,
        source=opening.source,
        destinations=phrases.addresses(server),
        port=port_rules.port_text(opening.protocol, opening.port_from, opening.port_to),
        purpose=opening.purpose,
        reason=opening.reason,
        until=opening.valid_until,
        state=opening.state,
        difference=difference,
        backend=_title(backend),
        request_id=request.id,
        request_number=request.number or "",
        can_close=opening.state in _CLOSABLE,
    )


def public_ip(
    words: Words,
    row: tuple[PublicIp, Server, Organization, ResourceRequest],
    backends: Mapping[uuid.UUID, Backend],
) -> PublicIpLine:
    """Arrange one public address."""
    address, server, organization, request = row
    return PublicIpLine(
        id=address.id,
        server_id=server.id,
        server=server.name,
        organization=organization.name,
        address=address.address or "",
        inner=phrases.addresses(server),
        bandwidth_mbps=address.bandwidth_mbps,
        phase=address.phase,
        failure=phrases.failure(words, address.failure),
        backend=_title(backends.get(address.backend_id) if address.backend_id else None),
        request_id=request.id,
        request_number=request.number or "",
        released_at=address.released_at,
        can_release=address.phase == PublicIpPhase.ACTIVE,
    )


def _title(backend: Backend | None) -> str:
    return (backend.title or backend.name) if backend else ""
