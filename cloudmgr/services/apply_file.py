"""The shape of an apply file: every section and entry, as written by people in YAML or JSON. Looks nothing up.

Keys beginning with an underscore are notes and ignored. Words of the sample data (`zh`, `org`, `mlps`, `zone`, `vcpu` …) and
our own (`name`, `organization` …) mean the same.
"""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cloudmgr.domain.architectures import CpuFamily
from cloudmgr.domain.phases import MlpsLevel, OrganizationKind, Tier
from cloudmgr.domain.units import gib_to_mib
from cloudmgr.services.inputs import Closed

MAX_ENTRIES = 20_000


def _as_text(value: Any) -> Any:
    """Take a code that YAML read as a number, such as 430102."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _without_notes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if not str(key).startswith("_")}
    return value


def _also(*names: str) -> Any:
    return Field(validation_alias=AliasChoices(*names))


def _or_none(*names: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(*names))


SYNONYMS = {
    "name": ("zh",),
    "name_en": ("en",),
    "parent": ("district",),
    "organization": ("org",),
    "mlps_level": ("mlps",),
    "network_zone": ("zone",),
    "owner_organization": ("owner",),
    "is_enabled": ("enabled",),
    "ratio_pct": ("overcommit",),
    "tenant": ("account",),
    "memory_mib": ("memory_gib",),
}
"""Our words, and how else a file may spell them: so that a finding names what stands in the file."""

Code = Annotated[str, BeforeValidator(_as_text)]


class Entry(BaseModel):
    """One thing that shall exist. What is left out keeps its default when made and its value when there."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    _notes = model_validator(mode="before")(_without_notes)


class NetworkZoneEntry(Entry):
    name: str
    code: Code
    name_en: str = ""
    description: str = ""
    allows_public_cloud: bool = True
    is_active: bool = True


class OrganizationEntry(Entry):
    code: Code
    name: str = _also("name", "zh")
    name_en: str | None = _or_none("name_en", "en")
    kind: Annotated[OrganizationKind, Closed] = OrganizationKind.DEPARTMENT
    parent: Code | None
    uscc: str | None = None
    administered_by: Code | None = None


class DepartmentEntry(Entry):
    """A department by name; its code is made from its parent's where none is given."""

    name: str
    parent: Code | None = _or_none("parent", "district")
    code: Code | None = None
    name_en: str | None = None
    uscc: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class ProjectEntry(Entry):
    """A project; `organization` is its owner's code or name. `vcpu`, `memory_gib` and `storage_gib` are the size it was
    planned with: they are checked and not kept, because limits belong in `quotas`.
    """

    name: str
    organization: Code = _also("organization", "org")
    mlps_level: Annotated[MlpsLevel, Closed] = _also("mlps_level", "mlps")
    network_zone: str | None = _or_none("network_zone", "zone")
    system_code: Code | None = None
    mlps_record_no: Code | None = None
    project_no: Code | None = None
    is_classified: bool | None = None
    owner_name: str | None = None
    owner_phone: Code | None = None
    ops_vendor: str | None = None
    stage: str | None = None
    ssh_keys: list[str] = Field(default_factory=list)
    vcpu: Annotated[int, Field(ge=0)] | None = None
    memory_gib: Annotated[int, Field(ge=0)] | None = None
    storage_gib: Annotated[int, Field(ge=0)] | None = None


class FlavorEntry(Entry):
    name: str
    vcpus: int
    memory_gib: Annotated[int, Field(ge=1)] | None = None
    memory_mib: int | None = None
    system_disk_gib: int | None = None
    is_active: bool | None = None

    @model_validator(mode="after")
    def _one_memory(self) -> "FlavorEntry":
        if (self.memory_gib is None) == (self.memory_mib is None):
            raise ValueError("give either memory_gib or memory_mib")
        return self


class BackendEntry(Entry):
    name: str
    title: str | None = None
    provider: str
    tier: Annotated[Tier, Closed] = Tier.CITY
    datacenter: str
    vendor: str | None = None
    owner: Code | None = _or_none("owner", "owner_organization")
    shared_with: list[Code] | None = None
    counts_city_quota: bool | None = None
    expected_offline_hours: int | None = None
    is_enabled: bool | None = _or_none("enabled", "is_enabled")


class VariantEntry(Entry):
    arch: str
    backend: str
    ref: str
    digest: str | None = None


class ImageEntry(Entry):
    name: str
    title: str
    os_name: str
    os_version: Code
    os_is_xinchuang: bool | None = None
    login_user: str | None = None
    min_disk_gib: int | None = None
    hardening: str | None = None
    playbook: str | None = None
    is_active: bool | None = None
    variants: list[VariantEntry] | None = None


class ZoneEntry(Entry):
    """A zone by backend and reference. One that no sync has seen yet is made, and then needs `arch`."""

    backend: str
    ref: Code
    name: str | None = None
    title: str | None = None
    arch: str | None = None
    cpu_family: Annotated[CpuFamily, Closed] | None = None
    is_xinchuang: bool | None = None
    network_zones: list[str] | None = None
    overcommit: dict[str, Annotated[float, Field(gt=0, le=100, strict=False)]] | None = None
    reserved: dict[str, int] | None = None
    is_enabled: bool | None = _or_none("enabled", "is_enabled")


class NetworkEntry(Entry):
    backend: str
    ref: Code
    name: str | None = None
    network_zone: str
    cidr_v4: str | None = None
    cidr_v6: str | None = None
    gateway_v4: str | None = None
    is_enabled: bool | None = _or_none("enabled", "is_enabled")


class RangeEntry(Entry):
    kind: str
    first: str
    last: str
    reason: str = ""


class SubnetEntry(Entry):
    """A subnet by network zone and range; `backend` and `network` (its reference) say where it is."""

    network_zone: str
    cidr: str
    backend: str | None = None
    network: str | None = None
    name: str | None = None
    gateway: str | None = None
    dns: list[str] | None = None
    vlan: int | None = None
    is_managed: bool | None = None
    is_enabled: bool | None = _or_none("enabled", "is_enabled")
    ranges: list[RangeEntry] | None = None


class QuotaEntry(Entry):
    """Limits of an organization by its code, or of a project as `code/name of the project`."""

    tenant: Code = _also("tenant", "account")
    vcpu: int | None = None
    memory_gib: int | None = None
    storage_gib: int | None = None
    public_ip: int | None = None
    xinchuang_min_pct: Annotated[int, Field(ge=0, le=100)] | None = None
    limits: dict[str, int | None] = Field(default_factory=dict)
    reason: str | None = None
    basis_no: str | None = None

    def all_limits(self) -> dict[str, int | None]:
        """Return the limits by the ledger's keys."""
        short: dict[str, int | None] = {
            "vcpus": self.vcpu,
            "memory_mib": None if self.memory_gib is None else gib_to_mib(self.memory_gib),
            "disk_gib": self.storage_gib,
            "public_ips": self.public_ip,
        }
        return {key: amount for key, amount in short.items() if amount is not None} | self.limits


class ApplyFile(BaseModel):
    """A whole file; sections are applied in this order, whatever order they stand in."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    _notes = model_validator(mode="before")(_without_notes)

    network_zones: list[NetworkZoneEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    districts: list[OrganizationEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    functional_areas: list[OrganizationEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    organizations: list[OrganizationEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    departments: list[DepartmentEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    departments_of_districts: list[DepartmentEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    backends: list[BackendEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    systems: list[ProjectEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    projects: list[ProjectEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    flavors: list[FlavorEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    images: list[ImageEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    zones: list[ZoneEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    networks: list[NetworkEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    subnets: list[SubnetEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
    quotas: list[QuotaEntry] = Field(default_factory=list, max_length=MAX_ENTRIES)
