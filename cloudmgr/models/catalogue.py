"""The catalogue: flavors, images with their twins, network zones, backends, zones, networks."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.phases import Health, Tier
from cloudmgr.models.base import Row, json_field, one_of


class NetworkZone(Row, table=True):
    """网络区域: an entry of the deployment's dictionary; new ones need no code."""

    __tablename__ = "network_zones"

    name: str = Field(unique=True, max_length=64)
    name_en: str = Field(default="", max_length=64)
    code: str = Field(unique=True, max_length=32)
    description: str = Field(default="", max_length=500)
    allows_public_cloud: bool = True
    """Whether a cloud of tier public may carry it; 政务外网区 never may, whatever stands here."""
    is_active: bool = True


class Flavor(Row, table=True):
    """A named size."""

    __tablename__ = "flavors"
    __table_args__ = (
        sa.CheckConstraint("vcpus > 0 AND memory_mib > 0 AND system_disk_gib > 0", name="sizes_positive"),
    )

    name: str = Field(unique=True, max_length=64)
    vcpus: int
    memory_mib: int
    system_disk_gib: int
    is_active: bool = True


class Image(Row, table=True):
    """One logical image; what it is at each backend are its variants."""

    __tablename__ = "images"

    name: str = Field(unique=True, max_length=64)
    title: str = Field(max_length=200)
    os_name: str = Field(max_length=100)
    os_version: str = Field(max_length=100)
    os_is_xinchuang: bool = False
    login_user: str = Field(default="ops", max_length=32)
    min_disk_gib: int = 0
    hardening: str | None = Field(default=None, max_length=200)
    playbook: str = Field(default="configure_server", max_length=64)
    is_active: bool = True


class ImageVariant(Row, table=True):
    """A logical image on one architecture at one backend, by the backend's own reference."""

    __tablename__ = "image_variants"
    __table_args__ = (one_of("arch", Architecture), sa.UniqueConstraint("image_id", "arch", "backend_id"))

    image_id: uuid.UUID = Field(foreign_key="images.id", index=True)
    arch: str = Field(max_length=16)
    backend_id: uuid.UUID = Field(foreign_key="backends.id", index=True)
    ref: str = Field(max_length=300)
    digest: str | None = Field(default=None, max_length=128)


class Backend(Row, table=True):
    """云平台: one configured connection. Facts only; credentials stay with the worker's settings."""

    __tablename__ = "backends"
    __table_args__ = (one_of("tier", Tier), one_of("health", Health))

    name: str = Field(unique=True, max_length=64)
    title: str = Field(default="", max_length=200)
    provider: str = Field(max_length=32)
    tier: str = Field(max_length=16)
    datacenter: str = Field(max_length=100)
    vendor: str | None = Field(default=None, max_length=200)
    owner_organization_id: uuid.UUID | None = Field(default=None, foreign_key="organizations.id")
    is_enabled: bool = True
    is_configured: bool = False
    health: str = Field(default=Health.UNKNOWN.value, max_length=16)
    health_message: dict[str, Any] | None = json_field()
    version: str | None = Field(default=None, max_length=200)
    capabilities: list[str] = json_field(list)
    rehearses: bool = False
    last_seen_at: datetime | None = None
    checked_at: datetime | None = None
    counts_city_quota: bool = False
    """Whether what is built on a cloud that a district owns counts at the city too. Nobody's cloud always does."""
    expected_offline_hours: int = 0
    """An edge site may be away this long without an alarm."""
    failures: int = 0
    """Looks in a row that failed."""
    retry_at: datetime | None = None
    """Until then it is left in peace (circuit breaker)."""
    servers_synced_at: datetime | None = None
    """When its servers were last read completely."""
    servers_known_since: datetime | None = None
    """When its servers were first read completely: what is foreign and came later was made past us."""
    servers_message: dict[str, Any] | None = json_field()
    """Why the last reading of its servers did not count."""
    sync_cursor: str | None = Field(default=None, max_length=500)
    cloud_quota: list[dict[str, Any]] = json_field(list)
    """The backend's own limits for the account we use: resource, used, limit (null: none)."""


class BackendShare(Row, table=True):
    """An organization (with its subtree) that may use a backend it does not own."""

    __tablename__ = "backend_shares"
    __table_args__ = (sa.UniqueConstraint("backend_id", "organization_id"),)

    backend_id: uuid.UUID = Field(foreign_key="backends.id")
    organization_id: uuid.UUID = Field(foreign_key="organizations.id")


class Zone(Row, table=True):
    """资源池: a placement target. `generation` changes with every allocation, so that two never take the same slot."""

    __tablename__ = "zones"
    __table_args__ = (
        one_of("arch", Architecture),
        one_of("cpu_family", CpuFamily),
        sa.UniqueConstraint("backend_id", "ref"),
        sa.UniqueConstraint("backend_id", "name"),
    )

    backend_id: uuid.UUID = Field(foreign_key="backends.id", index=True)
    ref: str = Field(max_length=200)
    name: str = Field(max_length=64)
    title: str = Field(default="", max_length=200)
    arch: str = Field(max_length=16)
    cpu_family: str = Field(max_length=16)
    cpu_model: str = Field(default="unknown", max_length=100)
    cpu_raw: str = Field(default="", max_length=500)
    is_xinchuang: bool = False
    hosts: int = 1
    is_enabled: bool = True
    is_available: bool = True
    message: dict[str, Any] | None = json_field()
    """Why it is not available, as last seen."""
    generation: int = 0
    last_seen_at: datetime | None = None


class ZoneInventory(Row, table=True):
    """Capacity of one resource in a zone: `total` physical units, of which `reserved` stay free; `used` is the sum of
    open allocations; room is floor((total - reserved) * ratio) - used.
    """

    __tablename__ = "zone_inventories"
    __table_args__ = (
        sa.UniqueConstraint("zone_id", "resource"),
        sa.CheckConstraint("total >= 0 AND reserved >= 0 AND used >= 0", name="amounts_not_negative"),
        sa.CheckConstraint("ratio_pct > 0", name="ratio_positive"),
    )

    zone_id: uuid.UUID = Field(foreign_key="zones.id", index=True)
    resource: str = Field(max_length=32)
    total: int
    reserved: int = 0
    ratio_pct: int = 100
    """Overcommit ratio (超分比) in percent: 300 = three virtual for one physical."""
    used: int = 0


class ZoneNetworkZone(Row, table=True):
    """A network zone that a zone serves, and the backend's network for it."""

    __tablename__ = "zone_network_zones"
    __table_args__ = (sa.UniqueConstraint("zone_id", "network_zone"),)

    zone_id: uuid.UUID = Field(foreign_key="zones.id", index=True)
    network_zone: str = Field(foreign_key="network_zones.name", max_length=64)


class Network(Row, table=True):
    """A network at a backend that carries one network zone."""

    __tablename__ = "networks"
    __table_args__ = (sa.UniqueConstraint("backend_id", "ref"),)

    backend_id: uuid.UUID = Field(foreign_key="backends.id", index=True)
    ref: str = Field(max_length=200)
    name: str = Field(max_length=100)
    network_zone: str = Field(foreign_key="network_zones.name", max_length=64, index=True)
    cidr_v4: str | None = Field(default=None, max_length=32)
    cidr_v6: str | None = Field(default=None, max_length=64)
    gateway_v4: str | None = Field(default=None, max_length=32)
    zone_refs: list[str] = json_field(list)
    """Zones of the backend that it reaches, by their refs there; none: all of them."""
    is_external: bool = False
    is_enabled: bool = True
    last_seen_at: datetime | None = None


class Allocation(Row, table=True):
    """Capacity claimed in one zone for one server."""

    __tablename__ = "allocations"
    __table_args__ = (
        sa.Index(
            "uq_allocations_open_server",
            "server_id",
            unique=True,
            sqlite_where=sa.text("released_at IS NULL"),
            postgresql_where=sa.text("released_at IS NULL"),
        ),
    )

    zone_id: uuid.UUID = Field(foreign_key="zones.id", index=True)
    server_id: uuid.UUID = Field(foreign_key="servers.id", index=True)
    amounts: dict[str, int] = json_field(dict)
    released_at: datetime | None = None
