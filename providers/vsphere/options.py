"""The keys of a `[[backends]]` entry with `provider = "vsphere"`; docs/providers.md explains each."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

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


Arch = Annotated[Architecture, BeforeValidator(_architecture)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Zone(ProviderOptions):
    """A placement target: a cluster, or a resource pool of it, and one architecture."""

    ref: Name
    name: str | None = None
    cluster: Name
    """Name of a cluster or of a host that stands alone."""
    resource_pool: Name | None = None
    arch: Arch
    datastore: Name | None = None
    """Where disks go; without it, to the datastore of the cluster with the most room."""
    vcpus: int | None = Field(default=None, ge=1)
    memory_mib: int | None = Field(default=None, ge=1)
    disk_gib: int | None = Field(default=None, ge=1)
    cpu_family: CpuFamily | None = None
    """Only where recognition says `unknown` and a person knows better."""


class Image(ProviderOptions):
    """What vCenter does not say of a template."""

    name: Name
    arch: Arch


class Network(ProviderOptions):
    """What vCenter does not know of a port group."""

    name: Name
    cidr_v4: str | None = None
    cidr_v6: str | None = None
    gateway_v4: str | None = None
    dns: tuple[str, ...] = ()

    @field_validator("cidr_v4", "cidr_v6")
    @classmethod
    def _cidr(cls, value: str | None) -> str | None:
        return None if value is None else str(ipaddress.ip_network(value))


class VSphereOptions(ProviderOptions):
    """One vCenter. The password is in a file or in the environment; there is no key that holds it."""

    host: Name
    port: int = Field(default=443, ge=1, le=65535)
    username: Name
    password_file: Path | None = None
    password_env: Name | None = None
    server_pem: Path | None = None
    """The server's own certificate: this one and no other is accepted, whatever name it was made for."""
    ca_file: Path | None = None
    """Certificates of the authorities that may vouch for the server; without either, the system's."""
    vcenter_datacenter: Name | None = None
    folder: str = Field(default="", max_length=400)
    """Folders below the data centre's virtual machines, `a/b`; they must be there."""
    zones: tuple[Zone, ...] = ()
    images: tuple[Image, ...] = ()
    networks: tuple[Network, ...] = ()
    default_network: Name | None = None
    guest_setup: Literal["guestinfo", "customization"] = "guestinfo"
    """Who tells a guest its addresses: cloud-init by its VMware data source, or VMware's own customisation."""
    dns_domain: Name = "localdomain"
    volumes_folder: Name = "cloudmgr-volumes"
    rehearses: bool = False
    """Whether playbooks are rehearsed 模拟执行, because workers cannot log into its servers."""
    page_size: int = Field(default=500, ge=10, le=1000)
    stop_grace_s: int = Field(default=90, ge=0)
    call_timeout_s: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.password_file is None) == (self.password_env is None):
            raise ValueError("give password_file or password_env, one of them")
        if self.server_pem is not None and self.ca_file is not None:
            raise ValueError("give server_pem (this certificate) or ca_file (who vouches for it), not both")
        for what, names in (
            ("zones", [z.ref for z in self.zones]),
            ("images", [i.name for i in self.images]),
            ("networks", [n.name for n in self.networks]),
        ):
            if len(names) != len(set(names)):
                raise ValueError(f"{what}: each may stand once")
        return self

    def password(self) -> str:
        """Read the password anew, so that a changed one is taken up by the next login.

        Raises:
            OSError, KeyError: it is not where the options say.
        """
        if self.password_env is not None:
            return os.environ[self.password_env]
        assert self.password_file is not None  # noqa: S101 - the validator saw to it
        return self.password_file.read_text().strip()

    def network(self, name: str) -> Network | None:
        """Return what was told of a port group."""
        return next((network for network in self.networks if network.name == name), None)
