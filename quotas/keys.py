"""Names of what is counted: `vcpus`, `vcpus{arch=aarch64}`. Parses and spells them; counts nothing.

Resources are an open list, dimensions a closed one, so that a misspelt dimension is refused instead of never matching.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cloudmgr.domain import architectures
from cloudmgr.domain.architectures import CpuFamily
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.units import MIB_PER_GIB

DIMENSIONS = ("arch", "backend", "cpu_family", "environment", "is_xinchuang", "network_zone", "tier")
"""Every dimension there is, sorted; each is a column of `quota_balances` and `quota_parts`."""

PLACEMENT_DIMENSIONS = frozenset({"backend", "cpu_family", "is_xinchuang", "tier"})
"""Those that only placement can tell, unless the request itself named them."""

VALUE_MAX_LENGTH = 64
_RESOURCE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SHAPE = re.compile(r"(?P<resource>[^{}]*)(?:\{(?P<dims>[^{}]*)\})?")
_VALUE = re.compile(r"[^\x00-\x20\x7f{}=,\"]+(?: [^\x00-\x20\x7f{}=,\"]+)*")

_RESOURCE_NAMES: Mapping[str, str] = {
    "servers": N_("servers"),
    "vcpus": N_("vCPUs"),
    "memory_mib": N_("MiB of memory"),
    "disk_gib": N_("GiB of disk"),
    "volumes": N_("volumes"),
    "snapshots": N_("snapshots"),
    "images": N_("private images"),
    "networks": N_("networks"),
    "subnets": N_("subnets"),
    "ip_addresses": N_("IP addresses"),
    "public_ips": N_("public IP addresses"),
    "bandwidth_mbps": N_("Mbit/s of bandwidth"),
    "security_groups": N_("security groups"),
    "load_balancers": N_("load balancers"),
    "gpus": N_("GPUs"),
    "backups_gib": N_("GiB of backups"),
}
RESOURCES = frozenset(_RESOURCE_NAMES)
"""Resources that have a name for people; the ledger itself counts any."""
_DIMENSION_NAMES: Mapping[str, str] = {
    "arch": N_("architecture {value}"),
    "backend": N_("cloud platform {value}"),
    "cpu_family": N_("CPU family {value}"),
    "environment": N_("environment {value}"),
    "is_xinchuang": N_("domestic (xinchuang): {value}"),
    "network_zone": N_("network zone {value}"),
    "tier": N_("tier {value}"),
}


@dataclass(frozen=True, slots=True)
class Key:
    """One countable thing: a resource, narrowed by no or some dimensions (sorted by name)."""

    resource: str
    dims: tuple[tuple[str, str], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it counts everything of the resource; such keys are counted at every account."""
        return not self.dims

    def matches(self, dims: Mapping[str, str]) -> bool:
        """Whether something with these dimensions is counted under this key."""
        return all(dims.get(name) == value for name, value in self.dims)

    def contains(self, other: "Key") -> bool:
        """Whether everything counted under `other` is counted here too."""
        return self.resource == other.resource and self.matches(dict(other.dims))

    def describe(self) -> Message:
        """Return the key in words that can be translated."""
        return self._named(_RESOURCE_NAMES.get(self.resource, self.resource))

    def _named(self, resource: str) -> Message:
        name = Message(resource)
        if not self.dims:
            return name
        narrowed = [Message(_DIMENSION_NAMES[dimension], {"value": value}) for dimension, value in self.dims]
        return Message(N_("{resource} ({narrowed})"), {"resource": name, "narrowed": narrowed})

    def told(self, **amounts: Any) -> dict[str, Any]:
        """Return amounts by name, and as `key` what they are amounts of: memory in GiB where all of them are whole."""
        told, key = dict(amounts), self.describe()
        numbers = {name: amount for name, amount in amounts.items() if isinstance(amount, int)}
        if self.resource == "memory_mib" and not any(amount % MIB_PER_GIB for amount in numbers.values()):
            told |= {name: amount // MIB_PER_GIB for name, amount in numbers.items()}
            key = self._named(N_("GiB of memory"))
        return told | {"key": key}

    def __str__(self) -> str:
        return format_key(self)


def parse_key(text: str) -> Key:
    """Read a key in any order and spelling of its dimensions; `vcpus{arch=arm64}` is `vcpus{arch=aarch64}`.

    Raises:
        InvalidInput: not of this shape, a dimension that does not exist or stands twice, or a value that cannot be.
    """
    shape = _SHAPE.fullmatch(text.strip())
    if shape is None:
        raise InvalidInput(N_("Quota key {key} is malformed; write it like vcpus or vcpus{{arch=aarch64}}."), key=text)
    dims: dict[str, str] = {}
    if shape["dims"] is not None:
        for item in shape["dims"].split(","):
            name, equals, value = item.partition("=")
            name = name.strip()
            if not equals or name in dims:
                raise InvalidInput(
                    N_("Quota key {key} is malformed; write it like vcpus or vcpus{{arch=aarch64}}."), key=text
                )
            dims[name] = value.strip()
    return Key(check_resource(shape["resource"].strip()), tuple(sorted(normalise_dims(dims).items())))


def format_key(key: Key) -> str:
    """Spell a key canonically: dimensions sorted, no spaces around signs."""
    if not key.dims:
        return key.resource
    return key.resource + "{" + ",".join(f"{name}={value}" for name, value in key.dims) + "}"


@lru_cache(maxsize=4096)
def stored_key(text: str) -> Key:
    """Read a key that this package wrote, without checking it again."""
    resource, brace, dims = text.partition("{")
    if not brace:
        return Key(resource)
    pairs = (item.partition("=") for item in dims.removesuffix("}").split(","))
    return Key(resource, tuple((name, value) for name, _, value in pairs))


def check_resource(name: str) -> str:
    """Return a resource's name if it can be one.

    Raises:
        InvalidInput: it is not lower-case letters, digits and underscores.
    """
    if _RESOURCE.fullmatch(name) is None:
        raise InvalidInput(
            N_("{name} cannot be a resource; use lower-case letters, digits and underscores, like memory_mib."),
            name=name or "''",
        )
    return name


def normalise_dims(dims: Mapping[str, str]) -> dict[str, str]:
    """Return dimensions with their values spelled our way.

    Raises:
        InvalidInput: an unknown dimension (the message names the known ones) or an impossible value.
    """
    return {name: _normalise_value(name, value) for name, value in dims.items()}


def _normalise_value(name: str, value: str) -> str:
    if name not in DIMENSIONS:
        raise InvalidInput(
            N_("There is no quota dimension {name}; known are {known}."),
            name=name or "''",
            known=", ".join(DIMENSIONS),
        )
    if len(value) > VALUE_MAX_LENGTH or _VALUE.fullmatch(value) is None:
        raise InvalidInput(
            N_("Dimension {name} cannot have the value {value}; use 1 to {most} characters, none of {forbidden}"),
            name=name,
            value=repr(value[: VALUE_MAX_LENGTH + 1]),
            most=VALUE_MAX_LENGTH,
            forbidden='{ } = , "',
        )
    if name == "arch":
        return architectures.normalise(value).value
    if name == "cpu_family":
        return _one_of(name, value.lower(), tuple(CpuFamily))
    if name == "is_xinchuang":
        return _one_of(name, value.lower(), ("true", "false"))
    return value


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InvalidInput(
            N_("Dimension {name} cannot be {value}; use one of {known}."),
            name=name,
            value=value,
            known=", ".join(known),
        )
    return str(value)
