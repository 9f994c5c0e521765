"""What the catalogue's answers look like, and how rows become them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from cloudmgr.api.shapes import At, OrganizationName, Shape
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.services.backends import BackendView
from cloudmgr.services.images import ImageView
from cloudmgr.services.networks import NetworkView
from cloudmgr.services.zones import ZoneView


class FlavorShape(Shape):
    """A named size."""

    id: UUID
    name: str = Field(examples=["8C32G"])
    vcpus: int = Field(examples=[8])
    memory_mib: int = Field(examples=[32768])
    system_disk_gib: int = Field(examples=[40])
    is_active: bool


class NetworkZoneShape(Shape):
    """An entry of the dictionary of network zones."""

    id: UUID
    name: str = Field(examples=["政务外网区"])
    name_en: str = Field(examples=["E-government extranet zone"])
    code: str = Field(examples=["WW"])
    description: str
    allows_public_cloud: bool
    is_active: bool


class VariantShape(Shape):
    """An image on one architecture at one backend; `ref` is null for readers who do not run the platform."""

    arch: str = Field(examples=["aarch64"])
    backend: str = Field(examples=["cs-hcs-kp"])
    ref: str | None
    digest: str | None


class ImageShape(Shape):
    """A logical image with its variants."""

    id: UUID
    name: str = Field(examples=["kylin-v10"])
    title: str = Field(examples=["银河麒麟高级服务器操作系统 V10 SP3"])
    os_name: str
    os_version: str
    os_is_xinchuang: bool
    login_user: str
    min_disk_gib: int
    hardening: str | None
    playbook: str
    is_active: bool
    architectures: list[str] = Field(examples=[["aarch64", "x86_64"]])
    variants: list[VariantShape]


class BackendShape(Shape):
    """A backend and how it was when last asked."""

    id: UUID
    name: str = Field(examples=["cs-hcs-kp"])
    title: str = Field(examples=["长沙市政务云 鲲鹏区"])
    provider: str = Field(examples=["simulated"])
    tier: str = Field(examples=["city"])
    datacenter: str = Field(examples=["高新区机房"])
    vendor: str | None
    owner_organization: UUID | None
    owner_organization_name: str | None
    shared_with: list[OrganizationName]
    counts_city_quota: bool = Field(description="Whether servers on a district's own cloud count at the city too.")
    is_enabled: bool
    is_configured: bool = Field(description="Whether a worker's settings hold its connection.")
    health: str = Field(examples=["ok"], description="What may be said of it now: a stale `ok` is `unknown`.")
    freshness: str = Field(examples=["fresh"], description="fresh, stale, away (not reachable, as expected) or never.")
    health_message: str | None
    servers_freshness: str = Field(examples=["fresh"], description="How fresh what is known of its servers is.")
    servers_synced_at: datetime | None
    servers_message: str | None = Field(description="Why the last reading of its servers did not count.")
    expected_offline_hours: int = Field(description="It may be away so long without an alarm.")
    failures: int = Field(description="Looks in a row that failed.")
    retry_at: datetime | None = Field(description="Until then it is left in peace.")
    cloud_quota: list[dict[str, Any]] = Field(description="Its own limits for the account in use; limit null: none.")
    version: str | None
    capabilities: list[str] = Field(examples=[["power", "resize", "snapshots"]])
    rehearses: bool = Field(description="Whether playbooks are rehearsed (模拟执行) on its servers.")
    last_seen_at: datetime | None
    checked_at: datetime | None


Capacity = Annotated[dict[str, int] | None, Field(examples=[{"vcpus": 640, "memory_mib": 2621440, "disk_gib": 102400}])]


class InventoryShape(Shape):
    """Capacity of one resource: `total` physical, `reserved` kept free, `ratio_pct` the overcommit ratio in percent."""

    resource: str
    total: int
    reserved: int
    ratio_pct: int
    used: int


class ZoneShape(Shape):
    """A placement target. `capacity`, `used` and `inventory` are null where the reader may not know them."""

    id: UUID
    name: str = Field(examples=["kp-az1"])
    title: str
    ref: str
    backend: str = Field(examples=["cs-hcs-kp"])
    backend_id: UUID
    arch: str = Field(examples=["aarch64"])
    cpu_family: str = Field(examples=["kunpeng"])
    cpu_model: str = Field(examples=["Kunpeng-920"])
    is_xinchuang: bool
    hosts: int
    network_zones: list[str] = Field(examples=[["政务外网区", "互联网区"]])
    capacity: Capacity
    used: Capacity
    inventory: list[InventoryShape] | None
    is_enabled: bool
    is_available: bool
    message: str | None = Field(description="Why it is not available, as last seen.")
    freshness: str = Field(examples=["fresh"], description="How fresh the last word of its backend is.")
    last_seen_at: datetime | None


class NetworkShape(Shape):
    """A network of a backend that carries one network zone."""

    id: UUID
    backend: str = Field(examples=["cs-hcs-kp"])
    backend_id: UUID
    ref: str
    name: str
    network_zone: str = Field(examples=["政务外网区"])
    cidr_v4: str | None = Field(examples=["10.8.0.0/20"])
    cidr_v6: str | None
    gateway_v4: str | None
    is_enabled: bool
    last_seen_at: datetime | None
    created_at: At


def image_shape(view: ImageView) -> ImageShape:
    """Return an image as the API shows it."""
    variants = [VariantShape.model_validate(each) for each in view.variants]
    fields = view.image.model_dump(exclude={"created_at"})
    return ImageShape(architectures=view.architectures, variants=variants, **fields)


def backend_shape(view: BackendView, translate: Translator) -> BackendShape:
    """Return a backend as the API shows it, its health told in the reader's language."""
    fields = view.backend.model_dump(
        exclude={"created_at", "owner_organization_id", "health", "health_message", "servers_message", "sync_cursor"}
    )
    stored, unread = view.backend.health_message, view.backend.servers_message
    return BackendShape(
        owner_organization=view.backend.owner_organization_id,
        owner_organization_name=view.owner.name if view.owner else None,
        shared_with=[OrganizationName.model_validate(each) for each in view.shared_with],
        health=view.standing.health.value,
        freshness=view.standing.freshness.value,
        servers_freshness=view.servers_freshness.value,
        health_message=Message.from_json(stored).render(translate) if stored else None,
        servers_message=Message.from_json(unread).render(translate) if unread else None,
        **fields,
    )


def zone_shape(view: ZoneView, translate: Translator) -> ZoneShape:
    """Return a zone as the API shows it."""
    fields = view.zone.model_dump(exclude={"created_at", "backend_id", "cpu_raw", "generation", "message"})
    stored = view.zone.message
    inventory = None
    if view.inventory is not None:
        inventory = [InventoryShape.model_validate(each) for each in view.inventory]
    return ZoneShape(
        backend=view.backend.name,
        backend_id=view.backend.id,
        network_zones=view.network_zones,
        capacity=dict(view.capacity) if view.capacity is not None else None,
        used=dict(view.used) if view.used is not None else None,
        inventory=inventory,
        message=Message.from_json(stored).render(translate) if stored else None,
        freshness=view.standing.freshness.value,
        **fields,
    )


def network_shape(view: NetworkView) -> NetworkShape:
    """Return a network as the API shows it."""
    fields = view.network.model_dump(exclude={"backend_id"})
    return NetworkShape(backend=view.backend.name, backend_id=view.backend.id, **fields)
