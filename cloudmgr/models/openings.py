"""What a server shows to the network: the port-opening table, and public addresses with their bandwidth."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlmodel import Field

from cloudmgr.domain.openings import OpeningState, PublicIpPhase
from cloudmgr.models.base import Row, json_field, one_of


class PortOpening(Row, table=True):
    """端口开放: one line of the port-opening table of a server. Its id is the key of the rule at the backend."""

    __tablename__ = "port_openings"
    __table_args__ = (one_of("state", OpeningState), one_of("protocol", ("tcp", "udp", "icmp")))

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    server_id: uuid.UUID = Field(foreign_key="servers.id", index=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    source: str = Field(max_length=45)
    protocol: str = Field(max_length=8)
    port_from: int | None = None
    port_to: int | None = None
    purpose: str = Field(max_length=200)
    reason: str = Field(default="", max_length=500)
    """Why it may be as wide as it is; asked where a management port is opened to everybody."""
    valid_until: date | None = None
    state: str = Field(default=OpeningState.REQUESTED.value, max_length=16, index=True)
    message: dict[str, Any] | None = json_field()
    applied_at: datetime | None = None
    closed_at: datetime | None = None


class PublicIp(Row, table=True):
    """公网IP: an address of an external network that leads to a server. `id` is the token the backend knows it by."""

    __tablename__ = "public_ips"
    __table_args__ = (one_of("phase", PublicIpPhase),)

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    reservation_id: uuid.UUID
    project_id: uuid.UUID = Field(foreign_key="projects.id", index=True)
    organization_id: uuid.UUID = Field(foreign_key="organizations.id", index=True)
    server_id: uuid.UUID = Field(foreign_key="servers.id", index=True)
    backend_id: uuid.UUID | None = Field(default=None, foreign_key="backends.id")
    address: str | None = Field(default=None, max_length=45)
    native_ref: str | None = Field(default=None, max_length=300)
    bandwidth_mbps: int = 0
    phase: str = Field(default=PublicIpPhase.REQUESTED.value, max_length=16, index=True)
    failure: dict[str, Any] | None = json_field()
    attempt: int = 1
    released_at: datetime | None = None
