"""The keys of a `[[backends]]` entry with `provider = "libcloud"`; docs/providers.md explains each."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from libcloud.compute.types import Provider as Names
from pydantic import BeforeValidator, Field, field_validator, model_validator

from cloudmgr.domain.architectures import Architecture, CpuFamily, normalise
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_
from providers.base import ProviderOptions
from providers.errors import AuthFailed

SECRET_NAMES = ("key", "secret", "password", "token")
"""An argument called or ending like this is a reference to a file or to the environment, never a value."""


def _architecture(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return normalise(value)
    except Refusal as refusal:
        raise ValueError(str(refusal)) from refusal


Arch = Annotated[Architecture, BeforeValidator(_architecture)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]+$")]
Ref = Annotated[str, Field(min_length=1, max_length=200)]


class SecretRef(ProviderOptions):
    """Where a secret is kept: a file of the worker's, or a variable of its environment."""

    file: AbsolutePath | None = None
    env: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError("name either a file or an env")
        return self

    def read(self) -> str:
        """Return the secret.

        Raises:
            AuthFailed: there is no such file or variable, or nothing in it.
        """
        try:
            value = Path(self.file).read_text(encoding="utf-8") if self.file else os.environ.get(self.env or "", "")
        except (OSError, UnicodeDecodeError) as error:
            raise AuthFailed(N_("A secret of this cloud's settings cannot be read."), detail=str(error)) from error
        if not value.strip():
            raise AuthFailed(N_("A secret of this cloud's settings cannot be read."), detail=f"{self!r} is empty")
        return value.strip()


Argument = SecretRef | bool | int | float | str | list[str]


class Room(ProviderOptions):
    """How much of a cloud may be used: such clouds do not tell how large they are."""

    vcpus: int = Field(ge=1)
    memory_mib: int = Field(ge=1)
    disk_gib: int = Field(ge=1)


class Zone(Room):
    """One architecture at one location of the cloud (EC2: an availability zone)."""

    ref: Ref
    name: Ref
    location: Ref
    arch: Arch
    cpu_family: CpuFamily = CpuFamily.UNKNOWN
    hosts: int = Field(default=1, ge=1)


class Image(ProviderOptions):
    """An image of the cloud under the name that our catalogue knows."""

    ref: Ref
    name: Ref
    arch: Arch | None = None
    min_disk_gib: int = Field(default=1, ge=1)
    digest: str | None = None


class Size(ProviderOptions):
    """What one of the cloud's sizes holds, where Libcloud does not say all of it."""

    ref: Ref
    arch: Arch
    vcpus: int = Field(ge=1)
    memory_mib: int = Field(ge=1)
    disk_gib: int = Field(default=0, ge=0)


class Network(ProviderOptions):
    """A network of a cloud that is reached by Libcloud's standard calls, and how `create_node` is told of it."""

    ref: Ref
    name: Ref
    cidr_v4: str | None = None
    gateway_v4: str | None = None
    zones: tuple[Ref, ...] = ()
    arguments: dict[str, bool | int | str | list[str]] = Field(default_factory=dict)

    @field_validator("cidr_v4")
    @classmethod
    def _cidr(cls, value: str | None) -> str | None:
        return None if value is None else str(ipaddress.IPv4Network(value))


class LibcloudOptions(ProviderOptions):
    """A Libcloud compute driver by its name, with its own constructor's arguments."""

    driver: Ref
    arguments: dict[str, Argument] = Field(default_factory=dict)
    dialect: Literal["auto", "ec2", "plain"] = "auto"
    ca_file: AbsolutePath | None = None
    timeout_s: float = Field(default=30.0, gt=0, le=600)
    zones: tuple[Zone, ...] = ()
    archs: tuple[Arch, ...] = ()
    room: Room | None = None
    images: tuple[Image, ...] = ()
    image_owners: tuple[Ref, ...] = ()
    sizes: tuple[Size, ...] = ()
    size_names: tuple[Ref, ...] = ("*",)
    networks: tuple[Network, ...] = ()
    default_network: Ref | None = None
    security_groups: tuple[Ref, ...] = ()
    volume_type: Ref = "gp3"
    create_arguments: dict[str, bool | int | str | list[str]] = Field(default_factory=dict)
    rehearses: bool = False

    @field_validator("driver")
    @classmethod
    def _known(cls, value: str) -> str:
        known = {str(name) for name in Names}
        if value.lower() not in known:
            raise ValueError(f"Libcloud has no compute driver of this name; it has {', '.join(sorted(known))}")
        return value.lower()

    @field_validator("arguments")
    @classmethod
    def _secrets_by_reference(cls, value: dict[str, Argument]) -> dict[str, Argument]:
        plain = [
            name
            for name, given in value.items()
            if name.lower().endswith(SECRET_NAMES) and not isinstance(given, SecretRef)
        ]
        if plain:
            raise ValueError(f"write {', '.join(plain)} as a reference: {{ file = … }} or {{ env = … }}")
        if value.get("secure") is False and value.get("host") not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("secure = false is for loopback only")
        if value.keys() & {"timeout", "proxy_url", "retry_delay", "backoff"}:
            raise ValueError("write timeout_s beside the arguments; proxies come from the worker's environment")
        return value

    @model_validator(mode="after")
    def _placeable(self) -> Self:
        if not self.zones and not (self.archs and self.room):
            raise ValueError("name zones, or the archs every location has and the room there is")
        for what in (self.zones, self.images, self.sizes, self.networks):
            refs = [each.ref for each in what]
            if len(set(refs)) != len(refs):
                raise ValueError(f"a reference stands twice: {', '.join(refs)}")
        return self

    def constructor(self) -> Mapping[str, Any]:
        """Return the arguments of the driver's constructor, its secrets read.

        Raises:
            AuthFailed: a secret cannot be read.
        """
        return {name: given.read() if isinstance(given, SecretRef) else given for name, given in self.arguments.items()}
