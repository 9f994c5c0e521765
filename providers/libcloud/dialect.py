"""What a way of speaking to a cloud offers the provider: everything of the contract, and of capabilities what it can."""

# ruff: noqa: ARG002 - what a dialect cannot do it refuses, whatever it was asked

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from cloudmgr.domain.messages import N_
from providers.base import (
    AddressObservation,
    CloudQuotaObservation,
    ImageObservation,
    NetworkObservation,
    PortRule,
    PublicAddressObservation,
    ResourceObservation,
    ServerObservation,
    ServerSpec,
    VolumeObservation,
    VolumeSpec,
    ZoneObservation,
)
from providers.errors import Unsupported
from providers.libcloud.options import LibcloudOptions
from providers.libcloud.sizes import Sizes


def unsupported() -> Unsupported:
    """The error of a capability that this way of speaking does not have."""
    return Unsupported(N_("This kind of cloud cannot do this through the driver it is configured with."))


class Dialect(ABC):
    """Stateless but for a memory of the cloud's sizes; every call gets a driver object of its own."""

    def __init__(self, options: LibcloudOptions, driver_class: Any) -> None:
        self.options = options
        self.driver_class = driver_class
        self.sizes = Sizes(options)

    @abstractmethod
    def unable(self) -> frozenset[str]:
        """Return the capabilities of the provider's class that this way of speaking lacks."""

    @abstractmethod
    def check(self, driver: Any) -> str: ...

    @abstractmethod
    def list_zones(self, driver: Any) -> list[ZoneObservation]: ...

    @abstractmethod
    def list_images(self, driver: Any) -> list[ImageObservation]: ...

    @abstractmethod
    def list_networks(self, driver: Any) -> list[NetworkObservation]: ...

    @abstractmethod
    def list_servers(self, driver: Any) -> Iterator[ServerObservation]: ...

    @abstractmethod
    def create_server(self, driver: Any, spec: ServerSpec, token: uuid.UUID) -> ServerObservation: ...

    @abstractmethod
    def find_server(self, driver: Any, token: uuid.UUID) -> ServerObservation | None: ...

    @abstractmethod
    def get_server(self, driver: Any, ref: str) -> ServerObservation: ...

    @abstractmethod
    def delete_server(self, driver: Any, ref: str) -> None: ...

    # Capabilities: each refuses until a dialect can

    def start_server(self, driver: Any, ref: str) -> None:
        raise unsupported()

    def stop_server(self, driver: Any, ref: str) -> None:
        raise unsupported()

    def reboot_server(self, driver: Any, ref: str) -> None:
        raise unsupported()

    def resize_server(self, driver: Any, ref: str, vcpus: int, memory_mib: int) -> None:
        raise unsupported()

    def create_volume(self, driver: Any, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        raise unsupported()

    def find_volume(self, driver: Any, token: uuid.UUID) -> VolumeObservation | None:
        raise unsupported()

    def list_volumes(self, driver: Any) -> Iterator[VolumeObservation]:
        raise unsupported()

    def attach_volume(self, driver: Any, ref: str, server: str) -> None:
        raise unsupported()

    def detach_volume(self, driver: Any, ref: str) -> None:
        raise unsupported()

    def delete_volume(self, driver: Any, ref: str) -> None:
        raise unsupported()

    def list_addresses(self, driver: Any, network: str) -> list[AddressObservation]:
        raise unsupported()

    def set_port_rules(self, driver: Any, ref: str, rules: Sequence[PortRule]) -> None:
        raise unsupported()

    def list_port_rules(self, driver: Any, ref: str) -> list[PortRule]:
        raise unsupported()

    def assign_public_address(self, driver: Any, ref: str, token: uuid.UUID) -> PublicAddressObservation:
        raise unsupported()

    def find_public_address(self, driver: Any, token: uuid.UUID) -> PublicAddressObservation | None:
        raise unsupported()

    def release_public_address(self, driver: Any, token: uuid.UUID) -> None:
        raise unsupported()

    def list_resources(self, driver: Any, token: uuid.UUID | None) -> list[ResourceObservation]:
        raise unsupported()

    def still_there(self, driver: Any, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        raise unsupported()

    def read_quota(self, driver: Any) -> list[CloudQuotaObservation]:
        raise unsupported()
