"""The keys of a `[[backends]]` entry with `provider = "openstack"`; docs/providers.md explains each."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cloudmgr.domain.architectures import Architecture, CpuFamily, normalise
from cloudmgr.domain.errors import Refusal
from providers.base import ProviderOptions


def _architecture(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return normalise(value)
    except Refusal as refusal:
        raise ValueError(str(refusal)) from refusal


def _base_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an address as http(s)://host[:port][/path]")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address holds no credentials, query or fragment")
    return value.rstrip("/")


Arch = Annotated[Architecture, BeforeValidator(_architecture)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]+$")]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Service = Literal["compute", "image", "network", "volume"]


class Zone(ProviderOptions):
    """A placement target: the hosts of one architecture in one availability zone, with their physical room."""

    availability_zone: str = Field(min_length=1, max_length=255)
    arch: Arch
    ref: str | None = Field(default=None, min_length=1, max_length=200)
    name: str | None = None
    cpu_family: CpuFamily = CpuFamily.UNKNOWN
    vcpus: int = Field(ge=1)
    memory_mib: int = Field(ge=1)
    disk_gib: int = Field(ge=1)
    hosts: int = Field(default=1, ge=1)

    @property
    def key(self) -> str:
        """Return the zone's reference."""
        return self.ref or zone_ref(self.availability_zone, self.arch)


class OpenStackOptions(ProviderOptions):
    """One project of one region. Secrets are references to a file or an environment variable, never values."""

    auth_url: BaseUrl
    region: str = Field(min_length=1)
    interface: Literal["public", "internal"] = "public"
    endpoints: Mapping[Service, BaseUrl] = Field(default_factory=dict)
    """Instead of the catalogue's, where those cannot be reached from the worker."""
    ca_file: AbsolutePath | None = None

    project: str | None = None
    project_domain_id: str = "default"
    username: str | None = None
    user_domain: str = "Default"
    password_file: AbsolutePath | None = None
    password_env: Variable | None = None
    application_credential_id: str | None = None
    application_credential_secret_file: AbsolutePath | None = None
    application_credential_secret_env: Variable | None = None

    zones: tuple[Zone, ...] = ()
    """Where the account may not read hypervisors, or a person knows better."""
    default_network: str | None = None
    public_network: str | None = None
    security_groups: tuple[str, ...] = ()
    volume_type: str | None = None
    volume_availability_zone: str | None = None
    config_drive: bool = False
    rehearses: bool = False
    """Whether playbooks are rehearsed (模拟执行), because the worker cannot log into the servers."""

    connect_timeout_s: float = Field(default=10.0, gt=0)
    read_timeout_s: float = Field(default=60.0, gt=0)
    claim_s: float = Field(default=60.0, gt=0)
    """How long a creation that another process began and did not finish is left to that process."""
    page_size: int = Field(default=1000, ge=1, le=10_000)

    @field_validator("auth_url")
    @classmethod
    def _without_version(cls, value: str) -> str:
        return value.removesuffix("/v3")  # libcloud appends it

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        by_password = self.username is not None
        if by_password == (self.application_credential_id is not None):
            raise ValueError("give username or application_credential_id, one of them")
        password = [self.password_file, self.password_env]
        secret = [self.application_credential_secret_file, self.application_credential_secret_env]
        wanted, other = (password, secret) if by_password else (secret, password)
        if sum(one is not None for one in wanted) != 1 or any(other):
            kind = "password" if by_password else "application_credential_secret"
            raise ValueError(f"give {kind}_file or {kind}_env, one of them")
        if by_password and not self.project:
            raise ValueError("username needs a project")
        refs = [zone.key for zone in self.zones]
        places = [(zone.availability_zone, zone.arch) for zone in self.zones]
        if len(refs) != len(set(refs)) or len(places) != len(set(places)):
            raise ValueError("zones: each ref, and each availability zone with an architecture, may stand once")
        return self

    def secret(self) -> str:
        """Return the password or the application credential's secret as it is now, so that a rotated one is taken up.

        Raises:
            OSError: the file cannot be read, or the variable is not set.
        """
        file = self.password_file or self.application_credential_secret_file
        if file is not None:
            return Path(file).read_text(encoding="utf-8").strip()
        variable = self.password_env or self.application_credential_secret_env or ""
        value = os.environ.get(variable)
        if not value:
            raise OSError(f"environment variable {variable} is not set")
        return value


def zone_ref(availability_zone: str, arch: Architecture) -> str:
    """Return how a zone is referred to that was not given a reference of its own."""
    return f"{availability_zone}/{arch.value}"
