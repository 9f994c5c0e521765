"""Options of a `[[backends]]` entry with `provider = "simulated"`; they describe the imagined installation."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from cloudmgr.domain.architectures import Architecture, Cpu, normalise
from cloudmgr.domain.errors import InvalidInput
from providers.base import ProviderOptions
from providers.capabilities import CAPABILITIES
from providers.simulated.limits import RESOURCES
from providers.simulated.processors import MODELS

_MAX_HOSTS = 1000


def _known_model(name: str) -> str:
    if name not in MODELS:
        raise ValueError(f"must be one of {', '.join(MODELS)}")
    return name


def _architecture(given: object) -> object:
    if not isinstance(given, str):
        return given
    try:
        return normalise(given)
    except InvalidInput as unknown:
        raise ValueError(str(unknown)) from unknown


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class HostOptions(_Part):
    """`count` equal hosts; more than one are named `name-01`, `name-02` …"""

    name: str = Field(min_length=1)
    model: Annotated[str, AfterValidator(_known_model)]
    count: int = Field(default=1, ge=1, le=_MAX_HOSTS)
    vcpus: int = Field(ge=1)
    memory_mib: int = Field(ge=1)
    disk_gib: int = Field(ge=1)

    @property
    def cpu(self) -> Cpu:
        return MODELS[self.model]

    def names(self) -> list[str]:
        return [self.name] if self.count == 1 else [f"{self.name}-{n:02d}" for n in range(1, self.count + 1)]


class ZoneOptions(_Part):
    """Hosts of one architecture and family. `cpu_overcommit` is how many vCPUs the hypervisor sells per physical one."""

    ref: str = Field(min_length=1)
    name: str = Field(min_length=1)
    hosts: tuple[HostOptions, ...] = Field(min_length=1)
    cpu_overcommit: float = Field(default=1.0, ge=1.0, le=64.0)

    @model_validator(mode="after")
    def _one_family(self) -> Self:
        if len({(host.cpu.arch, host.cpu.family) for host in self.hosts}) > 1:
            raise ValueError(f"zone {self.ref} mixes processor families; make a zone of each")
        _require_distinct([name for host in self.hosts for name in host.names()], "host name")
        return self

    @property
    def cpu(self) -> Cpu:
        """The hosts' processor; several models of one family are all named."""
        cpus = list(dict.fromkeys(host.cpu for host in self.hosts))
        joined = (" + ".join(cpu.model for cpu in cpus), " + ".join(cpu.raw for cpu in cpus))
        return Cpu(cpus[0].arch, cpus[0].family, *joined)

    @property
    def arch(self) -> Architecture:
        arch = self.hosts[0].cpu.arch
        assert arch is not None, "every model in the table has an architecture"  # noqa: S101 - narrows a constant
        return arch


class NetworkOptions(_Part):
    """A network; `zones` empty means that it reaches every zone. Addresses are handed out from both ranges."""

    ref: str = Field(min_length=1)
    name: str = Field(min_length=1)
    cidr_v4: IPv4Network | None = None
    cidr_v6: IPv6Network | None = None
    gateway_v4: IPv4Address | None = None
    zones: tuple[str, ...] = ()
    is_external: bool = False
    """Public addresses come from it, and no server is put on it."""

    @model_validator(mode="after")
    def _gateway_inside(self) -> Self:
        if self.gateway_v4 and (self.cidr_v4 is None or self.gateway_v4 not in self.cidr_v4):
            raise ValueError(f"gateway_v4 of network {self.ref} is outside its cidr_v4")
        return self

    def reaches(self, zone: str) -> bool:
        """Whether servers of a zone may be put on it."""
        return not self.is_external and (not self.zones or zone in self.zones)

    def ranges(self) -> list[IPv4Network | IPv6Network]:
        return [cidr for cidr in (self.cidr_v4, self.cidr_v6) if cidr is not None]


class ImageOptions(_Part):
    """A bootable template; `arch` takes any usual spelling. Without one it is listed and never used."""

    ref: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arch: Annotated[Architecture | None, BeforeValidator(_architecture)] = None
    min_disk_gib: int = Field(default=0, ge=0)
    digest: str | None = None


class SimulatedOptions(ProviderOptions):
    """The whole installation. `boot_s` and `power_s` are how long booting and a change of power take."""

    zones: tuple[ZoneOptions, ...] = Field(min_length=1)
    networks: tuple[NetworkOptions, ...] = ()
    images: tuple[ImageOptions, ...] = ()
    boot_s: float = Field(default=2.0, ge=0)
    power_s: float = Field(default=0.5, ge=0)
    cloud_quota: dict[str, Annotated[int, Field(ge=0)]] | None = None
    """The cloud's own limits; without this table it tells none and has none."""
    lacks: tuple[str, ...] = ()
    """Capabilities this installation does without."""

    @field_validator("lacks")
    @classmethod
    def _are_capabilities(cls, lacks: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(lacks) - set(CAPABILITIES):
            raise ValueError(f"no such capability: {', '.join(sorted(unknown))}")
        return lacks

    @field_validator("cloud_quota")
    @classmethod
    def _are_resources(cls, quota: dict[str, int] | None) -> dict[str, int] | None:
        if unknown := set(quota or ()) - set(RESOURCES):
            raise ValueError(f"no such resource: {', '.join(sorted(unknown))}; there are {', '.join(RESOURCES)}")
        return quota

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _require_distinct([zone.ref for zone in self.zones], "zone ref")
        _require_distinct([network.ref for network in self.networks], "network ref")
        _require_distinct([image.ref for image in self.images], "image ref")
        _require_distinct([name for zone in self.zones for host in zone.hosts for name in host.names()], "host name")
        refs = {zone.ref for zone in self.zones}
        for network in self.networks:
            if unknown := set(network.zones) - refs:
                raise ValueError(f"network {network.ref} names unknown zones: {', '.join(sorted(unknown))}")
        return self


def _require_distinct(names: list[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the same {what} stands twice: {', '.join(twice)}")
