"""The libcloud provider: one account at one cloud, by the compute driver that the settings name.

EC2's API and its imitations are spoken in full (`providers/libcloud/ec2`); every other driver by Libcloud's standard calls
(`plain.py`), which can less, and says so by `unable`. It holds no state but idle driver objects and the cloud's sizes.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from libcloud.compute.drivers.ec2 import BaseEC2NodeDriver

from providers.base import (
    AddressObservation,
    CloudQuotaObservation,
    ImageObservation,
    NetworkObservation,
    PortRule,
    Provider,
    ProviderOptions,
    PublicAddressObservation,
    ResourceObservation,
    ServerObservation,
    ServerSpec,
    VolumeObservation,
    VolumeSpec,
    ZoneObservation,
)
from providers.capabilities import (
    CloudQuota,
    Evidence,
    FixedAddresses,
    PortRules,
    PowerControl,
    PublicAddresses,
    Resizing,
    Volumes,
)
from providers.libcloud.connection import Drivers, driver_class
from providers.libcloud.dialect import Dialect
from providers.libcloud.ec2.dialect import Ec2
from providers.libcloud.options import LibcloudOptions
from providers.libcloud.plain import Plain


class LibcloudProvider(
    Provider,
    PowerControl,
    Resizing,
    Volumes,
    FixedAddresses,
    PortRules,
    PublicAddresses,
    Evidence,
    CloudQuota,
):
    """The union of what any Libcloud driver can do; options in `LibcloudOptions`, words in docs/providers.md."""

    name: ClassVar[str] = "libcloud"
    Options: ClassVar[type[ProviderOptions]] = LibcloudOptions

    def __init__(self, options: LibcloudOptions, *, backend: str) -> None:
        self.options = options
        self.backend = backend
        self.rehearses = options.rehearses  # type: ignore[misc]  # told by the peer, not by the driver
        self.dialect = _dialect(options)
        self._drivers = Drivers(options)

    def __repr__(self) -> str:
        return f"LibcloudProvider({self.backend!r}, {self.options.driver!r})"

    @classmethod
    def open(cls, options: Mapping[str, Any], *, backend: str, state_dir: Path) -> Self:  # noqa: ARG003 - nothing is kept
        """Validate the options; the first call reads the secrets and connects."""
        return cls(LibcloudOptions.model_validate(dict(options)), backend=backend)

    def close(self) -> None:
        """Close idle connections; a later call opens new ones."""
        self._drivers.close()

    def unable(self) -> frozenset[str]:
        """Return what the driver named in the settings cannot do, read from its class."""
        return self.dialect.unable()

    def check(self) -> str:
        with self._drivers.session() as driver:
            return self.dialect.check(driver)

    def list_zones(self) -> list[ZoneObservation]:
        with self._drivers.session() as driver:
            return self.dialect.list_zones(driver)

    def list_images(self) -> list[ImageObservation]:
        with self._drivers.session() as driver:
            return self.dialect.list_images(driver)

    def list_networks(self) -> list[NetworkObservation]:
        with self._drivers.session() as driver:
            return self.dialect.list_networks(driver)

    def list_servers(self) -> Iterator[ServerObservation]:
        with self._drivers.session() as driver:
            yield from self.dialect.list_servers(driver)

    def create_server(self, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        with self._drivers.session() as driver:
            return self.dialect.create_server(driver, spec, token)

    def find_server(self, token: uuid.UUID) -> ServerObservation | None:
        with self._drivers.session() as driver:
            return self.dialect.find_server(driver, token)

    def get_server(self, ref: str) -> ServerObservation:
        with self._drivers.session() as driver:
            return self.dialect.get_server(driver, ref)

    def delete_server(self, ref: str) -> None:
        with self._drivers.session() as driver:
            self.dialect.delete_server(driver, ref)

    def start_server(self, ref: str) -> None:
        with self._drivers.session() as driver:
            self.dialect.start_server(driver, ref)

    def stop_server(self, ref: str) -> None:
        with self._drivers.session() as driver:
            self.dialect.stop_server(driver, ref)

    def reboot_server(self, ref: str) -> None:
        with self._drivers.session() as driver:
            self.dialect.reboot_server(driver, ref)

    def resize_server(self, ref: str, *, vcpus: int, memory_mib: int) -> None:
        with self._drivers.session() as driver:
            self.dialect.resize_server(driver, ref, vcpus, memory_mib)

    def create_volume(self, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        with self._drivers.session() as driver:
            return self.dialect.create_volume(driver, spec, token)

    def find_volume(self, token: uuid.UUID) -> VolumeObservation | None:
        with self._drivers.session() as driver:
            return self.dialect.find_volume(driver, token)

    def list_volumes(self) -> Iterator[VolumeObservation]:
        with self._drivers.session() as driver:
            yield from self.dialect.list_volumes(driver)

    def attach_volume(self, ref: str, server: str) -> None:
        with self._drivers.session() as driver:
            self.dialect.attach_volume(driver, ref, server)

    def detach_volume(self, ref: str) -> None:
        with self._drivers.session() as driver:
            self.dialect.detach_volume(driver, ref)

    def delete_volume(self, ref: str) -> None:
        with self._drivers.session() as driver:
            self.dialect.delete_volume(driver, ref)

    def list_addresses(self, network: str) -> list[AddressObservation]:
        with self._drivers.session() as driver:
            return self.dialect.list_addresses(driver, network)

    def set_port_rules(self, ref: str, rules: Sequence[PortRule]) -> None:
        with self._drivers.session() as driver:
            self.dialect.set_port_rules(driver, ref, rules)

    def list_port_rules(self, ref: str) -> list[PortRule]:
        with self._drivers.session() as driver:
            return self.dialect.list_port_rules(driver, ref)

    def assign_public_address(self, ref: str, token: uuid.UUID) -> PublicAddressObservation:
        with self._drivers.session() as driver:
            return self.dialect.assign_public_address(driver, ref, token)

    def find_public_address(self, token: uuid.UUID) -> PublicAddressObservation | None:
        with self._drivers.session() as driver:
            return self.dialect.find_public_address(driver, token)

    def release_public_address(self, token: uuid.UUID) -> None:
        with self._drivers.session() as driver:
            self.dialect.release_public_address(driver, token)

    def list_resources(self, token: uuid.UUID | None = None) -> list[ResourceObservation]:
        with self._drivers.session() as driver:
            return self.dialect.list_resources(driver, token)

    def still_there(self, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        with self._drivers.session() as driver:
            return self.dialect.still_there(driver, resources)

    def read_quota(self) -> list[CloudQuotaObservation]:
        with self._drivers.session() as driver:
            return self.dialect.read_quota(driver)


def _dialect(options: LibcloudOptions) -> Dialect:
    cls = driver_class(options)
    speaks_ec2 = issubclass(cls, BaseEC2NodeDriver)
    if options.dialect == "ec2" or (options.dialect == "auto" and speaks_ec2):
        return Ec2(options, cls)
    return Plain(options, cls)
